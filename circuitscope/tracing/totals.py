"""One forward pass, operation by operation: what every decomposition of a prompt shares.

Relevant plus irrelevant is the plain activation whatever the source, so all that depends on the
sum alone is computed once here: norm denominators, affine images, attention, nonlinearities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from circuitscope.models.blueprint import (
    Affine,
    Attention,
    Block,
    Blueprint,
    Mlp,
    attention_mask,
    rotated,
)
from circuitscope.models.family import Norm
from circuitscope.models.gates import activation

Curve = Callable[[Tensor], Tensor]

_CURVES: dict[str, Curve] = {
    "tanh": torch.tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_new": lambda z: functional.gelu(z, approximate="tanh"),
    "gelu_pytorch_tanh": lambda z: functional.gelu(z, approximate="tanh"),
}


def curve(name: str) -> Curve:
    """Return a nonlinearity, fused where torch has it.

    Raises:
        UnsupportedArchitecture: It is not known.
    """
    return _CURVES[name] if name in _CURVES else activation(name).value


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An affine map's image of the total.

    Attributes:
        before: x W, [pos, d_out]; after: with its bias.
        has_zero: Whether an entry of `before` is exactly 0.
    """

    before: Tensor
    after: Tensor
    has_zero: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """A norm of the total: its input, its denominator [pos, 1], its output."""

    before: Tensor
    scale: Tensor
    after: Tensor
    has_zero: bool


@dataclass(frozen=True, slots=True, eq=False)
class AttentionTotals:
    """Attention of the total; qkv are images of the maps in order, heads side by side.

    Attributes:
        q, k, v: With bias, before norm and rotation, [pos, head, d_head].
        q_norm, k_norm: Their norms, or None.
        scores: Scaled, before cap and mask, [head, query, key]; kept where they are capped.
        pattern: [head, query, key].
        z: [pos, head, d_head].
    """

    qkv: tuple[Image, ...]
    q: Tensor
    k: Tensor
    v: Tensor
    q_norm: Scaled | None
    k_norm: Scaled | None
    scores: Tensor | None
    pattern: Tensor
    z: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class MlpTotals:
    """The MLP of the total: g, u where gated, what the nonlinearity made of g, and the output."""

    gate: Image
    up: Image | None
    bent: Tensor
    hidden: Tensor
    out: Image


@dataclass(frozen=True, slots=True, eq=False)
class LayerTotals:
    """One layer of the total.

    Attributes:
        pre: What enters, [pos, d_model].
        attn: What attention adds to it, after the branch's norm; mlp_added likewise.
        mid: The sum after attention, before a following norm; `read` is what the MLP's branch
            starts from and is added to: the same, or its norm.
        sum2: The sum after the MLP; post: what leaves.
    """

    pre: Tensor
    norm1: Scaled
    attention: AttentionTotals
    out: Image
    branch1: Scaled | None
    attn: Tensor
    mid: Tensor
    read: Tensor
    norm2: Scaled
    mlp: MlpTotals
    branch2: Scaled | None
    mlp_added: Tensor
    sum2: Tensor
    post: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """A whole forward pass.

    Attributes:
        embed: The first residual stream, [pos, d_model].
        masks: What each layer adds to scores, or None.
        final: What leaves the last layer.
    """

    blueprint: Blueprint
    ids: Tensor
    embed: Tensor
    layers: tuple[LayerTotals, ...]
    masks: tuple[Tensor | None, ...]
    final: Tensor

    @property
    def n_pos(self) -> int:
        """Return the number of positions."""
        return len(self.ids)


Change = Callable[[int, Tensor], Tensor]
"""From a layer and what heads mix or an MLP writes there to what takes its place."""


def run_totals(
    blueprint: Blueprint, ids: Tensor, z: Change | None = None, mlp: Change | None = None
) -> Totals:
    """Run a prompt, int64 [pos], and keep what decompositions share.

    Args:
        blueprint: The model.
        ids: The prompt.
        z: Changes heads' z [pos, head, d_head] on the way, as patching does.
        mlp: Changes what MLPs write, [pos, d_model].
    """
    x = embed = blueprint.embed(ids)
    layers, masks = [], []
    for layer, block in enumerate(blueprint.blocks):
        mask = attention_mask(blueprint, layer, len(ids), x)
        layers.append(_layer(block, x, mask, *(_bound(layer, one) for one in (z, mlp))))
        masks.append(mask)
        x = layers[-1].post
    return Totals(blueprint, ids, embed, tuple(layers), tuple(masks), x)


def run_copies(
    blueprint: Blueprint, ids: Tensor, copies: int, z: Change, mlp: Change | None = None
) -> Tensor:
    """Run copies of a prompt, each changed in its own way, and return what leaves the last layer.

    Args:
        blueprint: The model.
        ids: The prompt, int64 [pos].
        copies: Their number.
        z: Changes heads' z [copy, pos, head, d_head] on the way.
        mlp: Changes what MLPs write, [copy, pos, d_model].

    Returns:
        [copy, pos, d_model]; nothing else is kept.
    """
    x = blueprint.embed(ids).expand(copies, -1, -1)
    for layer, block in enumerate(blueprint.blocks):
        mask = attention_mask(blueprint, layer, len(ids), x)
        x = _layer(block, x, mask, *(_bound(layer, one) for one in (z, mlp))).post
    return x


