"""What the examples' dictionary sets share: the three kinds, their hooks, and SAELens' files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from circuitscope.dictionaries.training import DictionaryWeights
from circuitscope.dictionaries.writing import write_sae_lens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch
    from torch import nn

KINDS = ("attn_out", "mlp_out", "mlp_transcoder")
_HOOKS = {
    "attn_out": ("blocks.{}.hook_attn_out", None),
    "mlp_out": ("blocks.{}.hook_mlp_out", None),
    "mlp_transcoder": ("blocks.{}.mlp.hook_in", "blocks.{}.hook_mlp_out"),
}


def dictionary_name(kind: str, layer: int) -> str:
    """Name the folder of a dictionary."""
    return f"{kind}_{layer}"


@contextmanager
def hooked(
    mlp: nn.Module, attention_write: nn.Module, act: Callable[[str, torch.Tensor], Any]
) -> Iterator[None]:
    """Call `act` with "mlp_in", "mlp_out" and "attn_out" of a block; what it returns replaces.

    Args:
        mlp: The block's MLP.
        attention_write: The module that writes the block's attention output.
        act: Gets the site and the tensor, [.., pos, d_model]; None leaves it.
    """
    handles = [
        mlp.register_forward_pre_hook(lambda _, args: act("mlp_in", args[0])),
        mlp.register_forward_hook(lambda _m, _a, out: act("mlp_out", out)),
        attention_write.register_forward_hook(lambda _m, _a, out: act("attn_out", out)),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def ends(kind: str, rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what a kind of dictionary reads and writes; None when it writes what it reads."""
    return (rows["mlp_in"], rows["mlp_out"]) if kind == "mlp_transcoder" else (rows[kind], None)


def write_dictionary(
    folder: Path,
    weights: DictionaryWeights,
    *,
    kind: str,
    layer: int,
    metrics: dict[str, float],
    made_for: dict[str, Any],
) -> None:
    """Write a dictionary as SAELens does: sae_weights.safetensors and cfg.json.

    Args:
        folder: Where to; made when missing.
        weights: The dictionary.
        kind: One of `KINDS`.
        layer: The layer it reads.
        metrics: What was measured of it.
        made_for: SAELens' `model_name`, `prepend_bos` and `context_size`.
    """
    hook, hook_out = _HOOKS[kind]
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    write_sae_lens(
        folder,
        {name: getattr(weights, name) for name in names},
        architecture="jumprelu_transcoder" if hook_out else "jumprelu",
        hooks=(hook.format(layer), hook_out and hook_out.format(layer)),
        metadata={
            "model_name": made_for["model_name"],
            "prepend_bos": made_for["prepend_bos"],
            "context_size": made_for["context_size"],
            "metrics": {name: round(value, 6) for name, value in metrics.items()},
        },
    )


def read_dictionary(folder: Path) -> DictionaryWeights:
    """Read the weights that `write_dictionary` wrote."""
    return DictionaryWeights(**load_file(folder / "sae_weights.safetensors"))
