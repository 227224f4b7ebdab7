"""Choose an attention score to explain in place of a word: head, query and key."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.prompt import PromptBox
from circuitscope.app.widgets import SpinBox, text_label
from circuitscope.app.words import shown_token, tr
from circuitscope.core.settings import AttentionScore
from circuitscope.session.session import ModelStatus


class ScoreChoiceBox(QWidget):
    """A switch, and behind it layer, head and two positions of the prompt.

    Args:
        desk: The window's desk.
        prompt: Whose tokens are the positions.
    """

    changed = Signal()

    def __init__(self, desk: Desk, prompt: PromptBox) -> None:
        super().__init__()
        self._prompt = prompt
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self.switch = QCheckBox(tr("Explain where a head looks, in place of a word"))
        self.switch.setToolTip(tr("The target is an attention score: head, query and key."))
        self.switch.toggled.connect(self._switched)
        column.addWidget(self.switch)
        self._fields = QWidget()
        row = QHBoxLayout(self._fields)
        row.setContentsMargins(24, 0, 0, 0)
        row.setSpacing(8)
        self.layer, self.head = SpinBox(), SpinBox()
        self.query, self.key = QComboBox(), QComboBox()
        for words, field in (
            (tr("Layer"), self.layer), (tr("Head"), self.head),
            (tr("looks from"), self.query), (tr("at"), self.key),
        ):  # fmt: skip
            caption = text_label(words, "quiet")
            caption.setBuddy(field)
            field.setAccessibleName(words)
            row.addWidget(caption)
            row.addWidget(field)
        for field in (self.query, self.key):
            field.setMinimumWidth(130)
            field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            field.currentIndexChanged.connect(lambda *_: self.changed.emit())
        for field in (self.layer, self.head):
            field.valueChanged.connect(lambda *_: self.changed.emit())
        column.addWidget(self._fields)
        self._fields.hide()
        prompt.changed.connect(self._follow_prompt)
        self.follow(desk.session.model)

    def follow(self, status: ModelStatus) -> None:
        """Take over a model's numbers of layers and heads."""
        anatomy = status.anatomy
        self.switch.setEnabled(anatomy is not None)
        if anatomy is not None:
            self.layer.setRange(0, anatomy.n_layers - 1)
            self.head.setRange(0, anatomy.n_heads - 1)
        self._follow_prompt()

    def _follow_prompt(self) -> None:
        texts = self._prompt.token_texts()
        items = [f"{at}  {shown_token(text)}" for at, text in enumerate(texts)]
        if items == [self.query.itemText(at) for at in range(self.query.count())]:
            return
        for field in (self.query, self.key):
            kept = field.currentIndex()
            field.blockSignals(True)
            field.clear()
            field.addItems(items)
            last = len(items) - 1
            field.setCurrentIndex(kept if 0 <= kept <= last else last)
            field.blockSignals(False)

    def _switched(self, on: bool) -> None:
        self._fields.setVisible(on)
        self.changed.emit()

    def target(self) -> AttentionScore | None:
        """Return the score asked for, None where a word is explained."""
        if not self.switch.isChecked() or self.query.currentIndex() < 0:
            return None
        return AttentionScore(
            self.layer.value(), self.head.value(),
            self.query.currentIndex(), self.key.currentIndex(),
        )  # fmt: skip

    def targets(self) -> tuple[AttentionScore, ...]:
        """Return the score as the targets of a trace, empty where a word is explained."""
        target = self.target()
        return () if target is None else (target,)

    def name(self) -> str:
        """Return what the trace is called, "" where a word is explained."""
        target, texts = self.target(), self._prompt.token_texts()
        if target is None:
            return ""
        query, key = (shown_token(texts[at]) for at in (target.query, target.key))
        return tr("head {0}.{1}: {2} looks at {3}").format(target.layer, target.head, query, key)
