"""Attribution graphs through every kind of transcoder, whole, against a dense reference.

The reference is made here: rows by autograd on the frozen Hugging Face module in float64, influence
by powers of the normalised matrix, scores from it, all as circuit-tracer defines them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.graph.influence import scores
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from tests.conformance.variants import IDS, VARIANTS, make_folder
from tests.tracing.by_hand import ByHand, Sae

D, N, LAYERS = 24, 20, 3
KINDS = {
    "below-zero": "",
    "topk": "activation: topk\nk: 14\n",
    "relu-skip": "activation: relu\n",
    "jump-skip": "",
}


def write(folder: Path, kind: str) -> dict[tuple[Site, int], Sae]:
    """Write a circuit-tracer set, and return it as by hand."""
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model_name: tiny\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        "feature_output_hook: mlp.hook_out\n" + KINDS[kind]
    )
    random = torch.Generator().manual_seed(8)
    saes = {}
    for layer in range(LAYERS):
        w = {
            "W_enc": torch.randn(N, D, generator=random) / D**0.5,
            "b_enc": 0.3 * torch.randn(N, generator=random),
            "W_dec": torch.randn(N, D, generator=random) / D**0.5,
            "b_dec": 0.3 * torch.randn(D, generator=random),
        }
        if kind in ("below-zero", "jump-skip"):
            shift = 0.6 if kind == "below-zero" else 0.0
            w["activation_function.threshold"] = torch.rand(N, generator=random) - shift
        if kind.endswith("skip"):
            w["W_skip"] = 0.3 * torch.randn(D, D, generator=random) / D**0.5
        save_file(w, folder / f"layer_{layer}.safetensors")
        own = {name.removeprefix("activation_function."): t.double() for name, t in w.items()}
        own["W_enc"] = own["W_enc"].T
        k = 14 if kind == "topk" else None
        saes[Site.MLP_TRANSCODER, layer] = Sae(
            own, "mlp_in", "mlp", layer, k, subtracts=False, signed=kind != "relu-skip"
        )
    return saes


def dense(circuit: Circuit, by_hand: ByHand) -> np.ndarray:
    """Return every edge between the circuit's nodes by autograd, [target, source]."""
    nodes = circuit.nodes
    keys = [nodes.key(n) for n in range(len(nodes))]
    written = [
        None if key.kind in (NodeKind.LOGIT, NodeKind.BIAS) else by_hand.written(key)
        for key in keys
    ]
    found = np.zeros((len(keys), len(keys)))
    for target in np.flatnonzero(circuit.expanded):
        scalar = by_hand.scalar(keys[target], centred=True)
        grads = dict(
            zip(
                by_hand.leaf,
                torch.autograd.grad(
                    scalar, list(by_hand.leaf.values()), retain_graph=True, allow_unused=True
                ),
                strict=True,
            )
        )
        for source, place in enumerate(written):
            if place is not None and grads[place[0]] is not None:
                grad = grads[place[0]].reshape(-1, D)[keys[source].position]
                found[target, source] = float(grad @ place[1].detach())
    return found


@pytest.mark.parametrize("variant", ["llama-grouped", pytest.param("gpt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_graphs_equal_a_dense_reference(variant, kind, tmp_path):
    folder = make_folder(tmp_path / "model", *VARIANTS[variant])
    saes = write(tmp_path / "set", kind)
    model, sets = load_model(folder, "cpu", "float64"), load_dictionaries(tmp_path / "set")
    settings = TraceSettings(tuple(IDS), method="attribution", max_nodes=None, dtype="float64")
    ours = trace(model, settings, sets)
    by_hand = ByHand(folder, tuple(IDS), saes, ("mlp",))
    features = ours.nodes.of_kind(NodeKind.FEATURE)
    for (site, layer), sae in saes.items():
        here = features & (ours.nodes.layer == layer) & (ours.nodes.site == site)
        values = sae.values(sae.preactivations(by_hand.seen[sae.read, layer])).detach()
        place = torch.stack(values.nonzero(as_tuple=True), 1).tolist()
        mine = np.stack([ours.nodes.position[here], ours.nodes.unit[here]], 1).tolist()
        assert sorted(mine) == sorted(place)
        held = values[ours.nodes.position[here], ours.nodes.unit[here]].numpy()
        np.testing.assert_allclose(ours.nodes.activation[here], held, atol=1e-6)
    negative = (ours.nodes.activation[features] < 0).any()
    assert negative == (kind in ("below-zero", "topk"))
    wanted = dense(ours, by_hand)
    assert_edges(ours, wanted)

    strict = trace(model, TraceSettings(
        tuple(IDS), method="attribution", max_nodes=None, dtype="float64",
        conventions="circuit-tracer",
    ), sets)  # fmt: skip
    nodes = strict.nodes
    assert not nodes.of_kind(NodeKind.BIAS, NodeKind.POSITION).any()
    first = nodes.of_kind(NodeKind.FEATURE) & (nodes.position == 0)
    assert not first.any()
    wanted = dense(strict, by_hand)
    wanted[:, nodes.of_kind(NodeKind.ERROR) & (nodes.position == 0)] = 0
    assert_edges(strict, wanted)
    assert_scores(strict, wanted)


def assert_edges(circuit: Circuit, wanted: np.ndarray) -> None:
    found = np.zeros_like(wanted)
    found[circuit.edges.target, circuit.edges.source] = circuit.edges.weight
    known = ~circuit.nodes.of_kind(NodeKind.BIAS)
    largest = np.abs(wanted).max(1, keepdims=True)
    miss = np.abs(found - wanted)[:, known] / np.maximum(largest, 1e-30)
    assert miss[circuit.expanded].max() < 5e-6
    assert circuit.conservation.max() < 2e-6


def assert_scores(circuit: Circuit, weights: np.ndarray) -> None:
    """Compare influence and scores with their definition, on the reference's own edges."""
    share = np.abs(weights) / np.maximum(np.abs(weights).sum(1, keepdims=True), 1e-30)
    start = np.zeros(len(weights))
    start[circuit.roots] = circuit.root_weights
    influence, step = np.zeros(len(weights)), start
    for _ in range(20):
        step = step @ share
        influence += step
    np.testing.assert_allclose(circuit.nodes.influence, influence, atol=1e-6)
    errors = circuit.nodes.of_kind(NodeKind.ERROR)
    tokens = circuit.nodes.of_kind(NodeKind.TOKEN)
    found = scores(circuit)
    parts = influence[tokens].sum(), influence[errors].sum()
    assert found["replacement"] == pytest.approx(parts[0] / sum(parts), abs=1e-6)
    reached = influence + start
    told = ((1 - share[:, errors].sum(1)) * reached).sum() / reached.sum()
    assert found["completeness"] == pytest.approx(told, abs=1e-6)
