"""Edges anew, from nothing of ours: autograd on the real module, frozen by hand, in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sae_lens_writer import HOOKS, write_sae
from safetensors.torch import load_file

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from tests.conformance.variants import IDS, VARIANTS, make_folder
from tests.tracing.by_hand import ByHand, Sae

PROMPT = "the capital of the state containing Dallas is"
SETS = {"attn_out": "standard", "mlp_out": "jumprelu", "transcoder": "jumprelu_transcoder"}
SEEN = {
    "attn_out": ("attn", "attn"), "attn_write": ("attn_write", "attn_write"),
    "mlp_out": ("mlp", "mlp"), "mlp_write": ("mlp_write", "mlp_write"),
    "transcoder": ("mlp_in", "mlp"), "to_write": ("mlp_in", "mlp_write"),
    "normalized": ("mlp_hat", "mlp"), "resid_mid": ("mid", "mlp"),
}  # fmt: skip
"""Where each kind of dictionary reads and writes, in `ByHand`'s names."""


def write_all(
    root: Path, n_layers: int, kinds: dict[str, str], **settings: object
) -> dict[tuple[Site, int], Sae]:
    """Write dictionaries of some kinds for every layer, and return them as by hand."""
    saes = {}
    for layer in range(n_layers):
        for kind, architecture in kinds.items():
            place = write_sae(root / f"{kind}{layer}", kind, layer, architecture, **settings)
            w = {k: v.double() for k, v in load_file(place / "sae_weights.safetensors").items()}
            site = Site.MLP_TRANSCODER if HOOKS[kind][1] else Site.parse(kind).writes
            read, write = SEEN[kind]
            k = 5 if "topk" in architecture else None
            norm = str(settings.get("normalize_activations", "none"))
            saes[site, layer] = Sae(w, read, write, layer, k, norm=norm)
    return saes


def sampled(circuit: Circuit, n: int = 200) -> np.ndarray:
    """Return edges at random, sorted by target, constants left out."""
    able = np.flatnonzero(~circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source])
    return np.sort(np.random.default_rng(0).permutation(able)[:n])


def compare(circuit: Circuit, by_hand: ByHand, n: int = 200) -> None:
    """Compare edges at random, and the pre-activations of their targets, with autograd's."""
    edges, nodes = circuit.edges, circuit.nodes
    largest = np.zeros(len(nodes))
    np.maximum.at(largest, edges.target, np.abs(edges.weight))
    leaves, target, grads = by_hand.leaf, -1, {}
    centred = circuit.provenance.method == "attribution"
    worst = 0.0
    for edge in sampled(circuit, n):
        if edges.target[edge] != target:
            target = int(edges.target[edge])
            scalar = by_hand.scalar(nodes.key(target), centred=centred)
            assert float(scalar.detach()) == pytest.approx(
                circuit.preactivation[target], rel=1e-4, abs=1e-5
            )
            found = torch.autograd.grad(
                scalar, list(leaves.values()), retain_graph=True, allow_unused=True
            )
            grads = dict(zip(leaves, found, strict=True))
        key = nodes.key(int(edges.source[edge]))
        name, vector = by_hand.written(key)
        assert grads[name] is not None, f"{key} does not reach {nodes.key(target)}"
        # The embedding of positions is looked up once for the batch.
        grad = grads[name].reshape(-1, len(vector))[key.position]
        expected = float(grad @ vector.detach())
        worst = max(worst, abs(edges.weight[edge] - expected) / largest[target])
    assert worst < 1e-5


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("how", [{"mlp": "secant"}, {"mlp": "transcoder"}, {"units": "neurons"}])
def test_edges_are_what_autograd_finds(kind, how, request, tmp_path):
    folder = request.getfixturevalue(f"tiny_{kind}")
    saes = write_all(tmp_path, 2, SETS, seed=4)
    model = load_model(folder, device="cpu")
    settings = TraceSettings(PROMPT, targets=(Logit(), Logit("Texas", 4)), max_nodes=None, **how)
    circuit = trace(model, settings, load_dictionaries(tmp_path))
    compare(circuit, ByHand(folder, circuit.token_ids, saes))


def folder_of(variant: str, root: Path) -> Path:
    return make_folder(root / "model", *VARIANTS[variant])


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "olmo2")]
FAMILIES = ["gemma2", "gpt-neox", *SLOW]
"""Norms of outputs, parallel blocks, and more of the first kind."""
WRITES = {
    "after": ({"attn_out": "standard", "mlp_out": "topk"}, ("attn", "mlp")),
    "before": ({"attn_write": "jumprelu", "mlp_write": "standard"}, ("attn_write", "mlp_write")),
}


