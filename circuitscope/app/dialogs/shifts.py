"""Next tokens with their probabilities before and after a change, as pairs of bars."""

from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.theme import Palette, px
from circuitscope.app.widgets import clear, text_label
from circuitscope.app.words import probability, shown_token, signed, tr
from circuitscope.engine.trials import Shift


class PairBar(QWidget):
    """Two bars, one over the other: before in grey, after in the accent."""

    def __init__(self, palette: Palette, before: float, after: float) -> None:
        super().__init__()
        self._palette, self._shares = palette, (before, after)
        self.setMinimumWidth(180)
        self.setFixedHeight(px(22))
        words = tr("before {0}, after {1}").format(probability(before), probability(after))
        self.setAccessibleName(words)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint both bars on their grooves."""
        painter = QPainter(self)
        painter.setPen(QColor(0, 0, 0, 0))
        colors = (self._palette.feature, self._palette.accent)
        tops = self.height() // 2 - 8, self.height() // 2 + 1
        for top, share, color in zip(tops, self._shares, colors, strict=True):
            painter.setBrush(QColor(self._palette.field))
            painter.drawRoundedRect(0, top, self.width(), 7, 3, 3)
            painter.setBrush(QColor(color))
            painter.drawRoundedRect(0, top, max(3, round(self.width() * share)), 7, 3, 3)
        painter.end()


class ShiftTable(QWidget):
    """One row for each next token."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._palette = desk.palette
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    def show_shifts(self, shifts: tuple[Shift, ...]) -> None:
        """Show other tokens."""
        clear(self._column)
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        for at, words in enumerate(("", "", tr("before"), tr("after"), tr("change"))):
            grid.addWidget(text_label(words, "small"), 0, at)
        for row, shift in enumerate(shifts, 1):
            change = 100 * (shift.after - shift.before)
            cells: tuple[QWidget, ...] = (
                _name(shift), PairBar(self._palette, shift.before, shift.after),
                text_label(probability(shift.before), "quiet"),
                text_label(probability(shift.after), "strong"),
                text_label(signed(change, 1), "quiet"),
            )  # fmt: skip
            for at, cell in enumerate(cells):
                grid.addWidget(cell, row, at)
        grid.setColumnStretch(1, 1)
        self._column.addWidget(box)


def _name(shift: Shift) -> QLabel:
    label = text_label(shown_token(shift.text), "strong")
    label.setToolTip(f"id {shift.token_id}")
    return label
