"""The project tree: drawings, runs and notes beside circuits; all of it undoable."""

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QTreeWidgetItem
from pytestqt.qtbot import QtBot

from circuitscope.app.commands import contents, evidence
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.project_tree import KIND, THING, ProjectTree
from circuitscope.core.badges import Outcome
from circuitscope.core.binding import Binding
from circuitscope.core.shipped import shipped_path
from circuitscope.project import verbs
from circuitscope.project.runs import add_runs

_CTRL = Qt.KeyboardModifier.ControlModifier
CITY = "token/embed/-1/6/8"


@pytest.fixture
def tree(drawn: MainWindow) -> ProjectTree:
    return drawn.findChild(ProjectTree)


def lines(tree: ProjectTree, heading: str) -> list[str]:
    tree.rebuild()
    root = next(tree.topLevelItem(i) for i in range(tree.topLevelItemCount())
                if tree.topLevelItem(i).text(0) == heading)  # fmt: skip
    return [root.child(i).text(0) for i in range(root.childCount())]


def item_of(tree: ProjectTree, kind: str, text: str) -> QTreeWidgetItem:
    tree.rebuild()
    return next(i for i in tree._items() if i.data(0, KIND) == kind and i.text(0).startswith(text))


def test_drawings_are_made_switched_renamed_and_deleted(
    drawn: MainWindow, tree: ProjectTree, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    session.edit(verbs.pin, CITY)
    first = session.active_drawing
    monkeypatch.setattr(contents, "ask_name", lambda *_: "Figure 2")
    drawn.desk.trigger("project.new_drawing")
    assert lines(tree, "Drawings") == ["Drawing 1", "Figure 2"]
    assert session.drawing.row("pin", CITY) is None
    tree.setCurrentItem(item_of(tree, "drawing", "Drawing 1"))
    assert session.active_drawing == first
    item_of(tree, "drawing", "Figure 2").setText(0, "Figure 3")
    assert lines(tree, "Drawings") == ["Drawing 1", "Figure 3"]
    tree.setCurrentItem(item_of(tree, "drawing", "Figure 3"))
    qtbot.keyClick(tree, Qt.Key.Key_Delete)
    assert lines(tree, "Drawings") == ["Drawing 1"]
    assert session.active_drawing == first
    drawn.desk.trigger("edit.undo")
    assert lines(tree, "Drawings") == ["Drawing 1", "Figure 3"]


def test_a_drawing_is_duplicated_by_key(drawn: MainWindow, tree: ProjectTree, qtbot: QtBot) -> None:
    drawn.session.edit(verbs.pin, CITY)
    tree.setCurrentItem(item_of(tree, "drawing", "Drawing 1"))
    qtbot.keyClick(tree, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    assert lines(tree, "Drawings") == ["Drawing 1", "Drawing 1 2"]
    assert drawn.session.active_drawing != drawn.session.active
    assert drawn.session.drawing.row("pin", CITY) == {}


def test_the_first_drawing_cannot_be_deleted_and_the_menu_says_why(drawn: MainWindow) -> None:
    drawn.refresh()
    action = drawn.desk.actions["project.delete_drawing"]
    assert not action.isEnabled()
    assert "first drawing" in action.toolTip()


def test_runs_and_notes_select_what_they_are_about(
    drawn: MainWindow, tree: ProjectTree, qtbot: QtBot, qapp: QApplication
) -> None:
    session = drawn.session
    node = session.circuit.nodes.find(CITY)
    told = Outcome("node", (CITY,), "logit", "zero", 1.0, 0.9, 0.1, 0.01, 100)
    session.edit(add_runs, [told])
    session.edit(verbs.note, "why *this* city?", about=Binding((CITY,)))
    qapp.processEvents()
    (run,) = lines(tree, "Runs")
    assert run.endswith("supported")
    tree.setCurrentItem(item_of(tree, "run", run))
    assert session.selection == (node,)
    session.select([])
    tree.setCurrentItem(item_of(tree, "note", "why"))
    assert session.selection == (node,)
    for kind in ("note", "run"):
        tree.setCurrentItem(next(i for i in tree._items() if i.data(0, KIND) == kind))
        qtbot.keyClick(tree, Qt.Key.Key_Delete)
    assert lines(tree, "Runs") == lines(tree, "Notes") == ["none yet"]
    session.undo()
    session.undo()
    assert len(lines(tree, "Runs")) == 1


def test_project_notes_are_added_and_duplicated(
    drawn: MainWindow, tree: ProjectTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "ask_name", lambda *_: "Ask Ada")
    drawn.desk.trigger("project.note")
    line = item_of(tree, "text", "Ask Ada")
    contents.duplicate(drawn.desk, "text", line.data(0, THING))
    assert lines(tree, "Notes") == ["Ask Ada", "Ask Ada"]


def test_an_imported_circuit_cannot_be_traced_again_and_says_why(
    drawn: MainWindow, tree: ProjectTree
) -> None:
    item = next(i for i in tree._items() if i.data(0, KIND) == "finding")
    again = next(a for a in tree.menu_of(item).actions() if "again" in a.text())
    known = "targets" in drawn.session.circuit.provenance.settings
    assert again.isEnabled() is known


def test_ctrl_and_a_click_pick_the_second_circuit_of_a_comparison(
    window: MainWindow, tmp_path: Path, qapp: QApplication
) -> None:
    target = tmp_path / "capitals.circuitscope"
    shutil.copy(shipped_path("projects", "atlas") / "capitals.circuitscope", target)
    window.open_path(target)
    window.show()
    qapp.processEvents()
    tree, session = window.findChild(ProjectTree), window.session
    shown = session.active
    names = [info.name for info in session.project.findings() if info.kind == "circuit"]
    last = next(name for name in reversed(names) if session.project.finding(name).id != shown)
    item = item_of(tree, "finding", last)
    tree.scrollToItem(item)
    spot = tree.visualItemRect(item).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, _CTRL, spot)
    assert session.active == shown
    assert "Second circuit" in item_of(tree, "finding", last).toolTip(0)
    dialog = evidence.compare(window.desk)
    assert (dialog.chosen.a, dialog.chosen.b) == (shown, session.project.finding(last).id)
    dialog.reject()
    spot = tree.visualItemRect(item_of(tree, "finding", last)).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, _CTRL, spot)
    assert window.desk.second == ""
