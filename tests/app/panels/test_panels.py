"""The panels show the drawing as it is and change it through the session only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFrame, QLabel, QListWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels import history
from circuitscope.app.panels.circuit_list import CircuitList
from circuitscope.app.panels.edge_list import inputs_of, outputs_of
from circuitscope.app.panels.history import HistoryPanel
from circuitscope.app.panels.inspector import InspectorPanel, NodeCard
from circuitscope.app.panels.jobs import JobRow, JobsPanel
from circuitscope.app.panels.overview import CircuitOverview, SelectionOverview
from circuitscope.app.panels.project_tree import FINDING, NoteField, ProjectTree
from circuitscope.app.table import Table
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.model_check import HELD
from circuitscope.project import verbs


def _card(window: MainWindow, kind: type) -> object:
    QApplication.processEvents()
    found = window.findChild(InspectorPanel)._scroll.widget()
    assert isinstance(found, kind)
    if isinstance(found, NodeCard):
        found.complete()
    return found


def _texts(widget) -> list[str]:
    return [label.text() for label in widget.findChildren(QLabel)]


def test_the_inspector_tells_of_circuit_node_and_selection(drawn: MainWindow) -> None:
    overview = _card(drawn, CircuitOverview)
    assert any("the capital of the state" in text for text in _texts(overview))
    drawn.session.select([3])
    card = _card(drawn, NodeCard)
    texts = _texts(card)
    assert "L0 · MLP feature 214 · “is”" in texts
    assert "Texas, Austin" in texts
    assert any(text.startswith("sums exactly") for text in texts)
    drawn.session.select([3, 4, 5])
    assert "3 nodes" in _texts(_card(drawn, SelectionOverview))


def test_inputs_are_ranked_by_share_with_constants_in_one_line(drawn: MainWindow) -> None:
    circuit = drawn.session.circuit
    lines = inputs_of(drawn.desk, circuit, 4)
    assert [line.node for line in lines] == [3, 5, -1]
    assert lines[-1].name == "position & biases"
    assert sum(abs(line.share) for line in lines) == pytest.approx(1.0)
    assert [line.node for line in outputs_of(drawn.desk, circuit, 4)] == [8, 7]


def test_a_click_on_an_input_walks_there(drawn: MainWindow, qtbot: QtBot) -> None:
    drawn.session.select([4])
    card = _card(drawn, NodeCard)
    table = next(t for t in card.findChildren(Table) if t.accessibleName() == "Fed by")
    row = next(row for row in table.rows() if row.thing.node == 3)
    where = table.visualItemRect(row).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert drawn.session.selection == (3,)


def test_a_label_typed_in_the_inspector_is_one_edit(drawn: MainWindow, qtbot: QtBot) -> None:
    drawn.session.select([3])
    QApplication.processEvents()
    drawn.desk.trigger("graph.label")
    card = _card(drawn, NodeCard)
    card.label_field.setText("Texas")
    qtbot.keyClick(card.label_field, Qt.Key.Key_Return)
    assert drawn.session.label(3) == "Texas"
    card = _card(drawn, NodeCard)
    assert "yours" in _texts(card)
    assert "was: on is → Texas, Austin" in _texts(card)
    assert drawn.session.undo()
    assert drawn.session.label(3) == "on is → Texas, Austin"


@pytest.mark.parametrize("node", range(9))
def test_every_kind_of_node_can_be_inspected(drawn: MainWindow, node: int) -> None:
    drawn.session.select([node])
    assert _card(drawn, NodeCard)


def test_the_group_chooser_moves_a_node_into_a_group(drawn: MainWindow) -> None:
    session = drawn.session
    session.edit(verbs.group, [str(session.circuit.nodes.key(3))], "Texas")
    session.select([4])
    card = _card(drawn, NodeCard)
    at = card.group_box.findText("Texas")
    card.group_box.setCurrentIndex(at)
    card.group_box.activated.emit(at)
    assert len(session.drawing.of_kind("member")) == 2


def test_the_project_tree_renames_activates_and_deletes(
    drawn: MainWindow, small_circuit, qtbot: QtBot
) -> None:
    session, tree = drawn.session, drawn.findChild(ProjectTree)
    second = session.project.add_finding(small_circuit, "Other")
    QApplication.processEvents()
    items = {item.data(0, FINDING): item for item in tree._items() if item.data(0, FINDING)}
    assert [items[key].text(0) for key in items if key == second] == ["Other"]
    tree.setCurrentItem(items[second])
    assert session.active == second
    QApplication.processEvents()
    item = next(i for i in tree._items() if i.data(0, FINDING) == second)
    item.setText(0, "Oakland")
    assert session.project.finding(second).name == "Oakland"
    QApplication.processEvents()
    tree.setCurrentItem(next(i for i in tree._items() if i.data(0, FINDING) == second))
    qtbot.keyClick(tree, Qt.Key.Key_Delete)
    assert second not in {info.id for info in session.project.findings()}
    assert session.undo()
    assert second in {info.id for info in session.project.findings()}


def test_the_circuit_list_counts_members_and_selects_them(drawn: MainWindow) -> None:
    session, listed = drawn.session, drawn.findChild(CircuitList)
    keys = [str(session.circuit.nodes.key(node)) for node in (3, 4)]
    session.edit(verbs.group, keys, "Texas")
    session.edit(verbs.pin, str(session.circuit.nodes.key(1)))
    QApplication.processEvents()
    rows = [listed.topLevelItem(i) for i in range(listed.topLevelItemCount())]
    assert [(row.text(0), row.text(1)) for row in rows] == [
        ("Texas", "2 features"), ("Dallas", "token"),
    ]  # fmt: skip
    listed.itemClicked.emit(rows[0], 0)
    assert session.selection == (3, 4)
    rows[0].setText(0, "the state")
    assert session.drawing.of_kind("group").popitem()[1]["label"] == "the state"


def test_edits_of_one_second_are_listed_newest_first(drawn: MainWindow) -> None:
    session, panel = drawn.session, drawn.findChild(HistoryPanel)
    for label in ("one", "two", "three"):
        session.edit(verbs.label, str(session.circuit.nodes.key(3)), label)
    panel.rebuild()
    texts = [panel._list.item(row).text() for row in range(panel._list.count())]
    order = [next(i for i, t in enumerate(texts) if word in t) for word in ("three", "two", "one")]
    assert order == [0, 1, 2]


def test_the_history_lists_edits_and_jumps(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, panel = drawn.session, drawn.findChild(HistoryPanel)
    for node in (3, 4):
        session.edit(verbs.pin, str(session.circuit.nodes.key(node)))
    QApplication.processEvents()
    rows = panel.findChild(QListWidget)
    texts = [rows.item(i).text() for i in range(rows.count())]
    assert texts[0] == "Pin L1 #88"
    assert texts[-1] == "As traced"
    rows.itemClicked.emit(rows.item(1))
    assert len(session.drawing.of_kind("pin")) == 1
    monkeypatch.setattr(history, "ask_name", lambda *_: "figure 2")
    panel._add_checkpoint()
    texts = [rows.item(i).text() for i in range(rows.count())]
    assert "figure 2" in texts


def test_the_note_is_kept_in_the_project(drawn: MainWindow, qtbot: QtBot) -> None:
    note = drawn.findChild(NoteField)
    note.setPlainText("The state is found at the last token.")
    note.focusOutEvent(_focus_out())
    assert drawn.session.undo_text == "Edit project note"


def _focus_out():
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QFocusEvent

    return QFocusEvent(QEvent.Type.FocusOut)


def test_a_failed_job_says_what_happened_and_what_to_do(
    drawn: MainWindow, tmp_path: Path, finish_jobs: Callable
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    drawn.open_path(bad)
    finish_jobs(drawn.session)
    row = drawn.findChild(JobsPanel).findChild(JobRow)
    (job,) = drawn.session.jobs.jobs
    assert isinstance(job.error, CircuitScopeError)
    assert job.error.message in row._error.text()
    assert job.error.hint in row._error.text()
    assert not row._cancel.isVisible()


def test_another_answer_in_the_models_own_precision_is_a_banner(
    drawn: MainWindow, small_circuit: Circuit
) -> None:
    said = f"In bfloat16, {HELD}, the model says “Dallas”; this circuit …"
    record = replace(small_circuit.provenance, remarks=(said, "Not used: one."))
    overview = CircuitOverview(drawn.desk, replace(small_circuit, provenance=record))
    banners = [f for f in overview.findChildren(QFrame) if f.property("look") == "warning"]
    assert any(said in _texts(banner) for banner in banners)
    assert _texts(overview).count(said) == 1, "not among the remarks again"
    assert "Not used: one." in _texts(overview)
    overview.deleteLater()
