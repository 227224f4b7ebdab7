"""A grid of numbers as a heat map: cells are pointed at, chosen, and walked by keyboard."""

from collections.abc import Iterable

from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from circuitscope.app.meanings import explain
from circuitscope.app.theme import Palette, readable
from circuitscope.app.words import signed, tr
from circuitscope.core.finding import Grid

_LEFT, _FOOT, _TOP = 56, 52, 8
_CUT = 7
_STEPS = {
    Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (1, 0),
    Qt.Key.Key_Down: (-1, 0),
}  # fmt: skip


class HeatMap(QWidget):
    """Show a grid, its first axis upwards; a click or Space chooses a cell, another lets it go.

    Positive cells are filled with one colour, negative ones with another and a cut corner.
    """

    pointed = Signal(int, int)
    chosen_changed = Signal()

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.grid: Grid | None = None
        self.chosen: tuple[tuple[int, int], ...] = ()
        self.at: tuple[int, int] | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(QSize(320, 200))
        self.setAccessibleName(tr("Heat map"))
        explain(self, "cell")

    def show_grid(self, grid: Grid) -> None:
        """Show another grid, nothing chosen."""
        self.grid, self.at = grid, (0, 0)
        self.choose(())

    def choose(self, cells: Iterable[tuple[int, int]]) -> None:
        """Choose these cells."""
        self.chosen = tuple(cells)
        self.chosen_changed.emit()
        self.update()

    def cell_rect(self, row: int, column: int) -> QRectF:
        """Return where a cell is drawn."""
        assert self.grid is not None
        rows, columns = self.grid.values.shape
        wide = (self.width() - _LEFT - 8) / columns
        high = (self.height() - _FOOT - _TOP) / rows
        return QRectF(_LEFT + column * wide, _TOP + (rows - 1 - row) * high, wide, high)

    def cell_at(self, point: QPoint | QPointF) -> tuple[int, int] | None:
        """Return the cell under a point."""
        if self.grid is None:
            return None
        rows, columns = self.grid.values.shape
        wide = (self.width() - _LEFT - 8) / columns
        high = (self.height() - _FOOT - _TOP) / rows
        column, row = int((point.x() - _LEFT) // wide), int((point.y() - _TOP) // high)
        inside = 0 <= column < columns and 0 <= row < rows
        return (rows - 1 - row, column) if inside else None

    def _point(self, cell: tuple[int, int]) -> None:
        assert self.grid is not None
        self.at = cell
        self.setAccessibleDescription(signed(float(self.grid.values[cell])))
        self.pointed.emit(*cell)
        self.update()

    def _toggle(self, cell: tuple[int, int]) -> None:
        kept = [one for one in self.chosen if one != cell]
        self.choose(kept if len(kept) < len(self.chosen) else [*kept, cell])

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        cell = self.cell_at(event.position())
        if cell is not None and cell != self.at:
            self._point(cell)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        cell = self.cell_at(event.position())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self._toggle(cell)
            self._point(cell)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        if self.grid is None or self.at is None:
            super().keyPressEvent(event)
        elif key in _STEPS:
            rows, columns = self.grid.values.shape
            row, column = (a + b for a, b in zip(self.at, _STEPS[key], strict=True))
            self._point((min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)))
        elif key == Qt.Key.Key_Space:
            self._toggle(self.at)
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, grid = self._palette, self.grid
        painter.setPen(QColor(palette.secondary))
        if grid is None:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, tr("Nothing computed yet."))
            painter.end()
            return
        rows, columns = grid.values.shape
        most = max(1.0, float(abs(grid.values).max()))
        for row in range(rows):
            for column in range(columns):
                self._paint_cell(painter, row, column, most)
        painter.setPen(QColor(palette.secondary))
        for row in range(rows):
            place = self.cell_rect(row, 0)
            side = QRectF(0, place.top(), _LEFT - 8, place.height())
            ends = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            tick = grid.ticks[0][row]
            painter.drawText(side, ends, f"{tr('layer')} {tick}" if tick.isdigit() else tick)
        self._paint_columns(painter, grid)
        painter.end()

    def _paint_columns(self, painter: QPainter, grid: Grid) -> None:
        foot = self.height() - _FOOT + 6
        wide = self.cell_rect(0, 0).width()
        for column, tick in enumerate(grid.ticks[1]):
            place = self.cell_rect(0, column)
            text = painter.fontMetrics().elidedText(tick, Qt.TextElideMode.ElideRight, int(wide))
            painter.drawText(
                QRectF(place.left(), foot, wide, 20), Qt.AlignmentFlag.AlignHCenter, text
            )
        middle = QRectF(_LEFT, foot + 24, self.width() - _LEFT - 8, 20)
        painter.drawText(middle, Qt.AlignmentFlag.AlignHCenter, tr(grid.axes[1]))

    def _paint_cell(self, painter: QPainter, row: int, column: int, most: float) -> None:
        assert self.grid is not None
        palette, value = self._palette, float(self.grid.values[row, column])
        place = self.cell_rect(row, column).adjusted(1, 1, -1, -1)
        sign = palette.positive if value >= 0 else palette.negative
        fill = QColor(palette.mix(sign, min(1.0, abs(value) / most), palette.field))
        ink = readable(fill, palette.ink, palette.panel)
        painter.fillRect(place, fill)
        if value < -0.05 * most:
            side = min(_CUT, place.width() / 2, place.height() / 2)
            corner = place.topLeft()
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ink)
            painter.drawPolygon([corner, corner + QPointF(side, 0), corner + QPointF(0, side)])
        if place.width() > 44 and place.height() > 18:
            painter.setPen(ink)
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, signed(value))
        chosen, pointed = (row, column) in self.chosen, (row, column) == self.at
        if chosen or pointed:
            painter.setPen(
                QPen(QColor(palette.accent if chosen else palette.ink), 3 if chosen else 1)
            )
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(place)
