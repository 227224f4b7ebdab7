"""Colour and shape: by hand, by rule, undone, and in the exported figures with their legends."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.dialogs.looks import LooksDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.rows import GROUP_COLORS
from circuitscope.exchange.figure import Shape
from circuitscope.exchange.theme import PRINT
from circuitscope.graph.looks import rules_of


@pytest.fixture
def dialog(drawn: MainWindow, qtbot: QtBot) -> LooksDialog:
    drawn.desk.trigger("graph.look")
    found = drawn.findChild(LooksDialog)
    qtbot.waitExposed(found)
    return found


def choose(choice, color: str, shape: str) -> None:
    choice.color.setCurrentIndex(choice.color.findData(color))
    choice.shape.setCurrentIndex(choice.shape.findData(shape))


def test_a_rule_colours_the_graph_its_legend_and_the_figures(
    drawn: MainWindow, dialog: LooksDialog, qtbot: QtBot, tmp_path: Path
) -> None:
    session = drawn.session
    dialog.query.setText("kind:feature")
    choose(dialog.rule, "rose", "square")
    qtbot.mouseClick(dialog.add_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.rules.topLevelItemCount() == 1)
    assert session.undo_text == "Colour and shape by “kind:feature”"
    graph = drawn.findChild(LinkGraphView)
    scene, node = graph.scene, session.circuit.nodes.find("feature/mlp_out/1/7/88")
    assert scene.glyph[node] == Shape.SQUARE
    assert scene.colors[scene.color[node]] == drawn.desk.palette.group("rose")
    assert any(entry.text == "kind:feature" for entry in graph._legend)
    for what in ("link", "circuit"):
        file = tmp_path / f"{what}.svg"
        session.export(file, what=what)
        svg = file.read_text("utf-8")
        assert ">kind:feature<" in svg
        assert PRINT.hue("rose").lower() in svg.lower()
    session.undo()
    assert graph.scene.glyph[node] == Shape.DISC
    qtbot.waitUntil(lambda: dialog.rules.topLevelItemCount() == 0)


def test_the_selected_nodes_are_given_a_look_by_hand_and_lose_it_again(
    drawn: MainWindow, dialog: LooksDialog, qtbot: QtBot
) -> None:
    session = drawn.session
    assert not dialog.apply_button.isEnabled()
    session.select([3, 4])
    assert dialog.apply_button.isEnabled()
    choose(dialog.hand, GROUP_COLORS[2], "ring")
    dialog.apply()
    scene = drawn.findChild(LinkGraphView).scene
    assert [scene.glyph[n] for n in (3, 4)] == [Shape.RING, Shape.RING]
    choose(dialog.hand, "", "")
    dialog.apply()
    assert not session.drawing.of_kind("look")
    assert session.undo_text == "Change the look of 2 nodes"


def test_a_condition_that_is_not_understood_is_told_and_changes_nothing(
    drawn: MainWindow, dialog: LooksDialog
) -> None:
    dialog.query.setText("colour:red")
    choose(dialog.rule, "rose", "")
    dialog.add_rule()
    assert "colour:" in dialog.told.text()
    assert not rules_of(drawn.session.drawing.rows)
    dialog.query.setText("kind:feature")
    choose(dialog.rule, "", "")
    dialog.add_rule()
    assert "needs a condition, and a colour or a shape" in dialog.told.text()
    choose(dialog.rule, "", "disc")
    dialog.add_rule()
    ((name, row),) = rules_of(drawn.session.drawing.rows)
    assert row["shape"] == "disc"
    dialog._fill()
    dialog.rules.topLevelItem(0).setSelected(True)
    dialog.remove_rule()
    assert not drawn.session.drawing.row("look_rule", name)


def test_attention_and_mlp_are_switched_off_and_counted(drawn: MainWindow) -> None:
    session = drawn.session
    before = int(session.shown().nodes.sum())
    assert drawn.desk.actions["view.mlp"].isChecked()
    drawn.desk.trigger("view.mlp")
    drawn.refresh()
    assert not drawn.desk.actions["view.mlp"].isChecked()
    assert drawn.desk.actions["view.attention"].isChecked()
    left = session.shown().nodes
    assert int(left.sum()) < before
    assert session.view().filter == "-kind:mlp"
    session.set_view(filter="layer:0-9 -kind:mlp")
    drawn.desk.trigger("view.mlp")
    assert session.view().filter == "layer:0-9"


def test_the_dialog_hears_nothing_once_it_is_closed(
    drawn: MainWindow, dialog: LooksDialog, qtbot: QtBot
) -> None:
    dialog.accept()
    qtbot.waitUntil(lambda: drawn.findChild(LooksDialog) is None)
    drawn.session.select([3])
    drawn.session.set_view(node_threshold=0.5)
    qtbot.wait(10)
