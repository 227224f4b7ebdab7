"""Dictionaries that divide their input, position by position, and targets that are not active."""

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import Feature, Logit, TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import verify
from tests.tracing.by_hand import ByHand
from tests.tracing.test_against_autograd import PROMPT, compare, write_all

KINDS = {
    "autoencoders": ({"attn_out": "standard", "mlp_out": "jumprelu"}, {}, ("attn", "mlp")),
    "transcoders": (
        {"transcoder": "jumprelu_transcoder"},
        {"mlp": "transcoder", "method": "attribution", "units": "features"},
        ("mlp",),
    ),
}


@pytest.mark.parametrize("kind", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("what", KINDS)
def test_their_denominators_are_frozen_like_those_of_norms(kind, norm, what, request, tmp_path):
    architectures, how, cuts = KINDS[what]
    folder = request.getfixturevalue(f"tiny_{kind}")
    saes = write_all(tmp_path, 2, architectures, seed=4, normalize_activations=norm)
    model, found = load_model(folder, "cpu"), load_dictionaries(tmp_path)
    settings = TraceSettings(PROMPT, targets=(Logit(), Logit("Texas", 4)), max_nodes=None, **how)
    circuit = trace(model, settings, found)
    assert len(circuit.provenance.dictionaries) == 2 * len(architectures)
    assert circuit.conservation.max() < 2e-6
    compare(circuit, ByHand(folder, circuit.token_ids, saes, cuts))
    size = np.abs(circuit.preactivation[circuit.edges.target]) + 1
    able = np.flatnonzero(np.abs(circuit.edges.weight) > 1e-3 * size)
    edges = np.random.default_rng(1).permutation(able)[:60]
    measured = verify(model, circuit, edges=edges, dictionaries=found)
    size = np.abs(circuit.preactivation[measured.targets]) + 1
    assert (np.abs(measured.measured - measured.predicted) / size).max() < 2e-5


def test_a_target_that_is_not_active_says_so_and_where_it_is(run):
    whole = run()
    nodes = whole.nodes
    places: dict[tuple[int, int], set[int]] = {}
    for n in np.flatnonzero(nodes.of_kind(NodeKind.FEATURE) & (nodes.layer == 1)):
        unit = int(nodes.site[n]), int(nodes.unit[n])
        places.setdefault(unit, set()).add(int(nodes.position[n]))
    (site, unit), at = min(places.items(), key=lambda item: len(item[1]))
    key = NodeKey(NodeKind.FEATURE, Site(site), 1, min(at), unit)
    still = next(p for p in range(len(whole.tokens)) if p not in at)
    circuit = run(targets=(Feature(key.site, 1, key.unit, still),))
    said = next(text for text in circuit.provenance.remarks if "is not active" in text)
    assert f"Feature {key.unit} of {key.site.text} in layer 1" in said
    assert f"at position {still}" in said
    assert f"active at position {', '.join(map(str, sorted(at)))}." in said
    root = int(circuit.roots[0])
    assert circuit.nodes.activation[root] == 0
    assert f"{circuit.preactivation[root]:.3g}" in said
    assert len(circuit.inputs(root)) > 3
    there = run(targets=(Feature(key.site, 1, key.unit, min(at)),))
    assert not any("is not active" in text for text in there.provenance.remarks)
