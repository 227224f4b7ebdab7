"""The command palette finds every action, says why some cannot be used, and does the rest."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.actions import ACTIONS
from circuitscope.app.dialogs.command_palette import ENTRY, entries
from circuitscope.app.main_window import MainWindow


def test_every_action_is_found_by_its_own_name_first(drawn: MainWindow) -> None:
    drawn.refresh()
    assert {entry.id for entry in entries(drawn.desk)} == {action.id for action in ACTIONS}
    for action_id, made in drawn.desk.actions.items():
        first = entries(drawn.desk, made.text())[0]
        assert first.id == action_id, (made.text(), first.text)


def test_what_cannot_be_used_gives_its_reason_and_stays(
    drawn: MainWindow, opened: Callable[[str], QWidget], qtbot: QtBot
) -> None:
    drawn.desk.trigger("edit.commands")
    palette = opened("CommandPalette")
    qtbot.keyClicks(palette.field, "ungroup")
    entry = palette.list.currentItem().data(ENTRY)
    assert entry.reason == "Select one or more nodes first."
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert palette.isVisible()
    qtbot.keyClick(palette, Qt.Key.Key_Escape)
    assert not palette.isVisible()


def test_enter_does_it_and_it_comes_first_the_next_time(
    drawn: MainWindow, opened: Callable[[str], QWidget], qtbot: QtBot
) -> None:
    drawn.session.select([3])
    for _ in range(2):
        drawn.desk.trigger("edit.commands")
        palette = opened("CommandPalette")
        if not drawn.session.drawing.of_kind("pin"):
            qtbot.keyClicks(palette.field, "pin")
        assert palette.list.currentItem().data(ENTRY).id == "graph.pin"
        qtbot.keyClick(palette.field, Qt.Key.Key_Return)
        drawn.refresh()
    assert not drawn.session.drawing.of_kind("pin"), "the second time it unpins"


def test_the_shortcut_opens_it(drawn: MainWindow, opened, qtbot: QtBot) -> None:
    drawn.activateWindow()
    qtbot.keyClick(drawn, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = opened("CommandPalette")
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    assert palette.list.currentRow() == 1
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    assert palette.list.currentRow() == palette.list.count() - 1
    palette.reject()
