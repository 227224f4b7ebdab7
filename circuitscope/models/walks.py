"""Whole walks along the residual stream of a frozen model, many at a time, in both directions.

A push carries changes of the stream forwards (Jacobian-vector products), a pull carries directions
backwards (vector-Jacobian products); both take every path through the blocks between two layers.
"""

from __future__ import annotations

from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.frozen import FrozenModel


def push(frozen: FrozenModel, x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    """Carry changes of the stream forwards.

    Args:
        frozen: The forward pass.
        x: Changes before block `start`, [.., pos, d_model].
        start: First block passed.
        end: Block before which the walk ends; None passes all.

    Returns:
        Changes of the stream there, [.., pos, d_model].
    """
    anatomy = frozen.model.anatomy
    for layer in range(start, anatomy.n_layers if end is None else end):
        middle = frozen.norm_jvp(Site.RESID_MID_NORM, layer, x + frozen.attn_jvp(layer, x))
        read = x if anatomy.parallel_blocks else middle
        x = middle + frozen.mlp_jvp(layer, read)
        x = frozen.norm_jvp(Site.RESID_POST_NORM, layer, x)
    return x


def pull(frozen: FrozenModel, g: Tensor, end: int | None = None, start: int = 0) -> Tensor:
    """Carry directions in the stream backwards.

    Args:
        frozen: The forward pass.
        g: Directions before block `end`, or after the last, [.., pos, d_model].
        end: Block before which the walk begins; None begins after the last.
        start: Last block passed.

    Returns:
        Directions before block `start`, [.., pos, d_model].
    """
    anatomy = frozen.model.anatomy
    for layer in reversed(range(start, anatomy.n_layers if end is None else end)):
        g = frozen.norm_vjp(Site.RESID_POST_NORM, layer, g)
        through = frozen.mlp_vjp(layer, g)
        if anatomy.parallel_blocks:
            g = g + frozen.attn_vjp(layer, g) + through
        else:
            g = frozen.norm_vjp(Site.RESID_MID_NORM, layer, g + through)
            g = g + frozen.attn_vjp(layer, g)
    return g
