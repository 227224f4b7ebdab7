"""What the model says: the word to explain, and the one it is held to."""

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.tokens import (
    ProbabilityBar,
    flow_in,
)
from circuitscope.app.widgets import button, clear, section, text_label
from circuitscope.app.words import probability, shown_token, tr
from circuitscope.core.settings import Logit, LogitDifference, Target
from circuitscope.engine.requests import GeneratedToken, Generation

_LISTED = 6


class AnswerBox(QWidget):
    """Show a continuation word by word, and take the choice of one and of its contrast.

    Attributes:
        generation: What the model said last, None before.
        step: Which generated word is explained, -1 for none.
    """

    changed = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.generation: Generation | None = None
        self.step = -1
        self._chips: list[QPushButton] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 8, 0, 0)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(section(tr("The model continues")))
        head.addSpacing(8)
        head.addWidget(text_label(tr("click the word to explain"), "small"))
        head.addStretch()
        column.addLayout(head)
        words = QWidget()
        self._words = flow_in(words)
        column.addWidget(words)
        both = QHBoxLayout()
        both.setContentsMargins(0, 8, 0, 0)
        both.setSpacing(32)
        left = QVBoxLayout()
        left.setSpacing(0)
        left.addWidget(section(tr("What could stand here")))
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

    def show_generation(self, found: Generation) -> None:
        """Show what the model said; its first word is chosen."""
        self.generation, self.step = found, -1
        clear(self._words)
        self._chips = []
        for at, word in enumerate(found.steps):
            chip = button(shown_token(word.text), "generated", partial(self.choose, at))
            chip.setCheckable(True)
            chip.setToolTip(f"{probability(word.probability)}, id {word.token_id}")
            self._words.addWidget(chip)
            self._chips.append(chip)
        self.setVisible(bool(found.steps))
        if found.steps:
            self.choose(0)

    def forget(self) -> None:
        """Show nothing: the prompt is another one."""
        self.generation, self.step = None, -1
        self.hide()

    def choose(self, step: int) -> None:
        """Explain another generated word; the runner-up there becomes the contrast."""
        assert self.generation is not None
        self.step = step
        word = self.generation.steps[step]
        for at, chip in enumerate(self._chips):
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
    def target(self) -> Target | None:
        """Return the logit or the difference that is explained, None where no word is chosen."""
        if self.generation is None or self.step < 0:
            return None
        token = self.generation.steps[self.step].token_id
        other = self.contrast.currentData()
        return Logit(token) if other is None else LogitDifference(token, other)

    def name(self) -> str:
        """Return what the circuit of the chosen word is called: "Austin − Sacramento"."""
        if self.generation is None or self.step < 0:
            return ""
        name = shown_token(self.generation.steps[self.step].text)
        if self.contrast.currentData() is None:
            return name
        other = self.contrast.currentText().rpartition("   ")[0]
        return f"{name} − {other}"
