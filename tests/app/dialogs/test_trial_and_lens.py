"""Trying changes and reading the lens in the window, on a tiny real model."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.lens import LensDialog
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.dialogs.trial import TrialDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, TraceSettings

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture
def traced(window: MainWindow, tiny_llama: Path, finish_jobs: Callable) -> MainWindow:
    session = window.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    session.trace(TraceSettings(PROMPT, max_nodes=64))
    finish_jobs(session)
    return window


def test_selected_nodes_are_tried_before_and_after(
    traced: MainWindow, finish_jobs: Callable
) -> None:
    session = traced.session
    kinds = session.circuit.nodes.kind
    head = int((kinds == NodeKind.HEAD).nonzero()[0][-1])
    neuron = int((kinds == NodeKind.NEURON).nonzero()[0][-1])
    root = int(session.circuit.roots[0])
    session.select([root])
    traced.refresh()
    assert not traced.desk.actions["trace.try"].isEnabled()
    assert "Select a feature" in traced.desk.actions["trace.try"].toolTip()
    session.select([head, neuron, root])
    traced.desk.trigger("trace.try")
    dialog = traced.findChild(TrialDialog)
    assert dialog.nodes == [head, neuron]
    dialog.run()
    finish_jobs(session)
    assert dialog._stack.currentIndex() == 2
    assert session.circuit.prompt in session.jobs.jobs[-1].title
    found = session.jobs.jobs[-1].result
    assert any(shift.before != shift.after for shift in found.shifts)
    assert len(dialog.before.text().split()) == len(found.before)
    dialog.mode.setCurrentIndex(dialog.mode.findData("swap"))
    assert not dialog.try_button.isEnabled()
    dialog.other.setText("the")
    dialog.where.setCurrentIndex(1)
    assert [change.positions for change in dialog.changes()] == [None, None]
    dialog.run()
    finish_jobs(session)
    assert "equal length" in dialog._told.text()
    dialog.close()


def test_a_cell_of_the_lens_becomes_a_target(
    window: MainWindow, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = window.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    window.desk.trigger("trace.lens")
    dialog = window.findChild(LensDialog)
    assert dialog._stack.currentIndex() == 1
    dialog.field.setPlainText(PROMPT)
    dialog.read()
    finish_jobs(session)
    cells = dialog.table.cells
    assert (cells.rowCount(), cells.columnCount()) == (3, 9)
    assert cells.headerData(0, Qt.Orientation.Vertical) == "L1"
    assert cells.headerData(2, Qt.Orientation.Vertical) == "embedding"
    assert dialog.table.currentIndex().column() == 8
    qtbot.keyClick(dialog.table, Qt.Key.Key_Down)
    qtbot.keyClick(dialog.table, Qt.Key.Key_Left)
    index = dialog.table.currentIndex()
    assert (index.row(), index.column()) == (1, 7)
    token_id = cells.grid.ids[(1 * 9 + 7) * 5]
    assert cells.listed(index)[0][0] == token_id
    dialog.trace_button.click()
    trace = window.findChild(TraceDialog)
    assert trace.settings().targets == (Logit(token_id, 7),)
    assert trace.settings().prompt == PROMPT
    assert trace.prompt.name().endswith("after “Dallas”")
    trace.prompt.field.setPlainText("the capital of")
    assert trace.settings().targets == (Logit(),)
    finish_jobs(session)
    trace.close()
    dialog.close()


def test_without_a_model_both_say_what_is_missing(drawn: MainWindow) -> None:
    session = drawn.session
    features = (session.circuit.nodes.kind == NodeKind.FEATURE).nonzero()[0]
    session.select([int(features[0])])
    dialog = TrialDialog(drawn.desk)
    lens = LensDialog(drawn.desk)
    for job in session.jobs.jobs:
        session.jobs.cancel(job)
    assert session.model.state == "none"
    assert dialog._stack.currentIndex() == 0
    assert not dialog.try_button.isEnabled()
    assert "model" in dialog.reason()
    assert lens._stack.currentIndex() == 0
    assert not lens.read_button.isEnabled()
    dialog.close()
    lens.close()


def test_entries_of_attention_are_multiplied(traced: MainWindow, finish_jobs: Callable) -> None:
    session = traced.session
    dialog = TrialDialog(traced.desk, "1.2:7<-4 x 0")
    dialog.show()
    assert dialog.nodes == []
    assert dialog.try_button.isEnabled()
    dialog.attention.setText("1.2:7")
    assert not dialog.try_button.isEnabled()
    assert "names no entry" in dialog._told.text()
    dialog.attention.setText("1.2:7<-4 x 0; 1.all:all<-1 x 2")
    dialog.patterns.setChecked(True)
    assert "kept" in dialog._told.text()
    dialog.patterns.setChecked(False)
    dialog.run()
    finish_jobs(session)
    found = session.jobs.jobs[-1].result
    assert any(shift.before != shift.after for shift in found.shifts)
    dialog.attention.setText("1.2:99<-4 x 0")
    dialog.run()
    finish_jobs(session)
    assert "position 99" in dialog._told.text()
    dialog.close()