def image(x: Tensor, affine: Affine) -> Image:
    """Return what an affine map makes of the total."""
    before = x @ affine.weight
    after = before if affine.bias is None else before + affine.bias
    return Image(before, after, affine.bias is not None and bool((before == 0).any()))


def scaled(x: Tensor, norm: Norm) -> Scaled:
    """Return a norm of the total; the variance in two passes."""
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    after = centred / scale * norm.weight
    if norm.bias is None:
        return Scaled(x, scale, after, has_zero=False)
    return Scaled(x, scale, after + norm.bias, bool((x == 0).any()))


def spread(kv: Tensor, n_heads: int) -> Tensor:
    """Repeat key or value heads [.., pos, kv_head, d_head] for the query heads that read them."""
    group = n_heads // kv.shape[-2]
    return kv if group == 1 else kv.repeat_interleave(group, -2)


def turned(x: Tensor, norm: Tensor, attention: Attention, n: int) -> Tensor:
    """Rotate normed queries or keys; `norm` is what the norm made of x, or x itself."""
    return norm if attention.rotate is None else rotated(norm, attention.rotate(n))


def capped(scores: Tensor, cap: float | None) -> Tensor:
    """Return c tanh(s / c), or the scores."""
    return scores if cap is None else cap * torch.tanh(scores / cap)


def _attention(x: Tensor, attention: Attention, mask: Tensor | None) -> AttentionTotals:
    images = tuple(image(x, one) for one in attention.qkv)
    joined = torch.cat([one.after for one in images], -1) if len(images) > 1 else images[0].after
    q, k, v = (
        torch.unflatten(part, -1, (-1, attention.d_head))
        for part in torch.split(joined, list(attention.widths), -1)
    )
    q_norm = None if attention.q_norm is None else scaled(q, attention.q_norm)
    k_norm = None if attention.k_norm is None else scaled(k, attention.k_norm)
    n, heads = x.shape[-2], attention.n_heads
    queries = turned(q, q if q_norm is None else q_norm.after, attention, n).transpose(-3, -2)
    keys = turned(k, k if k_norm is None else k_norm.after, attention, n)
    keys = spread(keys, heads).transpose(-3, -2)
    scores = queries @ keys.transpose(-1, -2) * attention.scale
    shown = capped(scores, attention.softcap)
    pattern = (shown if mask is None else shown + mask).softmax(-1)
    z = (pattern @ spread(v, heads).transpose(-3, -2)).transpose(-3, -2)
    kept = scores if attention.softcap is not None else None
    return AttentionTotals(images, q, k, v, q_norm, k_norm, kept, pattern, z)


def _mlp(x: Tensor, mlp: Mlp) -> MlpTotals:
    gate = image(x, mlp.gate)
    up = None if mlp.up is None else image(x, mlp.up)
    bent = curve(mlp.activation)(gate.after)
    hidden = bent if up is None else bent * up.after
    return MlpTotals(gate, up, bent, hidden, image(hidden, mlp.out))


def run_attention(block: Block, pre: Tensor, mask: Tensor | None) -> AttentionTotals:
    """Run one layer's attention on what enters the layer, [pos, d_model]."""
    return _attention(pre if block.post else scaled(pre, block.norm1).after, block.attention, mask)


def run_mlp(block: Block, x: Tensor) -> Tensor:
    """Return what a layer's MLP writes, before a norm of its branch, from its stream [.., d]."""
    return _mlp(x if block.post else scaled(x, block.norm2).after, block.mlp).out.after


def _bound(layer: int, change: Change | None) -> Curve:
    return (lambda x: x) if change is None else partial(change, layer)


def _layer(
    block: Block, pre: Tensor, mask: Tensor | None, change_z: Curve, change_mlp: Curve
) -> LayerTotals:
    norm1 = None if block.post else scaled(pre, block.norm1)
    attention = _attention(pre if norm1 is None else norm1.after, block.attention, mask)
    attention = replace(attention, z=change_z(attention.z))
    out = image(attention.z.flatten(-2), block.attention.out)
    branch1 = None if block.branch1 is None else scaled(out.after, block.branch1)
    attn = out.after if branch1 is None else branch1.after
    mid = pre + attn
    if norm1 is None:
        norm1 = scaled(mid, block.norm1)
    read = norm1.after if block.post else mid
    norm2 = None if block.post else scaled(read, block.norm2)
    mlp = _mlp(read if norm2 is None else norm2.after, block.mlp)
    mlp = replace(mlp, out=replace(mlp.out, after=change_mlp(mlp.out.after)))
    branch2 = None if block.branch2 is None else scaled(mlp.out.after, block.branch2)
    added = mlp.out.after if branch2 is None else branch2.after
    sum2 = read + added
    if norm2 is None:
        norm2 = scaled(sum2, block.norm2)
    post = norm2.after if block.post else sum2
    return LayerTotals(
        pre, norm1, attention, out, branch1, attn, mid, read, norm2, mlp, branch2, added, sum2, post
    )
