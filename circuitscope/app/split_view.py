"""The middle of the window in two halves, each with any circuit and drawing of the project.

One half is the active one: it belongs to the session, and menus, panels and shortcuts mean what it
shows. The other looks into the same project through a `Beside`. A click into it makes it the
active one: the two exchange what they show and their places, so that nothing seems to move.
Selection and hover are linked: what is selected in the active half is selected in the other, where
that circuit has the same node.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QFocusEvent, QMouseEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.desk import Desk
from circuitscope.app.theme import icon
from circuitscope.app.widgets import look
from circuitscope.app.words import tr
from circuitscope.graph.compare import counterparts
from circuitscope.project.drawings import circuit_of
from circuitscope.session.beside import Beside
from circuitscope.session.document import Document

_BY_KEY = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)


class Half(QWidget):
    """Both views of one document, below its name where the window is split.

    Args:
        desk: Colours.
        document: What is shown.
        close: Called when the head's cross is clicked; None leaves it out.
    """

    def __init__(
        self, desk: Desk, document: Document, close: Callable[[], object] | None = None
    ) -> None:
        super().__init__()
        self.document = document
        self.link_graph = LinkGraphView(document, desk.palette, self)
        self.circuit_view = CircuitView(document, desk.palette, self)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName(tr("Views"))
        self.tabs.tabBar().setAccessibleName(tr("Views"))
        self.tabs.addTab(self.link_graph, tr("Link graph"))
        self.tabs.addTab(self.circuit_view, tr("Circuit"))
        self.head = QWidget()
        self.head.setObjectName("HalfHead")
        self.head.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(self.head)
        row.setContentsMargins(8, 4, 8, 4)
        self.box = QComboBox()
        self.box.setAccessibleName(tr("Drawing in this half"))
        self.box.activated.connect(self._chosen)
        row.addWidget(self.box, 1)
        if close is not None:
            cross = QToolButton()
            cross.setProperty("look", "close")
            cross.setFixedSize(24, 24)
            cross.setIcon(icon("x", desk.palette, desk.palette.secondary))
            cross.setToolTip(tr("One view only"))
            cross.setAccessibleName(tr("One view only"))
            cross.clicked.connect(close)
            row.addWidget(cross)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.head)
        column.addWidget(self.tabs, 1)
        self.head.hide()
        to_gui(document.active_changed, lambda *_: self._mark(), self)

    def list_drawings(self, names: dict[str, str]) -> None:
        """Offer drawings: names by id."""
        self.box.clear()
        for name, text in names.items():
            self.box.addItem(text, name)
        self._mark()

    def _mark(self) -> None:
        self.box.setCurrentIndex(self.box.findData(self.document.active_drawing))

    def _chosen(self) -> None:
        name = str(self.box.currentData())
        self.document.activate(circuit_of(name), name)

    def views(self) -> dict[str, LinkGraphView | CircuitView]:
        """Return both views by name."""
        return {"link": self.link_graph, "circuit": self.circuit_view}

    def shown(self) -> str:
        """Return which view is in front: "link" or "circuit"."""
        return "circuit" if self.tabs.currentWidget() is self.circuit_view else "link"

    def show_view(self, name: str) -> None:
        """Bring a view to the front."""
        self.tabs.setCurrentWidget(self.views()[name])


class SplitArea(QSplitter):
    """Show one half, or two.

    Args:
        desk: The session and what the window hears of it.
        names: Returns all drawings of the project, names by id.
    """

    def __init__(self, desk: Desk, names: Callable[[], dict[str, str]]) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setChildrenCollapsible(False)
        self._desk, self._names = desk, names
        self.main = Half(desk, desk.session)
        self.side: Half | None = None
        self._pairs: tuple[tuple[str, str], NDArray[np.int64]] | None = None
        self.addWidget(self.main)
        desk.watch.project.connect(lambda *_: self.unsplit())
        desk.watch.contents.connect(self._list)
        desk.watch.selection.connect(lambda *_: self._link_selection())
        desk.watch.active.connect(lambda *_: self._link_selection())
        for view in self.main.views().values():
            view.hovered.connect(lambda node: self._link_hover(self.main, node))

    @property
    def is_split(self) -> bool:
        """Say whether there are two halves."""
        return self.side is not None

    def toggle(self) -> None:
        """Split the middle of the window, or make it one again."""
        if self.is_split:
            self.unsplit()
        else:
            self.show_beside(self._desk.session.active, self._desk.session.active_drawing)

    def show_beside(self, circuit_id: str, drawing_id: str = "") -> None:
        """Show a circuit in the half that is not active, which opens where there is none."""
        side = self.side or self._open()
        side.document.activate(circuit_id, drawing_id)
        self._link_selection()

    def unsplit(self) -> None:
        """Close the half that is not active."""
        side, self.side, self._pairs = self.side, None, None
        self.main.head.hide()
        if side is not None:
            side.document.close()
            side.hide()
            side.setParent(None)
            side.deleteLater()

    def kept(self) -> list[str]:
        """Return what the other half shows, its view and its side; empty where there is none."""
        if self.side is None:
            return []
        where = "left" if self.indexOf(self.side) == 0 else "right"
        return [self.side.document.active_drawing, self.side.shown(), where]

    def take(self, kept: list[str]) -> None:
        """Open the other half as `kept` described it; a drawing that is gone is left out."""
        if len(kept) == 3 and kept[0] in self._names():
            self.show_beside(circuit_of(kept[0]), kept[0])
            assert self.side is not None
            self.side.show_view("circuit" if kept[1] == "circuit" else "link")
            self.insertWidget(0 if kept[2] == "left" else 1, self.side)

    def swap(self) -> None:
        """Make the other half the active one; what each shows stays where it is."""
        side, session = self.side, self._desk.session
        if side is None:
            return
        here = session.active, session.active_drawing
        there = side.document.active, side.document.active_drawing
        chosen, shown = side.document.selection, (side.shown(), self.main.shown())
        if here != there:
            for name, view in self.main.views().items():
                other = side.views()[name]
                mine, its = view.looks(), other.looks()
                view.take_looks(its)
                other.take_looks(mine)
            session.activate(*there)
            side.document.activate(*here)
        sizes = self.sizes()
        self.insertWidget(self.indexOf(self.main), side)
        self.setSizes(sizes)
        self.main.show_view(shown[0])
        side.show_view(shown[1])
        session.select(chosen)
        self._link_selection()
        self.main.tabs.currentWidget().setFocus()

    def _open(self) -> Half:
        side = self.side = Half(self._desk, Beside(self._desk.session), self.unsplit)
        wide = self.width()
        self.addWidget(side)
        self.setSizes([wide // 2, wide // 2])
        for half, style in ((self.main, "active"), (side, "")):
            look(half.head, style)
            half.head.show()
        for view in side.views().values():
            view.installEventFilter(self)
            view.hovered.connect(lambda node: self._link_hover(side, node))
        window: Any = self._desk.window
        for name, act in window.canvas_signals():
            for view in side.views().values():
                if (signal := getattr(view, name, None)) is not None:
                    signal.connect(lambda *args, act=act: self._asked(act, args))
        self._list()
        side.show_view(self.main.shown())
        return side

    def _asked(self, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Let the half that something is asked of be the active one first."""
        self.swap()
        act(*args)

    def _list(self) -> None:
        for half in (self.main, self.side):
            if half is not None and self.is_split:
                half.list_drawings(self._names())

    # ---- linked selection and hover ----------------------------------------------------------
    def _counterparts(self, half: Half, node: int) -> int:
        """Return the other half's node that is the same as one of this half's, -1 for none."""
        side, session = self.side, self._desk.session
        if side is None or session.circuit is None or side.document.circuit is None:
            return -1
        ids = session.active, side.document.active
        if ids[0] == ids[1]:
            return node
        if self._pairs is None or self._pairs[0] != ids:
            self._pairs = ids, counterparts(session.circuit, side.document.circuit)
        pairs = self._pairs[1]
        if half is self.main:
            return int(pairs[node]) if node < len(pairs) else -1
        found = np.flatnonzero(pairs == node)
        return int(found[0]) if len(found) else -1

    def _link_selection(self) -> None:
        if self.side is not None and self.side.document.circuit is not None:
            found = [self._counterparts(self.main, n) for n in self._desk.session.selection]
            self.side.document.select([node for node in found if node >= 0])

    def _link_hover(self, half: Half, node: int | None) -> None:
        other = self.side if half is self.main else self.main
        if other is None or self.side is None:
            return
        found = -1 if node is None else self._counterparts(half, node)
        for view in other.views().values():
            view.point_at(None if found < 0 else found)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Make the other half the active one once a click into it is over, or a key moved there."""
        released = event.type() == QEvent.Type.MouseButtonRelease and (
            isinstance(event, QMouseEvent) and event.button() == Qt.MouseButton.LeftButton
        )
        by_key = event.type() == QEvent.Type.FocusIn and (
            isinstance(event, QFocusEvent) and event.reason() in _BY_KEY
        )
        if released or by_key:
            QTimer.singleShot(0, self, self._swap_from(watched))
        return super().eventFilter(watched, event)

    def _swap_from(self, watched: QObject) -> Callable[[], None]:
        side = self.side

        def act() -> None:
            if side is not None and side is self.side and watched in side.views().values():
                self.swap()

        return act
