"""An error inside a dialog: what happened, what to do, the line to copy, and a fix to click."""

import re
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from circuitscope.app.widgets import button, clear, text_label
from circuitscope.app.words import tr
from circuitscope.core.errors import CircuitScopeError

_COMMAND = re.compile(r"^(?:hf|pip|python) .+$", re.MULTILINE)


def split_commands(text: str) -> tuple[str, list[str]]:
    """Return a hint's sentences, and the lines in it that are to be typed."""
    return _COMMAND.sub("", text).strip(), _COMMAND.findall(text)


class ErrorBox(QFrame):
    """Say what is wrong on a tinted ground; hidden while nothing is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("look", "warning")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(12, 8, 12, 8)
        self._column.setSpacing(6)
        self.commands: list[str] = []
        self.hide()

    def show_error(
        self, error: CircuitScopeError, fix: str = "", on_fix: Callable[[], object] | None = None
    ) -> None:
        """Show an error.

        Args:
            error: What happened.
            fix: Text of a button that mends it; "" where nothing can be clicked.
            on_fix: What the button does.
        """
        clear(self._column)
        sentences, self.commands = split_commands(error.hint)
        self._column.addWidget(_selectable(error.message, "strong"))
        if sentences:
            self._column.addWidget(_selectable(sentences, ""))
        for command in self.commands:
            self._column.addLayout(self._command_row(command))
        if fix and on_fix is not None:
            self._column.addWidget(button(fix, "primary", on_fix), 0, Qt.AlignmentFlag.AlignLeft)
        self.setAccessibleName(f"{error.message} {sentences}")
        self.show()

    def forget(self) -> None:
        """Show nothing."""
        self.commands = []
        clear(self._column)
        self.hide()

    def _command_row(self, command: str) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        field = QLineEdit(command)
        field.setReadOnly(True)
        field.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        field.setCursorPosition(0)
        field.setToolTip(command)
        field.setAccessibleName(tr("Line to type in a terminal"))
        row.addWidget(field, 1)
        copy = button(tr("Copy"), "", lambda: QApplication.clipboard().setText(command))
        copy.setToolTip(tr("Copy the line, to paste it into a terminal"))
        row.addWidget(copy)
        return row


def _selectable(text: str, style: str) -> QWidget:
    made = text_label(text, style, wrap=True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made
