"""Which words decide: a classifier's sentence coloured by weight, its phrases ranked."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.dialogs.tokens import PromptField
from circuitscope.app.dialogs.word_strip import PhraseTable, WordStrip
from circuitscope.app.widgets import EmptyState, button, text_label
from circuitscope.app.words import signed, tr
from circuitscope.core.finding import Ranking
from circuitscope.core.importance import Importance, from_ranking
from circuitscope.session.decomposing import keep_importance, weigh_words
from circuitscope.session.session import ModelStatus


class ImportanceDialog(AskingDialog):
    """Ask for a sentence, weigh its words, keep the result in the project.

    Args:
        desk: Session and colours.
        kept: A result kept before, to be shown; None begins anew.
    """

    def __init__(self, desk: Desk, kept: Ranking | None = None) -> None:
        super().__init__(desk, tr("Which words decide?"), (860, 680))
        self._ranking: Ranking | None = None
        self.found: Importance | None = None
        column = self._column
        self.model = self._add_model_choice()
        column.addLayout(self._prompt_row())
        column.addLayout(self._label_row())
        self._told = text_label("", "small", wrap=True)
        column.addWidget(self._told)
        column.addWidget(self._center(), 1)
        column.addLayout(self._foot())
        self.model.changed.connect(lambda status: self._refresh(status))
        if kept is not None:
            self._show(kept, is_kept=True)
            self.field.setPlainText(str(kept.provenance.settings.get("prompt", "")))
            name = str(kept.provenance.model.get("name", ""))
            self._told.setText(tr("Kept in this project; weighed in the model {0}.").format(name))
            self._refresh(desk.session.model)
        else:
            self.model.begin()
            self.field.setFocus()

    def _prompt_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.field = PromptField()
        self.field.setPlaceholderText(tr("A sentence for the classifier, such as: not bad at all"))
        self.field.generate_wanted.connect(self.weigh)
        self.field.textChanged.connect(lambda: self._refresh(self._desk.session.model))
        row.addWidget(self.field, 1)
        self.weigh_button = button(tr("Weigh"), "primary", self.weigh)
        self.weigh_button.setToolTip(tr("Decompose the decision by words and phrases  (Return)"))
        row.addWidget(self.weigh_button, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _label_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.label, self.contrast = QComboBox(), QComboBox()
        for box, words, first in (
            (self.label, tr("Explain"), tr("the model’s decision")),
            (self.contrast, tr("against"), tr("the likeliest other label")),
        ):
            row.addWidget(text_label(words, "quiet"))
            box.setAccessibleName(words)
            box.setMinimumWidth(180)
            box.addItem(first, "")
            box.activated.connect(lambda *_: self.weigh())
            row.addWidget(box)
        row.addStretch()
        return row

    def _center(self) -> QStackedWidget:
        palette = self._desk.palette
        self._stack = QStackedWidget()
        waiting = EmptyState(
            palette, "type", tr("Type a sentence and press Return"),
            tr("Each word is decomposed as a whole: what follows from it counts for the label or "
               "against it."),
        )  # fmt: skip
        self._stack.addWidget(waiting)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        self.strip = WordStrip(palette)
        self.table = PhraseTable(palette)
        self.table.phrase_chosen.connect(self.strip.mark)
        self.strip.word_chosen.connect(self.table.choose)
        column.addWidget(self.strip)
        self._sum = text_label("", "small", wrap=True)
        column.addWidget(self._sum)
        column.addWidget(self.table, 1)
        self._stack.addWidget(page)
        return self._stack

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        note = tr("Weights do not add up to the decision: relevance is not additive.")
        row.addWidget(text_label(note, "note", wrap=True), 1)
        row.addWidget(button(tr("Close"), "", self.reject))
        self.keep_button = button(tr("Keep in project"), "", self.keep)
        self.keep_button.setEnabled(False)
        row.addWidget(self.keep_button)
        return row

    # ---- asking ------------------------------------------------------------------------------
    def _refresh(self, status: ModelStatus) -> None:
        can = status.state in ("ready", "loading")
        has_text = bool(self.field.toPlainText().strip())
        self.weigh_button.setEnabled(can and has_text)

    def weigh(self) -> None:
        """Ask the engine; the answer replaces what is shown."""
        text = self.field.toPlainText().strip()
        if not text or self._desk.session.model.choice is None:
            return
        self.stop()
        self._told.setText(tr("weighing…"))
        label, contrast = self.label.currentData(), self.contrast.currentData()
        self._await(weigh_words(self._desk.session, text, label, contrast))

    def _answered(self, result: Any) -> None:
        if isinstance(result, Ranking):
            self._show(result)

    def _show(self, ranking: Ranking, *, is_kept: bool = False) -> None:
        self._ranking, found = ranking, from_ranking(ranking)
        self.found = found
        for box in (self.label, self.contrast):
            chosen = box.currentData()
            if is_kept:
                chosen = found.label if box is self.label else found.contrast
            while box.count() > 1:
                box.removeItem(1)
            for name in found.labels:
                box.addItem(name, name)
            box.setCurrentIndex(max(0, box.findData(chosen)))
        self.strip.show_words(found)
        self.table.show_phrases(found)
        self._sum.setText(
            tr("{0} against {1}: {2}. The words alone add up to {3}.").format(
                found.label, found.contrast, signed(found.whole), signed(found.sum_of_words)
            )
        )
        self._stack.setCurrentIndex(1)
        self.keep_button.setEnabled(not is_kept)

    def keep(self) -> None:
        """Add what is shown to the project."""
        if self._ranking is None:
            return
        keep_importance(self._desk.session, self._ranking)
        self.keep_button.setEnabled(False)
        self._told.setText(tr("Kept: it is in the project panel, below the sentence."))
