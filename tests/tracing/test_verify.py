"""Edges against the model itself: what is predicted is what hooks on the real module measure."""

import gc

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Direction, Logit, LogitDifference, TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import predict_total, strongest_into_roots, verify

PROMPT = "the capital of the state containing Dallas is"


def sampled_edges(circuit: Circuit, n: int = 200) -> np.ndarray:
    """Return edges at random, among those large enough to measure in float32."""
    able = ~circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source]
    size = np.abs(circuit.preactivation[circuit.edges.target]) + 1
    able &= np.abs(circuit.edges.weight) > 1e-3 * size
    found = np.flatnonzero(able)
    return np.random.default_rng(0).permutation(found)[:n]


@pytest.mark.parametrize(
    ("mode", "gated"),
    [
        ({"mlp": "secant"}, "half"),
        ({"mlp": "secant"}, "gradient"),
        ({"mlp": "transcoder"}, "half"),
        ({"units": "neurons"}, "half"),
        ({"units": "neurons"}, "through_u"),
    ],
    ids=["secant", "secant-gradient", "transcoder", "neurons", "neurons-through_u"],
)
def test_sampled_edges_equal_what_the_frozen_module_does(run, model, dictionaries, mode, gated):
    circuit = run(gated=gated, **mode)
    edges = sampled_edges(circuit)
    found = verify(model, circuit, edges=edges, dictionaries=dictionaries)
    assert sorted(found.edges) == sorted(edges)
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5
    assert found.worst < 1e-3
    kinds = {NodeKind(int(kind)) for kind in circuit.nodes.kind[found.sources]}
    assert NodeKind.TOKEN in kinds
    assert len(kinds) >= 3


@pytest.mark.parametrize("dictionary", [True, False], ids=["transcoders", "neurons"])
def test_edges_through_attention_equal_what_the_frozen_module_does(
    run, model, dictionaries, dictionary
):
    more = {"mlp": "transcoder"} if dictionary else {"units": "neurons"}
    circuit = run(method="attribution", targets=(Logit("Austin"), Logit("Texas", -2)), **more)
    into_root = np.flatnonzero(circuit.edges.target == circuit.roots[0])
    is_bias = circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source[into_root]]
    edges = np.union1d(sampled_edges(circuit), into_root[~is_bias])
    found = verify(model, circuit, edges=edges, dictionaries=dictionaries)
    assert np.isin(circuit.roots[0], found.targets)
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5


def test_the_strongest_nodes_change_the_logit_by_their_edges(run, model, dictionaries):
    targets = (Logit("Austin"), LogitDifference("Austin", "Texas"), Direction((1.0,) * 16, "ones"))
    circuit = run(targets=targets)
    found = verify(model, circuit, dictionaries=dictionaries)
    assert len(set(found.sources)) == 20
    into_roots = np.isin(found.targets, circuit.roots[:2])
    assert into_roots.sum() >= 20
    predicted, measured = found.predicted[into_roots], found.measured[into_roots]
    strong = np.abs(predicted) > 0.02 * np.abs(circuit.preactivation[circuit.roots[0]])
    np.testing.assert_allclose(measured[strong], predicted[strong], rtol=1e-3)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())
    gc.collect()


@pytest.mark.parametrize("site", ["normalized", "resid_mid"])
def test_transcoders_that_read_other_places_conserve_and_verify(model, tmp_path, site):
    from sae_lens_writer import write_sae

    for layer in range(2):
        write_sae(tmp_path / f"t{layer}", site, layer, "skip_transcoder", seed=5)
    dictionaries = load_dictionaries(tmp_path)
    settings = TraceSettings(PROMPT, targets=(Logit("Austin"),), mlp="transcoder", max_nodes=None)
    circuit = trace(model, settings, dictionaries)
    assert circuit.conservation.max() < 2e-6
    assert (circuit.nodes.site == Site.MLP_TRANSCODER).any()
    found = verify(model, circuit, edges=sampled_edges(circuit, 60))
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5


def test_total_effects_are_measured_per_node_and_root(run, model, dictionaries):
    circuit = run(targets=(Logit("Austin"), Logit("Texas")), units="neurons")
    nodes = strongest_into_roots(circuit, 5)
    found = verify(model, circuit, nodes.tolist(), effect="total", dictionaries=dictionaries)
    assert len(found.measured) == 10
    assert (found.edges == -1).all()
    assert np.isfinite(found.measured).all()
    assert found.measured.any()
    # Nodes of the last stage reach the logits over their edge alone, but for the last norm.
    last = [n for n in nodes if circuit.nodes.layer[n] == 1 and circuit.nodes.site[n] == 16]
    for node in last:
        row = np.flatnonzero(found.sources == node)
        edges = circuit.edges.out_of(int(node))
        np.testing.assert_allclose(found.predicted[row], -circuit.edges.weight[edges], rtol=1e-5)


def test_predicted_totals_go_over_all_paths(small_circuit):
    # Dallas -> 31 -> 214 -> logit and -> 88 -> logit; each step scaled by its pre-activation.
    predicted = predict_total(small_circuit, np.array([1]))
    pre = small_circuit.preactivation
    into_31, into_214, into_88 = 2.0, 1.5, 1.0
    per_214 = (into_88 / pre[4] * 3.0 + 1.0) * into_214 / pre[3]
    assert predicted[0, 0] == pytest.approx(-into_31 / pre[2] * per_214, rel=1e-6)
    assert pre[2] == 2.5


def test_what_cannot_be_verified_is_refused(run, model, dictionaries, small_circuit):
    circuit = run(max_nodes=20)
    root = int(circuit.roots[0])
    for nodes, words in (([root], "cannot be switched off"), (["logit/logits/9/9/9"], "no node")):
        with pytest.raises(TraceError, match=words):
            verify(model, circuit, nodes, dictionaries=dictionaries)
    with pytest.raises(TraceError, match="by 'mean'"):
        verify(model, circuit, mode="mean", dictionaries=dictionaries)
    with pytest.raises(TraceError, match="not among these dictionaries"):
        verify(model, circuit, dictionaries=dictionaries[:1])
    imported = Provenance("import", source_file="graph.json")
    import dataclasses

    with pytest.raises(TraceError, match="not traced here"):
        verify(model, dataclasses.replace(small_circuit, provenance=imported))
