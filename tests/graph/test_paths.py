"""Paths between nodes, against all paths of small random graphs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitscope.core.circuit import Circuit, EdgeTable
from circuitscope.graph.influence import signed_shares, stages
from circuitscope.graph.paths import reached, strongest_paths
from tests.graph.test_layout import random_circuit


def wired(n: int, seed: int, density: float) -> Circuit:
    """Return a random circuit whose edges all run up the order of computation."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, seed)
    stage = stages(circuit.nodes)
    source, target = np.nonzero(stage[:, None] < stage[None, :])
    kept = rng.random(len(source)) < density
    source, target = source[kept], target[kept]
    order = np.argsort(target, kind="stable")
    weight = rng.normal(size=len(order)).astype(np.float32)
    edges = EdgeTable(source[order], target[order], weight, np.zeros(len(order)))
    return replace(circuit, edges=edges)


def every_path(circuit: Circuit, start: int, end: int) -> list[float]:
    """Return the shares of all paths, found by walking each."""
    share, table = signed_shares(circuit), circuit.edges
    found: list[float] = []

    def walk(node: int, product: float) -> None:
        if node == end:
            found.append(product)
            return
        for edge in np.flatnonzero(table.source == node):
            walk(int(table.target[edge]), product * float(share[edge]))

    walk(start, 1.0)
    return sorted(found, key=lambda value: -abs(value))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(3, 12), seed=st.integers(0, 10_000), k=st.integers(1, 5))
def test_they_are_the_strongest_of_all_paths(n: int, seed: int, k: int) -> None:
    circuit = wired(n, seed, 0.6)
    stage = stages(circuit.nodes)
    start, end = int(np.argmin(stage)), int(np.argmax(stage))
    paths = strongest_paths(circuit, start, end, k)
    expected = every_path(circuit, start, end) if start != end else []
    assert [p.share for p in paths] == pytest.approx(expected[:k], rel=1e-9)
    assert len({p.edges for p in paths}) == len(paths)
    share, table = signed_shares(circuit), circuit.edges
    for path in paths:
        assert (path.nodes[0], path.nodes[-1]) == (start, end)
        assert path.nodes[:-1] == tuple(table.source[list(path.edges)].tolist())
        assert path.nodes[1:] == tuple(table.target[list(path.edges)].tolist())
        assert path.share == pytest.approx(math.prod(share[list(path.edges)].tolist()))


def test_only_edges_that_are_allowed_are_used() -> None:
    circuit = wired(10, 3, 0.8)
    stage = stages(circuit.nodes)
    start, end = int(np.argmin(stage)), int(np.argmax(stage))
    best = strongest_paths(circuit, start, end, 1)[0]
    allowed = np.ones(len(circuit.edges), bool)
    allowed[best.edges[0]] = False
    assert best.edges[0] not in strongest_paths(circuit, start, end, 1, allowed)[0].edges
    assert strongest_paths(circuit, start, end, 1, np.zeros_like(allowed)) == ()
    assert strongest_paths(circuit, end, start) == ()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_what_is_reached_downwards_reaches_upwards(n: int, seed: int) -> None:
    circuit = wired(n, seed, 0.3)
    every = np.ones(len(circuit.edges), bool)
    for node in range(len(circuit.nodes)):
        below = reached(circuit, every, [node], down=True)
        for other in np.flatnonzero(below):
            assert reached(circuit, every, [int(other)], down=False)[node]
