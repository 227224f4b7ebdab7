"""The list of shortcuts: a table like any other."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from circuitscope.app.actions import walk_menus
from circuitscope.app.dialogs.help import ShortcutsDialog
from circuitscope.app.main_window import MainWindow


def test_shortcuts_are_found_sorted_and_copied(window: MainWindow) -> None:
    dialog = ShortcutsDialog(window.desk)
    assert len(dialog.table.rows()) == len(list(walk_menus()))
    dialog.filter.setText("graph ungroup")
    assert [row.text(0) for row in dialog.table.rows() if not row.isHidden()] == ["Ungroup"]
    dialog.table.copy()
    heading, line = QGuiApplication.clipboard().text().splitlines()
    assert heading == "Action\tMenu\tKeys\tWhat it does"
    assert line.startswith("Ungroup\tGraph\tShift+G\t")
    dialog.filter.clear()
    dialog.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    names = [row.text(0).casefold() for row in dialog.table.rows()]
    assert names == sorted(names)
    dialog.reject()
