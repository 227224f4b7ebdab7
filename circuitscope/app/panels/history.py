"""The history panel: every edit of this drawing, a click goes back or forward to it."""

from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QResizeEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.name import ask_name
from circuitscope.app.later import Later
from circuitscope.app.theme import icon, px
from circuitscope.app.widgets import STEP, button, text_label
from circuitscope.app.words import tr
from circuitscope.project.edit import Edit

ENTRY = Qt.ItemDataRole.UserRole
CHECKPOINT = Qt.ItemDataRole.UserRole + 1
SHOWN = 500
_UNHURRIED_MS = 200
_LINE = 26


class _WholeLines(QListWidget):
    """A list that shows whole lines only: what is left of its height stays empty below."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        rest = (self.height() - 2 * self.frameWidth()) % px(_LINE)
        self.setViewportMargins(0, 0, 0, rest)


class HistoryPanel(QWidget):
    """List the edits, newest first; what was undone is greyed, checkpoints carry a diamond."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("PanelBody")
        self.setProperty("look", "desk")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = QVBoxLayout(self)
        column.setContentsMargins(STEP, 4, STEP, STEP)
        column.setSpacing(4)
        self._empty = text_label(
            tr("Each change of the drawing is listed here."), "quiet", wrap=True
        )
        self._empty.setContentsMargins(STEP, 0, STEP, 0)
        column.addWidget(self._empty)
        self._list = _WholeLines()
        self._list.setAccessibleName(tr("History"))
        self._list.setUniformItemSizes(True)
        self._list.setIconSize(QSize(14, 14))
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.itemActivated.connect(self._go)
        self._list.itemClicked.connect(self._go)
        column.addWidget(self._list, 1)
        column.addStretch()
        foot = QHBoxLayout()
        foot.setContentsMargins(STEP, 0, STEP, 0)
        self._keep = button(tr("Keep this version…"), "link", self._add_checkpoint)
        self._keep.setToolTip(tr("Name the drawing as it is now, so that you can return to it."))
        foot.addWidget(self._keep)
        foot.addStretch()
        column.addLayout(foot)
        self._later = Later(self, self.rebuild)
        desk.watch.edited.connect(self._edited)
        for signal in (desk.watch.active, desk.watch.project):
            signal.connect(lambda *_: self._later.within())
        self.rebuild()

    def _edited(self, edit: Edit) -> None:
        only_view = all(key.kind == "view" for key in edit.after)
        self._later.within(_UNHURRIED_MS if only_view else 0)

    def rebuild(self) -> None:
        """Read the history of the active drawing again."""
        drawing = self._desk.session.drawing
        self._list.clear()
        entries = drawing.history()[-SHOWN:] if drawing is not None else []
        kept = drawing.checkpoints() if drawing is not None else []
        self._empty.setVisible(not entries and not kept)
        self._list.setVisible(bool(entries) or bool(kept))
        self._keep.setVisible(drawing is not None)
        if drawing is None or not (entries or kept):
            return
        done = [entry for entry in entries if not entry.undone]
        now = done[-1].id if done else 0
        lines = [(entry.when, self._entry_item(entry, is_now=entry.id == now)) for entry in entries]
        lines += [(checkpoint.when, self._checkpoint_item(checkpoint)) for checkpoint in kept]
        first = entries[0].when if entries else ""
        drawn = bool(kept) and (not first or kept[0].when < first)
        start = QListWidgetItem(tr("Start") if drawn else tr("As traced"))
        start.setData(ENTRY, 0)
        start.setSizeHint(QSize(0, px(_LINE)))
        self._list.clear()
        # Times are in whole seconds: of two edits in one second the later one is listed first.
        for _, item in reversed(sorted(lines, key=lambda line: line[0])):  # noqa: C413
            self._list.addItem(item)
        self._list.addItem(start)
        if not now:
            start.setSelected(True)
        for row in range(self._list.count()):
            if self._list.item(row).data(ENTRY) == now:
                self._list.setCurrentRow(row)

    def _entry_item(self, entry: Any, *, is_now: bool) -> QListWidgetItem:
        item = QListWidgetItem(entry.label)
        item.setData(ENTRY, entry.id)
        item.setSizeHint(QSize(0, px(_LINE)))
        item.setToolTip(tr("Go to this state") if not is_now else tr("The drawing as it is now"))
        if entry.undone:
            item.setForeground(QColor(self._desk.palette.faint))
        if is_now:
            font = item.font()
            font.setBold(True)
            item.setFont(font)
        return item

    def _checkpoint_item(self, checkpoint: Any) -> QListWidgetItem:
        palette = self._desk.palette
        item = QListWidgetItem(icon("star", palette, palette.accent_ink), checkpoint.name)
        item.setData(CHECKPOINT, checkpoint.id)
        item.setSizeHint(QSize(0, px(_LINE)))
        item.setToolTip(tr("A kept version; a click returns to it, and can be undone"))
        return item

    def _go(self, item: QListWidgetItem) -> None:
        drawing = self._desk.session.drawing
        if drawing is None:
            return
        if (kept := item.data(CHECKPOINT)) is not None:
            drawing.restore(kept)
        elif (entry := item.data(ENTRY)) is not None:
            drawing.go_to(entry)

    def _add_checkpoint(self) -> None:
        hint = tr("Such as “figure 2, first version”. A click on it returns to this drawing.")
        if name := ask_name(self._desk, tr("Keep this version"), hint, "", tr("Keep")):
            self._desk.session.drawing.add_checkpoint(name)
            self.rebuild()
