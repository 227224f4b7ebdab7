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
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QRadioButton,
    QScrollArea,
    QTextEdit,
    QWidget,
)
from pytestqt.qtbot import QtBot

from circuitscope.app.actions import ACTIONS
from circuitscope.app.application import Application
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.widgets import ElidedLabel

CONTROLS = (QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox,
            QLineEdit, QPlainTextEdit, QTextEdit)  # fmt: skip
OPENED = ("view.table", "help.manual", "help.shortcuts", "help.about", "trace.new", "trace.model",
          "file.export", "edit.preferences", "trace.lens", "trace.words", "edit.commands",
          "graph.look", "graph.suggest", "file.log", "verify.sweep", "verify.measure")  # fmt: skip
THEMES = ("light", "dark", "contrast")


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


@pytest.fixture(params=OPENED)
def dialog(drawn: MainWindow, request: pytest.FixtureRequest, qtbot: QtBot) -> Iterator[QDialog]:
    """Open one dialog after the other."""
    assert request.param in {known.id for known in ACTIONS}
    drawn.session.select([3])
    QApplication.processEvents()
    drawn.desk.trigger(request.param)
    qtbot.wait(30)
    found = [d for d in QApplication.topLevelWidgets() if isinstance(d, QDialog) and d.isVisible()]
    assert found
    yield found[-1]
    for one in found:
        one.reject()
    qtbot.wait(10)


def _reached(inside: QWidget) -> list[QWidget]:
    return [
        w for w in _controls(inside)
        if w.isVisibleTo(inside) and w.isEnabled() and w.focusPolicy() & Qt.FocusPolicy.TabFocus
    ]  # fmt: skip


def test_every_control_of_a_dialog_has_a_name(dialog: QDialog) -> None:
    assert not _nameless(dialog)


def test_no_caption_of_a_dialog_is_cut(dialog: QDialog) -> None:
    cut = [
        label.text() for label in dialog.findChildren(QLabel)
        if label.isVisibleTo(dialog) and label.text() and not label.wordWrap()
        and not isinstance(label, ElidedLabel) and label.width() < label.sizeHint().width()
    ]  # fmt: skip
    assert not cut


def test_the_tab_key_goes_to_every_control_of_a_dialog_and_round(
    dialog: QDialog, qtbot: QtBot
) -> None:
    dialog.parentWidget().activateWindow()
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    controls = _reached(dialog)
    if not controls:
        return
    controls[0].setFocus(Qt.FocusReason.TabFocusReason)
    seen: list[QWidget] = []
    for _ in range(4 * len(controls) + 8):
        here = QApplication.focusWidget()
        if here is None or (seen and here is seen[0]):
            break
        seen.append(here)
        dialog.focusNextPrevChild(True)
    radios = [w for w in controls if isinstance(w, QRadioButton)]  # one of a group is reached
    assert not [w for w in seen if isinstance(w, QScrollArea)], "nothing is done there"
    missed = [w for w in controls if w not in seen and w not in radios]
    assert not missed, [w.accessibleName() or w for w in missed]


@pytest.mark.parametrize("theme", THEMES)
def test_what_has_the_focus_looks_different_in_every_theme(
    started: Application, theme: str, qtbot: QtBot
) -> None:
    before = started.window
    started.session.preferences.change("appearance", theme=theme)
    qtbot.waitUntil(lambda: theme == "system" or started.window is not before, timeout=3000)
    started.window.desk.trigger("trace.new")
    dialog = next(w for w in started.app.topLevelWidgets() if isinstance(w, TraceDialog))
    qtbot.waitExposed(dialog)
    qtbot.wait(100)
    started.window.activateWindow()
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    for control in _reached(dialog):
        if isinstance(control, QAbstractItemView | QPlainTextEdit | QTextEdit):
            continue
        control.clearFocus()
        QApplication.processEvents()
        without = control.grab().toImage()
        control.setFocus(Qt.FocusReason.TabFocusReason)
        QApplication.processEvents()
        assert control.hasFocus()
        assert control.grab().toImage() != without, (theme, control.accessibleName(), control)
    dialog.reject()
