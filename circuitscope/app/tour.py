"""The tour: a card in the corner and a ring around what is meant, over the work, never before it.

Each step ends by itself when the user has really done it; nothing is done for them and nothing is
blocked. It can be left at any time, which is remembered, and begun again from the Help menu.
"""

from PySide6.QtCore import QEvent, QObject, QRect, Qt, QTimer
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget
from shiboken6 import isValid

from circuitscope.app.main_window import MainWindow
from circuitscope.app.theme import Palette, px
from circuitscope.app.tour_steps import steps
from circuitscope.app.widgets import MARGIN, STEP, button, section, text_label
from circuitscope.app.words import tr

_LOOK_MS = 200
_ROOM = 4


def begin_tour(window: MainWindow, at: int = 0) -> "Tour":
    """Show the tour in a window, from a step on; one that is shown already begins anew."""
    if (known := window.findChild(Tour)) is not None:
        known.end()
    return Tour(window, at)


class Tour(QFrame):
    """The card with the present step.

    Attributes:
        at: Number of the present step, from 0; as many as there are steps at the end.
    """

    def __init__(self, window: MainWindow, at: int = 0) -> None:
        super().__init__(window)
        self._window, self._steps, self.at = window, steps(), at
        self._ring: Ring | None = None
        window.session.exported = None
        self.setObjectName("Tour")
        self.setProperty("look", "sheet")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(px(272))
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, 12, MARGIN, 12)
        column.setSpacing(STEP)
        self._count = section("")
        self._title = text_label("", "heading", wrap=True)
        self._text = text_label("", "", wrap=True)
        for label in (self._count, self._title, self._text):
            column.addWidget(label)
        row = QHBoxLayout()
        row.setSpacing(STEP)
        self.leave_button = button(tr("Leave the tour"), "link", self.leave)
        self.next_button = button(tr("Skip step"), "", self.go_on)
        row.addWidget(self.leave_button)
        row.addStretch()
        row.addWidget(self.next_button)
        column.addLayout(row)
        window.installEventFilter(self)
        self._clock = QTimer(self)
        self._clock.setInterval(_LOOK_MS)
        self._clock.timeout.connect(self.look)
        self._clock.start()
        self._show_step()
        self.show()
        self.raise_()

    def _show_step(self) -> None:
        n = len(self._steps)
        over = self.at >= n
        if over:
            count, title = tr("Tour"), tr("That was the whole way")
            text = tr("Trace… explains a sentence of your own, in this model or in yours. F1 opens "
                      "the manual, Ctrl+K finds any action.")  # fmt: skip
        else:
            count = tr("Step {0} of {1}").format(self.at + 1, n)
            title, text = self._steps[self.at].title, self._steps[self.at].text
        self._count.setText(count.upper())
        self._title.setText(title)
        self._text.setText(text)
        self.leave_button.setVisible(not over)
        self.next_button.setText(tr("Close") if over else tr("Skip step"))
        self.setAccessibleName(tr("Tour") + ". " + self._title.text())
        self.setAccessibleDescription(self._text.text())
        self._place()

    def _place(self) -> None:
        """Stand in a lower corner: the left one, on the start page the empty right one."""
        # Height for width: labels that wrap tell their height only for the width they get.
        self.resize(self.width(), self.layout().totalHeightForWidth(self.width()))
        bottom = self._window.statusBar().geometry().top()
        on_start = self._window.session.project is None
        left = self._window.width() - self.width() - STEP if on_start else STEP
        self.move(left, bottom - self.height() - STEP)

    def look(self) -> None:
        """See whether the step is done, and where the next one is."""
        if self.at < len(self._steps) and self._steps[self.at].done(self._window):
            self.go_on()
        place = None
        if self.at < len(self._steps):
            place = self._steps[self.at].place(self._window)
        self._point(place)

    def _point(self, place: tuple[QWidget, QRect] | None) -> None:
        top = place[0].window() if place is not None else None
        if self._ring is not None and not isValid(self._ring):  # it went with its dialog
            self._ring = None
        if self._ring is not None and self._ring.parentWidget() is not top:
            self._ring.hide()
            self._ring.deleteLater()
            self._ring = None
        if place is None or top is None:
            return
        if self._ring is None:
            self._ring = Ring(top, self._window.palette_)
        widget, part = place
        part = part & widget.rect()
        corner = widget.mapTo(top, part.topLeft())
        self._ring.surround(QRect(corner, part.size()))

    def go_on(self) -> None:
        """Go to the next step; after the last word the card goes."""
        if self.at >= len(self._steps):
            self.end()
            return
        self.at += 1
        if self.at >= len(self._steps):
            self._remember("done")
        self._show_step()

    def leave(self) -> None:
        """Go, and do not come back unasked."""
        self._remember("left")
        self.end()

    def _remember(self, tour: str) -> None:
        self._window.session.preferences.change("learning", tour=tour)

    def end(self) -> None:
        """Take card and ring away."""
        self._clock.stop()
        self._window.removeEventFilter(self)
        self._point(None)
        self.hide()
        self.setParent(None)
        self.deleteLater()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave on Escape, where a button of the card has the focus."""
        if event.key() == Qt.Key.Key_Escape:
            self.leave()
        else:
            super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner when the window changes its size."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            QTimer.singleShot(0, self, self._place)
        return False


class Ring(QWidget):
    """A ring around a part of a window; clicks go through it."""

    def __init__(self, top: QWidget, palette: Palette) -> None:
        super().__init__(top)
        self._color = palette.accent
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def surround(self, part: QRect) -> None:
        """Lie around a part of the window, in its coordinates."""
        around = part.adjusted(-_ROOM, -_ROOM, _ROOM, _ROOM)
        if around != self.geometry() or not self.isVisible():
            self.setGeometry(around)
            self.show()
        self.raise_()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the ring."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self._color), 2.5))
        painter.drawRoundedRect(self.rect().adjusted(2, 2, -2, -2), 6, 6)
        painter.end()
