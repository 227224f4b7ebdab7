"""Type a prompt and let the model continue it."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.answer import AnswerBox
from circuitscope.app.dialogs.chat import ChatBox
from circuitscope.app.dialogs.tokens import (
    PLACEHOLDER,
    NextTokens,
    PromptField,
    TokenStrip,
)
from circuitscope.app.error_box import ErrorBox
from circuitscope.app.widgets import button, look, section, text_label
from circuitscope.app.words import plural, tr
from circuitscope.core.errors import CircuitScopeError, DoubleBos
from circuitscope.core.settings import Logit, Target
from circuitscope.engine.requests import Chat, Generation, PromptPreview
from circuitscope.session.jobs import Job

GENERATED = 12
_PREVIEW_MS = 250
_NEXT_MS = 300
_LISTED = 6


class PromptBox(QWidget):
    """The main flow of a trace: prompt, Generate, click a word, contrast.

    Attributes:
        answer: What the model said, and the word of it that is explained.
        problem: Why the prompt makes no sense for this model, None where it does or may.
    """

    changed = Signal()

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.problem: CircuitScopeError | None = None
        self._preview: PromptPreview | None = None
        self._given: Target | None = None
        self._given_name = ""
        self._jobs: list[Job] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(self._head())
        self.field = PromptField()
        self.field.textChanged.connect(self._typed)
        self.field.generate_wanted.connect(self.generate)
        column.addWidget(self.field)
        self.chat = ChatBox(desk)
        self.chat.changed.connect(self._typed)
        self.chat.hide()
        column.addWidget(self.chat)
        self.tokens = TokenStrip()
        column.addWidget(self.tokens)
        self.error = ErrorBox()
        column.addWidget(self.error)
        row = QHBoxLayout()
        self._told = text_label("", "small", wrap=True)
        row.addWidget(self._told, 1)
        self.generate_button = button(tr("Generate"), "", self.generate)
        self.generate_button.setToolTip(tr("Let the model continue the prompt  (Return)"))
        row.addWidget(self.generate_button, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        self.following = NextTokens(desk)
        column.addWidget(self.following)
        self.answer = AnswerBox(desk)
        self.answer.changed.connect(self.changed)
        column.addWidget(self.answer)
        self.answer.hide()
        self._wait = self._timer(_PREVIEW_MS, self._ask_preview)
        self._rest = self._timer(_NEXT_MS, self._ask_next)
        self.follow_model()

    def _timer(self, milliseconds: int, then: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(then)
        return timer

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(section(tr("Prompt")))
        row.addStretch()
        self.raw_button = button(tr("Raw"), "token")
        self.raw_button.setToolTip(tr("The text as typed, with the tokenizer's own special tokens"))
        self.chat_button = button(tr("Chat"), "token")
        self._ways = QButtonGroup(self)
        for made in (self.raw_button, self.chat_button):
            made.setCheckable(True)
            self._ways.addButton(made)
            row.addWidget(made)
        self.raw_button.setChecked(True)
        self.chat_button.toggled.connect(self._switch)
        return row

    def _switch(self, chat: bool) -> None:
        self.chat.setVisible(chat)
        self.field.setVisible(not chat)
        self._typed()

    # ---- the prompt ------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """Return what was typed, "" where that is nothing."""
        if self.is_chat:
            return "\n".join(text for _, text in self.chat.chat().turns)
        return self.field.toPlainText().strip()

    @property
    def is_chat(self) -> bool:
        """Say whether the prompt is a conversation."""
        return self.chat_button.isChecked()

    def asked(self) -> str | tuple[int, ...] | Chat:
        """Return what the model is asked to read: text, a conversation, or ids without tokenizer.

        Words that are no ids are returned as text, so that the model says what is wrong.
        """
        if self.is_chat:
            return self.chat.chat()
        text = self.text
        status = self._desk.session.model
        if status.state == "ready" and not status.has_tokenizer:
            words = text.replace(",", " ").replace("#", " ").strip(" []").split()
            if words and all(word.isdecimal() for word in words):
                return tuple(map(int, words))
        return text

    def follow_model(self) -> None:
        """Read the prompt anew with another model."""
        status = self._desk.session.model
        can_chat = status.state == "ready" and status.has_chat_template
        self.chat_button.setEnabled(can_chat)
        self.chat_button.setToolTip(
            tr("A conversation, written out by the model's chat template") if can_chat
            else tr("This model has no chat template: it continues plain text")
        )  # fmt: skip
        if not can_chat:
            self.raw_button.setChecked(True)
        sample = self._desk.examples.sample(status.anatomy) or tr(PLACEHOLDER)
        self.field.setPlaceholderText(sample if status.has_tokenizer else "1 17 4")
        self._check()
        ready = status.state in ("ready", "loading")
        self.generate_button.setEnabled(ready and bool(self.text) and self.problem is None)
        if ready and self.text:
            self._wait.start()

    def _check(self) -> None:
        """Ask the model's example, where there is one, whether the prompt makes sense."""
        anatomy = self._desk.session.model.anatomy
        self.problem = self._desk.examples.refusal(anatomy, self.text) if self.text else None
        self._forget()

    def explain(self, prompt: str, target: Target, name: str) -> None:
        """Begin with a target that was found elsewhere, until the prompt is changed."""
        self.field.setPlainText(prompt)
        self._given, self._given_name = target, name
        self.changed.emit()

    def _typed(self) -> None:
        self._given, self._given_name = None, ""
        self._check()
        self._preview = None
        self._rest.stop()
        self.following.show_tokens(())
        has_model = self._desk.session.model.choice is not None
        self.generate_button.setEnabled(bool(self.text) and has_model and self.problem is None)
        self._wait.start()

    def _forget(self) -> None:
        self.answer.forget()
        self.changed.emit()

    def _ask_preview(self) -> None:
        if not self.text or self._desk.session.model.choice is None:
            self.tokens.forget()
            self.error.forget()
            self._tell("")
            return
        if self.problem is not None:
            self._show_error(self.problem)
            return
        self._follow(self._desk.session.preview(self.asked()), self._previewed)

    def _ask_next(self) -> None:
        if self._preview is not None and self.answer.generation is None:
            self._follow(self._desk.session.preview(self._preview.ids, _LISTED), self._guessed)

    def _guessed(self, job: Job) -> None:
        if job.state == "done" and job.result is not None and self.answer.generation is None:
            self.following.show_tokens(job.result.following)

    def _follow(self, job: Job, slot: Any) -> None:
        for old in self._jobs:
            if not old.is_over:
                self._desk.session.jobs.cancel(old)
        self._jobs = [job]
        asked = self.asked()

        def hear(job: Job) -> None:
            if job.is_over and asked == self.asked():
                slot(job)

        to_gui(job.changed, hear, self)

    def stop(self) -> None:
        """Give up what was asked and not answered yet."""
        self._wait.stop()
        self._rest.stop()
        for job in self._jobs:
            if not job.is_over:
                self._desk.session.jobs.cancel(job)

    def _tell(self, text: str) -> None:
        self._told.setText(text)

    def _failed(self, job: Job) -> bool:
        if job.state == "failed" and job.error is not None:
            self._show_error(job.error)
            return True
        if job.state == "done":
            self.error.forget()
            look(self.field, "")
        return job.state != "done"

    def _show_error(self, error: CircuitScopeError) -> None:
        self._tell("")
        self.tokens.forget()
        self.following.show_tokens(())
        look(self.field, "bad")
        if isinstance(error, DoubleBos) and not self.is_chat:
            self.error.show_error(error, tr("Remove the second BOS"), self.remove_bos)
        else:
            self.error.show_error(error)

    def remove_bos(self) -> None:
        """Take one token that marks the beginning away from the start of the prompt."""
        text, bos = self.field.toPlainText().lstrip(), self._desk.session.model.bos
        if bos and text.startswith(bos):
            self.field.setPlainText(text.removeprefix(bos).lstrip(" "))

    def _previewed(self, job: Job) -> None:
        if self._failed(job):
            return
        found: PromptPreview = job.result
        self._preview = found
        self.tokens.show_tokens(found)
        self._tell(plural(len(found.ids), "token", "tokens"))
        self._rest.start()
        self.changed.emit()

    # ---- what the model says ----------------------------------------------------------------
    def generate(self) -> None:
        """Let the model continue the prompt."""
        if not self.generate_button.isEnabled():
            return
        self._wait.stop()
        self._rest.stop()
        self.generate_button.setEnabled(False)
        self._tell(tr("generating…"))
        self._follow(self._desk.session.generate(self.asked(), GENERATED), self._answered)

    def _answered(self, job: Job) -> None:
        self.generate_button.setEnabled(True)
        if self._failed(job):
            return
        found: Generation = job.result
        self._preview = found.prompt
        self.following.show_tokens(())
        self.tokens.show_tokens(found.prompt)
        self._tell(plural(len(found.prompt.ids), "token", "tokens"))
        self.answer.show_generation(found)

    # ---- what is asked for -------------------------------------------------------------------
    def prompt(self) -> str | tuple[int, ...]:
        """Return the prompt of the trace: as typed, or ids: of a conversation, up to a word."""
        generation = self.answer.generation
        if generation is not None and self.answer.step > 0:
            return generation.prompt_ids(self.answer.step)
        asked = self.asked()
        if not isinstance(asked, Chat):
            return asked
        return self._preview.ids if self._preview is not None else ()

    def token_texts(self) -> tuple[str, ...]:
        """Return the texts of the prompt's tokens, as the trace will run it; () where unknown."""
        if (generation := self.answer.generation) is not None:
            said = generation.steps[: max(self.answer.step, 0)]
            return (*generation.prompt.texts, *(word.text for word in said))
        return self._preview.texts if self._preview is not None else ()

    def targets(self) -> tuple[Target, ...]:
        """Return what is explained: a logit, a difference, or the likeliest tokens."""
        return (self.answer.target() or self._given or Logit(),)

    def name(self) -> str:
        """Return what the circuit is called: "Austin − Sacramento"."""
        return self.answer.name() or self._given_name
