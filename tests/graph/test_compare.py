"""Two circuits aligned by name and token: shared, alone, flipped."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import circuitscope as cs
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.shipped import shipped_path
from circuitscope.graph.compare import align_tokens, compare, counterparts
from circuitscope.graph.overlay import overlay


def bundled(name: str) -> dict[str, Circuit]:
    with cs.open_project(shipped_path("projects", name), read_only=True) as project:
        return dict(project.circuits())


ATLAS = bundled("atlas/capitals.circuitscope")
OTHELLO = bundled("othello/othello.circuitscope")
ALL = [*ATLAS.values(), *OTHELLO.values()]
WHOLE = {"node_threshold": 1.0, "edge_threshold": 1.0}


def test_tokens_are_paired_by_edit_distance_or_from_the_end():
    a, b = (1, 2, 3, 4, 9), (1, 2, 7, 4, 5, 9)
    assert align_tokens(a, b) == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 5))
    assert align_tokens(a, b, "end") == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
    # A rephrased prompt: what is left over is paired from the end, where the answer is read.
    assert align_tokens((1, 2, 3, 4, 9), (1, 3, 4, 5, 6, 8)) == ((0, 0), (2, 1), (3, 2), (4, 5))
    with pytest.raises(CircuitScopeError, match="no alignment"):
        align_tokens(a, b, "start")


def test_a_circuit_equals_itself(small_circuit: Circuit):
    found = compare(small_circuit, small_circuit, **WHOLE)
    assert found.overlap() == {"nodes": 1.0, "edges": 1.0, "influence": 1.0, "flipped": 0.0}
    assert not found.nodes_in("a")
    assert not found.nodes_in("b")


def test_another_token_before_shifts_positions(small_circuit: Circuit):
    nodes = small_circuit.nodes
    moved = replace(nodes, position=np.where(nodes.position >= 0, nodes.position + 1, -1))
    longer = replace(
        small_circuit, nodes=moved, tokens=("<bos>", *small_circuit.tokens),
        token_ids=(99, *small_circuit.token_ids),
    )  # fmt: skip
    for align in ("edit", "end"):
        found = compare(small_circuit, longer, align, **WHOLE)
        assert found.overlap()["nodes"] == 1.0
        assert found.overlap()["edges"] == 1.0


def test_signs_and_missing_edges_are_told(small_circuit: Circuit):
    edges = small_circuit.edges
    weight = edges.weight.copy()
    flipped = int(np.flatnonzero((edges.source == 4) & (edges.target == 7))[0])
    weight[flipped] *= -1
    kept = np.arange(len(edges)) != int(np.flatnonzero(edges.source == 5)[0])
    other = replace(
        small_circuit,
        edges=replace(
            edges, source=edges.source[kept], target=edges.target[kept], weight=weight[kept],
            route=edges.route[kept],
        ),
    )  # fmt: skip
    found = compare(small_circuit, other, **WHOLE)
    assert [str(pair.source) for pair in found.edges_in("flipped")] == ["feature/mlp_out/1/7/88"]
    assert [str(pair.source) for pair in found.edges_in("a")] == ["error/mlp_out/0/7/-1"]
    assert not found.edges_in("b")
    assert 0 < found.overlap()["edges"] < 1


def test_where_each_node_and_edge_belongs_is_counted_once(small_circuit: Circuit):
    nodes = small_circuit.nodes
    other = replace(small_circuit, nodes=replace(nodes, unit=np.where(nodes.unit == 88, 89,
                                                                     nodes.unit)))  # fmt: skip
    found = compare(small_circuit, other, **WHOLE)
    counts = found.counts()
    assert counts["nodes"] == {"both": 7, "a": 1, "b": 1, "flipped": 0}
    assert sum(counts["edges"].values()) == len(found.edges)
    only = found.nodes_in("a")[0]
    assert (only.where, only.held, only.activation) == ("a", (True, False), (1.5, 0.0))


@pytest.mark.parametrize("name", ["Legal move", "Board feature", "Attention score"])
def test_a_circuit_of_a_project_equals_itself(name: str):
    circuit = OTHELLO[name]
    found = compare(circuit, circuit)
    assert {pair.where for pair in (*found.nodes, *found.edges)} == {"both"}
    assert (counterparts(circuit, circuit) == np.arange(len(circuit.nodes))).all()


@given(
    one=st.sampled_from(range(5)), other=st.sampled_from(range(5)),
    align=st.sampled_from(["edit", "end"]), threshold=st.floats(0.3, 1.0),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_reverse_comparison_mirrors(one: int, other: int, align: str, threshold: float):
    a, b = ALL[one], ALL[other]
    found, mirrored = compare(a, b, align, threshold), compare(b, a, align, threshold)
    assert found.overlap() == pytest.approx(mirrored.overlap())
    swapped = {"a": "b", "b": "a"}
    for what, counts in found.counts().items():
        reverse = mirrored.counts()[what]
        assert counts == {where: reverse[swapped.get(where, where)] for where in counts}
    assert {(p.a, p.b) for p in found.nodes} == {(p.b, p.a) for p in mirrored.nodes}
    assert {e.weights for e in found.edges} == {e.weights[::-1] for e in mirrored.edges}


@given(
    a=st.lists(st.integers(0, 4), max_size=9), b=st.lists(st.integers(0, 4), max_size=9),
    align=st.sampled_from(["edit", "end"]),
)  # fmt: skip
def test_pairs_of_tokens_ascend_and_mirror(a: list[int], b: list[int], align: str):
    found = align_tokens(a, b, align)
    assert align_tokens(b, a, align) == tuple((q, p) for p, q in found)
    for (p, q), (later, other) in pairwise(found):
        assert p < later
        assert q < other


def test_the_overlay_is_the_union(small_circuit: Circuit):
    a, b = ATLAS["Dallas"], ATLAS["Oakland"]
    found = compare(a, b)
    laid = overlay(a, b, found)
    assert laid.circuit.tokens[7] == "Dallas | Oakland"
    assert len(laid.circuit.tokens) == 9
    assert len(laid.circuit.nodes) == len(found.nodes)
    assert len(laid.circuit.edges) == len(found.edges)
    assert int(laid.of("a").sum()) == found.counts()["nodes"]["a"]
    root = laid.circuit.roots[0]
    assert laid.circuit.labels[root] == "Austin | Sacramento"
    longer = replace(small_circuit, tokens=("so", *small_circuit.tokens),
                     token_ids=(99, *small_circuit.token_ids))  # fmt: skip
    shifted = overlay(small_circuit, longer, compare(small_circuit, longer, "end", **WHOLE))
    assert shifted.circuit.tokens == longer.tokens
