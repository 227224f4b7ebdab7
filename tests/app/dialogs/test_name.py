"""Asking for a name: Enter takes it, Escape gives none, an empty one cannot be taken."""

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.name import NameDialog, ask_name
from circuitscope.app.main_window import MainWindow


@pytest.mark.parametrize(("key", "answer"), [
    (Qt.Key.Key_Return, "the state"), (Qt.Key.Key_Escape, ""),
])  # fmt: skip
def test_a_name_is_asked_for(window: MainWindow, qtbot: QtBot, key: Qt.Key, answer: str) -> None:
    def reply() -> None:
        dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, NameDialog))
        qtbot.keyClicks(dialog.field, " the state ")
        qtbot.keyClick(dialog.field, key)

    QTimer.singleShot(50, reply)
    assert ask_name(window.desk, "Group 2 nodes") == answer


def test_an_empty_name_cannot_be_taken(window: MainWindow) -> None:
    dialog = NameDialog(window.desk, "Group", "", "Texas", "Group")
    assert dialog._take.isEnabled()
    dialog.field.setText("  ")
    assert not dialog._take.isEnabled()
