"""Type a prompt, let the model continue it, choose the word to explain and what to hold it to."""

from typing import Any

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, clear, look, section, text_label
from circuitscope.app.words import plural, probability, shown_token, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.settings import Logit, LogitDifference, Target
from circuitscope.engine.requests import Alternative, GeneratedToken, Generation, PromptPreview
from circuitscope.session.jobs import Job

GENERATED = 12
PLACEHOLDER = "the capital of the state containing Dallas is"
_PREVIEW_MS = 250
_LISTED = 6


class PromptField(QPlainTextEdit):
    """The prompt; Ctrl+Return generates, Tab leaves."""

    generate_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(58)
        self.setTabChangesFocus(True)
        self.setAccessibleName(tr("Prompt"))
        self.setPlaceholderText(tr(PLACEHOLDER))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Generate on Return; Shift+Return makes a new line."""
        is_return = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_return and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.generate_wanted.emit()
        else:
            super().keyPressEvent(event)


class ProbabilityBar(QWidget):
    """A token that could stand here, with its probability as a bar."""

    def __init__(self, desk: Desk, choice: Alternative, *, strong: bool) -> None:
        super().__init__()
        self._desk, self._share = desk, choice.probability
        self._strong = strong
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        name = text_label(shown_token(choice.text), "strong" if strong else "")
        name.setFixedWidth(112)
        name.setToolTip(f"id {choice.token_id}")
        number = text_label(probability(choice.probability), "" if strong else "quiet")
        number.setFixedWidth(56)
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(name)
        row.addStretch()
        row.addWidget(number)
        self.setFixedHeight(24)
        self.setMinimumWidth(300)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the bar between name and number."""
        palette, painter = self._desk.palette, QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        left, width, top = 120, self.width() - 120 - 64, self.height() / 2 - 3
        painter.setBrush(QColor(palette.field))
        painter.drawRoundedRect(left, round(top), width, 6, 3, 3)
        painter.setBrush(QColor(palette.accent if self._strong else palette.feature))
        painter.drawRoundedRect(left, round(top), max(6, round(width * self._share)), 6, 3, 3)
        painter.end()

    def sizeHint(self) -> QSize:
        """Ask for room for name, bar and number."""
        return QSize(340, 24)


