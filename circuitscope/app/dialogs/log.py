"""Who did what in a project: traces, imports, every edit, in order of time."""

from datetime import datetime

from PySide6.QtCore import QLocale, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import plural, tr
from circuitscope.project.journal import Event


class LogDialog(QDialog):
    """A table with a filter; the text of it can be copied."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("LogDialog")
        self.setWindowTitle(tr("Who did what"))
        self.resize(820, 560)
        project = desk.session.project
        self._events = project.log() if project is not None else []
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(12)
        head = QHBoxLayout()
        head.addWidget(text_label(tr("Who did what"), "heading"), 1)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(tr("Filter by name, circuit or edit"))
        self.filter.setAccessibleName(tr("Filter"))
        self.filter.setClearButtonEnabled(True)
        self.filter.setFixedWidth(260)
        self.filter.textChanged.connect(self._narrow)
        head.addWidget(self.filter)
        column.addLayout(head)
        self.table = self._made_table()
        column.addWidget(self.table, 1)
        column.addWidget(self._told())
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(button(tr("Copy"), "", self._copy))
        row.addStretch()
        close = button(tr("Close"), "primary", self.reject)
        close.setDefault(True)
        row.addWidget(close)
        column.addLayout(row)
        self.table.setFocus()

    def _told(self):
        author = self._desk.session.preferences.now.projects.author
        words = tr("Your edits are written down as “{0}”; the preferences have your name.").format(
            author or tr("a person")
        )
        return text_label(words, "note", wrap=True)

    def _made_table(self) -> QTreeWidget:
        table = QTreeWidget()
        table.setAccessibleName(tr("Events, oldest first"))
        table.setRootIsDecorated(False)
        table.setUniformRowHeights(True)
        table.setAlternatingRowColors(True)
        table.setHeaderLabels([tr("When"), tr("Who"), tr("Where"), tr("What")])
        quiet = QColor(self._desk.palette.secondary)
        for event in self._events:
            what = f"{event.what} ({tr('undone')})" if event.undone else event.what
            item = QTreeWidgetItem([shown_time(event.when), event.who, event.where, what])
            item.setToolTip(3, what)
            item.setToolTip(2, event.where)
            for at in range(4):
                if event.undone or at == 0:
                    item.setForeground(at, quiet)
            table.addTopLevelItem(item)
        header = table.header()
        for at in range(3):
            header.setSectionResizeMode(at, QHeaderView.ResizeMode.Interactive)
            table.resizeColumnToContents(at)
            table.setColumnWidth(at, min(table.columnWidth(at) + 12, 220))
        header.setStretchLastSection(True)
        if self._events:
            last = table.topLevelItem(len(self._events) - 1)
            table.setCurrentItem(last)
            table.scrollToItem(last)
        return table

    def _narrow(self, text: str) -> None:
        words = text.casefold().split()
        for at in range(self.table.topLevelItemCount()):
            item = self.table.topLevelItem(at)
            line = " ".join(item.text(column) for column in range(4)).casefold()
            item.setHidden(not all(word in line for word in words))

    def _copy(self) -> None:
        lines = [
            "\t".join((event.when, event.who, event.where,
                       f"{event.what} (undone)" if event.undone else event.what))
            for at, event in enumerate(self._events)
            if not self.table.topLevelItem(at).isHidden()
        ]  # fmt: skip
        QGuiApplication.clipboard().setText("\n".join(lines))
        said = tr("{0} copied").format(plural(len(lines), "line", "lines"))
        self._desk.window.say(said)

    @property
    def events(self) -> list[Event]:
        """Return what is listed."""
        return self._events


def shown_time(when: str) -> str:
    """Return a file's UTC time in the reader's own, short; the text itself where it is none."""
    try:
        local = datetime.fromisoformat(when).astimezone()
    except ValueError:
        return when[:40]
    date = QLocale().toString(local.date(), QLocale.FormatType.ShortFormat)
    return f"{date} {local:%H:%M:%S}"
