"""Tabs of the drawings that are open in the window, those of several circuits among them.

A drawing that is shown gets a tab; closing a tab leaves the drawing in the project. With a single
one open there is no bar. Each tab keeps its zoom and place, which the canvases remember.
"""

from PySide6.QtCore import Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QTabBar, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.words import DOT, tr
from circuitscope.project.drawings import circuit_of


class DrawingTabs(QTabBar):
    """Show which drawings are open; a click shows one, a middle click closes its tab."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._following = False
        self.setDocumentMode(True)
        self.setTabsClosable(True)
        self.setMovable(True)
        self.setExpanding(False)
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.setAccessibleName(tr("Open drawings"))
        self.setVisible(False)
        self.currentChanged.connect(self._chosen)
        self.tabCloseRequested.connect(self.close_tab)
        desk.watch.active.connect(lambda *_: self.follow())
        desk.watch.contents.connect(self.follow)
        desk.watch.project.connect(lambda *_: self.follow())

    def opened(self) -> list[str]:
        """Return the ids of the drawings that are open, from left to right."""
        return [str(self.tabData(at)) for at in range(self.count())]

    def open_all(self, drawing_ids: list[str]) -> None:
        """Open tabs without showing them; drawings that are gone are left out."""
        self._following = True
        for name in drawing_ids:
            if name not in self.opened():
                self.setTabData(self.addTab(""), name)
        self._following = False
        self.follow()

    def follow(self) -> None:
        """Drop tabs of what is gone, name the others, and mark the one on screen."""
        session, self._following = self._desk.session, True
        names = self.names()
        for at in reversed(range(self.count())):
            if self.tabData(at) not in names:
                self.removeTab(at)
        shown = session.active_drawing
        if shown in names and shown not in self.opened():
            self.setTabData(self.addTab(""), shown)
        for at, name in enumerate(self.opened()):
            self.setTabText(at, names[name])
            self.setTabToolTip(at, names[name])
        if shown in self.opened():
            self.setCurrentIndex(self.opened().index(shown))
        self.setVisible(self.count() > 1)
        self._following = False

    def names(self) -> dict[str, str]:
        """Return what every drawing of the project is called, by its id."""
        project = self._desk.session.project
        found: dict[str, str] = {}
        for info in project.findings() if project is not None else []:
            if info.kind == "circuit":
                drawings = project.drawings(info.id)
                for one in drawings:
                    alone = len(drawings) == 1
                    found[one.id] = info.name if alone else f"{info.name}{DOT}{one.name}"
        return found

    def _chosen(self, at: int) -> None:
        if not self._following and at >= 0:
            name = str(self.tabData(at))
            self._desk.session.activate(circuit_of(name), name)

    def close_tab(self, at: int) -> None:
        """Close a tab; the one beside it is shown where it was in front. The last one stays."""
        if self.count() > 1 and 0 <= at < self.count():
            self.removeTab(at)
            self._chosen(self.currentIndex())
            self.setVisible(self.count() > 1)

    def step(self, by: int) -> None:
        """Show the next tab, or the one before, around the ends."""
        if self.count() > 1:
            self.setCurrentIndex((self.currentIndex() + by) % self.count())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Close a tab on a middle click."""
        if event.button() == Qt.MouseButton.MiddleButton:
            self.close_tab(self.tabAt(event.position().toPoint()))
        super().mouseReleaseEvent(event)