@pytest.mark.parametrize("variant", FAMILIES)
@pytest.mark.parametrize("where", WRITES)
def test_autoencoders_before_and_after_the_norm_of_an_output(variant, where, tmp_path):
    kinds, cuts = WRITES[where]
    folder = folder_of(variant, tmp_path)
    saes = write_all(tmp_path / "set", 3, kinds, d=24, seed=4)
    model, found = load_model(folder, "cpu"), load_dictionaries(tmp_path / "set")
    settings = TraceSettings(tuple(IDS), targets=(Logit(9), Logit(4, 3)), max_nodes=None)
    circuit = trace(model, settings, found)
    assert len(circuit.provenance.dictionaries) == 6
    compare(circuit, ByHand(folder, tuple(IDS), saes, cuts))


@pytest.mark.parametrize("variant", FAMILIES)
@pytest.mark.parametrize("kind", ["transcoder", "to_write"])
@pytest.mark.parametrize("architecture", ["jumprelu_transcoder", "skip_transcoder"])
@pytest.mark.parametrize("method", ["attribution", "direct"])
def test_transcoders_before_and_after_the_norm_of_an_output(
    variant, kind, architecture, method, tmp_path
):
    folder = folder_of(variant, tmp_path)
    saes = write_all(tmp_path / "set", 3, {kind: architecture}, d=24, seed=4)
    model, found = load_model(folder, "cpu"), load_dictionaries(tmp_path / "set")
    settings = TraceSettings(
        tuple(IDS), method=method, mlp="transcoder", targets=(Logit(9), Logit(4, 3)),
        units="features", max_nodes=None,
    )  # fmt: skip
    circuit = trace(model, settings, found)
    assert len(circuit.provenance.dictionaries) == 3
    write = SEEN[kind][1]
    cuts = (write,) if method == "attribution" else ("attn", write)
    compare(circuit, ByHand(folder, tuple(IDS), saes, cuts))


MEASURED = {
    "direct": ({"attn_out": "standard", "mlp_out": "topk"}, {}, ("attn", "mlp")),
    "direct-transcoders": (
        {"attn_out": "jumprelu", "transcoder": "skip_transcoder"}, {"mlp": "transcoder"},
        ("attn", "mlp"),
    ),
    "attribution": (
        {"transcoder": "jumprelu_transcoder"}, {"method": "attribution", "units": "features"},
        ("mlp",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("variant", ["gpt2", "llama-grouped", "gemma2"])
@pytest.mark.parametrize("way", MEASURED)
def test_edges_are_what_switching_their_source_off_measures(variant, way, tmp_path):
    """200 edges at random; the frozen module is run again without what the source wrote."""
    kinds, how, cuts = MEASURED[way]
    folder = folder_of(variant, tmp_path)
    saes = write_all(tmp_path / "set", 3, kinds, d=24, seed=4)
    model, found = load_model(folder, "cpu"), load_dictionaries(tmp_path / "set")
    settings = TraceSettings(tuple(IDS), targets=(Logit(9), Logit(4, 3)), max_nodes=None, **how)
    circuit = trace(model, settings, found)
    by_hand = ByHand(folder, tuple(IDS), saes, cuts)
    nodes, edges = circuit.nodes, circuit.edges
    centred = settings.method == "attribution"
    largest = np.zeros(len(nodes))
    np.maximum.at(largest, edges.target, np.abs(edges.weight))

    def held(node: int) -> float:
        return float(by_hand.scalar(nodes.key(node), centred=centred).detach())

    chosen = sampled(circuit)
    assert len(chosen) == 200
    before = {int(node): held(int(node)) for node in np.unique(edges.target[chosen])}
    written = {int(node): by_hand.written(nodes.key(int(node)))
               for node in np.unique(edges.source[chosen])}  # fmt: skip
    worst = 0.0
    for source, (name, vector) in written.items():
        by_hand.without(name, nodes.key(source).position, vector.detach())
        for edge in chosen[edges.source[chosen] == source]:
            target = int(edges.target[edge])
            change = before[target] - held(target)
            worst = max(worst, abs(change - edges.weight[edge]) / largest[target])
    assert worst < 1e-5
