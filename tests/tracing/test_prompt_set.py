"""Sets of prompts: matching, shares, intervals, and the stable core as a circuit."""

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.circuit import EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.tracing.prompt_set import match

LOGIT = cs.NodeKey(cs.NodeKind.LOGIT, cs.Site.LOGITS, 2, 1, 9)
TOKEN = cs.NodeKey(cs.NodeKind.TOKEN, cs.Site.EMBED, -1, 0, 5)


def feature(unit: int) -> cs.NodeKey:
    return cs.NodeKey(cs.NodeKind.FEATURE, cs.Site.MLP_TRANSCODER, 0, 0, unit)


def small(weights: dict[int, float], token: int, *, longer: int = 0) -> cs.Circuit:
    """Return token -> features -> logit with the given weights into the logit."""
    keys = [TOKEN, *(feature(unit) for unit in weights), LOGIT]
    keys = [
        cs.NodeKey(k.kind, k.site, k.layer, k.position + longer, token if k is TOKEN else k.unit)
        for k in keys
    ]
    n = len(keys)
    source = [*range(1, n - 1), *([0] * (n - 2))]
    target = [*([n - 1] * (n - 2)), *range(1, n - 1)]
    weight = [*weights.values(), *([1.0] * (n - 2))]
    table = NodeTable.from_keys(keys)
    edges = EdgeTable(source, target, weight, np.full(len(weight), Route.DIRECT))
    zeros = np.zeros(n, np.float32)
    words = ("<s>",) * longer + ("a", "b")
    circuit = cs.Circuit(
        words, tuple(range(2 + longer)), table, edges, [n - 1], [1.0], zeros, zeros, zeros,
        zeros > 1, Provenance("attribution"),
    )  # fmt: skip
    from circuitscope.graph.influence import influence

    return circuit.with_influence(influence(circuit))


def test_shares_means_and_intervals_are_those_of_the_prompts():
    found = match([small({1: 3.0, 2: 1.0}, 5), small({1: 5.0}, 6), small({1: 4.0}, 7)], 1.0, 1.0)
    at = {key.unit: i for i, key in enumerate(found.keys) if key.kind is cs.NodeKind.FEATURE}
    assert found.nodes.share[at[1]] == 1
    assert found.nodes.share[at[2]] == pytest.approx(1 / 3)
    # influence of feature 1 is 3/4, 1 and 1
    assert found.nodes.mean[at[1]] == pytest.approx(2.75 / 3)
    assert found.nodes.low[at[1]] <= found.nodes.mean[at[1]] <= found.nodes.high[at[1]]
    assert found.nodes.low[at[1]] >= 0.75
    assert found.nodes.low[at[2]] == 0
    into = {tuple(pair): i for i, pair in enumerate(found.pairs.tolist())}
    logit = next(i for i, key in enumerate(found.keys) if key.kind is cs.NodeKind.LOGIT)
    assert found.edges.mean[into[at[1], logit]] == pytest.approx(4.0)
    assert (found.edges.low <= found.edges.mean + 1e-9).all()


def test_the_stable_core_is_a_circuit_of_what_is_common():
    found = match([small({1: 3.0, 2: 1.0}, 5), small({1: 5.0}, 6)], 1.0, 1.0)
    core = cs.stable_core(found, 1.0)
    kinds = [cs.NodeKind(kind).name for kind in core.nodes.kind]
    assert sorted(kinds) == ["FEATURE", "LOGIT", "TOKEN"]
    assert core.nodes.key(int(core.roots[0])).kind is cs.NodeKind.LOGIT
    assert len(core.edges) == 2
    assert "2 prompts" in core.provenance.remarks[0]
    assert len(cs.stable_core(found, 0.4).nodes) == 4


def test_prompts_of_different_lengths_are_matched_from_the_end():
    found = match([small({1: 3.0}, 5), small({1: 5.0}, 6, longer=1)], 1.0, 1.0)
    assert len(found.keys) == 3
    assert (found.nodes.share == 1).all()
    assert {key.position for key in found.keys} == {0, 1}


def test_a_set_of_prompts_traces_as_one_call(models):
    heard = []

    class Hear:
        def phase(self, name: str, total: int = 0) -> None: ...
        def advance(self, steps: int = 1) -> None: ...
        def partial(self, result: object) -> None: ...
        def note(self, text: str) -> None:
            heard.append(text)

    prompts = [(1, 3, 4, 5), (1, 3, 4, 6), (1, 3, 7, 5)]
    found = cs.trace_set(
        models["llama"], prompts, units="neurons", targets=[cs.Logit(10)], progress=Hear()
    )
    assert len(found.circuits) == 3
    assert "Prompt 3 of 3" in heard
    core = cs.stable_core(found, 1.0)
    assert 0 < len(core.nodes) <= min(len(circuit.nodes) for circuit in found.circuits)
    with pytest.raises(cs.CircuitScopeError, match="two prompts"):
        cs.trace_set(models["llama"], prompts[:1], units="neurons")
