"""Who did what in a project: traces, imports, every edit, in order of time."""

from datetime import datetime

from PySide6.QtCore import QDate, QLocale, Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QHeaderView, QLabel, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.narrowing import Narrowing
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import px
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
        self.resize(px(860), px(560))
        project = desk.session.project
        self._events = project.log() if project is not None else []
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(12)
        self.table = self._made_table()
        self.filter = Narrowing(self.table, tr("Filter by name, circuit or edit"))
        column.addWidget(self.filter)
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

    def _told(self) -> QLabel:
        author = self._desk.session.preferences.now.projects.author
        words = tr("Your edits are written down as “{0}”; the preferences have your name.").format(
            author or tr("a person")
        )
        return text_label(words, "note", wrap=True)

    def _made_table(self) -> Table:
        names = tr("When"), tr("Who"), tr("Where"), tr("What")
        table = Table(tr("Events, oldest first"), tuple(map(Column, names)), self._desk.palette)
        for event in self._events:
            look = "quiet" if event.undone else ""
            what = f"{event.what} ({tr('undone')})" if event.undone else event.what
            told = (Cell(shown_time(event.when), style="quiet", key=event.when),
                    Cell(event.who, style=look), Cell(event.where, style=look),
                    Cell(what, style=look))  # fmt: skip
            table.add(told).setToolTip(3, what)
        header = table.header()
        for at, width in ((0, 136), (1, 136), (2, 160)):
            header.setSectionResizeMode(at, QHeaderView.ResizeMode.Interactive)
            table.setColumnWidth(at, px(width))
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        if rows := table.rows():
            table.setCurrentItem(rows[-1])
            table.scrollToItem(rows[-1])
            table.clearSelection()
        return table

    def _copy(self) -> None:
        self.table.copy()
        n = len(self.table.cells(chosen=True)) - 1
        self._desk.window.say(tr("{0} copied").format(plural(n, "line", "lines")))

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
    day = QDate(local.year, local.month, local.day)
    date = QLocale().toString(day, QLocale.FormatType.ShortFormat)
    return f"{date} {local:%H:%M:%S}"
