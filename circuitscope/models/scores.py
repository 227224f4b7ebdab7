"""How one head makes its queries and keys: affine maps of the normed residual stream.

1. q = W_Q x + b_Q and k = W_K x + b_K, x being the attention's input at one position.
2. Where the model normalises queries and keys, their denominators are constants of this pass.
3. Rotary positions turn both; at one position that is one more linear map.
4. score = scale * q . k, before any soft cap, mask and softmax; the scale goes to the query.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from circuitscope.models.capture import norm_scale

if TYPE_CHECKING:
    from circuitscope.models.family import Norm
    from circuitscope.models.frozen import FrozenModel

Role = Literal["query", "key"]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of a score at one position: value = x @ weight + bias.

    Attributes:
        weight: [d_model, d_head]; bias: [d_head].
        value: What the side holds in this pass, [d_head].
    """

    weight: Tensor
    bias: Tensor
    value: Tensor


def side(frozen: FrozenModel, layer: int, head: int, position: int, role: Role) -> Side:
    """Return how a head's query or key at a position depends on the attention's input.

    Args:
        frozen: The forward pass; its dtype is used.
        layer: The head's layer.
        head: The query head; keys are those of the group it reads.
        position: Of the query or the key.
        role: The side wanted. The product of both sides' values is the score.
    """
    attention, anatomy = frozen.weights.attention(layer), frozen.model.anatomy
    own, scale = head, 1.0
    if role == "query":
        W, b, norm = attention.W_Q, attention.b_Q, attention.q_norm
        scale = anatomy.d_head**-0.5 if attention.scale is None else attention.scale
    else:
        W, b, norm = attention.W_K, attention.b_K, attention.k_norm
        own = head // (anatomy.n_heads // attention.n_kv)
    weight = W[own]
    bias = weight.new_zeros(weight.shape[-1]) if b is None else b[own]
    x = frozen.cache.attn_in[layer][position].to(frozen.dtype)
    rows = torch.cat([weight, bias[None]])
    if norm is not None and norm.weight.numel() > weight.shape[-1]:
        rows, norm = _normed_together(norm, rows, x, (W, b), own)
    elif norm is not None:
        rows = _normed(norm, rows, x)
    family, n_pos = frozen.model.family, frozen.cache.n_pos
    rows = family.turn(frozen.model.module, layer, rows, position, n_pos) * scale
    if norm is not None and norm.bias is not None:
        shift = norm.bias.to(rows)[None]
        shift = family.turn(frozen.model.module, layer, shift, position, n_pos) * scale
        rows = torch.cat([rows[:-1], rows[-1:] + shift])
    return Side(rows[:-1], rows[-1], x @ rows[:-1] + rows[-1])


def _normed_together(
    norm: Norm, rows: Tensor, x: Tensor, heads: tuple[Tensor, Tensor | None], own: int
) -> tuple[Tensor, Norm]:
    """Carry one head's rows through a norm over all heads; return its part of the norm too."""
    W, b = heads
    made = torch.einsum("d,hde->he", x, W)
    _, scale = norm_scale(norm, (made if b is None else made + b).flatten())
    part = torch.unflatten(norm.weight, 0, (len(W), -1))[own].to(rows)
    assert norm.kind == "rms", "a norm over all heads is an RMSNorm"
    return rows / scale * part, replace(norm, weight=part)


def _normed(norm: Norm, rows: Tensor, x: Tensor) -> Tensor:
    """Carry the rows of [W; b] through a norm of d_head whose denominator is frozen."""
    _, scale = norm_scale(norm, x @ rows[:-1] + rows[-1])
    centred = rows - rows.mean(-1, keepdim=True) if norm.kind == "layer" else rows
    return centred / scale * norm.weight.to(rows)
