"""The inspector's numbers say what they mean, add up, and its tables sort, copy and export."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.why_edge import EdgeDialog, check_lines, term_lines
from circuitscope.app.main_window import MainWindow
from circuitscope.app.meanings import MEANINGS, meaning
from circuitscope.app.panels.edge_list import gross, line_count
from circuitscope.app.panels.inspector import InspectorPanel, NodeCard
from circuitscope.app.panels.jobs import JobRow
from circuitscope.app.panels.label_history import label_lines
from circuitscope.app.table import Table
from circuitscope.core.circuit import Circuit
from circuitscope.engine.requests import Ping
from circuitscope.project import verbs


def _card(window: MainWindow, node: int) -> NodeCard:
    window.session.select([node])
    QApplication.processEvents()
    card = window.findChild(InspectorPanel).findChild(NodeCard)
    assert card is not None
    card.complete()
    return card


def _fed_by(card: NodeCard) -> Table:
    return next(t for t in card.findChildren(Table) if t.accessibleName() == "Fed by")


def test_gross_and_net_are_the_rows_total(small_circuit: Circuit) -> None:
    circuit = small_circuit
    for node in np.flatnonzero(circuit.expanded).tolist():
        raised, lowered, net = gross(circuit, node)
        assert raised >= 0 >= lowered
        assert raised + lowered == pytest.approx(net)
        row = circuit.edges.weight[circuit.edges.into(node)].sum() + circuit.unexplained[node]
        assert net == pytest.approx(float(row), abs=1e-5)


def test_every_number_of_the_inspector_says_what_it_means(drawn: MainWindow) -> None:
    circuit = drawn.session.circuit
    for chosen in ((), *((n,) for n in range(len(circuit.nodes)))):
        drawn.session.select(chosen)
        QApplication.processEvents()
        panel = drawn.findChild(InspectorPanel)
        if (card := panel.findChild(NodeCard)) is not None:
            card.complete()
        values = [w for w in panel.findChildren(QLabel) if w.property("look") == "value"]
        assert values
        texts = set(MEANINGS.values())
        for label in values:
            assert label.whatsThis().rpartition("\n")[2] in texts, label.text()
            assert label.actions(), "it can be asked from the context menu"


def test_numbers_outside_the_inspector_say_what_they_mean(drawn: MainWindow, qtbot: QtBot) -> None:
    said = [w.whatsThis() for w in drawn.findChildren(QLabel) if w.whatsThis()]
    for name in ("shown", "threshold"):
        assert meaning(name) in said
    scores = drawn.statusBar()._scores.whatsThis()
    for name in ("error share", "replacement", "completeness"):
        assert f"{name}: {meaning(name)}" in scores.splitlines()
    before = len(drawn.statusBar()._scores.actions())
    drawn.statusBar().refresh()
    assert len(drawn.statusBar()._scores.actions()) == before == 1
    drawn.session.jobs.add("Count", Ping(2, 0.0))
    qtbot.waitUntil(lambda: all(job.is_over for job in drawn.session.jobs.jobs))
    row = drawn.findChild(JobRow)
    assert meaning("job") in [w.whatsThis() for w in row.findChildren(QLabel)]
    for canvas in (drawn.link_graph, drawn.circuit_view):
        assert meaning("share") in canvas.whatsThis()


def test_every_column_of_numbers_has_an_entry(drawn: MainWindow) -> None:
    _card(drawn, 4)
    tables = drawn.findChildren(Table)
    assert tables
    for table in tables:
        for at, column in enumerate(table.columns):
            if column.number:
                assert table.headerItem().whatsThis(at) in MEANINGS.values()


def test_a_table_sorts_copies_and_exports(drawn: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    table = _fed_by(_card(drawn, 4))
    table.sortItems(1, Qt.SortOrder.AscendingOrder)
    shares = [row.thing.share for row in table.rows()]
    assert shares == sorted(shares)
    table.rows()[0].setSelected(True)
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0].split("\t") == ["Node", "Detail", "Share", "Weight"]
    assert len(lines) == 2
    assert float(lines[1].split("\t")[2]) == pytest.approx(shares[0], rel=1e-5)
    table.export(tmp_path / "fed.csv")
    with (tmp_path / "fed.csv").open(encoding="utf-8") as file:
        written = list(csv.reader(file))
    assert len(written) == line_count(drawn.session.circuit, 4) + 1


def test_return_on_a_line_walks_there(drawn: MainWindow, qtbot: QtBot) -> None:
    table = _fed_by(_card(drawn, 4))
    row = next(row for row in table.rows() if row.thing.node == 3)
    table.setCurrentItem(row)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert drawn.session.selection == (3,)


def test_a_line_can_be_asked_why_it_is_there(drawn: MainWindow, small_circuit: Circuit) -> None:
    table = _fed_by(_card(drawn, 4))
    row = next(row for row in table.rows() if row.thing.edge >= 0)
    words = [action.text() for action in table.menu_for(row, 1).actions()]
    assert "Why is this edge here?…" in words
    assert "What does “Share” mean?" in words
    dialog = EdgeDialog(drawn.desk, row.thing.edge)
    edge = small_circuit.edge(row.thing.edge)
    assert any("Held fixed" in line for line in term_lines(small_circuit, edge))
    assert "off by" in check_lines(small_circuit, 4)[-1]
    dialog.deleteLater()


def test_an_old_label_comes_back_and_undo_takes_it_away(drawn: MainWindow) -> None:
    session, key = drawn.session, str(drawn.session.circuit.nodes.key(3))
    for text in ("Texas", "the state"):
        session.edit(verbs.label, key, text)
    texts = [text for text, _, _ in label_lines(drawn.desk, session.circuit, 3, None)]
    assert texts == [session.circuit.labels[3], "Texas", "the state"]
    card = _card(drawn, 3)
    table = next(t for t in card.findChildren(Table) if t.accessibleName() == "Labels so far")
    old = next(row for row in table.rows() if row.thing == "Texas")
    table.itemActivated.emit(old, 0)
    assert session.label(3) == "Texas"
    session.undo()
    assert session.label(3) == "the state"
