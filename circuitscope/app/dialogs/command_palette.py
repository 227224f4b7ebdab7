"""The command palette: every action by name, with its menu, its keys and why it cannot be used.

It reads the one table of actions through the menus; what was used last comes first, and is kept
in the preferences.
"""

from dataclasses import dataclass

from PySide6.QtCore import (
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QKeyEvent, QKeySequence, QPainter
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
)

from circuitscope.app.desk import Desk
from circuitscope.app.fuzzy import Hit, match
from circuitscope.app.theme import px
from circuitscope.app.widgets import STEP, text_label
from circuitscope.app.words import plural, tr

ENTRY = Qt.ItemDataRole.UserRole
_ROWS = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """An action as the palette shows it.

    Attributes:
        id: Of the action.
        text: Its name; menu: which menu it is in; keys: its shortcut as text, "" for none.
        help: What it does; reason: why it cannot be used now, "" where it can.
        letters: Letters of the name that were typed.
    """

    id: str
    text: str
    menu: str
    keys: str
    help: str
    reason: str
    letters: tuple[int, ...] = ()


def entries(desk: Desk, typed: str = "") -> list[Entry]:
    """Return the actions that answer what was typed, best first; recent ones first among equals.

    Args:
        desk: Session, actions and preferences.
        typed: Words or letters of names, menus and help lines; empty returns every action.
    """
    from circuitscope.app.actions import by_id, walk_menus

    recent = desk.session.preferences.now.recent.actions
    place = {action_id: at for at, action_id in enumerate(recent)}
    found: list[tuple[float, int, int, Entry]] = []
    for order, (menu, action_id) in enumerate(walk_menus()):
        action, made = by_id(action_id), desk.actions[action_id]
        title = made.text().replace("&", "")
        hit = match(typed, title, (tr(menu), tr(action.help), tr(action.text))) if typed else Hit(0)
        if hit is None:
            continue
        keys = made.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        entry = Entry(action_id, title, tr(menu), keys, tr(action.help),
                      action.needs(desk.session), hit.letters)  # fmt: skip
        found.append((-hit.score, place.get(action_id, len(recent)), order, entry))
    return [entry for *_, entry in sorted(found, key=lambda row: row[:3])]


