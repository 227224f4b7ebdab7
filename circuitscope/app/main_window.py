"""The main window: panels, menus, tabs; it holds no truth and decides nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QByteArray, QMimeData, QPoint, Qt, QTimer
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QDockWidget,
    QMainWindow,
    QMenu,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.actions import MENUS, SEPARATOR, by_id, make_actions, refresh_actions
from circuitscope.app.canvas.view import CanvasView
from circuitscope.app.commands import diagram, edits, files, views
from circuitscope.app.desk import Desk, Watch
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.drawing_tabs import DrawingTabs
from circuitscope.app.example_docks import ExampleDocks
from circuitscope.app.fresh_labels import FreshLabels
from circuitscope.app.later import Later
from circuitscope.app.notices import Notices
from circuitscope.app.panels.history import HistoryPanel
from circuitscope.app.panels.inspector import InspectorPanel
from circuitscope.app.panels.jobs import JobsPanel
from circuitscope.app.panels.project_tree import ProjectPanel
from circuitscope.app.panels.verify import VerifyPanel
from circuitscope.app.split_view import SplitArea
from circuitscope.app.start_page import StartPage, thumbnail_path
from circuitscope.app.status import StatusLine
from circuitscope.app.theme import Palette, app_icon, px
from circuitscope.app.toolbar import MainToolBar
from circuitscope.app.whereabouts import remember, window_settings
from circuitscope.app.widgets import DockHead, EmptyState, button
from circuitscope.app.words import tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.session.session import Session

LAYOUT_VERSION = 2
_CANVAS_MENU = ("graph.label", "graph.group", "graph.ungroup", SEPARATOR, "graph.pin",
                "graph.hide", "graph.look", SEPARATOR,
                "graph.strongest_input", "graph.strongest_output",
                "view.focus_inputs", "view.focus_outputs", "view.paths", SEPARATOR, "trace.further",
                "trace.why", "trace.try", "verify.test", SEPARATOR, "view.frame", "view.fit",
                "graph.show_all")  # fmt: skip


class MainWindow(QMainWindow):
    """Arrange panels around the canvas.

    Args:
        session: What is open.
        palette: Colours.
    """

    def __init__(self, session: Session, palette: Palette) -> None:
        super().__init__()
        self.session, self.palette_ = session, palette
        self.desk = Desk(session, palette, Watch(session, self), self)
        self.setWindowIcon(app_icon())
        self.setMinimumSize(960, 600)
        self.setAcceptDrops(True)
        self.setDockOptions(
            QMainWindow.DockOption.AnimatedDocks | QMainWindow.DockOption.AllowNestedDocks
            | QMainWindow.DockOption.AllowTabbedDocks
        )  # fmt: skip
        make_actions(self.desk, self)
        self._make_center()
        self._docks: dict[str, QDockWidget] = {}
        self._before: QByteArray | None = None
        self._make_docks()
        self._make_menus()
        self.toolbar = MainToolBar(self.desk, self)
        self.search = self.toolbar.search
        self.addToolBar(self.toolbar)
        self.setStatusBar(StatusLine(self.desk, self))
        Notices(self.desk)
        FreshLabels(self.desk)
        self._later = Later(self, self.refresh)
        watch = self.desk.watch
        for signal in (watch.project, watch.contents, watch.active, watch.edited, watch.selection,
                       watch.model, watch.job_added):  # fmt: skip
            signal.connect(lambda *_: self._later.within())
        self.resize(1440, 900)
        self._arrange_panels()
        self._default_layout = self.saveState(LAYOUT_VERSION)
        self._restore_layout()
        self.refresh()

    # ---- building --------------------------------------------------------------------------
    def _make_center(self) -> None:
        desk = self.desk
        self.drawing_tabs = DrawingTabs(desk, self)
        self.split = SplitArea(desk, self.drawing_tabs.names)
        self.link_graph = self.split.main.link_graph
        self.circuit_view = self.split.main.circuit_view
        self.split.main.tabs.currentChanged.connect(lambda *_: self.canvas().setFocus())
        for view in (self.link_graph, self.circuit_view):
            self._connect_canvas(view)
        empty = EmptyState(
            desk.palette, "workflow", tr("This project has no circuit yet"),
            tr("Trace a sentence, or import a graph file."),
        )  # fmt: skip
        trace = button(tr("Trace…"), "primary", lambda: desk.trigger("trace.new"))
        empty.add_button(trace)
        self._center = QStackedWidget()
        self._start = StartPage(desk)
        work = QWidget()
        column = QVBoxLayout(work)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.drawing_tabs)
        column.addWidget(self.split, 1)
        for page in (self._start, empty, work):
            self._center.addWidget(page)
        self.setCentralWidget(self._center)

    def _connect_canvas(self, view: QWidget) -> None:
        for action in self.desk.actions.values():
            if by_id(action.objectName()).on == "canvas":
                view.addAction(action)
        for name, slot in self.canvas_signals():
            if (signal := getattr(view, name, None)) is not None:
                signal.connect(slot)

    def _make_docks(self) -> None:
        desk = self.desk
        self._inspector = InspectorPanel(desk)
        for name, title, widget, head in (
            ("project", tr("Project"), ProjectPanel(desk), ""),
            ("inspector", tr("Inspector"), self._inspector, ""),
            ("jobs", tr("Jobs"), JobsPanel(desk), "desk"),
            ("tests", tr("Tests"), VerifyPanel(desk), "desk"),
            ("history", tr("History"), HistoryPanel(desk), "desk"),
        ):
            dock = QDockWidget(title, self)
            dock.setObjectName(name)
            bar = DockHead(title, dock, desk.palette)
            bar.setProperty("look", head)
            dock.setTitleBarWidget(bar)
            dock.setWidget(widget)
            self._docks[name] = dock
        self._examples = ExampleDocks(desk, self)

    def _arrange_panels(self) -> None:
        left, right, bottom = (Qt.DockWidgetArea.LeftDockWidgetArea,
                               Qt.DockWidgetArea.RightDockWidgetArea,
                               Qt.DockWidgetArea.BottomDockWidgetArea)  # fmt: skip
        for corner, area in (
            (Qt.Corner.BottomLeftCorner, left), (Qt.Corner.BottomRightCorner, right),
        ):  # fmt: skip
            self.setCorner(corner, area)
        docks = self._docks
        for name, area in (("project", left), ("inspector", right), ("jobs", bottom)):
            self.addDockWidget(area, docks[name])
        self.splitDockWidget(docks["jobs"], docks["tests"], Qt.Orientation.Horizontal)
        self.splitDockWidget(docks["tests"], docks["history"], Qt.Orientation.Horizontal)
        for dock in self._examples.docks.values():
            self.addDockWidget(left, dock)
        wide = [docks["project"], docks["inspector"]]
        self.resizeDocks(wide, [px(232), px(328)], Qt.Orientation.Horizontal)
        low = [docks["jobs"], docks["tests"], docks["history"]]
        self.resizeDocks(low, [px(184)] * 3, Qt.Orientation.Vertical)
        self.resizeDocks(low, [250, 410, 190], Qt.Orientation.Horizontal)

    def _make_menus(self) -> None:
        for title, entries in MENUS:
            menu = self.menuBar().addMenu("&" + tr(title))
            menu.setToolTipsVisible(True)
            menu.aboutToShow.connect(lambda: refresh_actions(self.desk))
            for entry in entries:
                if entry == SEPARATOR:
                    menu.addSeparator()
                elif entry in self.desk.actions:
                    menu.addAction(self.desk.actions[entry])
                else:
                    self._fill_submenu(entry, menu)

    def _fill_submenu(self, entry: str, menu: QMenu) -> None:
        if entry == "window.panels":
            for dock in (*self._docks.values(), *self._examples.docks.values()):
                menu.addAction(dock.toggleViewAction())
        elif entry == "view.theme":
            self._add_themes(menu.addMenu(tr("Colours")))
        elif entry == "file.recent":
            recent = menu.addMenu(tr("Open recent"))
            recent.aboutToShow.connect(lambda: self._fill_recent(recent))

    def _add_themes(self, menu: QMenu) -> None:
        group = QActionGroup(menu)
        now = self.session.preferences.now.appearance.theme
        for name, words in views.theme_names():
            action = QAction(words, menu, checkable=True)
            action.setChecked(name == now)
            action.triggered.connect(lambda *_, name=name: views.set_theme(self.desk, name))
            group.addAction(action)
            menu.addAction(action)

    def _fill_recent(self, menu: QMenu) -> None:
        menu.clear()
        for path in self.session.preferences.now.recent.projects:
            menu.addAction(Path(path).name, partial(self.open_path, path)).setToolTip(path)
        if menu.isEmpty():
            menu.addAction(tr("nothing yet")).setEnabled(False)

    # ---- what actions ask of the window ------------------------------------------------------
    def canvas_signals(self) -> tuple[tuple[str, Callable[..., object]], ...]:
        """Return which signal of a canvas asks for what."""
        return (("label_wanted", self._label_node), ("pin_wanted", self._pin_node),
                ("menu_wanted", self._canvas_menu), ("text_wanted", self._edit_item))  # fmt: skip

    def canvas(self) -> CanvasView:
        """Return the view in front, in the active half."""
        return self.split.main.views()[self.shown_view()]

    def shown_view(self) -> str:
        """Return which view is in front: "link" or "circuit"."""
        return self.split.main.shown()

    def show_view(self, name: str) -> None:
        """Bring a view to the front: "link" or "circuit"."""
        self.split.main.show_view(name)

    def edit_label(self) -> None:
        """Put the cursor into the inspector's label field."""
        self._docks["inspector"].show()
        self._inspector.edit_label()

    def reset_layout(self) -> None:
        """Put every panel back to its place."""
        self.restoreState(self._default_layout, LAYOUT_VERSION)
        self._arrange_panels()
        for dock in self._docks.values():
            dock.setFloating(False)
            dock.show()
        self._examples.reset()

    def say(self, text: str) -> None:
        """Show a line in the status bar for some seconds."""
        self.statusBar().showMessage(text, 6000)

    def open_path(self, path: Path | str) -> None:
        """Open a file or folder; what is wrong with it is told in a dialog."""
        try:
            files.open_path(self.desk, path)
        except CircuitScopeError as error:
            show_error(self, error)

    # ---- following the session -----------------------------------------------------------
    def refresh(self) -> None:
        """Show the right page and title, and enable what can be used."""
        project = self.session.project
        page = 0 if project is None else (1 if self.session.circuit is None else 2)
        if self._center.currentIndex() != page:
            self._center.setCurrentIndex(page)
        for dock in self._docks.values():
            dock.toggleViewAction().setEnabled(project is not None)
        if project is None:
            title = "CircuitScope"
        else:
            name = Path(project.path).name if project.path else tr("New project")
            only = tr(" (read only)") if project.read_only else ""
            title = f"{name}{only}[*] — CircuitScope"
        self.setWindowTitle(title)
        self.setWindowModified(self.session.is_modified)
        refresh_actions(self.desk)
        self._show_panels(shown=project is not None)

    def _show_panels(self, *, shown: bool) -> None:
        told = ("queued", "running", "failed")
        busy = any(job.state in told for job in self.session.jobs.jobs)
        if not shown and self._before is None:
            self._before = self.saveState(LAYOUT_VERSION)
        if not shown:
            for name, dock in self._docks.items():
                dock.setVisible(name == "jobs" and busy)
        elif self._before is not None:
            self.restoreState(self._before, LAYOUT_VERSION)
            self._before = None
        self._examples.refresh()
        self.toolbar.setVisible(shown)

    def _label_node(self, node: int) -> None:
        self.session.select([node])
        self.desk.trigger("graph.label")

    def _edit_item(self, name: str) -> None:
        diagram.edit_item(self.desk, name)

    def _pin_node(self, node: int) -> None:
        self.session.select([node])
        edits.pin(self.desk)

    def _canvas_menu(self, node: int, at: QPoint) -> None:
        refresh_actions(self.desk)
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.setToolTipsVisible(True)
        entries = _CANVAS_MENU if node >= 0 else ("view.fit", "edit.select_all", "graph.show_all",
                                                  SEPARATOR, "view.errors", "view.biases",
                                                  "view.lay_out")  # fmt: skip
        for entry in entries:
            if entry == SEPARATOR:
                menu.addSeparator()
            else:
                menu.addAction(self.desk.actions[entry])
        menu.popup(at)

    # ---- files dropped, closing ------------------------------------------------------------
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcome files."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        event.acceptProposedAction()
        self.drop(event.mimeData())

    def drop(self, data: QMimeData) -> None:
        """Open the first local file of a drop, once the drop is over."""
        paths = [url.toLocalFile() for url in data.urls() if url.isLocalFile()]
        if paths:
            QTimer.singleShot(0, self, lambda: self.open_path(paths[0]))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Let the toolbar say less where there is little room."""
        super().resizeEvent(event)
        self.toolbar.set_width(event.size().width())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Ask about unsaved changes; keep the layout."""
        if not files.may_leave(self.desk):
            event.ignore()
            return
        self.keep_layout()
        self.keep_picture()
        event.accept()

    def keep_picture(self) -> None:
        """Keep for the next time what the project looks like and where the user is in it."""
        remember(self.desk, self.shown_view())
        project = self.session.project
        if project is None or project.path is None or self.session.circuit is None:
            return
        view = self.canvas()
        if view.width() > 100:
            picture = view.grab().scaledToWidth(480, Qt.TransformationMode.SmoothTransformation)
            picture.save(str(thumbnail_path(project.path)), "PNG")

    def keep_layout(self) -> None:
        """Keep size, place and panels for the next start."""
        settings = window_settings()
        settings.setValue("geometry", self.saveGeometry())
        settings.setValue("text", px(100))
        settings.setValue("panels", self._before or self.saveState(LAYOUT_VERSION))
        self._examples.keep()
        settings.sync()

    def _restore_layout(self) -> None:
        settings = window_settings()
        geometry, panels = settings.value("geometry"), settings.value("panels")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        # Widths that suit one text size cut the words of another.
        same_text = int(str(settings.value("text", px(100)))) == px(100)
        if isinstance(panels, QByteArray) and same_text:
            self.restoreState(panels, LAYOUT_VERSION)
