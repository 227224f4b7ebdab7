"""What dialogs that ask the engine have in common: their frame, and one question at a time."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QLabel, QVBoxLayout

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.model_choice import ModelChoiceBox
from circuitscope.app.widgets import hairline
from circuitscope.app.words import error_words
from circuitscope.session.jobs import Job


class AskingDialog(QDialog):
    """Ask, and show the answer; a new question, or closing, gives the old one up.

    A subclass fills `_column`, has a label `_told`, passes its jobs to `_await` and shows what
    comes back in `_answered`.

    Args:
        desk: Session and colours.
        title: Of the window.
        size: Width and height.
    """

    _told: QLabel

    def __init__(self, desk: Desk, title: str, size: tuple[int, int]) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self._job: Job | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName(type(self).__name__)
        self.setWindowTitle(title)
        self.resize(*size)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(24, 24, 24, 16)
        self._column.setSpacing(12)

    def _add_model_choice(self) -> ModelChoiceBox:
        """Add the choice of the model that is asked."""
        model = ModelChoiceBox(self._desk)
        self._column.addWidget(model)
        self._column.addWidget(hairline())
        return model

    def _await(self, job: Job) -> None:
        self._job = job
        to_gui(job.changed, self._heard, self)

    def _heard(self, job: Job) -> None:
        if job is not self._job or not job.is_over:
            return
        self._came_back()
        if job.state == "failed" and job.error is not None:
            self._told.setText(error_words(job.error))
        if job.state == "done":
            self._answered(job.result)

    def _came_back(self) -> None:
        """Be ready for the next question."""
        self._told.setText("")

    def _answered(self, result: Any) -> None:
        """Show what the engine said."""

    def stop(self) -> None:
        """Give up what was asked and not answered yet."""
        job, self._job = self._job, None
        if job is not None and not job.is_over:
            self._desk.session.jobs.cancel(job)

    def done(self, result: int) -> None:
        """Give up an unanswered question when the dialog closes."""
        self.stop()
        super().done(result)
