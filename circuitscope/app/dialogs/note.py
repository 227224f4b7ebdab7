"""Ask for the text of a note: several lines of Markdown."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.theme import px
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import tr


class NoteDialog(QDialog):
    """A heading, a field of several lines and two buttons; Ctrl+Enter takes it, Escape leaves."""

    def __init__(self, desk: Desk, heading: str, hint: str, start: str) -> None:
        super().__init__(desk.window)
        self.setObjectName("NoteDialog")
        self.setWindowTitle(heading)
        self.setFixedWidth(px(420))
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(8)
        column.addWidget(text_label(heading, "heading"))
        column.addWidget(text_label(hint, "quiet", wrap=True))
        self.field = QPlainTextEdit(start)
        self.field.setAccessibleName(heading)
        self.field.setTabChangesFocus(True)
        self.field.setPlaceholderText(tr("**bold**, *italic*, # heading, - list"))
        self.field.setMinimumHeight(120)
        column.addWidget(self.field)
        row = QHBoxLayout()
        row.addWidget(text_label(tr("Ctrl+Enter keeps it"), "small"), 1)
        row.addWidget(button(tr("Cancel"), "", self.reject))
        self.keep = button(tr("Keep"), "primary", self.accept)
        row.addWidget(self.keep)
        column.addLayout(row)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            QShortcut(QKeySequence(keys), self, self._take)
        self.field.textChanged.connect(self._check)
        self._check()
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _check(self) -> None:
        self.keep.setEnabled(bool(self.text()))

    def _take(self) -> None:
        if self.text():
            self.accept()

    def text(self) -> str:
        """Return what was typed."""
        return self.field.toPlainText().strip()


def ask_note(desk: Desk, heading: str, hint: str, start: str) -> str:
    """Ask for a text of several lines; return "" where the user cancels."""
    dialog = NoteDialog(desk, heading, hint, start)
    agreed = dialog.exec() == QDialog.DialogCode.Accepted
    dialog.deleteLater()
    return dialog.text() if agreed else ""
