"""Two circuits aligned by name and token: shared, alone, flipped."""

from dataclasses import replace

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.graph.compare import align_tokens, compare

WHOLE = {"node_threshold": 1.0, "edge_threshold": 1.0}


def test_tokens_are_paired_by_edit_distance_or_from_the_end():
    a, b = (1, 2, 3, 4, 9), (1, 2, 7, 4, 5, 9)
    assert align_tokens(a, b) == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 5))
    assert align_tokens(a, b, "end") == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
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
