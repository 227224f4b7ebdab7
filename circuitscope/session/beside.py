"""A second look into the open project: another circuit or drawing, with a selection of its own."""

from circuitscope.core.errors import ProjectError
from circuitscope.session.document import Document


class Beside(Document):
    """Show something else of the project that another document holds, which goes on owning it.

    Edits go to the same drawings, so both see them; undo belongs to whoever shows the drawing.

    Args:
        main: The document whose project is looked into.

    Raises:
        ProjectError: It has none open.
    """

    def __init__(self, main: Document) -> None:
        super().__init__()
        if main.project is None:
            raise ProjectError("No project is open.", hint="Open one first.")
        self.preferences = main.preferences
        self._project = main.project
        self._project.findings_changed.connect(self._findings_changed)
        self._show(main.active, main.active_drawing)

    def close(self) -> None:
        """Let go of the project, which stays open."""
        if self._project is not None:
            self._project.findings_changed.disconnect(self._findings_changed)
            self._show("")
        self._project = None
