"""Trace further: one more node with its own row, in a new circuit."""

import json

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.tracing.backward_walk import BackwardWalk
from circuitscope.tracing.grow import grow
from circuitscope.tracing.packed_walk import PackedWalk
from tests.conftest import GOLDEN


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


WAYS = [
    {}, {"mlp": "transcoder"}, {"units": "neurons"}, {"method": "attribution"},
    {"method": "attribution", "units": "neurons"},
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()) or "secant")
def test_only_the_new_row_is_computed_and_the_whole_traces_numbers_come_out(
    run, model, dictionaries, monkeypatch, way
):
    small, full = run(max_nodes=24, **way), run(**way)
    computed = []
    for kind in (BackwardWalk, PackedWalk):
        real = kind.rows

        def counted(self, wanted, *more, real=real):
            computed.append(len(wanted))
            return real(self, wanted, *more)

        monkeypatch.setattr(kind, "rows", counted)
    kinds = (NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON)
    able = np.flatnonzero(full.nodes.of_kind(*kinds))
    left = [n for n in able if small.nodes.find(full.nodes.key(n)) is None]
    left.sort(key=lambda n: -full.nodes.influence[n])
    grown = small
    for node in (left[0], left[3]):
        grown = grow(grown, model, full.nodes.key(node), dictionaries)
    assert computed == [1, 1]
    place = [full.nodes.find(grown.nodes.key(n)) for n in range(len(grown.nodes))]
    assert None not in place
    dense = np.zeros((len(full.nodes),) * 2)
    dense[full.edges.target, full.edges.source] = full.edges.weight
    wanted = dense[np.ix_(place, place)][grown.expanded]
    mine = np.zeros((len(place),) * 2)
    mine[grown.edges.target, grown.edges.source] = grown.edges.weight
    largest = np.abs(wanted).max(1, keepdims=True)
    assert (np.abs(mine[grown.expanded] - wanted) <= 1e-6 * largest).all()
    assert grown.conservation.max() < 2e-6


@pytest.mark.parametrize("case", ["llama_clt_jumprelu", "gpt2_relu"])
def test_growing_under_the_references_conventions(case):
    folder = GOLDEN / "attribution" / case
    model = cs.load_model(folder / "model", device="cpu")
    found = cs.load_dictionaries(folder / "transcoders_circuit_tracer")
    ids = json.loads((folder / "meta.json").read_text())["graphs"]["p0"]["prompt_ids"]
    more = {"method": "attribution", "dictionaries": found, "conventions": "circuit-tracer"}
    small, full = (cs.trace(model, ids, max_nodes=n, **more) for n in (30, None))
    able = np.flatnonzero(full.nodes.of_kind(NodeKind.FEATURE))
    left = [n for n in able if small.nodes.find(full.nodes.key(n)) is None]
    node = max(left, key=lambda n: full.nodes.influence[n])
    grown = cs.grow(small, model, full.nodes.key(node), dictionaries=found)
    new = grown.nodes.find(full.nodes.key(node))
    out = {str(e.target.key): e.weight for e in grown.outputs(new)}
    place = full.nodes.find(full.nodes.key(node))
    wanted = {str(e.target.key): e.weight for e in full.outputs(place)}
    wanted = {key: wanted[key] for key in wanted if grown.nodes.find(NodeKey.parse(key))}
    assert out.keys() == wanted.keys()
    most = max(map(abs, wanted.values()))
    assert all(out[key] == pytest.approx(wanted[key], abs=2e-6 * most) for key in out)
    assert len(out) > 3


def test_what_has_no_row_cannot_grow(run, model, dictionaries):
    small = run(max_nodes=20)
    with pytest.raises(TraceError, match="nothing inside the model feeds it"):
        grow(small, model, "token/embed/-1/0/1", dictionaries)
    with pytest.raises(TraceError, match="not active"):
        grow(small, model, "feature/mlp_out/1/8/999", dictionaries)
