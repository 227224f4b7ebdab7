"""A set is traced without being read into memory: its pages are the file's, not the process's."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.capture import capture
from circuitscope.models.families.gpt2 import GPT2
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.memory import estimate_for
from circuitscope.tracing.method import trace
from tests.bench.attribution_memory import Peak

D_MODEL, N_FEATURES, N_LAYERS, N_ACTIVE = 512, 49_152, 5, 10
IDS = tuple(range(10, 22))


def wide_model() -> LoadedModel:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=100, n_positions=64, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=8,
        architectures=["GPT2LMHeadModel"],
    )  # fmt: skip
    config._attn_implementation = "eager"
    module = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    anatomy = GPT2().describe(config.to_dict())
    return LoadedModel(anatomy, module, None, GPT2(), torch.device("cpu"), torch.float32)


def write_transcoders(folder: Path, model: LoadedModel) -> int:
    """Write a circuit-tracer set in bfloat16 and return its bytes."""
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model_name: wide\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        "feature_output_hook: hook_mlp_out\nscan: wide\n"
    )
    cache, generator = capture(model, IDS), torch.Generator().manual_seed(1)
    total = 0
    for layer in range(N_LAYERS):
        W_enc = torch.randn(N_FEATURES, D_MODEL, generator=generator) / D_MODEL**0.5
        h = cache.site(Site.MLP_IN, layer) @ W_enc.T
        bias = -float(h.flatten().topk(N_ACTIVE * len(IDS)).values[-1])
        tensors = {
            "W_enc": W_enc, "W_dec": W_enc.flip(0), "b_enc": torch.full((N_FEATURES,), bias),
            "b_dec": torch.zeros(D_MODEL),
        }  # fmt: skip
        file = folder / f"layer_{layer}.safetensors"
        save_file({n: t.bfloat16().contiguous() for n, t in tensors.items()}, file)
        total += file.stat().st_size
    return total


@pytest.mark.slow
def test_a_set_is_traced_in_a_part_of_its_size(tmp_path: Path) -> None:
    model = wide_model()
    size = write_transcoders(tmp_path / "set", model)
    assert size > 480e6
    gc.collect()
    found = load_dictionaries(tmp_path / "set")
    settings = TraceSettings(IDS, method="attribution", max_nodes=256)
    needed = estimate_for(model, found, settings, len(IDS)).total
    peak = Peak()
    circuit = trace(model, settings, found, peak)
    extra = peak.stop()
    assert extra < size / 2, f"{extra / 1e6:.0f} MB beside a set of {size / 1e6:.0f} MB"
    assert extra < 1.3 * needed, f"{extra / 1e6:.0f} MB, estimated {needed / 1e6:.0f}"
    assert float(circuit.conservation.max()) < 1e-4
    assert np.count_nonzero(circuit.expanded) > 256
