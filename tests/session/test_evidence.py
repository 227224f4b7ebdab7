"""Tests on the model end as runs of the drawing: undoable, saved, drawn, repeated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.badges import Badge, Outcome
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ProjectError
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.graph.evidence import marks_of, runs_of, untested
from circuitscope.project.runs import add_runs, remove_runs
from circuitscope.session.evidence import group_keys, run_again, start_tests
from circuitscope.session.session import Session

OTHER = "the capital of the state containing Oakland is"
PROMPT = "the capital of the state containing Dallas is"
KEYS = "feature/attn_out/0/7/31", "feature/mlp_out/0/7/214", "feature/mlp_out/1/7/88"


def outcome(
    kind: str, subject: tuple[str, ...], effect: float, p: float, predicted: float
) -> Outcome:
    root = "logit/logits/2/7/10"
    return Outcome(kind, subject, root, "zero", predicted, effect, 1.0, p, 200)


def all_states() -> list[Outcome]:
    return [
        outcome("node", KEYS[:1], -2.0, 0.005, -2.0),
        outcome("node", KEYS[1:2], -0.1, 0.9, -2.0),
        outcome("node", KEYS[2:], 2.0, 0.005, -2.0),
        outcome("edge", KEYS[:2], 0.1, 0.9, -0.2),
        outcome("group", KEYS[:2], -2.0, 0.005, -2.0),
    ]


def test_runs_are_rows_that_undo_and_survive_saving(drawn: Session) -> None:
    circuit, drawing = drawn.circuit, drawn.drawing
    drawing.commit(add_runs(drawing, all_states()))
    marks = marks_of(circuit, drawing.rows)
    at = [circuit.nodes.find(key) for key in KEYS]
    badges = [marks.nodes[node].badge for node in at]
    assert badges == [Badge.SUPPORTED, Badge.COMPENSATED, Badge.CONTRADICTED]
    assert marks.edges[at[0], at[1]].badge is Badge.INCONCLUSIVE
    assert marks.groups[frozenset(at[:2])].badge is Badge.SUPPORTED
    assert marks.of_members(frozenset(at[:2])) is marks.groups[frozenset(at[:2])]
    assert marks.counts()[Badge.SUPPORTED] == 2
    missing = untested(circuit, marks, np.ones(len(circuit.nodes), bool))
    assert not missing[at].any()
    assert {circuit.nodes.key(i).kind for i in np.flatnonzero(missing).tolist()} == {
        NodeKind.TOKEN, NodeKind.ERROR,
    }  # fmt: skip
    assert drawn.undo_text == "Test 5 things"
    path = drawn.save()
    again = Session(drawn.engine)
    again.open_project(path, read_only=True)
    assert [run.tested for run in runs_of(again.drawing.rows)] == all_states()
    again.close()
    drawn.undo()
    assert not runs_of(drawing.rows)
    drawn.redo()
    first = runs_of(drawing.rows)[0]
    drawn.edit(remove_runs, [first.id])
    assert len(runs_of(drawing.rows)) == 4
    with pytest.raises(ProjectError, match="no test"):
        drawn.edit(remove_runs, [first.id])


def test_a_group_of_one_node_carries_its_test_as_the_node(drawn: Session) -> None:
    circuit, drawing = drawn.circuit, drawn.drawing
    drawing.commit(add_runs(drawing, [outcome("group", KEYS[:1], -2.0, 0.005, -2.0)]))
    marks = marks_of(circuit, drawing.rows)
    node = circuit.nodes.find(KEYS[0])
    assert marks.of_members(frozenset([node])).badge is Badge.SUPPORTED
    assert marks.counts() == {Badge.SUPPORTED: 1}


@pytest.mark.parametrize("what", ["circuit", "link"])
def test_badges_and_their_legend_are_in_the_exported_figure(
    drawn: Session, tmp_path: Path, what: str
) -> None:
    drawing = drawn.drawing
    drawn.set_view(node_threshold=1.0, edge_threshold=1.0)
    drawing.commit(add_runs(drawing, all_states()))
    drawn.export(tmp_path / "figure.svg", what=what)
    text = (tmp_path / "figure.svg").read_text()
    for badge, number in (("supported", 2), ("contradicted", 1), ("inconclusive", 1)):
        assert f"{badge} ({number})" in text
    assert "matched controls" in text
    assert 'id="layer-badges"' in text
    assert "effect −2, predicted −2, 95 % of 200 controls within ±1" in text


def test_a_row_that_makes_no_sense_is_left_out(drawn: Session) -> None:
    drawing = drawn.drawing
    drawing.commit(add_runs(drawing, all_states()[:1]))
    rows = dict(drawing.rows)
    key = next(key for key in rows if key.kind == "run")
    rows[key] = {"kind": "node"}
    assert runs_of(rows) == ()


@pytest.fixture
def traced(session: Session, tiny_llama: Path) -> Session:
    session.load_model(tiny_llama, device="cpu")
    settings = TraceSettings(PROMPT, targets=(Logit("Austin"),), units="neurons", max_nodes=80)
    session.jobs.wait(session.trace(settings))
    return session


def test_tests_run_as_a_job_and_again(traced: Session) -> None:
    session = traced
    circuit: Circuit = session.circuit
    heads = circuit.nodes.of_kind(NodeKind.HEAD) & (circuit.nodes.position > 0)
    keys = [str(circuit.nodes.key(i)) for i in np.flatnonzero(heads)[:3].tolist()]
    group = session.drawing.group(keys, "heads", "teal")
    assert group
    assert group_keys(session.drawing.rows, keys[:1]) == [tuple(keys)]
    job = session.jobs.wait(start_tests(session, keys, groups=[keys], draws=100))
    assert job is None or job.error is None
    runs = runs_of(session.drawing.rows)
    assert [run.tested.kind for run in runs] == ["node", "node", "node", "group"]
    session.jobs.wait(run_again(session, runs[0].tested))
    newest = runs_of(session.drawing.rows)[-1]
    assert newest.tested == runs[0].tested
    assert marks_of(circuit, session.drawing.rows).nodes[circuit.nodes.find(keys[0])] == newest
    for options in ({"counterfactual": OTHER}, {"means": (PROMPT, OTHER)}):
        session.jobs.wait(start_tests(session, keys[:1], draws=100, **options))
        swapped = runs_of(session.drawing.rows)[-1].tested
        assert swapped.effect != runs[0].tested.effect
        session.jobs.wait(run_again(session, swapped))
        newest = runs_of(session.drawing.rows)[-1].tested
        assert newest == swapped
        session.undo()
        session.undo()
    # As versions wrote it that did not keep the prompt.
    session.jobs.wait(run_again(session, replace(swapped, means=())))
    newest = runs_of(session.drawing.rows)[-1].tested
    assert newest.ablation == "mean over positions"
    assert "did not keep the other prompt" in newest.remarks[-1]
    session.undo()
    kept = start_tests(session, keys[:1], draws=100, keep=False)
    session.jobs.wait(kept)
    assert len(kept.result.tests) == 1
    assert len(runs_of(session.drawing.rows)) == 5
