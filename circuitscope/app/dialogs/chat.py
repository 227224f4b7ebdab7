"""A conversation to be written out by the model's chat template: roles and what they say."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QPlainTextEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.theme import icon, px
from circuitscope.app.widgets import button
from circuitscope.app.words import tr
from circuitscope.engine.requests import Chat

ROLES = ("system", "user", "assistant")


class ChatBox(QWidget):
    """Messages, one under the other, and whether the answer is to begin after them."""

    changed = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self._turns = QVBoxLayout()
        self._turns.setSpacing(6)
        column.addLayout(self._turns)
        row = QHBoxLayout()
        row.addWidget(button(tr("Add a message"), "link", self.add))
        row.addStretch()
        self.generation_prompt = QCheckBox(tr("End where the answer begins"))
        self.generation_prompt.setChecked(True)
        self.generation_prompt.setToolTip(
            tr("Adds the template's generation prompt, after which the assistant speaks")
        )
        self.generation_prompt.toggled.connect(lambda *_: self.changed.emit())
        row.addWidget(self.generation_prompt)
        column.addLayout(row)
        self.rows: list[ChatTurn] = []
        self.add("user")

    def add(self, role: str = "", text: str = "") -> "ChatTurn":
        """Add a message; its role follows the one before where it is left out."""
        last = self.rows[-1].role.currentData() if self.rows else "system"
        made = ChatTurn(self._desk, role or ("assistant" if last == "user" else "user"), text)
        made.changed.connect(self.changed)
        made.removed.connect(lambda: self._remove(made))
        self.rows.append(made)
        self._turns.addWidget(made)
        self.changed.emit()
        return made

    def _remove(self, row: "ChatTurn") -> None:
        if len(self.rows) > 1:
            self.rows.remove(row)
            self._turns.removeWidget(row)
            row.deleteLater()
            self.changed.emit()

    def chat(self) -> Chat:
        """Return the conversation; messages without a word are left out."""
        turns = [(row.role.currentData(), row.field.toPlainText().strip()) for row in self.rows]
        said = tuple((role, text) for role, text in turns if text)
        return Chat(said, self.generation_prompt.isChecked())


class ChatTurn(QWidget):
    """One message: who says it and what."""

    changed = Signal()
    removed = Signal()

    def __init__(self, desk: Desk, role: str, text: str) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        self.role = QComboBox()
        for name in ROLES:
            self.role.addItem(tr(name), name)
        self.role.setCurrentIndex(ROLES.index(role))
        self.role.setFixedWidth(px(104))
        self.role.setAccessibleName(tr("Role"))
        self.role.currentIndexChanged.connect(lambda *_: self.changed.emit())
        self.field = QPlainTextEdit(text)
        self.field.setFixedHeight(px(44))
        self.field.setTabChangesFocus(True)
        self.field.setAccessibleName(tr("Message"))
        self.field.textChanged.connect(self.changed)
        away = QToolButton()
        away.setProperty("look", "close")
        away.setIcon(icon("x", desk.palette, desk.palette.secondary))
        away.setFixedSize(22, 22)
        away.setToolTip(tr("Remove this message"))
        away.setAccessibleName(tr("Remove this message"))
        away.clicked.connect(lambda *_: self.removed.emit())
        row.addWidget(self.role, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.field, 1)
        row.addWidget(away, 0, Qt.AlignmentFlag.AlignTop)
