"""Ask for a name: of a group, of a version."""

from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.theme import px
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import tr


class NameDialog(QDialog):
    """A heading, a field and two buttons; Enter takes the name, Escape leaves."""

    def __init__(self, desk: Desk, heading: str, hint: str, start: str, action: str) -> None:
        super().__init__(desk.window)
        self.setWindowTitle(heading)
        self.setFixedWidth(px(380))
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(8)
        column.addWidget(text_label(heading, "heading"))
        if hint:
            column.addWidget(text_label(hint, "quiet", wrap=True))
        self.field = QLineEdit(start)
        self.field.setAccessibleName(heading)
        self.field.selectAll()
        column.addWidget(self.field)
        column.addSpacing(8)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addStretch()
        row.addWidget(button(tr("Cancel"), "", self.reject))
        self._take = button(action, "primary", self.accept)
        self._take.setDefault(True)
        row.addWidget(self._take)
        column.addLayout(row)
        self.field.textChanged.connect(self._check)
        self._check(start)
        self.field.setFocus()

    def _check(self, text: str) -> None:
        self._take.setEnabled(bool(text.strip()))

    def name(self) -> str:
        """Return what was typed, without the space around it."""
        return self.field.text().strip()


def ask_name(desk: Desk, heading: str, hint: str = "", start: str = "", action: str = "") -> str:
    """Ask for a name; return "" where the user cancels.

    Args:
        desk: Whose window asks.
        heading: What is named.
        hint: A line below it.
        start: The name suggested.
        action: Text of the button.
    """
    dialog = NameDialog(desk, heading, hint, start, action or tr("OK"))
    agreed = dialog.exec() == QDialog.DialogCode.Accepted
    dialog.deleteLater()
    return dialog.name() if agreed else ""
