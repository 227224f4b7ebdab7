"""The lens as a table: layers by positions, the last layer on top, colour by probability."""

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from circuitscope.app.theme import Palette, px, readable
from circuitscope.app.words import probability, shown_token, tr
from circuitscope.core.finding import Grid

Index = QModelIndex | QPersistentModelIndex
_CELL = QSize(82, 28)
_NARROW, _WIDE, _BESIDE = 58, 112, 32


class LensModel(QAbstractTableModel):
    """Show a lens's likeliest tokens; row 0 is the last layer.

    Attributes:
        grid: What `models.lens` found, None before.
    """

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self.grid: Grid | None = None
        self._palette = palette

    def show_grid(self, grid: Grid | None) -> None:
        """Show another lens."""
        self.beginResetModel()
        self.grid = grid
        self.endResetModel()

    def place(self, index: Index) -> tuple[int, int]:
        """Return row of the grid and position of a cell."""
        assert self.grid is not None
        return len(self.grid.ticks[0]) - 1 - index.row(), index.column()

    def listed(self, index: Index) -> list[tuple[int, str, float]]:
        """Return id, text and probability of the tokens of a cell, best first."""
        assert self.grid is not None
        layer, position = self.place(index)
        _, n_pos, k = self.grid.values.shape
        start = (layer * n_pos + position) * k
        chances = self.grid.values[layer, position]
        return [
            (self.grid.ids[start + rank], self.grid.texts[start + rank], float(chances[rank]))
            for rank in range(k)
        ]

    def columns(self) -> tuple[str, ...]:
        """Return the tokens of the prompt."""
        return () if self.grid is None else self.grid.ticks[1]

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if self.grid is None else len(self.grid.ticks[0])

    def columnCount(self, parent: Index | None = None) -> int:
        return 0 if self.grid is None else len(self.grid.ticks[1])

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if self.grid is None:
            return None
        if orientation is Qt.Orientation.Horizontal:
            token = shown_token(self.grid.ticks[1][section])
            tip = tr("position {0}: {1}").format(section, token)
            return {Qt.ItemDataRole.DisplayRole: token, Qt.ItemDataRole.ToolTipRole: tip}.get(
                Qt.ItemDataRole(role)
            )
        tick = self.grid.ticks[0][len(self.grid.ticks[0]) - 1 - section]
        words = f"L{tick}" if tick.isdecimal() else tr("embedding")
        tip = tr("after block {0}").format(tick) if tick.isdecimal() else tr("before the first")
        return {Qt.ItemDataRole.DisplayRole: words, Qt.ItemDataRole.ToolTipRole: tip}.get(
            Qt.ItemDataRole(role)
        )

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self.grid is None or not index.isValid():
            return None
        listed = self.listed(index)
        if role == Qt.ItemDataRole.DisplayRole:
            return shown_token(listed[0][1])
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return "\n".join(f"{shown_token(text)}   {probability(p)}" for _, text, p in listed)
        if role == Qt.ItemDataRole.BackgroundRole:
            return _blend(self._palette.panel, self._palette.accent, listed[0][2])
        if role == Qt.ItemDataRole.ForegroundRole:
            fill = _blend(self._palette.panel, self._palette.accent, listed[0][2])
            return readable(fill, self._palette.ink, self._palette.on_accent)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignCenter
        return None


class LensTable(QTableView):
    """The table itself; arrows move, Return or a click takes a cell."""

    def __init__(self, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cells = LensModel(palette)
        self.setModel(self.cells)
        self.setAccessibleName(tr("Lens"))
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setCornerButtonEnabled(False)
        for header, size in (
            (self.horizontalHeader(), _CELL.width()), (self.verticalHeader(), _CELL.height()),
        ):  # fmt: skip
            header.setDefaultSectionSize(px(size))
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setHighlightSections(False)
        self.horizontalHeader().setFixedHeight(px(_CELL.height()))
        self.verticalHeader().setDefaultAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        self.setStyleSheet(
            f"QTableView {{ background: {palette.window}; border: 0;"
            f" gridline-color: {palette.hairline}; }}"
            f"QHeaderView::section, QTableCornerButton::section {{"
            f" background: {palette.window}; border: 0; padding: 0 8px;"
            f" color: {palette.secondary}; }}"
            "QHeaderView::section:horizontal { padding: 0; }"
            "QHeaderView::up-arrow, QHeaderView::down-arrow { width: 0; height: 0; }"
        )
        self.setItemDelegate(_Cell(palette, self))
        self.cells.modelReset.connect(self._fit_columns)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share the width among the columns."""
        super().resizeEvent(event)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Make all columns fit where that leaves room for words; else they scroll."""
        words = self.verticalHeader().fontMetrics().horizontalAdvance(tr("embedding"))
        self.verticalHeader().setFixedWidth(words + px(_BESIDE))
        n = max(self.cells.columnCount(), 1)
        share = (self.width() - words - px(_BESIDE)) // n
        self.horizontalHeader().setDefaultSectionSize(min(max(share, px(_NARROW)), px(_WIDE)))


class _Cell(QStyledItemDelegate):
    """Keep a cell's colour when it is chosen, and frame it."""

    def __init__(self, palette: Palette, parent: QWidget) -> None:
        super().__init__(parent)
        self._ink = QColor(palette.ink)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint the cell, and a frame around the chosen one."""
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        option.state &= ~(QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_HasFocus)
        super().paint(painter, option, index)
        if chosen:
            painter.save()
            painter.setPen(QPen(self._ink, 2))
            painter.drawRect(option.rect.adjusted(1, 1, -1, -1))
            painter.restore()


def _blend(low: str, high: str, share: float) -> QColor:
    a, b = QColor(low), QColor(high)
    pairs = ((a.red(), b.red()), (a.green(), b.green()), (a.blue(), b.blue()))
    return QColor(*(round(x + (y - x) * share) for x, y in pairs))
