"""Help without leaving the window: the list of shortcuts, and what this program is."""

import platform

from PySide6.QtCore import QSize, Qt, qVersion
from PySide6.QtGui import QColor, QIcon, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from circuitscope import __version__
from circuitscope.app.desk import Desk
from circuitscope.app.theme import app_icon
from circuitscope.app.widgets import MARGIN, STEP, button, text_label
from circuitscope.app.words import tr
from circuitscope.core.places import state_home


class ShortcutsDialog(QDialog):
    """Every action with its keys and its help line, by menu, with a filter."""

    def __init__(self, desk: Desk) -> None:
        from circuitscope.app.actions import by_id, walk_menus

        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Keyboard shortcuts"))
        self.resize(720, 640)
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.setSpacing(STEP)
        self._filter = QLineEdit()
        self._filter.setAccessibleName(tr("Find an action"))
        self._filter.setProperty("look", "search")
        self._filter.setPlaceholderText(tr("Filter…"))
        self._filter.textChanged.connect(self._apply)
        column.addWidget(self._filter)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(3)
        self.tree.setHeaderHidden(True)
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(0)
        self.tree.setAccessibleName(tr("Actions and their keys"))
        secondary = QColor(desk.palette.secondary)
        title = ""
        for menu, action_id in walk_menus():
            action = by_id(action_id)
            if menu != title:
                title = menu
                self._heading(tr(menu), secondary)
            keys = ", ".join(QKeySequence(key).toString() for key in action.keys)
            item = QTreeWidgetItem(self.tree, [tr(action.text), keys, tr(action.help)])
            item.setForeground(2, secondary)
            item.setToolTip(2, tr(action.help))
            item.setSizeHint(0, QSize(190, 26))
        header = self.tree.header()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        column.addWidget(self.tree, 1)
        note = tr("Single letters work while the graph has the focus. In the graph: Shift-click "
                  "adds to the selection, Ctrl-click pins, Space-drag moves.")  # fmt: skip
        column.addWidget(text_label(note, "note", wrap=True))
        close = button(tr("Close"), on_click=self.accept)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)

    def _heading(self, text: str, color: QColor) -> None:
        item = QTreeWidgetItem(self.tree, [text])
        item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        font = item.font(0)
        font.setWeight(font.Weight.DemiBold)
        item.setFont(0, font)
        item.setForeground(0, color)
        item.setSizeHint(0, QSize(190, 34))

    def _apply(self, text: str) -> None:
        words = text.lower().split()
        for row in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(row)
            line = " ".join(item.text(at) for at in range(3)).lower()
            item.setHidden(bool(words) and not all(word in line for word in words))


class AboutDialog(QDialog):
    """Version, licences and where the user's own files are kept."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("About CircuitScope"))
        self.setFixedWidth(440)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, MARGIN)
        column.setSpacing(STEP)
        image = QLabel()
        image.setPixmap(QIcon(app_icon()).pixmap(48, 48))
        column.addWidget(image)
        column.addWidget(text_label("CircuitScope", "title"))
        line = tr("See, test and publish the circuits inside a language model, "
                  "on your own machine.")  # fmt: skip
        column.addWidget(text_label(line, "", wrap=True))
        versions = f"{__version__} · Python {platform.python_version()} · Qt {qVersion()}"
        column.addWidget(text_label(versions, "quiet"))
        licences = tr("Apache-2.0. Uses Qt under the LGPL, the Inter typeface under the OFL and "
                      "Lucide icons under the ISC licence.")  # fmt: skip
        column.addWidget(text_label(licences, "small", wrap=True))
        kept = text_label(tr("Working copies, logs: {0}").format(state_home()), "small", wrap=True)
        kept.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addWidget(kept)
        close = button(tr("Close"), "", self.accept)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)
