"""Splits of edges: parts add up, and each is what its head does alone."""

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import AttentionScore, Logit
from circuitscope.tracing.split import split_by_head

MODES = [{"mlp": "secant"}, {"mlp": "transcoder"}, {"units": "neurons"}]


@pytest.mark.parametrize("mode", MODES, ids=["secant", "transcoder", "neurons"])
def test_parts_add_up_to_the_edge(run, model, dictionaries, mode):
    circuit = run(**mode)
    nodes, edges = circuit.nodes, circuit.edges
    attends = (nodes.layer == 1) & (nodes.of_kind(NodeKind.HEAD) | (nodes.site == 13))
    found = np.flatnonzero(attends[edges.target] & (nodes.position[edges.target] == 6))
    kinds = nodes.kind[edges.source[found]]
    tried = [index for kind in np.unique(kinds) for index in found[kinds == kind][:3].tolist()]
    assert len(tried) >= 9
    for index in tried:
        edge = circuit.edge(index)
        split = split_by_head(circuit, model, index, dictionaries)
        total = split.weights.sum() + split.direct
        assert total == pytest.approx(edge.weight, rel=1e-5, abs=2e-6)
        assert set(split.layers) <= {1}
        assert split.query == 6
        assert np.all(np.diff(np.abs(split.weights)) <= 0)
        pattern = model.run(circuit.token_ids).pattern(1)
        np.testing.assert_allclose(split.patterns, pattern[split.heads, 6, split.keys], rtol=1e-5)
        if edge.source.kind is not NodeKind.BIAS:
            assert set(split.keys) == {edge.source.key.position}
            assert split.direct == 0
        if edge.target.kind is NodeKind.HEAD:
            assert set(split.heads) <= {edge.target.key.unit}
        assert sum(split.by_head().values()) == pytest.approx(split.weights.sum())


def test_a_part_is_what_remains_of_the_edge_when_only_its_head_attends(run, model, dictionaries):
    """With every other head's W_O at zero, the frozen row of the feature is that head's alone."""
    import copy
    from dataclasses import replace

    import torch

    from circuitscope.models.family import Part, part_module
    from circuitscope.tracing.verify import verify

    circuit = run()
    feature = next(
        index for index in np.flatnonzero(circuit.nodes.of_kind(NodeKind.FEATURE))
        if circuit.nodes.site[index] == 13 and circuit.nodes.layer[index] == 1
        and circuit.nodes.position[index] == 7
    )  # fmt: skip
    edge = next(e for e in circuit.inputs(int(feature)) if e.source.kind is NodeKind.TOKEN)
    split = split_by_head(circuit, model, edge, dictionaries)
    assert len(split.weights) == model.anatomy.n_heads
    d_head = model.anatomy.d_head
    for part, head in enumerate(split.heads.tolist()):
        alone = replace(model, module=copy.deepcopy(model.module))
        weight = part_module(model.family, alone.module, Part.ATTENTION_WRITE, 1).weight
        # Linear holds [out, in], GPT-2's Conv1D [in, out].
        inner = weight if model.anatomy.architecture.startswith("GPT2") else weight.T
        others = [h for h in range(model.anatomy.n_heads) if h != head]
        with torch.no_grad():
            for other in others:
                inner[other * d_head : (other + 1) * d_head] = 0
        found = verify(alone, circuit, edges=[edge.index], dictionaries=dictionaries)
        assert -found.measured[0] == pytest.approx(split.weights[part], rel=1e-4, abs=1e-6)


def whole(circuit, model, dictionaries, edges):
    """Split edges, compare their sums, and return the splits."""
    found = []
    largest = float(np.abs(circuit.edges.weight).max())
    for index in edges:
        edge = circuit.edge(int(index))
        split = split_by_head(circuit, model, edge, dictionaries)
        total = split.weights.sum() + split.direct
        assert total == pytest.approx(edge.weight, rel=1e-4, abs=1e-6 * largest), edge
        assert sum(split.by_head().values()) == pytest.approx(split.weights.sum(), abs=1e-6)
        found.append(split)
    return found


