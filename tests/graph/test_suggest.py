"""Groups that were planted are suggested; what is alike by chance is not."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.graph.suggest import SPAN, similarity, suggest_groups

GROUPS, EACH, TOKENS, TARGETS = 8, 5, 30, 30


def planted(seed: int, noise: float = 0.35) -> tuple[Circuit, np.ndarray]:
    """Return tokens, planted features and loose ones, and targets; group of each node, -1 none."""
    rng = np.random.default_rng(seed)
    loose = 20
    units = GROUPS * EACH + loose
    n = TOKENS + units + TARGETS
    group = np.full(n, -1)
    group[TOKENS : TOKENS + GROUPS * EACH] = np.repeat(np.arange(GROUPS), EACH)
    base = rng.integers(1, 8, GROUPS)
    layer = np.full(n, -1)
    layer[TOKENS : TOKENS + units] = np.concatenate(
        [
            np.repeat(base, EACH) + rng.integers(0, SPAN + 1, GROUPS * EACH),
            rng.integers(1, 9, loose),
        ]
    )
    layer[TOKENS + units :] = 12
    kind = np.full(n, NodeKind.FEATURE)
    kind[:TOKENS] = NodeKind.TOKEN
    kind[TOKENS + units :] = NodeKind.LOGIT
    reads, writes = rng.normal(size=(GROUPS, TOKENS)), rng.normal(size=(GROUPS, TARGETS))
    lines = []
    for node in range(TOKENS, TOKENS + units):
        own = group[node]
        inward = rng.normal(size=TOKENS) * (noise if own >= 0 else 1)
        outward = rng.normal(size=TARGETS) * (noise if own >= 0 else 1)
        if own >= 0:
            scale = rng.uniform(0.3, 3)
            inward, outward = (inward + reads[own]) * scale, (outward + writes[own]) * scale
        lines += [(token, node, w) for token, w in enumerate(inward)]
        lines += [(node, TOKENS + units + at, w) for at, w in enumerate(outward)]
    lines.sort(key=lambda line: (line[1], line[0]))
    source, target, weight = (np.array(column) for column in zip(*lines, strict=True))
    nodes = NodeTable(
        kind, np.where(kind == NodeKind.TOKEN, Site.EMBED, Site.MLP_OUT), layer,
        np.zeros(n, np.int64), np.arange(n), np.ones(n), rng.random(n).astype(np.float32),
    )  # fmt: skip
    zeros = np.zeros(n, np.float32)
    roots = np.arange(n - TARGETS, n)
    circuit = Circuit(
        ("a",), (0,), nodes,
        EdgeTable(source.astype(np.int32), target.astype(np.int32), weight.astype(np.float32),
                  np.zeros(len(lines), np.uint8)),
        roots, np.ones(TARGETS) / TARGETS, zeros, zeros, zeros, zeros > 1, Provenance("made up"),
    )  # fmt: skip
    return circuit, group


def pairs(clusters) -> set[tuple[int, int]]:
    return {pair for cluster in clusters for pair in combinations(sorted(cluster), 2)}


@pytest.mark.parametrize("seed", range(5))
def test_planted_groups_are_recovered(seed: int) -> None:
    circuit, group = planted(seed)
    found = pairs(one.members for one in suggest_groups(circuit, np.ones(len(group), bool)))
    truth = pairs(np.flatnonzero(group == number).tolist() for number in range(GROUPS))
    assert len(found & truth) >= 0.9 * len(truth)
    assert len(found & truth) >= 0.9 * len(found)


def test_it_is_deterministic_and_leaves_out_what_is_grouped_or_hidden() -> None:
    circuit, group = planted(1)
    everything = np.ones(len(group), bool)
    first = suggest_groups(circuit, everything)
    assert first == suggest_groups(circuit, everything)
    taken = group == 0
    for shown, grouped in ((everything, taken), (~taken, None)):
        left = suggest_groups(circuit, shown, grouped)
        assert not {i for one in left for i in one.members} & set(np.flatnonzero(taken).tolist())
        assert len(left) == len(first) - 1
    assert [one.similarity for one in first] == pytest.approx(
        [np.mean([similarity(circuit, np.array(p))[0, 1] for p in pairs([one.members])])
         for one in first]
    )  # fmt: skip


def test_layers_far_apart_and_opposite_signs_stay_apart() -> None:
    circuit, group = planted(2, noise=0.0)
    members = np.flatnonzero(group == 0)
    layer = circuit.nodes.layer.copy()
    layer[members] = [1, 1, 9, 9, 9]
    far = replace(circuit, nodes=replace(circuit.nodes, layer=layer))
    found = [set(one.members) for one in suggest_groups(far, np.ones(len(group), bool))]
    assert set(members[:2].tolist()) in found
    assert set(members[2:].tolist()) in found
    weight = circuit.edges.weight.copy()
    flip = np.isin(circuit.edges.source, members[:2]) | np.isin(circuit.edges.target, members[:2])
    weight[flip] *= -1
    turned = replace(circuit, edges=replace(circuit.edges, weight=weight))
    found = [set(one.members) for one in suggest_groups(turned, np.ones(len(group), bool))]
    assert set(members[:2].tolist()) in found
    assert set(members[2:].tolist()) in found


def test_nothing_is_suggested_where_nothing_is_alike(small_circuit: Circuit) -> None:
    assert suggest_groups(small_circuit, np.zeros(len(small_circuit.nodes), bool)) == []
