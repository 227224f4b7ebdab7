"""The list of tests sorts by numbers, is copied, and selects what was tested wherever it stands."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.verify import VerifyPanel
from circuitscope.core.badges import Outcome
from circuitscope.project.runs import add_runs

EFFECTS = (-2.5, 0.25, 1.5)


@pytest.fixture
def panel(drawn: MainWindow, qtbot: QtBot) -> VerifyPanel:
    session = drawn.session
    keys = [str(session.circuit.nodes.key(n)) for n in (3, 4, 5)]
    root = str(session.circuit.nodes.key(int(session.circuit.roots[0])))
    session.edit(add_runs, [
        Outcome("node", (key,), root, "zero", effect, effect, 0.1, 0.01, 100)
        for key, effect in zip(keys, EFFECTS, strict=True)
    ])  # fmt: skip
    panel = drawn.findChild(VerifyPanel)
    qtbot.waitUntil(lambda: panel.table.topLevelItemCount() == 3)
    return panel


def test_a_sorted_list_still_selects_and_removes_what_its_rows_say(
    drawn: MainWindow, panel: VerifyPanel, qtbot: QtBot
) -> None:
    panel.table.sortItems(2, Qt.SortOrder.DescendingOrder)
    shown = [row.thing.tested.effect for row in panel.table.rows()]
    assert shown == sorted(EFFECTS, reverse=True)
    panel.table.setCurrentItem(panel.table.topLevelItem(2))
    assert [run.tested.effect for run in panel.chosen()] == [-2.5]
    assert drawn.session.selection == (3,)
    panel.remove_chosen()
    qtbot.waitUntil(lambda: panel.table.topLevelItemCount() == 2)
    assert {row.thing.tested.effect for row in panel.table.rows()} == {0.25, 1.5}


def test_the_list_is_copied_with_numbers_as_machines_read_them(panel: VerifyPanel) -> None:
    panel.table.copy()
    head, *lines = QApplication.clipboard().text().splitlines()
    assert head.split("\t")[:4] == ["What", "Badge", "Effect", "Predicted"]
    assert {float(line.split("\t")[2]) for line in lines} == set(EFFECTS)
