"""What a trace explains: the word chosen above, or targets of any kind, typed and kept as chips."""

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from circuitscope.app.dialogs.prompt import PromptBox
from circuitscope.app.dialogs.score_choice import ScoreChoiceBox
from circuitscope.app.dialogs.tokens import flow_in
from circuitscope.app.widgets import button, clear, look, section, text_label
from circuitscope.app.words import error_words, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.settings import Target
from circuitscope.core.target_text import FORMS, parse_target, target_text

_MOST_NAMED = 3


class TargetsBox(QWidget):
    """Chips of targets and a field that takes more; without any, the word or score above holds.

    Args:
        prompt: Where a word is chosen.
        score: Where an attention score is chosen.
    """

    changed = Signal()

    def __init__(self, prompt: PromptBox, score: ScoreChoiceBox) -> None:
        super().__init__()
        self._prompt, self._score = prompt, score
        self._kept: dict[Target, str] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(section(tr("Targets")))
        self._chips = QWidget()
        self._flow = flow_in(self._chips)
        column.addWidget(self._chips)
        row = QHBoxLayout()
        row.setSpacing(12)
        self.field = QLineEdit()
        self.field.setPlaceholderText(tr("Another target, such as {0}").format("L4/#57@7"))
        self.field.setToolTip("\n".join([tr("Press Return to add it:"), *FORMS]))
        self.field.setAccessibleName(tr("Another target"))
        self.field.returnPressed.connect(self.add)
        self.field.textEdited.connect(lambda *_: self._tell(""))
        row.addWidget(self.field, 1)
        self.keep_button = button(tr("Keep and add another"), "link", self.keep)
        self.keep_button.setToolTip(
            tr("Keeps what is chosen above as one of several targets of the same trace")
        )
        row.addWidget(self.keep_button)
        column.addLayout(row)
        self._told = text_label("", "small", wrap=True)
        self._told.hide()
        column.addWidget(self._told)
        prompt.changed.connect(self._show)
        score.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        clear(self._flow)
        for target, words in self._kept.items():
            chip = button(f"{words}  ×", "token", partial(self.remove, target))
            chip.setToolTip(tr("Remove this target"))
            chip.setAccessibleName(tr("Remove the target {0}").format(words))
            self._flow.addWidget(chip)
        if not self._kept:
            self._flow.addWidget(text_label(self._chosen_name(), "small"))

    def _chosen_name(self) -> str:
        return self._score.name() or self._prompt.name() or tr("the likeliest next tokens")

    def _chosen(self) -> tuple[Target, ...]:
        return self._score.targets() or self._prompt.targets()

    def add(self) -> None:
        """Add what was typed."""
        text = self.field.text().strip()
        if not text:
            return
        try:
            target = parse_target(text)
        except CircuitScopeError as error:
            self._tell(error_words(error))
            return
        self.field.clear()
        self._tell("")
        self._kept.setdefault(target, text)
        self._changed()

    def keep(self) -> None:
        """Keep what is chosen above as one of several targets."""
        for target in self._chosen():
            self._kept.setdefault(target, self._chosen_name())
        self._changed()

    def fill(self, targets: Sequence[Target]) -> None:
        """Keep several targets of an earlier trace, each as it would be typed."""
        self._kept = {target: target_text(target) for target in targets}
        self._changed()

    def remove(self, target: Target) -> None:
        """Take a target away."""
        self._kept.pop(target, None)
        self._changed()
        self.field.setFocus()

    def _changed(self) -> None:
        self._show()
        self.changed.emit()

    def _tell(self, text: str) -> None:
        self._told.setText(text)
        self._told.setVisible(bool(text))
        look(self.field, "bad" if text else "")

    def targets(self) -> tuple[Target, ...]:
        """Return what is explained."""
        return tuple(self._kept) or self._chosen()

    def several(self) -> str:
        """Return the names of the targets kept, "" where the word or score above is explained."""
        words = list(self._kept.values())
        more = tr(" and {0} more").format(len(words) - _MOST_NAMED)
        return ", ".join(words[:_MOST_NAMED]) + (more if len(words) > _MOST_NAMED else "")

    def name(self) -> str:
        """Return what the circuit is called."""
        return self.several() or self._score.name() or self._prompt.name()
