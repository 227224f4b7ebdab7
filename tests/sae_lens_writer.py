"""Write random dictionaries in SAELens' format, as its version 6 does; used by several tests."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from circuitscope.core.anatomy import Site

HOOKS = {
    "attn_out": ("blocks.{}.hook_attn_out", None),
    "mlp_out": ("blocks.{}.hook_mlp_out", None),
    "attn_write": ("blocks.{}.attn.hook_out", None),
    "mlp_write": ("blocks.{}.mlp.hook_out", None),
    "to_write": ("blocks.{}.mlp.hook_in", "blocks.{}.mlp.hook_out"),
    "transcoder": ("blocks.{}.mlp.hook_in", "blocks.{}.hook_mlp_out"),
    "normalized": ("blocks.{}.ln2.hook_normalized", "blocks.{}.hook_mlp_out"),
    "resid_pre_sae": ("blocks.{}.hook_resid_pre", None),
    "resid_mid_sae": ("blocks.{}.hook_resid_mid", None),
    "resid_post_sae": ("blocks.{}.hook_resid_post", None),
    "resid_mid": ("blocks.{}.hook_resid_mid", "blocks.{}.hook_mlp_out"),
}


def random_tensors(architecture: str, d: int, n: int, seed: int) -> dict[str, torch.Tensor]:
    """Return tensors of one architecture, none of them zero."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int, size: float = 1.0) -> torch.Tensor:
        return size * torch.randn(*shape, generator=g)

    tensors = {
        "W_enc": noise(d, n, size=d**-0.5),
        "W_dec": noise(n, d, size=d**-0.5),
        "b_dec": noise(d, size=0.3),
    }
    if architecture == "gated":
        tensors |= {"b_gate": noise(n), "b_mag": noise(n), "r_mag": noise(n, size=0.2)}
    else:
        tensors["b_enc"] = noise(n, size=0.3)
    if "jumprelu" in architecture:
        tensors["threshold"] = noise(n).abs() * 0.3
    if architecture == "skip_transcoder":
        tensors["W_skip"] = noise(d, d, size=0.3 * d**-0.5)
    return tensors


def write_sae(
    folder: Path,
    kind: str,
    layer: int,
    architecture: str = "jumprelu",
    *,
    d: int = 16,
    n: int = 24,
    seed: int = 0,
    **settings: object,
) -> Path:
    """Write one dictionary folder and return it; settings override those of cfg.json."""
    hook, hook_out = (None if name is None else name.format(layer) for name in HOOKS[kind])
    config = {
        "architecture": architecture, "d_in": d, "d_sae": n, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0", "model_name": "tiny", "hook_name": hook},
    }  # fmt: skip
    if hook_out is not None:
        config["d_out"] = d
        config["metadata"]["hook_name_out"] = hook_out
    if architecture == "topk":
        config["k"] = 5
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    tensors = random_tensors(architecture, d, n, seed + 100 * layer)
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def write_set(root: Path, n_layers: int = 2, **settings: object) -> Path:
    """Write a set: an autoencoder of every attention and MLP output, and transcoders."""
    for layer in range(n_layers):
        write_sae(root / f"attn_out_{layer}", "attn_out", layer, "gated", seed=1, **settings)
        write_sae(root / f"mlp_out_{layer}", "mlp_out", layer, "topk", seed=2, **settings)
        skip = "skip_transcoder" if layer else "jumprelu_transcoder"
        write_sae(root / f"transcoder_{layer}", "transcoder", layer, skip, seed=3, **settings)
    return root


def write_exact(folder: Path, cache: Any, declared: str) -> Path:
    """Write a transcoder that rebuilds layer 0's MLP on a captured prompt from the MLP's input.

    One feature a position: its encoder is the dual of that position's vector, so it alone is
    active there, with activation one, and its decoder is what the MLP wrote.

    Args:
        folder: Where it is written.
        cache: A `ForwardCache`.
        declared: Which of HOOKS it claims to read.
    """
    x, out = cache.site(Site.MLP_IN, 0), cache.site(Site.MLP_OUT, 0)
    n, d = x.shape
    write_sae(folder, declared, 0, "transcoder", d=d, n=n, apply_b_dec_to_input=False)
    tensors = {
        "W_enc": torch.linalg.pinv(x.double()).float().contiguous(),
        "b_enc": torch.full((n,), -1e-3), "W_dec": (out / (1 - 1e-3)).contiguous(),
        "b_dec": torch.zeros(d),
    }  # fmt: skip
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder
