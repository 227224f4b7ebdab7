"""A small histogram of activations."""

import math

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QWidget,
)

from circuitscope.app.theme import Palette, px
from circuitscope.app.words import plain, tr
from circuitscope.evidence.records import Histogram


class HistogramView(QWidget):
    """Draw how often a feature is how active; both axes are logarithmic."""

    def __init__(self, palette: Palette, histogram: Histogram) -> None:
        super().__init__()
        self._palette, self._histogram = palette, histogram
        self.setFixedHeight(px(56))
        words = tr("Histogram of activations")
        if histogram.edges:
            ends = plain(histogram.edges[0]), plain(histogram.edges[-1])
            words = tr("Histogram of activations from {0} to {1}, both axes logarithmic").format(
                *ends
            )
        self.setAccessibleName(words)
        self.setToolTip(words)

    def paintEvent(self, event: QPaintEvent) -> None:
        counts = self._histogram.counts
        if not counts:
            return
        painter = QPainter(self)
        text = float(px(14))
        height, n = self.height() - text, len(counts)
        most = max(counts).bit_length()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._palette.accent))
        wide = min(self.width() / n, 14.0)
        gap = 1 if wide >= 4 else 0
        for at, number in enumerate(counts):
            if number:
                tall = max(2.0, height * (math.log2(number) + 1) / max(most, 1))
                painter.drawRect(QRectF(at * wide, height - tall, wide - gap, tall))
        painter.setPen(QColor(self._palette.hairline))
        painter.drawLine(0, int(height), self.width(), int(height))
        painter.setPen(QColor(self._palette.secondary))
        font = painter.font()
        font.setPixelSize(px(11))
        painter.setFont(font)
        edges = self._histogram.edges
        box = QRectF(0, height, max(n * wide, px(90)), text)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft, plain(edges[0]))
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, plain(edges[-1]))
        painter.end()
