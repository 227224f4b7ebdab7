"""Tell what went wrong: the message, what is safe, what to do; never a traceback at first sight."""

import logging
import platform
import sys
import traceback
from types import TracebackType

from PySide6.QtCore import Qt, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from circuitscope import __version__
from circuitscope.app.theme import LIGHT, pixmap, px
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import tr
from circuitscope.core.errors import CircuitScopeError

log = logging.getLogger(__name__)


class MessageDialog(QDialog):
    """A picture, a heading, and a few sentences; as high as these are."""

    WORDS_WIDE = 412

    def __init__(
        self, parent: QWidget | None, picture: str, color: str, heading: str, *texts: str
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("CircuitScope")
        self.column = QVBoxLayout(self)
        # A minimum of the dialog itself would come too late: its height would be that of
        # words wrapped in fewer pixels.
        self.column.addStrut(px(self.WORDS_WIDE))
        self.column.setContentsMargins(24, 24, 24, 16)
        self.column.setSpacing(16)
        row = QHBoxLayout()
        row.setSpacing(16)
        image = QLabel()
        image.setPixmap(pixmap(picture, color, 24))
        row.addWidget(image, 0, Qt.AlignmentFlag.AlignTop)
        words = QVBoxLayout()
        words.setSpacing(8)
        for at, text in enumerate((heading, *texts)):
            if text:
                made = text_label(text, "heading" if at == 0 else "quiet", wrap=True)
                made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                words.addWidget(made)
        row.addLayout(words, 1)
        self.column.addLayout(row)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(8)
        self.buttons.addStretch()
        self.column.addLayout(self.buttons)


def show_error(parent: QWidget | None, error: CircuitScopeError) -> MessageDialog:
    """Show what happened, what is kept and what to do."""
    dialog = MessageDialog(
        parent, "triangle-alert", LIGHT.negative, error.message, error.kept, error.hint
    )
    close = button(tr("OK"), "primary", dialog.accept)
    close.setDefault(True)
    dialog.buttons.addWidget(close)
    dialog.setObjectName("ErrorDialog")
    dialog.open()
    return dialog


def crash_report(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> str:
    """Return what a bug report needs: versions and the traceback."""
    lines = traceback.format_exception(kind, error, trace)
    where = f"CircuitScope {__version__}, Python {platform.python_version()}, Qt {qVersion()}"
    return f"{where}, {platform.platform()}\n\n{''.join(lines)}"


class CrashDialog(MessageDialog):
    """A fault of the program itself: a report to copy, and the promise that the drawing is safe."""

    WORDS_WIDE = 572

    def __init__(self, parent: QWidget | None, report: str) -> None:
        super().__init__(
            parent, "triangle-alert", LIGHT.error,
            tr("Something in CircuitScope went wrong."),
            tr("Your drawing is safe: every change is kept in the working copy, "
               "and the program can go on."),
            tr("If it happens again, please copy the report and send it to us."),
        )  # fmt: skip
        self.report = report
        field = QPlainTextEdit(report)
        field.setReadOnly(True)
        field.setAccessibleName(tr("Report"))
        field.setMinimumHeight(200)
        self.column.insertWidget(self.column.count() - 1, field)
        copy = button(tr("Copy report"), "", self._copy)
        close = button(tr("Continue"), "primary", self.accept)
        close.setDefault(True)
        self.buttons.addWidget(copy)
        self.buttons.addWidget(close)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.report)


def excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Tell of an exception that nothing else caught; installed as `sys.excepthook`."""
    from PySide6.QtWidgets import QApplication

    if issubclass(kind, KeyboardInterrupt) or QApplication.instance() is None:
        sys.__excepthook__(kind, error, trace)
        return
    parent = QApplication.activeWindow()
    cause = error.__cause__ if not isinstance(error, CircuitScopeError) else error
    if isinstance(cause, CircuitScopeError):
        show_error(parent, cause)
        return
    log.error("a fault was shown to the user", exc_info=(kind, error, trace))
    if not any(isinstance(widget, CrashDialog) for widget in QApplication.topLevelWidgets()):
        CrashDialog(parent, crash_report(kind, error, trace)).open()
