"""Try on a short run which guessed parts of a module see what they should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.models.family import HfModule, Norm, Part

_IDS = 5
_REPEATED = (Part.BLOCK, Part.ATTENTION, Part.ATTENTION_WRITE, Part.MLP_WRITE)


@torch.no_grad()
def seen_parts(
    module: HfModule, parts: Mapping[Part, str], anatomy: ModelAnatomy
) -> tuple[set[Part], bool]:
    """Run a few ids and return the parts that fit in every block, and whether patterns are told.

    Args:
        module: A Hugging Face model.
        parts: Candidates by path.
        anatomy: The sizes they have to have.
    """
    n, d = min(_IDS, anatomy.n_ctx), anatomy.d_model
    heads = anatomy.n_heads * anatomy.d_head
    stream = (1, n, d)
    wanted = {
        Part.EMBED: (None, stream),
        Part.BLOCK: (stream, stream),
        Part.ATTENTION: (stream, None),
        Part.ATTENTION_WRITE: ((1, n, heads), stream),
        Part.MLP_WRITE: ((1, n, anatomy.d_mlp), stream),
        Part.LN_FINAL: (stream, stream),
        Part.UNEMBED: (stream, (1, n, anatomy.d_vocab)),
    }
    seen: dict[Part, int] = {}
    patterns: list[int] = []
    handles: list[RemovableHandle] = []

    def look(part: Part) -> Callable[..., None]:
        def after(_: Any, args: Any, named: Any, output: Any) -> None:
            into = args[0] if args else named.get("hidden_states")
            out = output[0] if isinstance(output, tuple) else output
            before, behind = wanted[part]
            if _fits(into, before) and _fits(out, behind):
                seen[part] = seen.get(part, 0) + 1
            if part is Part.ATTENTION and isinstance(output, tuple) and len(output) > 1:
                patterns.append(_is_pattern(output[1], anatomy.n_heads, n))

        return after

    try:
        for part, path in parts.items():
            layers = range(anatomy.n_layers) if part in _REPEATED else range(1)
            for layer in layers:
                try:
                    place = module.get_submodule(path.format(layer=layer))
                except AttributeError:
                    break  # this block is made otherwise
                handles.append(place.register_forward_hook(look(part), with_kwargs=True))
        device = next(module.parameters()).device
        ids = torch.arange(n, device=device)[None] % anatomy.d_vocab
        module(input_ids=ids, **({"use_cache": False} if anatomy.causal else {}))
    finally:
        for handle in handles:
            handle.remove()
    times = {part: anatomy.n_layers if part in _REPEATED else 1 for part in parts}
    fitting = {part for part in parts if seen.get(part) == times[part]}
    told = Part.ATTENTION in fitting and sum(patterns) == anatomy.n_layers
    return fitting, told


def _fits(value: Any, shape: tuple[int, ...] | None) -> bool:
    return shape is None or (isinstance(value, Tensor) and tuple(value.shape) == shape)


def _is_pattern(value: Any, n_heads: int, n: int) -> bool:
    if not _fits(value, (1, n_heads, n, n)):
        return False
    return bool((value.float().sum(-1) - 1).abs().max() < 1e-2)


@torch.no_grad()
def find_norm(module: HfModule, d_model: int) -> Norm | None:
    """Return what a norm computes, tried out on a vector; None where it is neither kind."""
    weight = getattr(module, "weight", None)
    eps = next(
        (float(getattr(module, name)) for name in ("eps", "variance_epsilon", "epsilon")
         if getattr(module, name, None) is not None), None,
    )  # fmt: skip
    if weight is None or eps is None or tuple(weight.shape) != (d_model,):
        return None
    source = torch.Generator().manual_seed(0)
    x = (torch.randn(d_model, generator=source) + 0.5).to(weight)
    out = module(x[None])[0].float()
    bias = getattr(module, "bias", None)
    kinds: tuple[Literal["layer", "rms"], ...] = ("layer", "rms")
    for kind, plus in product(kinds, (0.0, 1.0)):
        gain = weight.float() + plus
        centred = x.float() - x.float().mean() if kind == "layer" else x.float()
        tried = centred / (centred.square().mean() + eps).sqrt() * gain
        tried = tried if bias is None else tried + bias.float()
        tolerance = 1e-4 if weight.element_size() > 2 else 0.05
        if float((tried - out).abs().max()) <= tolerance * float(out.abs().max()):
            return Norm(gain.to(weight) if plus else weight, bias, eps, kind)
    return None
