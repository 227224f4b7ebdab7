"""Paste a link of Neuronpedia: its pins, groups and labels for an imported graph; no network."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, give_size, text_label
from circuitscope.app.words import error_words, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.session.work import take_link

_SHARED = "neuronpedia.org/"


class LinkDialog(QDialog):
    """A field for the link; what could not be used is told before the dialog closes."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("LinkDialog")
        self.setWindowTitle(tr("Use a Neuronpedia link"))
        give_size(self, 560, 320)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(12)
        column.addWidget(text_label(tr("Use a Neuronpedia link"), "heading"))
        column.addWidget(text_label(
            tr("Pins, groups, labels and the threshold in the link replace those of this drawing, "
               "as one edit that undo takes back. The link is only read; nothing is fetched."),
            "quiet", wrap=True,
        ))  # fmt: skip
        self.field = QPlainTextEdit()
        self.field.setAccessibleName(tr("Link"))
        self.field.setPlaceholderText("https://www.neuronpedia.org/…/graph?slug=…&pinnedIds=…")
        self.field.setTabChangesFocus(True)
        copied = QGuiApplication.clipboard().text().strip()
        if _SHARED in copied and "\n" not in copied:
            self.field.setPlainText(copied)
        column.addWidget(self.field, 1)
        self.told = text_label("", "small", wrap=True)
        column.addWidget(self.told)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addStretch()
        self.leave = button(tr("Cancel"), "", self.reject)
        self.use = button(tr("Use link"), "primary", self.take)
        self.use.setDefault(True)
        row.addWidget(self.leave)
        row.addWidget(self.use)
        column.addLayout(row)
        self.field.textChanged.connect(self._check)
        self._check()
        self.field.setFocus()

    def _check(self) -> None:
        self.use.setEnabled(bool(self.field.toPlainText().strip()))
        self.told.setText("")

    def take(self) -> None:
        """Take the view of the link; close where all of it could be used."""
        session = self._desk.session
        assert session.project is not None
        try:
            remarks = take_link(session.project, session.active, self.field.toPlainText())
        except CircuitScopeError as error:
            self.told.setText(error_words(error))
            return
        self._desk.window.refresh()
        if not remarks:
            self.accept()
            return
        self.told.setText(tr("Taken. {0}").format(" ".join(remarks)))
        self.leave.setText(tr("Close"))
        self.use.setEnabled(False)
