"""From the last block to what the unembedding reads, with its gate and norm frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.gates import activation

if TYPE_CHECKING:
    from circuitscope.models.frozen import FrozenModel


def head_jvp(frozen: FrozenModel, x: Tensor) -> Tensor:
    """Push x [.., pos, d_model] after the last block to what the unembedding reads.

    [.., d_model] in a classifier, which reads the first position alone.
    """
    head = frozen.weights.head()
    if head is not None:
        x = x[..., 0, :] if head.first_only else x
        x = (x @ head.W) * _gate(frozen)
    return frozen.norm_jvp(Site.LN_FINAL, frozen.model.anatomy.n_layers, x)


def head_vjp(frozen: FrozenModel, g: Tensor) -> Tensor:
    """Pull g at what the unembedding reads back to the end of the last block."""
    g = frozen.norm_vjp(Site.LN_FINAL, frozen.model.anatomy.n_layers, g)
    head = frozen.weights.head()
    if head is None:
        return g
    back = (g * _gate(frozen)) @ head.W.T
    if not head.first_only:
        return back
    whole = back.new_zeros(*back.shape[:-1], frozen.cache.n_pos, back.shape[-1])
    whole[..., 0, :] = back
    return whole


def head_constants(frozen: FrozenModel) -> Tensor:
    """Return the constant part of what the unembedding reads."""
    top = frozen.model.anatomy.n_layers
    bias, head = frozen.norm_bias(Site.LN_FINAL, top), frozen.weights.head()
    if head is None or head.b is None:
        return bias
    return frozen.norm_jvp(Site.LN_FINAL, top, head.b * _gate(frozen)) + bias


def _gate(frozen: FrozenModel) -> Tensor:
    head, gate = frozen.weights.head(), frozen.cache.head_gate
    assert head is not None
    assert gate is not None
    return activation(head.activation).gate(gate.to(frozen.dtype))
