"""What dialogs that ask the engine have in common: their frame, and one question at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.model_choice import ModelChoiceBox
from circuitscope.app.widgets import button, give_size, hairline, text_label
from circuitscope.app.words import error_words, tr
from circuitscope.core.errors import CircuitScopeError
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
        give_size(self, *size)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(24, 24, 24, 16)
        self._column.setSpacing(12)

    def _add_model_choice(self) -> ModelChoiceBox:
        """Add the choice of the model that is asked."""
        model = ModelChoiceBox(self._desk)
        self._column.addWidget(model)
        self._column.addWidget(hairline())
        return model

    @property
    def is_busy(self) -> bool:
        """Say whether an answer is still to come."""
        return self._job is not None and not self._job.is_over

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
        job, busy, self._job = self._job, self.is_busy, None
        if job is not None and busy:
            self._desk.session.jobs.cancel(job)

    def done(self, result: int) -> None:
        """Give up an unanswered question when the dialog closes."""
        self.stop()
        super().done(result)


class RunDialog(AskingDialog):
    """A form with one button, which asks and, until the answer is there, stops.

    A subclass calls `_add_run_row` where the button goes, starts the job in `_start`, and adds to
    `reason` what its fields still lack.

    Args:
        desk: Session and colours.
        title: Of the window.
        size: Width and height.
        words: What the button says, and what is told while an answer is to come.
    """

    KEEPS = True
    """Whether answers are kept in the project, which must not be read only then."""

    def __init__(
        self, desk: Desk, title: str, size: tuple[int, int], words: tuple[str, str]
    ) -> None:
        super().__init__(desk, title, size)
        self._run_text, self._wait_text = words
        self.model = self._add_model_choice()
        self.model.changed.connect(lambda *_: self._refresh())

    def _add_run_row(self) -> None:
        row = QHBoxLayout()
        self._told = text_label("", "quiet", wrap=True)
        self.run_button = button(self._run_text, "primary", self.run)
        row.addWidget(self._told, 1)
        row.addWidget(self.run_button)
        self._column.addLayout(row)

    def _form_of(self, fields: Sequence[tuple[str, QWidget]]) -> QFormLayout:
        """Return a form of named fields; the button follows what is typed in them."""
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, field in fields:
            field.setAccessibleName(name)
            form.addRow(text_label(name, "quiet"), field)
            if isinstance(field, QLineEdit):
                field.textChanged.connect(lambda *_: self._refresh())
        return form

    def _fill_as_traced(
        self, prompts: Mapping[str, QLineEdit], answer: QLineEdit, against: QLineEdit
    ) -> None:
        """Begin with the prompts and the words that the circuit was traced with.

        Args:
            prompts: Field of each setting: "prompt", "corrupted".
            answer: Field of the word that is explained.
            against: Field of the word that it is held to.
        """
        circuit = self._desk.session.circuit
        settings = {} if circuit is None else circuit.provenance.settings
        for name, field in prompts.items():
            if isinstance(settings.get(name), str):
                field.setText(settings[name])
        target: Mapping[str, Any] = next(iter(settings.get("targets") or ()), {})
        answer.setText(str(target.get("token") or target.get("a") or ""))
        against.setText(str(target.get("b") or ""))

    def reason(self) -> str:
        """Return why nothing can be asked yet, "" where it can."""
        session = self._desk.session
        if session.model.state in ("none", "failed"):
            return tr("Choose a model first.")
        if self.KEEPS and session.project is not None and session.project.read_only:
            return tr("The project is open for reading only; use Save as first.")
        return ""

    def _refresh(self) -> None:
        """Let the button say what it does now, and tell what is in its way."""
        reason = self.reason()
        self.run_button.setEnabled(self.is_busy or not reason)
        self.run_button.setText(tr("Stop") if self.is_busy else self._run_text)
        if reason or not self.is_busy:
            self._told.setText(reason)

    def run(self) -> None:
        """Ask, or stop."""
        if self.is_busy:
            self.stop()
            self._refresh()
            return
        try:
            self._await(self._start())
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            return
        self._refresh()
        self._told.setText(self._wait_text)

    def _start(self) -> Job:
        """Queue what the fields ask for."""
        raise NotImplementedError

    def _came_back(self) -> None:
        self._refresh()
