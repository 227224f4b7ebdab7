"""A label in words: one text, or a line for each of its concepts with share and score."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLayout, QWidget

from circuitscope.app.meanings import explain
from circuitscope.app.widgets import text_label
from circuitscope.app.words import percent, plain, tr
from circuitscope.evidence.records import CONCEPTS, Concept, Label, concepts_of

_SHOWN = 6


def label_widget(label: Label) -> QWidget:
    """Show what a label says; several concepts line by line."""
    concepts = concepts_of(label)
    return ConceptLines(concepts) if concepts else text_label(label.text, "", wrap=True)


class ConceptLines(QWidget):
    """Show concepts, each with its share of the held-out examples and its own score.

    The largest come first; what is behind the sixth is told in one line.
    """

    def __init__(self, concepts: Sequence[Concept]) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        top = Qt.AlignmentFlag.AlignTop
        order = sorted(concepts, key=lambda concept: -concept.share)
        shown, others = order[:_SHOWN], order[_SHOWN:]
        for row, concept in enumerate(shown):
            share = text_label(percent(concept.share), "small")
            explain(share, "share of concept")
            grid.addWidget(share, row, 0, top | Qt.AlignmentFlag.AlignRight)
            words = text_label(concept.text, "", wrap=True)
            grid.addWidget(words, row, 1, top)
            told = tr("{0} of the held-out examples").format(percent(concept.share))
            if concept.score is not None:
                score = text_label(plain(concept.score), "small")
                explain(score, "detection")
                grid.addWidget(score, row, 2, top | Qt.AlignmentFlag.AlignRight)
                told += tr(", detection {0}").format(plain(concept.score))
            words.setAccessibleDescription(told)
        if others:
            left = percent(sum(concept.share for concept in others))
            grid.addWidget(text_label(left, "small"), _SHOWN, 0, top | Qt.AlignmentFlag.AlignRight)
            rest = text_label(tr("{0} more").format(len(others)), "small")
            rest.setToolTip(CONCEPTS.join(concept.text for concept in others))
            grid.addWidget(rest, _SHOWN, 1, top)
