"""Help without leaving the window: the list of shortcuts, and what this program is."""

import platform

from PySide6.QtCore import Qt, qVersion
from PySide6.QtGui import QIcon, QKeySequence
from PySide6.QtWidgets import QDialog, QHeaderView, QLabel, QVBoxLayout

from circuitscope import __version__
from circuitscope.app.desk import Desk
from circuitscope.app.narrowing import Narrowing
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import app_icon, px
from circuitscope.app.widgets import MARGIN, STEP, button, text_label
from circuitscope.app.words import tr
from circuitscope.core.places import state_home


class ShortcutsDialog(QDialog):
    """Every action with its menu, its keys and its help line, in a table with a filter."""

    def __init__(self, desk: Desk) -> None:
        from circuitscope.app.actions import by_id, walk_menus

        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Keyboard shortcuts"))
        self.resize(px(860), px(640))
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, MARGIN)
        column.setSpacing(12)
        names = tr("Action"), tr("Menu"), tr("Keys"), tr("What it does")
        self.table = Table(tr("Actions and their keys"), tuple(map(Column, names)), desk.palette)
        for menu, action_id in walk_menus():
            action = by_id(action_id)
            keys = ", ".join(QKeySequence(key).toString() for key in action.keys)
            self.table.add(
                (
                    Cell(tr(action.text)),
                    Cell(tr(menu), style="quiet"),
                    Cell(keys),
                    Cell(tr(action.help), style="quiet"),
                )
            ).setToolTip(3, tr(action.help))
        header = self.table.header()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        self.filter = Narrowing(self.table, tr("Filter by name, key or what it does"))
        column.addWidget(self.filter)
        column.addWidget(self.table, 1)
        note = tr("Single letters work while the graph has the focus. In the graph: Shift-click "
                  "adds to the selection, Ctrl-click pins, Space-drag moves.")  # fmt: skip
        column.addWidget(text_label(note, "note", wrap=True))
        close = button(tr("Close"), on_click=self.accept)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)


class AboutDialog(QDialog):
    """Version, licences and where the user's own files are kept."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("About CircuitScope"))
        self.setFixedWidth(px(440))
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
