"""Draw an Othello board: a position with its moves, or shares of 64 squares.

What a mark means never hangs on its colour: discs of the player who moves next carry a dot, turned
discs a dashed ring, the last move a frame, legal squares a diamond; a share is the size of a
square in its cell. Cells are whole pixels, so lines are sharp at any size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from circuitscope.app.theme import Palette, readable
from circuitscope.app.words import percent, probability, tr
from circuitscope.examples.othello import SQUARES
from circuitscope.examples.othello_views import Position

LARGEST = 440
_MARGIN = 18
_LETTERS_FROM = 150
_NUMBERS_FROM = 26
_LEAST_SHOWN = 0.005
_STEPS = {
    Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Home: -64, Qt.Key.Key_End: 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the cells of a board lie: whole pixels, in the middle of the room there is."""

    left: int
    top: int
    cell: int
    letters: bool

    @classmethod
    def within(cls, width: int, height: int) -> "Grid":
        """Fit a board into a widget; coordinates are left out where they would be too small."""
        letters = min(width, height) >= _LETTERS_FROM
        margin = _MARGIN if letters else 0
        cell = max((min(width, height) - margin - 2) // 8, 2)
        return cls((width - 8 * cell - margin) // 2 + margin, margin + 1, cell, letters)

    @property
    def frame(self) -> QRectF:
        """Return the board without its coordinates."""
        return QRectF(self.left, self.top, 8 * self.cell, 8 * self.cell)

    def rect(self, square: int) -> QRectF:
        """Return one cell."""
        row, column = divmod(square, 8)
        at = (self.left + column * self.cell, self.top + row * self.cell)
        return QRectF(*at, self.cell, self.cell)

    def square_at(self, point: QPointF) -> int | None:
        """Return the square under a point."""
        column, row = (point.x() - self.left) // self.cell, (point.y() - self.top) // self.cell
        inside = 0 <= column < 8 and 0 <= row < 8
        return int(8 * row + column) if inside else None


class PositionView(QWidget):
    """Show a position; the arrow keys ask for another one.

    Args:
        palette: Colours.
        steps: Whether the arrow keys and the wheel are its.
    """

    stepped = Signal(int)
    """Emitted with how many moves on the user wants to go."""
    picked = Signal(int)
    """Emitted with the square that was clicked."""

    def __init__(self, palette: Palette, *, steps: bool = False) -> None:
        super().__init__()
        self._palette, self._steps = palette, steps
        self._position: Position | None = None
        self._chances: Mapping[int, float] = {}
        self._predicted: int | None = None
        _square_shaped(self)
        if steps:
            self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def position(self) -> Position | None:
        """Return what is shown."""
        return self._position

    def show_position(
        self,
        position: Position | None,
        chances: Mapping[int, float] | None = None,
        predicted: int | None = None,
    ) -> None:
        """Show a board.

        Args:
            position: The board; None shows an empty grid.
            chances: The model's probability of each square as the next move, where known.
            predicted: The square of a logit.
        """
        self._position, self._chances = position, chances or {}
        self._predicted = predicted
        words = position.words() if position is not None else tr("Empty board")
        if predicted is not None:
            words += " " + tr("The logit is of {0}.").format(SQUARES[predicted])
        self.setAccessibleDescription(words)
        self.update()

    def heightForWidth(self, width: int) -> int:
        return min(width, LARGEST)

    def sizeHint(self) -> QSize:
        return QSize(240, 240)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _STEPS.get(Qt.Key(event.key())) if self._steps else None
        if step is None:
            super().keyPressEvent(event)
        else:
            self.stepped.emit(step)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        square = Grid.within(self.width(), self.height()).square_at(event.position())
        if event.button() is Qt.MouseButton.LeftButton and square is not None:
            self.picked.emit(square)

    def event(self, event: QEvent) -> bool:
        if self._steps and _is_step(event):
            event.accept()
            return True
        return _told(self, event, self._tell) or super().event(event)

    def _tell(self, square: int) -> str:
        position, name = self._position, SQUARES[square]
        if position is None:
            return name
        parts = [
            words for words, holds in (
                (tr("mine"), position.mine[square]), (tr("theirs"), position.theirs[square]),
                (tr("turned by this move"), position.flipped[square]),
                (tr("the last move"), position.square == square),
                (tr("legal"), position.legal[square]),
                (tr("explained by the logit"), square == self._predicted),
            ) if holds
        ]  # fmt: skip
        if square in self._chances:
            parts.append(tr("model {0}").format(probability(self._chances[square])))
        return f"{name}: {', '.join(parts or [tr('empty')])}"

    def paintEvent(self, event: QPaintEvent) -> None:
        grid, palette = Grid.within(self.width(), self.height()), self._palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        _paint_ground(painter, grid, palette)
        for square, share in self._chances.items():
            painter.fillRect(grid.rect(square).adjusted(1, 1, 0, 0), self._fill(share))
        if self._position is not None:
            paint_position(painter, grid, palette, self._position)
        if grid.cell >= _NUMBERS_FROM:
            self._paint_chances(painter, grid)
        if self._predicted is not None:
            paint_predicted(painter, grid.rect(self._predicted), palette)
        if self.hasFocus():
            painter.setPen(QPen(QColor(palette.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(grid.frame)
        painter.end()

    def _fill(self, share: float) -> QColor:
        palette = self._palette
        return QColor(palette.mix(palette.accent, 0.85 * min(share, 1.0) ** 0.5, palette.field))

    def _paint_chances(self, painter: QPainter, grid: Grid) -> None:
        painter.setFont(_font(self.font(), max(9, round(grid.cell * 0.3))))
        for square, share in self._chances.items():
            if share < _LEAST_SHOWN:
                continue
            ink = readable(self._fill(share), self._palette.ink, self._palette.on_accent)
            painter.setPen(ink)
            place = grid.rect(square).adjusted(0, 0, 0, -1)
            bottom = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom
            painter.drawText(place, bottom, f"{100 * share:.0f}")


class SharesView(QWidget):
    """Show a share for every square as the size of a square in its cell.

    Args:
        palette: Colours.
        name: What is shared out, such as "mine".
        shares: 0 to 255 for none to all, uint8 [64].
    """

    def __init__(self, palette: Palette, name: str, shares: NDArray[np.uint8]) -> None:
        super().__init__()
        self._palette = palette
        self.shares = np.asarray(shares, np.float32) / 255
        _square_shaped(self)
        order = np.argsort(-self.shares, kind="stable")[:4]
        top = (f"{SQUARES[s]} {percent(float(self.shares[s]))}" for s in order if self.shares[s])
        self.setAccessibleName(name)
        self.setAccessibleDescription(tr("most on {0}").format(", ".join(top)))

    def heightForWidth(self, width: int) -> int:
        return min(width, LARGEST)

    def sizeHint(self) -> QSize:
        return QSize(84, 84)

    def event(self, event: QEvent) -> bool:
        return _told(self, event, self._tell) or super().event(event)

    def _tell(self, square: int) -> str:
        return f"{SQUARES[square]}: {percent(float(self.shares[square]))}"

    def paintEvent(self, event: QPaintEvent) -> None:
        grid, palette = Grid.within(self.width(), self.height()), self._palette
        painter = QPainter(self)
        _paint_ground(painter, grid, palette)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for square, share in enumerate(self.shares.tolist()):
            if share < _LEAST_SHOWN:
                continue
            cell = grid.rect(square).adjusted(1, 1, 0, 0)
            side = cell.width() * share**0.5
            spot = QRectF(0, 0, side, side)
            spot.moveCenter(cell.center())
            color = palette.mix(palette.accent, 0.35 + 0.65 * share, palette.field)
            painter.fillRect(spot, QColor(color))
        painter.end()


def _is_step(event: QEvent) -> bool:
    """Say whether a key that steps is about to be taken for a shortcut of the window."""
    if event.type() is not QEvent.Type.ShortcutOverride or not isinstance(event, QKeyEvent):
        return False
    return Qt.Key(event.key()) in _STEPS


def _square_shaped(widget: QWidget) -> None:
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    widget.setSizePolicy(policy)
    widget.setMinimumSize(48, 48)


def _told(widget: QWidget, event: QEvent, tell: Callable[[int], str]) -> bool:
    """Answer a wish for a tooltip with what there is to say of the square under the mouse."""
    if event.type() is not QEvent.Type.ToolTip or not isinstance(event, QHelpEvent):
        return False
    square = Grid.within(widget.width(), widget.height()).square_at(QPointF(event.pos()))
    QToolTip.showText(event.globalPos(), "" if square is None else tell(square), widget)
    return True


# ---- painting ----------------------------------------------------------------------------------
def _font(base: QFont, px: int) -> QFont:
    font = QFont(base)
    font.setPixelSize(px)
    return font


def _paint_ground(painter: QPainter, grid: Grid, palette: Palette) -> None:
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.fillRect(grid.frame, QColor(palette.field))
    painter.setPen(QPen(QColor(palette.border), 1))
    frame, cell = grid.frame, grid.cell
    for step in range(9):
        x, y = grid.left + step * cell, grid.top + step * cell
        painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
        painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
    painter.restore()
    if not grid.letters:
        return
    painter.setPen(QColor(palette.secondary))
    painter.setFont(_font(painter.font(), 10))
    for step in range(8):
        across = QRectF(grid.left + step * cell, grid.top - _MARGIN, cell, _MARGIN)
        down = QRectF(grid.left - _MARGIN, grid.top + step * cell, _MARGIN, cell)
        painter.drawText(across, Qt.AlignmentFlag.AlignCenter, "ABCDEFGH"[step])
        painter.drawText(down, Qt.AlignmentFlag.AlignCenter, str(step + 1))


def paint_position(painter: QPainter, grid: Grid, palette: Palette, position: Position) -> None:
    """Paint discs, legal squares and the last move."""
    for square in range(64):
        cell = grid.rect(square)
        if position.mine[square] or position.theirs[square]:
            mine = bool(position.mine[square])
            paint_disc(painter, cell, palette, black=mine == position.black_next, mine=mine)
        elif position.legal[square]:
            paint_legal(painter, cell, palette)
        if position.flipped[square]:
            paint_turned(painter, cell, palette)
    paint_last(painter, grid.rect(position.square), palette)


def paint_disc(
    painter: QPainter, cell: QRectF, palette: Palette, *, black: bool, mine: bool
) -> None:
    """Paint a disc; one of the player who moves next carries a dot."""
    dark, light = QColor("#14161B"), QColor("#FFFFFF")
    radius = 0.36 * cell.width()
    painter.setPen(QPen(QColor(palette.secondary), max(1.0, cell.width() / 28)))
    painter.setBrush(dark if black else light)
    painter.drawEllipse(cell.center(), radius, radius)
    if mine:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(light if black else dark)
        painter.drawEllipse(cell.center(), 0.3 * radius, 0.3 * radius)


def paint_turned(painter: QPainter, cell: QRectF, palette: Palette) -> None:
    """Paint the dashed ring of a disc that the move turned."""
    pen = QPen(QColor(palette.negative), max(1.2, cell.width() / 16))
    pen.setDashPattern([2.0, 1.4])
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawEllipse(cell.center(), 0.42 * cell.width(), 0.42 * cell.width())


def paint_last(painter: QPainter, cell: QRectF, palette: Palette) -> None:
    """Paint the frame of the last move."""
    width = max(1.5, cell.width() / 14)
    pen = QPen(QColor(palette.ink), width)
    pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    inset = width / 2 + 1
    painter.drawRect(cell.adjusted(inset, inset, -inset + 1, -inset + 1))


def paint_legal(painter: QPainter, cell: QRectF, palette: Palette) -> None:
    """Paint the diamond of a legal square, in its upper half so that a number has room below."""
    size = 0.16 * cell.width()
    middle = cell.center() - QPointF(0, 0.14 * cell.height())
    corners = ((0, -size), (size, 0), (0, size), (-size, 0))
    painter.setPen(QPen(QColor(palette.ink), max(1.0, cell.width() / 24)))
    painter.setBrush(QColor(palette.panel))
    painter.drawPolygon(QPolygonF([middle + QPointF(*corner) for corner in corners]))


def paint_predicted(painter: QPainter, cell: QRectF, palette: Palette) -> None:
    """Paint the corners around the square whose logit is explained."""
    arm = 0.3 * cell.width()
    painter.setPen(QPen(QColor(palette.accent_ink), max(2.0, cell.width() / 10)))
    box = cell.adjusted(1, 1, 0, 0)
    for corner, right, down in (
        (box.topLeft(), 1, 1), (box.topRight(), -1, 1),
        (box.bottomLeft(), 1, -1), (box.bottomRight(), -1, -1),
    ):  # fmt: skip
        line = [corner + QPointF(right * arm, 0), corner, corner + QPointF(0, down * arm)]
        painter.drawPolyline(QPolygonF(line))


def key_pictures(palette: Palette, size: int = 18) -> Sequence[tuple[QPixmap, str]]:
    """Return what each mark looks like, and what it means."""

    def disc(painter: QPainter, cell: QRectF, *, mine: bool) -> None:
        paint_disc(painter, cell, palette, black=True, mine=mine)

    def turned(painter: QPainter, cell: QRectF) -> None:
        disc(painter, cell, mine=False)
        paint_turned(painter, cell, palette)

    marks: tuple[tuple[Callable[[QPainter, QRectF], None], str], ...] = (
        (lambda painter, cell: disc(painter, cell, mine=True), tr("mine")),
        (lambda painter, cell: disc(painter, cell, mine=False), tr("theirs")),
        (turned, tr("turned")),
        (lambda painter, cell: paint_last(painter, cell, palette), tr("last move")),
        (lambda painter, cell: paint_legal(painter, cell, palette), tr("legal")),
        (lambda painter, cell: paint_predicted(painter, cell, palette), tr("logit")),
    )
    return [(_picture(paint, size), words) for paint, words in marks]


def _picture(paint: Callable[[QPainter, QRectF], None], size: int) -> QPixmap:
    image = QPixmap(QSize(2 * size, 2 * size))
    image.setDevicePixelRatio(2)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    paint(painter, QRectF(0, 0, size, size))
    painter.end()
    return image
