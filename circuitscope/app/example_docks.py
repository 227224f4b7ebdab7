"""The docks of the panels that examples bring: there while such a circuit is shown."""

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QDockWidget, QMainWindow, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.whereabouts import window_settings
from circuitscope.app.widgets import DockHead

WIDTH, HEIGHT, ABOVE = 304, 380, 420


class ExampleDock(QDockWidget):
    """The dock of one panel; it knows whether the user wants to see it."""

    def __init__(self, name: str, title: str, window: QMainWindow) -> None:
        super().__init__(title, window)
        self.setObjectName(f"example.{name}")
        self.wanted = window_settings().value(self._key(), "true") != "false"
        self.toggleViewAction().triggered.connect(self._chosen)

    def _key(self) -> str:
        return f"examples/{self.objectName()}"

    def _chosen(self, shown: bool) -> None:
        self.wanted = shown

    def keep(self) -> None:
        """Keep for the next start whether the user wants it."""
        window_settings().setValue(self._key(), "true" if self.wanted else "false")

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stay closed until the user opens it again."""
        self.wanted = False
        super().closeEvent(event)


class ExampleDocks(QObject):
    """Show the docks of the panels that are for the circuit on screen, and hide the others.

    Attributes:
        docks: By name; each gets its panel when it is shown first.

    Args:
        desk: What panels work with.
        window: Where the docks belong.
    """

    def __init__(self, desk: Desk, window: QMainWindow) -> None:
        super().__init__(window)
        self._desk = desk
        self.docks: dict[str, ExampleDock] = {}
        for name in desk.examples.names():
            title = str(desk.examples.ask(name, lambda panel: panel.title, name))
            dock = ExampleDock(name, title, window)
            dock.setTitleBarWidget(DockHead(title, dock, desk.palette))
            dock.hide()
            self.docks[name] = dock

    def refresh(self) -> None:
        """Show what fits and is wanted; hide the rest."""
        for name, dock in self.docks.items():
            fits = self._desk.examples.fits(name, self._desk.session.circuit)
            fits = fits and self._has_panel(name, dock)
            dock.toggleViewAction().setVisible(fits)
            dock.toggleViewAction().setEnabled(fits)
            shown = fits and dock.wanted
            if dock.isHidden() == shown:
                dock.setVisible(shown)

    def reset(self) -> None:
        """Want every panel again."""
        for dock in self.docks.values():
            dock.wanted = True
        self.refresh()

    def keep(self) -> None:
        """Keep for the next start which panels the user wants."""
        for dock in self.docks.values():
            dock.keep()

    def _has_panel(self, name: str, dock: ExampleDock) -> bool:
        if dock.widget() is None:
            made = self._desk.examples.ask(name, lambda panel: panel.make(self._desk))
            if isinstance(made, QWidget):
                dock.setWidget(made)
                self._make_room(dock)
        return dock.widget() is not None

    def _make_room(self, dock: ExampleDock) -> None:
        """Give a new dock half of its column; the project tree above it keeps its lines."""
        window = self.parent()
        assert isinstance(window, QMainWindow)
        area = window.dockWidgetArea(dock)
        above = [
            other for other in window.findChildren(QDockWidget)
            if other is not dock and window.dockWidgetArea(other) == area and other.isVisible()
        ]  # fmt: skip
        dock.show()
        heights = [ABOVE] * len(above) + [HEIGHT]
        window.resizeDocks([*above, dock], heights, Qt.Orientation.Vertical)
        window.resizeDocks([dock], [WIDTH], Qt.Orientation.Horizontal)
