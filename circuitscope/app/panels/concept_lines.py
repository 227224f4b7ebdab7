"""A label in words: one text, or a line for each of its concepts with share and score."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLayout, QWidget

from circuitscope.app.meanings import explain
from circuitscope.app.widgets import text_label
from circuitscope.app.words import percent, plain, tr
from circuitscope.evidence.records import Concept, Label, concepts_of


def label_widget(label: Label) -> QWidget:
    """Show what a label says; several concepts line by line."""
    concepts = concepts_of(label)
    return ConceptLines(concepts) if concepts else text_label(label.text, "", wrap=True)


class ConceptLines(QWidget):
    """Show concepts, each with its share of the held-out examples and its own score."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        top = Qt.AlignmentFlag.AlignTop
        for row, concept in enumerate(concepts):
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
