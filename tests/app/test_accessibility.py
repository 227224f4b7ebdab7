"""Every control of the panels and dialogs says what it is."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from circuitscope.app.actions import ACTIONS
from circuitscope.app.main_window import MainWindow

CONTROLS = (QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox,
            QLineEdit, QPlainTextEdit, QTextEdit)  # fmt: skip
OPENED = ("view.table", "help.manual", "help.shortcuts", "help.about", "trace.new", "trace.model",
          "file.export", "edit.preferences", "trace.lens")  # fmt: skip


def _controls(inside: QWidget) -> Iterator[QWidget]:
    for widget in inside.findChildren(QWidget):
        # Qt's own parts of its composite widgets answer through those.
        around = (widget.parent(), widget.parent().parent())
        part = any(isinstance(outer, QComboBox | QAbstractSpinBox) for outer in around)
        part = part or widget.objectName().startswith("qt_")
        reached = widget.focusPolicy() != Qt.FocusPolicy.NoFocus
        if isinstance(widget, CONTROLS) and reached and not part:
            yield widget


def _nameless(inside: QWidget) -> list[str]:
    found = []
    for widget in _controls(inside):
        text = widget.text() if isinstance(widget, QAbstractButton) else ""
        if not (widget.accessibleName() or text):
            found.append(f"{type(widget).__name__} in {type(widget.parent()).__name__}")
    return found


def test_every_control_of_every_panel_has_a_name(drawn: MainWindow) -> None:
    for chosen in ((), (3,), (3, 4)):
        drawn.session.select(chosen)
        QApplication.processEvents()
        assert not _nameless(drawn)


@pytest.mark.parametrize("action", OPENED)
def test_every_control_of_a_dialog_has_a_name(drawn: MainWindow, action: str) -> None:
    assert action in {known.id for known in ACTIONS}
    drawn.desk.trigger(action)
    QApplication.processEvents()
    dialogs = [d for d in drawn.findChildren(QDialog) if d.isVisible()]
    assert dialogs
    for dialog in dialogs:
        assert not _nameless(dialog)
        dialog.reject()
