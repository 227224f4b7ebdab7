"""Why did it look there: choose a score to trace, split an edge, read and follow its pairs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTreeWidgetItem, QWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.commands import files
from circuitscope.app.dialogs.attention import AttentionDialog
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.dialogs.trial import TrialDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.edge_list import EdgeList
from circuitscope.app.table import VALUE
from circuitscope.app.widgets import Clickable
from circuitscope.app.words import percent
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import AttentionScore, Logit, TraceSettings

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture
def traced(window: MainWindow, tiny_gpt2: Path, finish_jobs: Callable) -> MainWindow:
    """Return the window on a traced circuit of neurons and heads, its model held."""
    session = window.session
    session.load_model(tiny_gpt2)
    session.trace(TraceSettings(PROMPT, targets=(Logit("Austin"),)), "Austin")
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    return window


def attention_edge(window: MainWindow) -> int:
    """Return an edge from a token to a head that looks back."""
    circuit = window.session.circuit
    nodes, edges = circuit.nodes, circuit.edges
    ends = nodes.of_kind(NodeKind.HEAD)[edges.target] & nodes.of_kind(NodeKind.TOKEN)[edges.source]
    ends &= (nodes.layer[edges.target] == 1) & (nodes.position[edges.target] == 7)
    ends &= nodes.position[edges.source] < 7
    found = np.flatnonzero(ends)
    return int(found[np.argmax(np.abs(edges.weight[found]))])


def test_an_edge_is_split_and_its_score_explained(
    traced: MainWindow, finish_jobs: Callable, qtbot: QtBot
) -> None:
    session, edge = traced.session, attention_edge(traced)
    dialog = files.why_there(traced.desk, edge)
    assert isinstance(dialog, AttentionDialog)
    finish_jobs(session)
    reasons, found = dialog.reasons, session.circuit.edge(edge)
    head = found.target.key
    assert [part.head for part in reasons.parts] == [head.unit]
    assert reasons.parts[0].weight == pytest.approx(found.weight, abs=1e-5)
    assert reasons.score == AttentionScore(1, head.unit, 7, found.source.key.position)
    total = sum(pair.weight for pair in reasons.pairs) + reasons.rest
    assert total == pytest.approx(reasons.scores[reasons.score.key], abs=1e-5)
    sizes = [abs(pair.weight) for pair in reasons.pairs]
    assert sizes == sorted(sizes, reverse=True)
    dialog.without.click()
    trial = traced.findChild(TrialDialog)
    score = reasons.score
    assert trial.attention.text() == f"1.{score.head}:7<-{score.key} x 0"
    assert trial.changes()[0].value == 0
    trial.close()
    assert dialog.pairs.topLevelItemCount() == len(reasons.pairs)
    assert f"Head 1.{head.unit} looks from" in dialog._heading.text()
    other = next(k for k in range(8) if k != reasons.score.key)
    dialog.contrast.setCurrentIndex(dialog.contrast.findData(other))
    dialog._contrast_chosen()
    finish_jobs(session)
    difference = reasons.scores[reasons.score.key] - reasons.scores[other]
    assert dialog.reasons.value == pytest.approx(difference, abs=1e-5)
    assert dialog.contrast.currentData() == other
    dialog.reject()


def test_a_score_joins_the_circuit_and_the_drawing_comes_along(
    traced: MainWindow, finish_jobs: Callable
) -> None:
    session = traced.session
    before, first = session.circuit, session.drawing.circuit_id
    key = str(before.nodes.key(int(before.roots[0])))
    from circuitscope.project import verbs

    session.edit(verbs.label, key, "the answer")
    dialog = files.why_there(traced.desk, attention_edge(traced))
    finish_jobs(session)
    score = dialog.reasons.score
    dialog._trace_score()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    after = session.circuit
    assert session.drawing.circuit_id != first
    assert after.provenance.parent == before.digest
    assert session.drawing.row("label", key)["text"] == "the answer"
    assert [after.nodes.kind[root] for root in after.roots] == [NodeKind.LOGIT, NodeKind.SCORE]
    root = int(after.roots[1])
    assert session.selection == (root,)
    assert after.nodes.position[root] == score.query
    assert after.conservation.max() < 1e-4
    assert after.probability(int(after.roots[0])) == pytest.approx(
        before.probability(int(before.roots[0]))
    )


def test_the_menu_of_an_edge_says_where_no_attention_is(traced: MainWindow, qtbot: QtBot) -> None:
    session = traced.session
    session.select([int(session.circuit.roots[0])])
    qtbot.wait(50)
    desk = traced.desk
    traced.refresh()
    why = desk.actions["trace.why"]
    assert not why.isEnabled()
    assert "attention feature" in why.toolTip()
    head = session.circuit.edge(attention_edge(traced)).target.index
    session.select([head])
    qtbot.wait(50)
    traced.refresh()
    assert why.isEnabled()
    assert not desk.actions["trace.further"].isEnabled()
    rows = [row for made in traced.findChildren(EdgeList) for row in made.table.rows()]
    assert any(row.thing.edge >= 0 for row in rows)


def test_an_edge_folds_out_by_heads_in_the_inspector(
    traced: MainWindow, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, edge = traced.session, attention_edge(traced)
    session.select([session.circuit.edge(edge).target.index])
    qtbot.wait(50)
    lists = traced.findChildren(EdgeList)
    folds = QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator
    made, row = next(
        (made, row) for made in lists for row in made.table.rows()
        if row.childIndicatorPolicy() == folds
    )  # fmt: skip
    made.table.expandItem(row)
    finish_jobs(session)
    qtbot.waitUntil(lambda: row.childCount() > 0 and row.child(0).text(0) != "Computing…")
    names = [row.child(at).text(0) for at in range(row.childCount())]
    assert all("looks at" in name for name in names), names
    parts = sum(row.child(at).data(2, VALUE) for at in range(row.childCount()))
    assert parts == pytest.approx(row.thing.weight, rel=1e-3)


def test_an_edge_through_attention_names_its_heads_and_one_click_asks_why(
    traced: MainWindow, finish_jobs: Callable, qtbot: QtBot
) -> None:
    session, edge = traced.session, attention_edge(traced)
    dialog = files.why_edge(traced.desk, edge)
    finish_jobs(session)
    found = session.circuit.edge(edge)
    head, key = found.target.key.unit, found.source.key.position
    row = dialog.parts.findChildren(Clickable)[0]
    token = session.circuit.tokens[key].strip()
    pattern = session.edge_heads.known(edge).parts[0].pattern
    assert row.accessibleName().startswith(f"head 1.{head} looks at “{token}”")
    assert percent(pattern) in row.accessibleName()
    qtbot.mouseClick(row, Qt.MouseButton.LeftButton)
    finish_jobs(session)
    why = traced.findChild(AttentionDialog)
    assert why.reasons.score == AttentionScore(1, head, 7, key)
    why.reject()


def test_hovering_over_the_source_of_a_head_names_where_it_looked(
    traced: MainWindow, finish_jobs: Callable, qtbot: QtBot
) -> None:
    session, edge = traced.session, attention_edge(traced)
    session.set_view(node_threshold=1.0, edge_threshold=1.0)
    ends = session.circuit.edge(edge)
    canvas = traced.findChild(LinkGraphView)
    session.select([ends.target.index])
    qtbot.wait(20)
    asked = len(session.jobs.jobs)
    qtbot.mouseMove(canvas, canvas._pixel(ends.source.index).toPoint())
    assert canvas._hover == ends.source.index
    qtbot.waitUntil(lambda: len(session.jobs.jobs) > asked)
    finish_jobs(session)
    assert f"head 1.{ends.target.key.unit} looks at" in canvas.hover_words()
    canvas._ask_heads()
    assert len(session.jobs.jobs) == asked + 1


def test_a_score_is_traced_from_the_dialog(
    window: MainWindow, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable,
    opened: Callable[[str], QWidget],
) -> None:  # fmt: skip
    session = window.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    window.desk.trigger("trace.new")
    dialog = window.findChild(TraceDialog)
    dialog.prompt.field.setPlainText(PROMPT)
    qtbot.waitUntil(lambda: not dialog.prompt._wait.isActive())
    finish_jobs(session)
    box = dialog.score
    assert box.target() is None
    box.switch.setChecked(True)
    box.layer.setValue(1)
    box.head.setValue(2)
    assert box.query.count() == 9
    assert "Dallas" in box.query.itemText(7)
    box.query.setCurrentIndex(8)
    box.key.setCurrentIndex(7)
    assert dialog.settings().targets == (AttentionScore(1, 2, 8, 7),)
    assert "attention score" in dialog._plan()
    dialog.trace()
    finish_jobs(session)
    circuit = session.circuit
    assert circuit.nodes.kind[circuit.roots[0]] == NodeKind.SCORE
    assert circuit.labels[int(circuit.roots[0])] == "head 1.2: is looks at Dallas"
    window.session.select([int(circuit.roots[0])])
    qtbot.wait(50)
    window.refresh()
    assert window.desk.actions["trace.why"].isEnabled()