@pytest.mark.parametrize("mode", [{"mlp": "transcoder"}, {"units": "neurons"}])
def test_edges_of_attribution_split_by_the_last_head_on_their_paths(run, model, dictionaries, mode):
    circuit = run(method="attribution", targets=(Logit("Austin"), Logit("Texas", -3)), **mode)
    nodes, edges = circuit.nodes, circuit.edges
    into = nodes.of_kind(NodeKind.LOGIT) | (nodes.layer == 1)
    able = np.flatnonzero(into[edges.target])
    kinds = nodes.kind[edges.source[able]]
    chosen = np.concatenate([able[kinds == kind][:: max(1, (kinds == kind).sum() // 4)][:4]
                             for kind in np.unique(kinds)])  # fmt: skip
    splits = whole(circuit, model, dictionaries, chosen)
    layers = {int(layer) for split in splits for layer in split.layers}
    # Where every attention is explained by features, paths end there: one hop.
    assert layers == ({0, 1} if "units" in mode else {1})
    for split in splits:
        pattern = [model.run(circuit.token_ids).pattern(layer) for layer in (0, 1)]
        seen = [
            pattern[layer][head, split.query, key]
            for layer, head, key in zip(split.layers, split.heads, split.keys, strict=True)
        ]
        np.testing.assert_allclose(split.patterns, seen, rtol=1e-5)  # fmt: skip


def test_a_part_of_an_attribution_edge_is_gone_without_its_head(run, model, dictionaries):
    """With the last layer's other heads at zero, of that layer only the head's part is left."""
    import copy
    from dataclasses import replace

    import torch

    from circuitscope.models.family import Part, part_module
    from circuitscope.tracing.verify import verify

    circuit = run(method="attribution", units="neurons", targets=(Logit("Austin"),))
    edge = next(e for e in circuit.inputs(int(circuit.roots[0]))
                if e.source.kind is NodeKind.TOKEN and e.source.key.position == 4)  # fmt: skip
    (split,) = whole(circuit, model, dictionaries, [edge.index])
    below = split.weights[split.layers == 0].sum() + split.direct
    for head in range(model.anatomy.n_heads):
        alone = replace(model, module=copy.deepcopy(model.module))
        weight = part_module(model.family, alone.module, Part.ATTENTION_WRITE, 1).weight
        inner = weight if model.anatomy.architecture.startswith("GPT2") else weight.T
        others = [h for h in range(model.anatomy.n_heads) if h != head]
        with torch.no_grad():
            for other in others:
                inner[other * model.anatomy.d_head : (other + 1) * model.anatomy.d_head] = 0
        found = verify_frozen_at(model, alone, circuit, edge.index, verify)
        own = split.weights[(split.layers == 1) & (split.heads == head)].sum()
        assert found == pytest.approx(own + below, rel=1e-3, abs=1e-5)


def verify_frozen_at(model, changed, circuit, edge, verify):
    """Return an edge in a changed model whose patterns, norms and gates are the old one's."""
    from unittest.mock import patch

    from circuitscope.models.capture import capture

    cache = capture(model, circuit.token_ids)
    with patch("circuitscope.tracing.verify.capture", lambda *_: cache):
        return -verify(changed, circuit, edges=[edge]).measured[0]


def test_edges_without_attention_pass_directly(run, model, dictionaries):
    circuit = run(targets=(Logit("Austin"), AttentionScore(1, 2, 7, 3)))
    edge = circuit.inputs(int(circuit.roots[0]))[0]
    split = split_by_head(circuit, model, edge, dictionaries)
    assert split.direct == edge.weight
    assert not len(split.weights)
    edge = circuit.inputs(int(circuit.roots[1]))[0]
    split = split_by_head(circuit, model, edge, dictionaries)
    assert split.weights.tolist() == [edge.weight]
    assert split.score(0) == AttentionScore(1, 2, 7, 3)
    with pytest.raises(TraceError, match="no edge 999999"):
        split_by_head(circuit, model, 999999, dictionaries)
