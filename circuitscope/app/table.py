"""The one table: sorts by a click, copies as TSV, is written as CSV, says what its columns mean."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFont,
    QFontMetrics,
    QGuiApplication,
    QIcon,
    QKeyEvent,
    QKeySequence,
    QPainter,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)

from circuitscope.app.meanings import meaning, show_meaning
from circuitscope.app.theme import Palette, px
from circuitscope.app.words import MINUS, tr

VALUE = Qt.ItemDataRole.UserRole
DETAIL = Qt.ItemDataRole.UserRole + 1
STYLE = Qt.ItemDataRole.UserRole + 2
KEY = Qt.ItemDataRole.UserRole + 3
_BAR, _NUMBER = 76, 48
_LINE, _TALL_LINE, _HEAD = 24, 38, 26
_EDGE, _GAP = 2, 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        meaning: Entry of `meanings.MEANINGS`; every column of numbers has one.
        number: Whether it is set to the right.
        bar: Whether its number, -1 to 1, is also drawn as a bar.
        told: Whether it is shown; one that is not is still copied and exported.
    """

    title: str
    meaning: str = ""
    number: bool = False
    bar: bool = False
    told: bool = True

    def __post_init__(self) -> None:
        assert self.meaning or not self.number, f"nothing says what {self.title!r} means"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one place of a table shows.

    Attributes:
        text: What is read.
        value: What it sorts by and exports as; None for the text.
        detail: A smaller line below.
        style: "strong", "quiet", "automatic" or "".
        key: What it sorts by and exports as where that is other text, such as a time in full.
    """

    text: str
    value: float | None = None
    detail: str = ""
    style: str = ""
    key: str = ""


class TableRow(QTreeWidgetItem):
    """A row that sorts numbers as numbers, and carries what it stands for as `thing`."""

    def __init__(self, cells: Sequence[Cell], thing: Any = None) -> None:
        super().__init__([cell.text for cell in cells])
        self.thing = thing
        for at, cell in enumerate(cells):
            for role, held in ((VALUE, cell.value), (DETAIL, cell.detail), (STYLE, cell.style),
                               (KEY, cell.key)):  # fmt: skip
                if held not in (None, ""):
                    self.setData(at, role, held)
            if cell.value is not None:
                self.setTextAlignment(
                    at, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )

    def __lt__(self, other: QTreeWidgetItem) -> bool:
        """Sort by value where both have one, else by text without regard to case."""
        at = max(self.treeWidget().sortColumn(), 0)
        mine, its = self.data(at, VALUE), other.data(at, VALUE)
        if mine is not None and its is not None:
            return bool(mine < its)
        return _sorted_text(self, at) < _sorted_text(other, at)


class Table(QTreeWidget):
    """Rows of text and numbers.

    Args:
        name: Accessible name.
        columns: What is shown, from left to right.
        palette: Colours.
    """

    opened = Signal(object)
    """A row was clicked or Return pressed on it; carries its `thing`."""
    menu_wanted = Signal(object, object)
    """A context menu is about to show; carries the `QMenu` and the row's `thing`, or None."""

    def __init__(self, name: str, columns: Sequence[Column], palette: Palette) -> None:
        super().__init__()
        self.columns, self.palette_ = tuple(columns), palette
        self.setAccessibleName(name)
        self.setColumnCount(len(columns))
        self.setHeaderLabels([column.title for column in columns])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setItemDelegate(_Painter(self))
        self.setTabKeyNavigation(False)
        head = self.header()
        head.setStretchLastSection(False)
        head.setAccessibleName(tr("Columns of {0}").format(name))
        for at, column in enumerate(columns):
            self.setColumnHidden(at, not column.told)
            if column.number:
                self.headerItem().setTextAlignment(
                    at, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
            if column.meaning:
                self.headerItem().setToolTip(at, meaning(column.meaning))
                self.headerItem().setWhatsThis(at, meaning(column.meaning))
            mode = QHeaderView.ResizeMode.ResizeToContents
            if at == 0:
                mode = QHeaderView.ResizeMode.Stretch
            elif column.bar:
                mode = QHeaderView.ResizeMode.Fixed
                head.resizeSection(at, _BAR + px(_NUMBER) + _GAP)
            head.setSectionResizeMode(at, mode)
        head.setSectionsClickable(True)
        head.setSortIndicatorShown(True)
        head.setSortIndicatorClearable(True)
        self.setSortingEnabled(True)
        head.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.itemActivated.connect(lambda item, _at: self._open(item))
        self.itemClicked.connect(lambda item, _at: self._open(item))

    def add(self, cells: Sequence[Cell], thing: Any = None, tip: str = "") -> TableRow:
        """Append a row."""
        made = TableRow(cells, thing)
        made.setToolTip(0, tip)
        self.addTopLevelItem(made)
        return made

    def rows(self) -> list[TableRow]:
        """Return the rows from top to bottom, those folded out below their own."""
        found: list[Any] = []
        for at in range(self.topLevelItemCount()):
            top = self.topLevelItem(at)
            found += [top, *(top.child(i) for i in range(top.childCount()))]
        return found

    def selected_rows(self) -> list[TableRow]:
        """Return the rows that are selected, from top to bottom."""
        return [row for row in self.rows() if row.isSelected()]

    def fit_height(self) -> None:
        """Be as high as the rows, for a table inside a panel that scrolls."""
        shown = [row for row in self.rows() if row.parent() is None or row.parent().isExpanded()]
        lines: Any = self.itemDelegate()
        tall = lines.line_height()
        head = max(px(_HEAD), self.header().sizeHint().height())
        self.setFixedHeight(len(shown) * tall + head + 2 * self.frameWidth())
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def insets(self, column: int) -> tuple[int, int]:
        """Return the room left and right of a column's text; the table's own edges have little."""
        head = self.header()
        places = [head.visualIndex(at) for at, one in enumerate(self.columns) if one.told]
        place = head.visualIndex(column)
        return (_EDGE if place == min(places) else _GAP, _EDGE if place == max(places) else _GAP)

    # ---- out of the window --------------------------------------------------------------
    def cells(self, *, chosen: bool = False) -> list[list[str]]:
        """Return headings and rows as text; numbers as machines read them.

        Args:
            chosen: Only the selected rows, or all where none is; rows that are hidden never.
        """
        rows = [row for row in self.rows() if not row.isHidden()]
        if chosen and any(row.isSelected() for row in rows):
            rows = [row for row in rows if row.isSelected()]
        detail = any(row.data(0, DETAIL) for row in rows)
        heads = [column.title for column in self.columns]
        lines = [[*heads[:1], *([tr("Detail")] if detail else []), *heads[1:]]]
        for row in rows:
            found = [_plain(row, at) for at in range(len(self.columns))]
            lines.append([*found[:1], *([row.data(0, DETAIL) or ""] if detail else []), *found[1:]])
        return lines

    def copy(self) -> None:
        """Put the selected rows, or all, on the clipboard as TSV."""
        text = _written(self.cells(chosen=True), "\t")
        QGuiApplication.clipboard().setText(text)

    def export(self, path: Path | str) -> None:
        """Write all rows as CSV in UTF-8."""
        Path(path).write_text(_written(self.cells(), ","), encoding="utf-8", newline="")

    def _ask_export(self) -> None:
        name = self.accessibleName().lower().replace(" ", "-") + ".csv"
        path, _ = QFileDialog.getSaveFileName(self, tr("Export table"), name, "CSV (*.csv)")
        if path:
            try:
                self.export(path)
            except OSError as error:
                from circuitscope.app.dialogs.errors import show_error
                from circuitscope.core.errors import CircuitScopeError

                show_error(self.window(), CircuitScopeError(
                    tr("The table could not be written: {0}").format(error.strerror),
                    kept=tr("Nothing was changed."), hint=tr("Choose another folder."),
                ))  # fmt: skip

    # ---- keys and menus -------------------------------------------------------------------
    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copy on Ctrl+C."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Offer to copy, to export and to explain the column; owners add their own first."""
        by_key = event.reason() is QContextMenuEvent.Reason.Keyboard
        item = self.currentItem() if by_key else self.itemAt(event.pos())
        at = self.currentColumn() if by_key else self.columnAt(event.pos().x())
        menu = self.menu_for(item, at)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(event.globalPos())

    def menu_for(self, item: QTreeWidgetItem | None, at: int) -> QMenu:
        """Make the context menu of a row and a column."""
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.menu_wanted.emit(menu, item.thing if isinstance(item, TableRow) else None)
        if not menu.isEmpty():
            menu.addSeparator()
        menu.addAction(tr("Copy")).triggered.connect(self.copy)
        menu.addAction(tr("Export CSV…")).triggered.connect(self._ask_export)
        told = [c for c in self.columns if c.meaning and c.told]
        column = self.columns[at] if 0 <= at < len(self.columns) else None
        if column is None or not column.meaning:
            column = told[0] if told else None
        if column is not None:
            text = meaning(column.meaning)
            ask = menu.addAction(tr("What does “{0}” mean?").format(column.title))
            ask.triggered.connect(lambda: show_meaning(self, text))
        return menu

    def _open(self, item: QTreeWidgetItem) -> None:
        if isinstance(item, TableRow) and item.thing is not None:
            self.opened.emit(item.thing)


def _plain(row: QTreeWidgetItem, at: int) -> str:
    value = row.data(at, VALUE)
    return row.data(at, KEY) or row.text(at) if value is None else f"{value:.6g}"


def _sorted_text(row: QTreeWidgetItem, at: int) -> str:
    return str(row.data(at, KEY) or row.text(at)).casefold()


def _written(lines: Sequence[Sequence[str]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return out.getvalue()


class _Painter(QStyledItemDelegate):
    """Paint a name over its detail, and a share as a bar with its number."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._table = table

    def line_height(self) -> int:
        """Return the height of every row: tall where any has a second line."""
        first = self._table.topLevelItem(0)
        tall = first is not None and first.data(0, DETAIL)
        return px(_TALL_LINE if tall else _LINE)

    def sizeHint(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        """Return the fixed height."""
        width = super().sizeHint(option, index).width() + 2 * _GAP
        return QSize(width, self.line_height())

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Paint one cell."""
        column, palette = self._table.columns[index.column()], self._table.palette_
        self.initStyleOption(option, index)
        text, option.text = option.text, ""
        icon, option.icon = QIcon(option.icon), QIcon()
        style = self._table.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, self._table)
        painter.save()
        left, right = self._table.insets(index.column())
        room = QRectF(option.rect).adjusted(left, 0, -right, 0)
        if not icon.isNull():
            side = option.decorationSize.width()
            place = QRectF(room.x(), room.center().y() - side / 2, side, side)
            icon.paint(painter, place.toRect())
            room.setLeft(room.left() + side + 4)
        if column.bar and index.data(VALUE) is not None:
            self._paint_bar(painter, room, float(index.data(VALUE)), palette)
            room.setLeft(room.right() - px(_NUMBER))
        if text[:1] in ("+", MINUS) and column.number:
            painter.setPen(QColor(palette.negative if text[0] == MINUS else palette.positive))
        else:
            look = index.data(STYLE) or ""
            quiet = look in ("quiet", "automatic") or column.bar
            painter.setPen(QColor(palette.secondary if quiet else palette.ink))
        font = _font(option.font, index.data(STYLE) or "")
        painter.setFont(font)
        shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, int(room.width()))
        flags = option.displayAlignment | Qt.AlignmentFlag.AlignVCenter
        if detail := index.data(DETAIL):
            half = room.height() / 2
            upper = QRectF(room.x(), room.y() + 2, room.width(), half)
            painter.drawText(upper, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
                             shown)  # fmt: skip
            small = QFont(option.font)
            small.setPixelSize(px(11))
            painter.setFont(small)
            painter.setPen(QColor(palette.secondary))
            cut = QFontMetrics(small).elidedText(detail, Qt.TextElideMode.ElideRight,
                                                 int(room.width()))  # fmt: skip
            painter.drawText(upper.translated(0, half - 3), Qt.AlignmentFlag.AlignLeft
                             | Qt.AlignmentFlag.AlignVCenter, cut)  # fmt: skip
        else:
            painter.drawText(room, flags, shown)
        painter.restore()

    @staticmethod
    def _paint_bar(painter: QPainter, room: QRectF, share: float, palette: Palette) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        groove = QRectF(room.x(), room.center().y() - 3.5, room.width() - px(_NUMBER) - 4, 7)
        painter.setBrush(QColor(palette.field))
        painter.drawRoundedRect(groove, 3.5, 3.5)
        if share:
            painter.setBrush(QColor(palette.positive if share > 0 else palette.negative))
            groove.setWidth(max(7.0, min(abs(share), 1.0) * groove.width()))
            painter.drawRoundedRect(groove, 3.5, 3.5)


def _font(base: QFont, style: str) -> QFont:
    font = QFont(base)
    if style == "strong":
        font.setWeight(QFont.Weight.DemiBold)
    font.setItalic(style == "automatic")
    return font