class CommandPalette(QDialog):
    """Type a few letters, Enter does it; arrows choose, Escape leaves."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window, Qt.WindowType.Dialog | Qt.WindowType.FramelessWindowHint)
        self._desk = desk
        self.setObjectName("CommandPalette")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Command palette"))
        self.setAccessibleName(tr("Command palette"))
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        frame = QFrame()
        frame.setProperty("look", "sheet")
        around.addWidget(frame)
        column = QVBoxLayout(frame)
        column.setContentsMargins(STEP, STEP, STEP, STEP)
        column.setSpacing(STEP)
        self.field = QLineEdit()
        self.field.setPlaceholderText(tr("What do you want to do?"))
        self.field.setAccessibleName(tr("Action"))
        self.field.setMinimumHeight(px(34))
        self.list = QListWidget()
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setAccessibleName(tr("Actions"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.list.setItemDelegate(_Row(desk, self.list))
        self._note = text_label("", "small")
        self._note.setContentsMargins(STEP, 0, STEP, 0)
        for widget in (self.field, self.list, self._note):
            column.addWidget(widget)
        self.field.textChanged.connect(self._look)
        self.field.installEventFilter(self)
        self.list.itemClicked.connect(lambda *_: self.take())
        self._look("")
        self.setFixedWidth(min(px(660), desk.window.width() - 80))
        self.list.setFixedHeight(_ROWS * _row_height())
        self._place()

    def _place(self) -> None:
        window = self._desk.window
        left = (window.width() - self.width()) // 2
        self.move(window.mapToGlobal(window.rect().topLeft()).x() + left,
                  window.mapToGlobal(window.rect().topLeft()).y() + 72)  # fmt: skip

    def _look(self, typed: str) -> None:
        found = entries(self._desk, typed)
        self.list.clear()
        for entry in found:
            item = QListWidgetItem()
            item.setData(ENTRY, entry)
            told = (entry.text, entry.menu, entry.keys, entry.reason or entry.help)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, ", ".join(filter(None, told)))
            item.setSizeHint(QSize(0, _row_height()))
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        keys = tr("Enter does it, Escape leaves")
        none = tr("No action is called that. F1 opens the manual.")
        n = plural(len(found), "action", "actions")
        self._note.setText(f"{n} · {keys}" if found else none)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Move through the list and take from it while the cursor stays in the field."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            rows, key = self.list, event.key()
            steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS,
                     Qt.Key.Key_PageUp: -_ROWS}  # fmt: skip
            if key in steps and rows.count():
                row = rows.currentRow() + steps[Qt.Key(key)]
                last = rows.count() - 1
                wraps = abs(steps[Qt.Key(key)]) == 1
                rows.setCurrentRow(row % (last + 1) if wraps else max(0, min(last, row)))
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.take()
                return True
        return super().eventFilter(watched, event)

    def take(self) -> None:
        """Do what is chosen; what cannot be used now says so and stays."""
        item = self.list.currentItem()
        if item is None:
            return
        entry: Entry = item.data(ENTRY)
        if entry.reason:
            self._note.setText(entry.reason)
            return
        self.accept()
        self._desk.session.preferences.add_recent_action(entry.id)
        self._desk.trigger(entry.id)


def _row_height() -> int:
    return px(46)


class _Row(QStyledItemDelegate):
    """Name and menu, keys at the right, and below the help line or the reason."""

    def __init__(self, desk: Desk, parent: QObject) -> None:
        super().__init__(parent)
        self._palette = desk.palette

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:  # fmt: skip
        """Paint one action."""
        entry: Entry = index.data(ENTRY)
        palette, area = self._palette, QRectF(option.rect)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(palette.accent_tint))
            painter.drawRoundedRect(area.adjusted(0, 1, 0, -1), 6, 6)
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(area, QColor(palette.hover))
        inside = area.adjusted(px(10), px(5), -px(10), -px(5))
        right = self._paint_keys(painter, option.font, entry, inside)
        ink = palette.secondary if entry.reason else palette.ink
        x = self._paint_name(painter, option.font, entry, inside, ink)
        small = QFont(option.font)
        small.setPixelSize(px(12))
        painter.setFont(small)
        painter.setPen(QColor(palette.secondary))
        upper = QRectF(x + px(10), inside.top(), max(0.0, right - x - px(20)), inside.height() / 2)
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(upper, flags, _cut(small, entry.menu, upper.width()))
        lower = QRectF(inside.left(), inside.center().y(), inside.width(), inside.height() / 2)
        if entry.reason:
            small.setItalic(True)
            painter.setFont(small)
        painter.drawText(lower, flags, _cut(small, entry.reason or entry.help, lower.width()))
        painter.restore()

    def _paint_keys(self, painter: QPainter, base: QFont, entry: Entry, inside: QRectF) -> float:
        """Paint the shortcut as a key cap; return where it begins."""
        if not entry.keys:
            return inside.right()
        font = QFont(base)
        font.setPixelSize(px(11))
        width = QFontMetricsF(font).horizontalAdvance(entry.keys) + px(12)
        cap = QRectF(inside.right() - width, inside.top(), width, px(18))
        painter.setPen(QColor(self._palette.border))
        painter.setBrush(QColor(self._palette.field))
        painter.drawRoundedRect(cap, 4, 4)
        painter.setFont(font)
        painter.setPen(QColor(self._palette.secondary))
        painter.drawText(cap, Qt.AlignmentFlag.AlignCenter, entry.keys)
        return cap.left()

    def _paint_name(
        self, painter: QPainter, base: QFont, entry: Entry, inside: QRectF, ink: str
    ) -> float:
        """Paint the name, typed letters in the accent; return where it ends."""
        x, typed = inside.left(), set(entry.letters)
        font = QFont(base)
        font.setWeight(QFont.Weight.Medium)
        strong = QFont(font)
        strong.setWeight(QFont.Weight.Bold)
        baseline = inside.top() + inside.height() / 4 + QFontMetricsF(font).capHeight() / 2
        for at, letter in enumerate(entry.text):
            painter.setFont(strong if at in typed else font)
            painter.setPen(QColor(self._palette.accent_ink if at in typed else ink))
            painter.drawText(QPointF(x, baseline), letter)
            x += QFontMetricsF(painter.font()).horizontalAdvance(letter)
        return x


def _cut(font: QFont, text: str, width: float) -> str:
    return QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, width)
