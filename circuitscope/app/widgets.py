"""Small widgets that several panels share: labels by look, hairlines, bars, empty states."""

from collections.abc import Callable

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QDockWidget,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.theme import Palette, icon, pixmap
from circuitscope.app.words import tr

MARGIN = 16
STEP = 8


def scrolled(inside: QWidget) -> QScrollArea:
    """Put a widget into a scroll area that shows the background it lies on.

    What is in it takes the keyboard's focus and scrolls into view; the area itself does not.
    """
    area = QScrollArea()
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    show_in(area, inside)
    return area


def show_in(area: QScrollArea, inside: QWidget) -> None:
    """Show another widget in a scroll area of `scrolled`."""
    area.setWidget(inside)
    area.viewport().setAutoFillBackground(False)
    inside.setAutoFillBackground(False)


def look(widget: QWidget, name: str) -> None:
    """Give a widget one of the style sheet's looks; works again after a change."""
    if widget.property("look") == name:
        return
    widget.setProperty("look", name)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def text_label(text: str, style: str = "", *, wrap: bool = False) -> QLabel:
    """Make a label of plain text in one of the looks."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if style:
        made.setProperty("look", style)
    return made


class ElidedLabel(QLabel):
    """A label that shows as much of its text as fits, with an ellipsis for the rest.

    superqt has one, but importing superqt takes a third of the time in which the window starts.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._whole = text

    def text(self) -> str:
        """Return the whole text."""
        return self._whole

    def setText(self, text: str) -> None:
        """Show another text."""
        self._whole = text
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the text to another width."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Fit the text to another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        room = self.contentsRect().width()
        shown = self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideRight, room)
        if shown != super().text():
            super().setText(shown)


def elided(text: str, style: str = "") -> ElidedLabel:
    """Make a label that is shortened with an ellipsis where it does not fit."""
    made = ElidedLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setToolTip(text)
    made.setMinimumWidth(24)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    if style:
        made.setProperty("look", style)
    return made


def section(text: str) -> QLabel:
    """Make a section title in small spaced capitals."""
    return text_label(text.upper(), "section")


def hairline() -> QFrame:
    """Make a horizontal hairline."""
    made = QFrame()
    made.setProperty("look", "line")
    made.setFixedHeight(1)
    return made


def button(text: str, style: str = "", on_click: Callable[[], object] | None = None) -> QPushButton:
    """Make a push button that does not become the dialog's default by itself."""
    made = QPushButton(text)
    made.setAutoDefault(False)
    if style:
        made.setProperty("look", style)
    if on_click is not None:
        made.clicked.connect(lambda *_: on_click())
    return made


class SpinBox(QSpinBox):
    """Take a whole number; the text stands as far from the edge as in other fields."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _set_in(self)


class RealBox(QDoubleSpinBox):
    """Take a number; the text stands as far from the edge as in other fields."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _set_in(self)


def _set_in(box: QSpinBox | QDoubleSpinBox) -> None:
    # Qt places the text of a styled spin box without the style's padding.
    box.lineEdit().setTextMargins(6, 0, 6, 0)


def clear(layout: QLayout) -> None:
    """Remove and delete everything in a layout."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.setParent(None)
            widget.deleteLater()
        elif (inner := item.layout()) is not None:
            clear(inner)


class ShareBar(QWidget):
    """Show a share between -1 and 1 as a bar; sign by colour, and the number stands beside it."""

    def __init__(self, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette
        self._share = 0.0
        self.setFixedSize(76, 16)

    def set_share(self, share: float) -> None:
        """Show another share."""
        self._share = share
        self.setAccessibleName(f"{100 * share:.0f} %")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the groove and the bar, at least a dot wide where there is anything to show."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        height, width = 7.0, float(self.width())
        groove = QRectF(0, (self.height() - height) / 2, width, height)
        painter.setBrush(QColor(self._palette.field))
        painter.drawRoundedRect(groove, height / 2, height / 2)
        size = min(abs(self._share), 1.0)
        if size > 0:
            color = self._palette.positive if self._share > 0 else self._palette.negative
            painter.setBrush(QColor(color))
            groove.setWidth(max(height, size * width))
            painter.drawRoundedRect(groove, height / 2, height / 2)
        painter.end()


class Dot(QWidget):
    """Show a small coloured disc or square, such as a group's hue or the engine's state."""

    def __init__(self, color: str, size: int = 10, *, square: bool = False) -> None:
        super().__init__()
        self._color, self._size, self._square = color, size, square
        self.setFixedSize(QSize(size, size))

    def set_color(self, color: str) -> None:
        """Show another colour."""
        self._color = color
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the disc or the square."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._color))
        radius = 2.5 if self._square else self._size / 2
        painter.drawRoundedRect(QRectF(0, 0, self._size, self._size), radius, radius)
        painter.end()


class Clickable(QFrame):
    """A frame that acts like a button: mouse, Return and Space."""

    clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("look", "row")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Count as a click when the button is let go inside."""
        inside = self.rect().contains(event.position().toPoint())
        if event.button() is Qt.MouseButton.LeftButton and inside:
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Count Return and Space as a click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)


class EmptyState(QWidget):
    """Say why a place is empty and what would fill it."""

    def __init__(self, palette: Palette, picture: str, heading: str, text: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 24, 24, 24)
        self.column.setSpacing(STEP)
        self.column.addStretch(2)
        image = QLabel()
        image.setPixmap(pixmap(picture, palette.faint, 28))
        for widget in (image, text_label(heading, "heading"), text_label(text, "quiet", wrap=True)):
            widget.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self.column.addWidget(widget)
        self.column.addStretch(3)

    def add_button(self, made: QPushButton) -> None:
        """Offer a way out below the text."""
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(made)
        row.addStretch()
        self.column.insertLayout(self.column.count() - 1, row)


class DockHead(QWidget):
    """The title bar of a dock: a section title, and a close button while the mouse is over it."""

    def __init__(self, title: str, dock: QDockWidget, palette: Palette) -> None:
        super().__init__(dock)
        self.setObjectName("PanelHead")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN, 10, STEP, 2)
        row.addWidget(section(title))
        row.addStretch()
        self._close = QToolButton()
        self._close.setProperty("look", "close")
        self._close.setIcon(icon("x", palette, palette.secondary))
        self._close.setFixedSize(20, 20)
        self._close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._close.setToolTip(tr("Close this panel; Window brings it back"))
        self._close.setAccessibleName(tr("Close {0}").format(title))
        self._close.clicked.connect(dock.close)
        keep = self._close.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self._close.setSizePolicy(keep)
        self._close.hide()
        row.addWidget(self._close)

    def enterEvent(self, event: QEnterEvent) -> None:
        """Show the close button."""
        self._close.show()

    def leaveEvent(self, event: QEvent) -> None:
        """Hide the close button."""
        self._close.hide()
