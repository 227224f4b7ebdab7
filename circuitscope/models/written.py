"""What a frozen module writes to the stream, through the norm of its output where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from circuitscope.core.anatomy import Site

if TYPE_CHECKING:
    from circuitscope.models.frozen import FrozenModel

NORMS_AFTER = {Site.ATTN_WRITE: Site.ATTN_OUT_NORM, Site.MLP_WRITE: Site.MLP_OUT_NORM}
"""The norms between what a module writes and the stream."""


def attn_bias(frozen: FrozenModel, layer: int) -> Tensor:
    """Return what attention writes beside its heads: b_O, and its norm's bias, [pos, d_model].

    [d_model] where no norm makes it differ from position to position.
    """
    return _bias(frozen, Site.ATTN_OUT_NORM, layer, frozen.weights.attention(layer).b_O)


def mlp_bias(frozen: FrozenModel, layer: int) -> Tensor:
    """Return what the MLP writes whatever its hidden values; shaped like `attn_bias`."""
    return _bias(frozen, Site.MLP_OUT_NORM, layer, frozen.weights.mlp(layer).b_out)


def write_hidden(frozen: FrozenModel, layer: int, hidden: Tensor) -> Tensor:
    """Return what hidden values [.., pos, d_mlp] write, [.., pos, d_model], without b_out."""
    return frozen.norm_jvp(Site.MLP_OUT_NORM, layer, hidden @ frozen.weights.mlp(layer).W_out)


def norm_at(frozen: FrozenModel, site: Site, layer: int, x: Tensor, position: int) -> Tensor:
    """Push x [.., d_model], all of one position, through a norm of a block with frozen scale."""
    norm = frozen.weights.norm(site, layer)
    if norm.kind == "none":
        return x
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    scale = frozen.cache.norm_scales[site, layer].to(frozen.dtype)[position]
    return centred / scale * norm.weight


def _bias(frozen: FrozenModel, site: Site, layer: int, bias: Tensor | None) -> Tensor:
    norm = frozen.norm_bias(site, layer)
    if bias is None:
        return norm
    if frozen.weights.norm(site, layer).kind == "none":
        return bias
    return norm + frozen.norm_jvp(site, layer, bias.expand(frozen.cache.n_pos, -1))
