"""Trace further: one more node with its own row, in a new circuit."""

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKind
from circuitscope.tracing.grow import grow


@pytest.mark.parametrize("units", ["auto", "neurons"])
def test_growing_adds_the_node_and_its_row(run, model, dictionaries, units):
    small, whole = run(max_nodes=20, units=units), run(units=units)
    kinds = (NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON)
    able = np.flatnonzero(whole.nodes.of_kind(*kinds))
    left = [n for n in able if small.nodes.find(whole.nodes.key(n)) is None]
    strongest = max(left, key=lambda n: whole.nodes.influence[n])
    key = whole.nodes.key(strongest)
    grown = grow(small, model, key, dictionaries)
    node = grown.nodes.find(key)
    assert node is not None
    assert grown.expanded[node]
    assert grown.preactivation[node] == whole.preactivation[strongest]
    assert len(grown.nodes) >= len(small.nodes) + 1
    assert grown.provenance.parent == small.digest
    assert grown.provenance.settings["prompt"] == small.provenance.settings["prompt"]
    assert grown.conservation.max() < 2e-6
    assert grown.expanded.sum() == small.expanded.sum() + 1
    assert np.abs(grown.unexplained).sum() != np.abs(small.unexplained).sum()
    for index in range(len(small.nodes)):
        assert grown.nodes.find(small.nodes.key(index)) is not None


def test_growing_a_known_node_changes_nothing_but_the_parent(run, model, dictionaries):
    small = run(max_nodes=20)
    kept = int(np.flatnonzero(small.nodes.of_kind(NodeKind.FEATURE))[0])
    again = grow(small, model, kept, dictionaries)
    assert len(again.edges) == len(small.edges)
    np.testing.assert_allclose(again.edges.weight, small.edges.weight, atol=1e-6)


def test_what_has_no_row_cannot_grow(run, model, dictionaries):
    small = run(max_nodes=20)
    with pytest.raises(TraceError, match="nothing inside the model feeds it"):
        grow(small, model, "token/embed/-1/0/1", dictionaries)
    with pytest.raises(TraceError, match="not active"):
        grow(small, model, "feature/mlp_out/1/8/999", dictionaries)
