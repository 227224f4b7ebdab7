"""Attention scores: the table and the rows against what the module itself computes."""

import sys

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, Route
from circuitscope.core.errors import TargetNotFound, TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import AttentionScore, Logit, TraceSettings
from circuitscope.core.target_text import parse_target
from circuitscope.models.capture import capture
from circuitscope.models.family import Part, part_module
from circuitscope.models.freezing import frozen_run
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.attention_score import score_of
from circuitscope.tracing.attention_table import OTHERS, attention_table
from circuitscope.tracing.measurement import Switches, _editor, _held
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import dictionaries_of, settings_of
from circuitscope.tracing.verify import verify

PROMPT = "the capital of the state containing Dallas is"
SCORES = (AttentionScore(1, 2, 7, 3), AttentionScore(1, 0, 5, 5), AttentionScore(0, 3, 6, 0))
MODES = [{"mlp": "secant"}, {"mlp": "transcoder"}, {"units": "neurons"}, {"units": "features"}]


@pytest.fixture
def own_scores(model: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs something and gives the module's own scores of its last pass."""
    seen: dict[int, torch.Tensor] = {}
    attention = part_module(model.family, model.module, Part.ATTENTION, 0)
    source = sys.modules[type(attention).__module__]
    eager = source.eager_attention_forward

    def spy(module, query, key, value, mask, scaling, **more):
        keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        seen[module.layer_idx] = (query.double() @ keys.double().mT * scaling).clone()
        return eager(module, query, key, value, mask, scaling=scaling, **more)

    monkeypatch.setattr(source, "eager_attention_forward", spy)

    def scores(work) -> dict[int, torch.Tensor]:
        work()
        return dict(seen)

    return scores


def true_score(own_scores, model, target: AttentionScore) -> float:
    found = own_scores(lambda: capture(model, model.prompt(PROMPT).token_ids))
    return float(found[target.layer][0, target.head, target.query, target.key])


@pytest.mark.parametrize("mode", MODES, ids=["secant", "transcoder", "neurons", "features"])
@pytest.mark.parametrize("target", SCORES, ids=str)
def test_all_pairs_add_up_to_the_modules_own_score(model, dictionaries, own_scores, mode, target):
    wanted = true_score(own_scores, model, target)
    table = attention_table(model, TraceSettings(PROMPT, **mode), target, dictionaries)
    assert table.provenance.scores["score"] == pytest.approx(wanted, abs=1e-5)
    assert table.values.sum(dtype=np.float64) == pytest.approx(wanted, abs=1e-5)
    assert table.values.shape == tuple(len(ticks) for ticks in table.ticks)
    places = [{NodeKey.parse(tick).position for tick in ticks} for ticks in table.ticks]
    # Constants, which have no position, are sources too.
    assert [place - {-1} for place in places] == [{target.query}, {target.key}]
    if target.layer:
        assert (table.values < 0).any()


def test_a_contrast_is_the_difference_of_two_scores(model, dictionaries, own_scores):
    target, other = SCORES[0], AttentionScore(1, 2, 7, 6)
    wanted = true_score(own_scores, model, target) - true_score(own_scores, model, other)
    table = attention_table(model, TraceSettings(PROMPT), target, dictionaries, contrast=6)
    assert table.values.sum(dtype=np.float64) == pytest.approx(wanted, abs=1e-5)
    assert {NodeKey.parse(tick).position for tick in table.ticks[1]} - {-1} == {3, 6}
    alone = attention_table(model, TraceSettings(PROMPT), target, dictionaries)
    here = [table.ticks[1].index(tick) for tick in alone.ticks[1] if "/3/" in tick]
    there = [index for index, tick in enumerate(alone.ticks[1]) if "/3/" in tick]
    np.testing.assert_allclose(table.values[:, here], alone.values[:, there], atol=1e-6)


def test_weak_sources_are_summed_and_the_sum_stays(model, dictionaries, own_scores):
    wanted = true_score(own_scores, model, SCORES[0])
    settings = TraceSettings(PROMPT, units="neurons")
    whole = attention_table(model, settings, SCORES[0], most=1000)
    table = attention_table(model, settings, SCORES[0], most=5)
    assert [len(ticks) for ticks in table.ticks] == [6, 6]
    assert {ticks[-1] for ticks in table.ticks} == {OTHERS}
    assert table.values.sum(dtype=np.float64) == pytest.approx(wanted, abs=1e-5)
    strength = np.abs(whole.values).sum(1)
    best = {whole.ticks[0][index] for index in np.argsort(-strength)[:5]}
    assert set(table.ticks[0][:5]) == best


@pytest.mark.parametrize("mode", MODES, ids=["secant", "transcoder", "neurons", "features"])
def test_a_row_holds_half_of_every_pair_on_each_side(run, model, dictionaries, mode):
    circuit = run(targets=SCORES, **mode)
    for number, target in enumerate(SCORES):
        root = int(circuit.roots[number])
        key = circuit.nodes.key(root)
        n_ctx = model.anatomy.n_ctx
        unit = target.head * n_ctx + target.key
        assert key == NodeKey(NodeKind.SCORE, Site.PATTERN, target.layer, target.query, unit)
        assert score_of(model.anatomy, key) == target
        table = attention_table(model, TraceSettings(PROMPT, **mode), target, dictionaries)
        halves: dict[str, float] = {}
        for axis, ticks in enumerate(table.ticks):
            for tick, total in zip(ticks, table.values.sum(1 - axis, dtype=float), strict=True):
                halves[tick] = halves.get(tick, 0.0) + total / 2
        found = {str(edge.source.key): edge.weight for edge in circuit.inputs(root)}
        assert sum(found.values()) == pytest.approx(circuit.preactivation[root], abs=1e-5)
        assert {name for name, value in halves.items() if abs(value) > 1e-6} <= set(found)
        for name, value in found.items():
            assert value == pytest.approx(halves[name], abs=1e-5)


def test_edges_say_by_which_side_they_come(run):
    circuit = run(targets=SCORES[:2])
    apart, same = circuit.roots.tolist()
    sides = {(edge.source.key.position, edge.route) for edge in circuit.inputs(apart)}
    assert sides - {(-1, Route.DIRECT)} == {(7, Route.QUERY), (3, Route.KEY)}
    assert {edge.route for edge in circuit.inputs(same)} == {Route.DIRECT}
    assert circuit.labels[apart] == "head 1.2: Dallas looks at of"


def test_sources_of_a_score_are_explained_in_turn(run):
    circuit = run(targets=SCORES[:1])
    assert circuit.conservation.max() < 1e-4
    feeding = {edge.source.index for edge in circuit.inputs(int(circuit.roots[0]))}
    features = [index for index in feeding if circuit.nodes.kind[index] == NodeKind.FEATURE]
    assert circuit.expanded[features].all()
    assert circuit.nodes.influence[features].max() > 0
    mixed = run(targets=(Logit("Austin"), SCORES[0]), max_nodes=20)
    assert mixed.conservation.max() < 1e-4


@pytest.mark.parametrize("mode", MODES[:3], ids=["secant", "transcoder", "neurons"])
def test_edges_into_scores_equal_what_the_frozen_module_does(run, model, dictionaries, mode):
    more = tuple(AttentionScore(1, head, 8, key) for head in range(4) for key in (0, 4, 8))
    circuit = run(targets=(*SCORES, *more), **mode)
    into = np.flatnonzero(np.isin(circuit.edges.target, circuit.roots))
    edges = np.random.default_rng(0).permutation(into)[:200]
    found = verify(model, circuit, edges=edges, dictionaries=dictionaries)
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert len(found.edges) == len(edges) == 200
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5
    if model.anatomy.norm == "layer":
        assert NodeKind.BIAS in set(circuit.nodes.kind[found.sources])


def frozen_scores(own_scores, model, circuit, off: list[list[int]], dictionaries) -> torch.Tensor:
    """Return the module's own score, frozen, with sets of nodes switched off, [1 + set]."""
    settings, key = settings_of(circuit, model), circuit.nodes.key(int(circuit.roots[0]))
    plan = make_plan(model.anatomy, dictionaries_of(circuit, dictionaries), settings)
    switches = Switches(model, circuit, plan, capture(model, circuit.token_ids), settings)
    edits: dict = {}
    for copy, nodes in enumerate(off, start=1):
        for node in nodes:
            change = switches.off(node)
            edits.setdefault((Site.parse(change.site), change.layer), []).append((copy, change))
    editors = {place: _editor(changes, len(off) + 1) for place, changes in edits.items()}
    hold = _held(switches, edits, key)
    found = own_scores(
        lambda: frozen_run(model, switches.cache, editors, hold=hold, batch=len(off) + 1)
    )
    target = score_of(model.anatomy, key)
    return found[target.layer][:, target.head, target.query, target.key]


def test_a_pair_is_what_two_sources_do_only_together(run, model, dictionaries, own_scores):
    circuit = run(targets=SCORES[:1])
    table = attention_table(model, TraceSettings(PROMPT), SCORES[0], dictionaries)
    strongest = np.argsort(-np.abs(table.values), axis=None)
    tried = 0
    for index in strongest:
        pair = [
            NodeKey.parse(table.ticks[axis][place])
            for axis, place in enumerate(np.unravel_index(index, table.values.shape))
        ]
        if any(key.kind is NodeKind.BIAS for key in pair):
            continue
        nodes = [circuit.nodes.find(key) for key in pair]
        plain, no_q, no_k, none = frozen_scores(
            own_scores, model, circuit, [nodes[:1], nodes[1:], nodes], dictionaries
        ).tolist()
        value = table.values.flat[index]
        assert plain - no_q - no_k + none == pytest.approx(value, abs=2e-5)
        tried += 1
        if tried == 10:
            break


def test_one_side_alone_moves_the_score_by_twice_its_edge(run, model, dictionaries, own_scores):
    circuit = run(targets=SCORES[:1])
    edges = [
        edge
        for edge in circuit.inputs(int(circuit.roots[0]))
        if edge.source.kind is not NodeKind.BIAS
    ][:20]
    off = [[edge.source.index] for edge in edges]
    plain, *changed = frozen_scores(own_scores, model, circuit, off, dictionaries).tolist()
    for edge, score in zip(edges, changed, strict=True):
        assert plain - score == pytest.approx(2 * edge.weight, abs=2e-5)


def test_total_effects_are_those_of_the_modules_own_score(run, model, dictionaries, own_scores):
    circuit = run(targets=SCORES[:1])
    found = verify(model, circuit, effect="total", dictionaries=dictionaries)
    plain = true_score(own_scores, model, SCORES[0])
    settings = settings_of(circuit, model)
    plan = make_plan(model.anatomy, dictionaries, settings)
    switches = Switches(model, circuit, plan, capture(model, circuit.token_ids), settings)
    for node, measured in zip(found.sources[:5], found.measured[:5], strict=True):
        change = switches.off(int(node))
        scores = own_scores(lambda change=change: model.run(circuit.token_ids, [change]))
        assert float(scores[1][0, 2, 7, 3]) - plain == pytest.approx(measured, abs=1e-5)
    assert np.corrcoef(found.predicted, found.measured)[0, 1] > 0.5


def test_scores_are_written_as_text():
    assert parse_target("score:1.2:7<-3") == AttentionScore(1, 2, 7, 3)
    assert parse_target(" score:0.11:-1 ← 0") == AttentionScore(0, 11, -1, 0)
    for text in ("score:1:7<-3", "score:1.2:7", "score:a.2:7<-3", "score:1.2:7->3"):
        with pytest.raises(TargetNotFound, match="is not a target"):
            parse_target(text)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (AttentionScore(2, 0, 5, 1), "no layer 2: the model has 2 layers"),
        (AttentionScore(0, 4, 5, 1), "no head 4: the model has 4 heads in each layer"),
        (AttentionScore(0, 0, 40, 1), "no query position 40: the prompt has"),
        (AttentionScore(0, 0, 5, -40), "no key position -40"),
        (AttentionScore(0, 0, 3, 5), "Position 3 cannot look at position 5"),
    ],
)
def test_scores_that_do_not_exist_are_named(run, target, words):
    with pytest.raises(TargetNotFound, match=words):
        run(targets=(target,))


def test_a_key_is_not_set_against_itself(model, dictionaries):
    with pytest.raises(TargetNotFound, match="Position 3 cannot be set against itself"):
        attention_table(model, TraceSettings(PROMPT), SCORES[0], dictionaries, contrast=3)


def test_a_score_cannot_be_switched_off(run, model, dictionaries):
    circuit: Circuit = run(targets=SCORES[:1])
    with pytest.raises(TraceError, match=r"score/pattern/1/7/.* cannot be switched off"):
        verify(model, circuit, nodes=[int(circuit.roots[0])], dictionaries=dictionaries)


def test_scores_are_explained_through_attention_too(run, model):
    """Where attention passes effects on, the row is another, and adds up to the same score."""
    direct = run(targets=SCORES[:2])
    through = run(targets=SCORES[:2], method="attribution")
    assert through.conservation.max() < 1e-4
    for circuit in (direct, through):
        roots = circuit.roots
        total = [circuit.edges.weight[circuit.edges.into(int(root))].sum() for root in roots]
        np.testing.assert_allclose(total, direct.preactivation[direct.roots], atol=2e-5)
