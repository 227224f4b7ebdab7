"""Cells of a sweep become nodes with the effects that were measured."""

import numpy as np
import pytest

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import LogitDifference
from circuitscope.graph.cells import circuit_of_cells
from circuitscope.models.loading import load_model
from circuitscope.tracing.patching import patching_grid

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")


@pytest.mark.parametrize(("component", "kind"), [("head_z", "HEAD"), ("mlp_out", "NEURON")])
def test_cells_become_nodes_with_their_effects(tiny_gpt2, component, kind):
    model = load_model(tiny_gpt2, "cpu")
    grid = patching_grid(model, CLEAN, OTHER, METRIC, component)
    circuit = circuit_of_cells(grid, [(0, 1), (1, 2)])
    assert circuit.token_ids == tuple(model.prompt(CLEAN).token_ids)
    scores = grid.provenance.scores
    gap = scores["clean"] - scores["corrupted"]
    np.testing.assert_allclose(
        circuit.edges.weight, [grid.values[0, 1] * gap, grid.values[1, 2] * gap], rtol=1e-5
    )
    keys = [circuit.nodes.key(k) for k in range(3)]
    assert [key.kind for key in keys] == [NodeKind[kind], NodeKind[kind], NodeKind.LOGIT]
    assert (keys[0].layer, keys[1].layer) == (0, 1)
    assert circuit.preactivation[-1] == pytest.approx(scores["clean"])
    a, b = (model.find_token(word) for word in (METRIC.a, METRIC.b))
    assert keys[2].unit == a + model.anatomy.d_vocab * (b + 1)
    with pytest.raises(CircuitScopeError, match="No cell"):
        circuit_of_cells(grid, [])


def test_the_stream_is_no_node(tiny_gpt2):
    grid = patching_grid(load_model(tiny_gpt2, "cpu"), CLEAN, OTHER, METRIC)
    with pytest.raises(CircuitScopeError, match="no nodes"):
        circuit_of_cells(grid, [(0, 0)])
