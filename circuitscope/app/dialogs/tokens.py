"""Tokens as dialogs show them: the field they are typed into, chips with ids, probabilities."""

from collections.abc import Iterable

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QVBoxLayout, QWidget
from superqt import QFlowLayout

from circuitscope.app.desk import Desk
from circuitscope.app.theme import px
from circuitscope.app.widgets import clear, text_label
from circuitscope.app.words import probability, shown_token, tr
from circuitscope.engine.requests import Alternative, PromptPreview

PLACEHOLDER = "the capital of the state containing Dallas is"
_NAME, _NUMBER = 112, 56


class PromptField(QPlainTextEdit):
    """The prompt; Return generates, Tab leaves."""

    generate_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(px(58))
        self.setTabChangesFocus(True)
        self.setAccessibleName(tr("Prompt"))
        self.setPlaceholderText(tr(PLACEHOLDER))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Generate on Return; Shift+Return makes a new line."""
        is_return = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_return and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.generate_wanted.emit()
        else:
            super().keyPressEvent(event)


class ProbabilityBar(QWidget):
    """A token that could stand here, with its probability as a bar."""

    def __init__(self, desk: Desk, choice: Alternative, *, strong: bool) -> None:
        super().__init__()
        self._desk, self._share = desk, choice.probability
        self._strong = strong
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        name = text_label(shown_token(choice.text), "strong" if strong else "")
        name.setFixedWidth(px(_NAME))
        name.setToolTip(f"id {choice.token_id}")
        number = text_label(probability(choice.probability), "" if strong else "quiet")
        number.setFixedWidth(px(_NUMBER))
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(name)
        row.addStretch()
        row.addWidget(number)
        self.setFixedHeight(px(24))
        self.setMinimumWidth(px(300))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the bar between name and number."""
        palette, painter = self._desk.palette, QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        left, top = px(_NAME) + 8, self.height() / 2 - 3
        width = self.width() - left - px(_NUMBER) - 8
        painter.setBrush(QColor(palette.field))
        painter.drawRoundedRect(left, round(top), width, 6, 3, 3)
        painter.setBrush(QColor(palette.accent if self._strong else palette.feature))
        painter.drawRoundedRect(left, round(top), max(6, round(width * self._share)), 6, 3, 3)
        painter.end()

    def sizeHint(self) -> QSize:
        """Ask for room for name, bar and number."""
        return QSize(px(340), px(24))


class TokenStrip(QWidget):
    """A prompt's tokens as the model sees them: text above, id below, special ones in italics."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(tr("Tokens of the prompt"))
        self._flow = flow_in(self)

    def show_tokens(self, found: PromptPreview) -> None:
        """Show a prompt."""
        clear(self._flow)
        for token_id, text, special in zip(found.ids, found.texts, found.specials, strict=True):
            chip = QLabel(f"{shown_token(text)}\n{token_id}")
            chip.setTextFormat(Qt.TextFormat.PlainText)
            chip.setAlignment(Qt.AlignmentFlag.AlignCenter)
            chip.setProperty("look", "badge-plain")
            if special:
                font = chip.font()
                font.setItalic(True)
                chip.setFont(font)
            chip.setToolTip(f"id {token_id}" + (tr(", a special token") if special else ""))
            self._flow.addWidget(chip)

    def texts(self) -> list[str]:
        """Return what the chips say."""
        items = [self._flow.itemAt(at) for at in range(self._flow.count())]
        return [item.widget().text() for item in items]

    def forget(self) -> None:
        """Show nothing."""
        clear(self._flow)


def flow_in(box: QWidget) -> QFlowLayout:
    """Lay a widget's children out like words on lines."""
    flow = QFlowLayout(box)
    flow.setContentsMargins(0, 0, 0, 0)
    flow.setSpacing(4)
    return flow


class NextTokens(QWidget):
    """The likeliest next tokens, while a prompt is typed."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(text_label(tr("What would come next"), "small"))
        self._bars = QVBoxLayout()
        self._bars.setSpacing(0)
        column.addLayout(self._bars)
        self.shown: tuple[Alternative, ...] = ()
        self.hide()

    def show_tokens(self, following: Iterable[Alternative]) -> None:
        """Show tokens and their probabilities; hide where there are none."""
        clear(self._bars)
        self.shown = tuple(following)
        for at, choice in enumerate(self.shown):
            self._bars.addWidget(ProbabilityBar(self._desk, choice, strong=at == 0))
        self.setVisible(bool(self.shown))
