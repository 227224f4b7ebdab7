"""A sweep in the window: a heat map, by mouse and keyboard, whose cells become a circuit."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.sweep import SweepDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.keys import NodeKind

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"


def test_cells_of_a_sweep_become_a_circuit(
    window: MainWindow, tiny_gpt2: Path, finish_jobs: Callable, qtbot: QtBot
) -> None:
    session = window.session
    session.load_model(tiny_gpt2, device="cpu")
    finish_jobs(session)
    window.desk.trigger("verify.sweep")
    dialog = window.findChild(SweepDialog)
    assert not dialog.run_button.isEnabled()
    dialog.clean.setText(CLEAN)
    dialog.corrupted.setText("the capital")
    dialog.answer.setText("Austin")
    dialog.against.setText("Sacramento")
    assert dialog.run_button.isEnabled()
    dialog.run()
    finish_jobs(session)
    assert "tokens" in dialog._told.text()
    assert dialog.grid is None
    dialog.corrupted.setText(OTHER)
    dialog.run()
    finish_jobs(session)
    assert dialog.grid.values.shape == (2, 9)
    dialog.map.choose([(0, 7)])
    assert "Only heads and MLPs" in dialog.make_button.toolTip()
    dialog.component.setCurrentIndex(dialog.component.findData("head_z"))
    dialog.run()
    finish_jobs(session)
    assert dialog.map.chosen == ()
    assert not dialog.make_button.isEnabled()
    heat = dialog.map
    place = heat.cell_rect(1, 2).center().toPoint()
    assert heat.cell_at(place) == (1, 2)
    qtbot.mouseClick(heat, Qt.MouseButton.LeftButton, pos=place)
    assert heat.chosen == ((1, 2),)
    assert "comes back" in dialog._told.text()
    qtbot.keyClick(heat, Qt.Key.Key_Down)
    qtbot.keyClick(heat, Qt.Key.Key_Space)
    assert heat.chosen == ((1, 2), (0, 2))
    qtbot.keyClick(heat, Qt.Key.Key_Space)
    assert heat.chosen == ((1, 2),)
    assert not heat.grab().isNull()
    dialog.make()
    circuit = session.circuit
    assert [NodeKind(int(kind)) for kind in circuit.nodes.kind] == [NodeKind.HEAD, NodeKind.LOGIT]
    dialog.close()


def test_attention_is_multiplied_with_one_prompt(
    window: MainWindow, tiny_gpt2: Path, finish_jobs: Callable
) -> None:
    session = window.session
    session.load_model(tiny_gpt2, device="cpu")
    finish_jobs(session)
    window.desk.trigger("verify.sweep")
    dialog = window.findChild(SweepDialog)
    dialog.component.setCurrentIndex(dialog.component.findData("pattern"))
    assert dialog.corrupted.isHidden()
    assert not dialog.key.isHidden()
    dialog.clean.setText(CLEAN)
    dialog.answer.setText("Austin")
    dialog.key.setValue(7)
    assert dialog.run_button.isEnabled()
    dialog.run()
    finish_jobs(session)
    assert dialog.grid.axes == ("layer", "head")
    assert "Dallas" in dialog._told.text()
    dialog.map._point((1, 2))
    assert "the answer changes by" in dialog._told.text()
    assert "Only heads and MLPs" in dialog.make_button.toolTip()
    dialog.key.setValue(40)
    dialog.run()
    finish_jobs(session)
    assert "no position 40" in dialog._told.text()
    dialog.component.setCurrentIndex(0)
    assert dialog.key.isHidden()
    dialog.close()
