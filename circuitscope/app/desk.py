"""What every panel and dialog works with: the session, the colours, and the session's news."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction

from circuitscope.app.bridge import to_gui
from circuitscope.app.example_panels import ExamplePanels
from circuitscope.app.theme import Palette
from circuitscope.session.session import Session

if TYPE_CHECKING:
    from circuitscope.app.main_window import MainWindow


class Watch(QObject):
    """Hear everything a panel may want to hear, whichever project and drawing are open.

    Panels connect once; the watch follows the session from project to project and from drawing
    to drawing.
    """

    project = Signal(object)
    """The open `ProjectFile` changed, None when it closed."""
    contents = Signal()
    """Circuits were added, renamed, deleted or brought back."""
    active = Signal(str)
    """Another circuit is shown."""
    edited = Signal(object)
    """The active drawing changed; carries the `Edit`."""
    selection = Signal(object)
    """The selection changed; carries the node indices."""
    model = Signal(object)
    """The model's status changed."""
    job_added = Signal(object)
    """A job joined the queue."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._drawing: Any = None
        self._project: Any = None
        self._followers: list[QObject] = []
        to_gui(session.project_opened, self._on_project, self)
        to_gui(session.project_closed, self._on_closed, self)
        to_gui(session.active_changed, self._on_active, self)
        to_gui(session.selection_changed, self.selection.emit, self)
        to_gui(session.model_changed, self.model.emit, self)
        to_gui(session.jobs.added, self.job_added.emit, self)
        if session.project is not None:
            self._follow_project(session.project)
        self._follow_drawing()

    def _on_project(self, project: Any) -> None:
        self._follow_project(project)
        self._follow_drawing()
        self.project.emit(project)

    def _on_closed(self) -> None:
        self._project = self._drawing = None
        self.project.emit(None)

    def _on_active(self, circuit_id: str) -> None:
        self._follow_drawing()
        self.active.emit(circuit_id)

    def _follow_project(self, project: Any) -> None:
        if project is self._project:
            return
        self._project = project
        owner = QObject(self)
        to_gui(project.findings_changed, lambda *_: self.contents.emit(), owner)
        to_gui(project.contents.changed, lambda *_: self.contents.emit(), owner)

    def _follow_drawing(self) -> None:
        drawing = self.session.drawing
        if drawing is None or drawing is self._drawing:
            self._drawing = drawing
            return
        self._drawing = drawing
        owner = QObject(self)

        def hear(edit: Any) -> None:
            if drawing is self._drawing:
                self.edited.emit(edit)

        to_gui(drawing.changed, hear, owner)


@dataclass
class Desk:
    """Hand a panel what it needs, in one argument.

    Attributes:
        window: Parent of dialogs.
        actions: The window's actions by id, filled when the window is made.
        examples: What the bundled and other examples bring to the window.
        second: Id of the circuit that a comparison sets against the one on screen, "" for the next.
    """

    session: Session
    palette: Palette
    watch: Watch
    window: "MainWindow"
    actions: dict[str, QAction] = field(default_factory=dict)
    examples: ExamplePanels = field(default_factory=ExamplePanels)
    second: str = ""

    def trigger(self, action_id: str) -> None:
        """Run an action as if the user had chosen it; one that cannot be used does nothing."""
        self.window.refresh()
        self.actions[action_id].trigger()