class PromptBox(QWidget):
    """The main flow of a trace: prompt, Generate, click a word, contrast.

    Attributes:
        generation: What the model said last, None before.
        step: Which generated word is explained, -1 for none.
        problem: Why the prompt makes no sense for this model, None where it does or may.
    """

    changed = Signal()

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.generation: Generation | None = None
        self.step = -1
        self.problem: CircuitScopeError | None = None
        self._preview: PromptPreview | None = None
        self._jobs: list[Job] = []
        self._generated: list[QPushButton] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(section(tr("Prompt")))
        self.field = PromptField()
        self.field.textChanged.connect(self._typed)
        self.field.generate_wanted.connect(self.generate)
        column.addWidget(self.field)
        self._tokens = _flow(column)
        row = QHBoxLayout()
        self._told = text_label("", "small", wrap=True)
        row.addWidget(self._told, 1)
        self.generate_button = button(tr("Generate"), "", self.generate)
        self.generate_button.setToolTip(tr("Let the model continue the prompt  (Return)"))
        row.addWidget(self.generate_button, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        self._said = QWidget()
        said = QVBoxLayout(self._said)
        said.setContentsMargins(0, 8, 0, 0)
        said.setSpacing(8)
        self._add_answer(said)
        column.addWidget(self._said)
        self._said.hide()
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(_PREVIEW_MS)
        self._wait.timeout.connect(self._ask_preview)
        self.follow_model()

    def _add_answer(self, column: QVBoxLayout) -> None:
        head = QHBoxLayout()
        head.addWidget(section(tr("The model continues")))
        head.addSpacing(8)
        head.addWidget(text_label(tr("click the word to explain"), "small"))
        head.addStretch()
        column.addLayout(head)
        self._words = _flow(column)
        both = QHBoxLayout()
        both.setContentsMargins(0, 8, 0, 0)
        both.setSpacing(32)
        left = QVBoxLayout()
        left.setSpacing(0)
        self._here = section(tr("What could stand here"))
        left.addWidget(self._here)
        self._bars = QVBoxLayout()
        self._bars.setSpacing(0)
        left.addLayout(self._bars)
        left.addStretch()
        both.addLayout(left, 3)
        right = QVBoxLayout()
        right.setSpacing(6)
        right.addWidget(section(tr("Explain")))
        self._name = text_label("", "name")
        right.addWidget(self._name)
        right.addWidget(text_label(tr("rather than"), "small"))
        self.contrast = QComboBox()
        self.contrast.setMinimumWidth(220)
        self.contrast.setAccessibleName(tr("Contrast"))
        self.contrast.setToolTip(
            tr("A contrast explains why this word and not that one: the difference of their "
               "logits. Without one, the logit itself is explained.")
        )  # fmt: skip
        self.contrast.currentIndexChanged.connect(lambda *_: self.changed.emit())
        right.addWidget(self.contrast)
        right.addStretch()
        both.addLayout(right, 2)
        column.addLayout(both)

    # ---- the prompt ------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """Return the prompt as typed."""
        return self.field.toPlainText().strip()

    def follow_model(self) -> None:
        """Read the prompt anew with another model."""
        sample = self._desk.examples.sample(self._desk.session.model.anatomy)
        self.field.setPlaceholderText(sample or tr(PLACEHOLDER))
        self._check()
        ready = self._desk.session.model.state in ("ready", "loading")
        self.generate_button.setEnabled(ready and bool(self.text) and self.problem is None)
        if ready and self.text:
            self._wait.start()

    def _check(self) -> None:
        """Ask the model's example, where there is one, whether the prompt makes sense."""
        anatomy = self._desk.session.model.anatomy
        self.problem = self._desk.examples.refusal(anatomy, self.text) if self.text else None
        self._forget()

    def _typed(self) -> None:
        self._check()
        self._preview = None
        has_model = self._desk.session.model.choice is not None
        self.generate_button.setEnabled(bool(self.text) and has_model and self.problem is None)
        self._wait.start()

    def _forget(self) -> None:
        self.generation, self.step = None, -1
        self._said.hide()
        self.changed.emit()

    def _ask_preview(self) -> None:
        if not self.text or self._desk.session.model.choice is None:
            clear(self._tokens)
            self._tell("")
            return
        if self.problem is not None:
            self._tell_problem(self.problem)
            return
        self._follow(self._desk.session.preview(self.text), self._previewed)

    def _follow(self, job: Job, slot: Any) -> None:
        for old in self._jobs:
            if not old.is_over:
                self._desk.session.jobs.cancel(old)
        self._jobs = [job]
        asked = self.text

        def hear(job: Job) -> None:
            if job.is_over and asked == self.text:
                slot(job)

        to_gui(job.changed, hear, self)

    def stop(self) -> None:
        """Give up what was asked and not answered yet."""
        self._wait.stop()
        for job in self._jobs:
            if not job.is_over:
                self._desk.session.jobs.cancel(job)

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self._told.setText(text)
        look(self._told, "error" if bad else "small")
        look(self.field, "bad" if bad else "")

    def _failed(self, job: Job) -> bool:
        if job.state == "failed" and job.error is not None:
            self._tell_problem(job.error)
            return True
        return job.state != "done"

    def _tell_problem(self, error: CircuitScopeError) -> None:
        self._tell("\n".join(part for part in (error.message, error.hint) if part), bad=True)
        clear(self._tokens)

    def _previewed(self, job: Job) -> None:
        if self._failed(job):
            return
        found: PromptPreview = job.result
        self._preview = found
        self._show_tokens(found)
        self._tell(plural(len(found.ids), "token", "tokens"))

    def _show_tokens(self, found: PromptPreview) -> None:
        clear(self._tokens)
        for token_id, text, special in zip(found.ids, found.texts, found.specials, strict=True):
            chip = QLabel(shown_token(text))
            chip.setTextFormat(Qt.TextFormat.PlainText)
            chip.setProperty("look", "badge-plain")
            chip.setToolTip(f"id {token_id}" + (tr(", added by the tokenizer") if special else ""))
            self._tokens.addWidget(chip)

    # ---- what the model says ----------------------------------------------------------------
    def generate(self) -> None:
        """Let the model continue the prompt."""
        if not self.generate_button.isEnabled():
            return
        self._wait.stop()
        self.generate_button.setEnabled(False)
        self._tell(tr("generating…"))
        self._follow(self._desk.session.generate(self.text, GENERATED), self._answered)

    def _answered(self, job: Job) -> None:
        self.generate_button.setEnabled(True)
        if self._failed(job):
            return
        found: Generation = job.result
        self.generation = found
        self._show_tokens(found.prompt)
        self._tell(plural(len(found.prompt.ids), "token", "tokens"))
        clear(self._words)
        self._generated = []
        for at, word in enumerate(found.steps):
            chip = button(shown_token(word.text), "generated", lambda at=at: self.choose(at))
            chip.setCheckable(True)
            chip.setToolTip(f"{probability(word.probability)}, id {word.token_id}")
            self._words.addWidget(chip)
            self._generated.append(chip)
        self._said.setVisible(bool(found.steps))
        if found.steps:
            self.choose(0)

    def choose(self, step: int) -> None:
        """Explain another generated word; the runner-up there becomes the contrast."""
        assert self.generation is not None
        self.step = step
        word = self.generation.steps[step]
        for at, chip in enumerate(self._generated):
            chip.setChecked(at == step)
        self._name.setText(shown_token(word.text))
        clear(self._bars)
        for choice in word.alternatives[:_LISTED]:
            strong = choice.token_id == word.token_id
            self._bars.addWidget(ProbabilityBar(self._desk, choice, strong=strong))
        self._fill_contrast(word)
        self.changed.emit()

    def _fill_contrast(self, word: GeneratedToken) -> None:
        self.contrast.blockSignals(True)
        self.contrast.clear()
        others = [choice for choice in word.alternatives if choice.token_id != word.token_id]
        for choice in others:
            words = f"{shown_token(choice.text)}   {probability(choice.probability)}"
            self.contrast.addItem(words, choice.token_id)
        self.contrast.addItem(tr("nothing: its own logit"), None)
        self.contrast.setCurrentIndex(0)
        self.contrast.blockSignals(False)

    # ---- what is asked for -------------------------------------------------------------------
    def prompt(self) -> str | tuple[int, ...]:
        """Return the prompt of the trace: as typed, or the ids up to the word chosen."""
        if self.generation is None or self.step <= 0:
            return self.text
        return self.generation.prompt_ids(self.step)

    def targets(self) -> tuple[Target, ...]:
        """Return what is explained: a logit, a difference, or the likeliest tokens."""
        if self.generation is None or self.step < 0:
            return (Logit(),)
        token = self.generation.steps[self.step].token_id
        other = self.contrast.currentData()
        return (Logit(token) if other is None else LogitDifference(token, other),)

    def name(self) -> str:
        """Return what the circuit is called: "Austin − Sacramento"."""
        if self.generation is None or self.step < 0:
            return ""
        name = shown_token(self.generation.steps[self.step].text)
        if self.contrast.currentData() is None:
            return name
        other = self.contrast.currentText().rpartition("   ")[0]
        return f"{name} − {other}"


def _flow(column: QVBoxLayout) -> QFlowLayout:
    box = QWidget()
    flow = QFlowLayout(box)
    flow.setContentsMargins(0, 0, 0, 0)
    flow.setSpacing(4)
    column.addWidget(box)
    return flow
