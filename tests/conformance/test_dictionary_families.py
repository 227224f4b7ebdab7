"""Rows through dictionaries add up in every family: both methods, every kind of dictionary."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.registry import Registry
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.family import FAMILIES, ModelFamily
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing.method import trace
from tests.conformance.table import measured
from tests.conformance.variants import IDS, LAYERS, VARIANTS, make_folder
from tests.sae_lens_writer import write_sae

D, N = 24, 20
CAUSAL = sorted(name for name in VARIANTS if "bert" not in name)
FIRST = {VARIANTS[name][0]: name for name in reversed(CAUSAL)}
"""One shape of each class; the others are slow tests."""
BASE = TraceSettings(tuple(IDS), targets=(Logit(9), Logit(4, 3)), max_nodes=None)
WAYS = {
    "attention and MLP outputs": (("attn_out", "mlp_out"), BASE),
    "attention outputs and transcoders": (
        ("attn_out", "transcoder"), replace(BASE, mlp="transcoder"),
    ),
    "transcoders": (("transcoder",), replace(BASE, method="attribution")),
    "attention outputs as hops": (
        ("attn_out", "transcoder"), replace(BASE, method="attribution"),
    ),
    "one across layers": (("across",), replace(BASE, method="attribution")),
}  # fmt: skip


def test_every_causal_family_is_tried() -> None:
    families: Registry[ModelFamily] = Registry(FAMILIES)
    names = {name for name in families.names() if "bert" not in name.lower()}
    assert names <= {VARIANTS[name][0] for name in CAUSAL}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of dictionaries of every kind for three layers, all random."""
    root = tmp_path_factory.mktemp("sets")
    for layer in range(LAYERS):
        skip = "skip_transcoder" if layer == 1 else "jumprelu_transcoder"
        for kind, architecture in (
            ("attn_out", "gated"), ("mlp_out", "topk"), ("transcoder", skip),
        ):  # fmt: skip
            write_sae(root / kind / str(layer), kind, layer, architecture, d=D, n=N, seed=layer)
    write_across(root / "across")
    return root


def write_across(folder: Path) -> None:
    """Write a cross-layer transcoder as circuit-tracer does."""
    folder.mkdir()
    lines = {
        "model_name": "tiny", "model_kind": "cross_layer_transcoder",
        "feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out",
    }  # fmt: skip
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items())
    (folder / "config.yaml").write_text(text)
    g = torch.Generator().manual_seed(5)
    for layer in range(LAYERS):
        tensors = {
            "W_enc": torch.randn(N, D, generator=g) / D**0.5,
            "b_enc": 0.3 * torch.randn(N, generator=g),
            "b_dec": 0.3 * torch.randn(D, generator=g),
            "threshold": 0.3 * torch.rand(N, generator=g),
        }
        named = {f"{name}_{layer}": tensor for name, tensor in tensors.items()}
        save_file(named, folder / f"W_enc_{layer}.safetensors")
        decoder = torch.randn(N, LAYERS - layer, D, generator=g) / D**0.5
        save_file({f"W_dec_{layer}": decoder}, folder / f"W_dec_{layer}.safetensors")


def missed(circuit: Circuit) -> float:
    """Return the worst miss of a row, counted anew from the edges."""
    n, edges = len(circuit.nodes), circuit.edges
    weight = edges.weight.astype(np.float64)
    total = np.bincount(edges.target, weight, minlength=n) + circuit.unexplained
    size = np.bincount(edges.target, np.abs(weight), minlength=n) + np.abs(circuit.unexplained)
    miss = np.abs(circuit.preactivation - total) / np.maximum(size, 1e-30)
    return float(miss[circuit.expanded].max())


@pytest.mark.parametrize(
    "variant",
    [name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow)
     for name in CAUSAL],
)  # fmt: skip
def test_rows_through_dictionaries_add_up(variant: str, sets: Path, tmp_path: Path) -> None:
    model: LoadedModel = load_model(make_folder(tmp_path / variant, *VARIANTS[variant]), "cpu")
    for kinds, settings in WAYS.values():
        circuit = trace(model, settings, load_dictionaries([sets / kind for kind in kinds]))
        features = circuit.nodes.of_kind(NodeKind.FEATURE)
        assert features.sum() > 20
        assert circuit.expanded[features].all()
        assert len(circuit.provenance.dictionaries) == (1 if "across" in kinds else 3 * len(kinds))
        measured(variant, "features", missed(circuit), 1e-5)
