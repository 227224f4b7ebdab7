"""A transformer as the list of its operations, for methods that follow every one of them.

Families name the parts of a module; a blueprint holds what happens between them too: scales,
rotations, masks, caps, norms after a branch, and the way from the last residual stream to logits
or labels. Weights are views of the model's own, or copies in float32 of one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from circuitscope.models.family import Norm
from circuitscope.models.upcast import HALVES

T = TypeVar("T")
Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each [pos, d_rotated]."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """An affine map x W + b.

    Attributes:
        weight: [d_in, d_out].
        bias: [d_out] or None.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """One layer's attention.

    Attributes:
        qkv: One map to queries, keys and values side by side, or one map each.
        out: From z, heads side by side, to the residual stream.
        scale: Factor of the scores.
        q_norm, k_norm: Norms of each head's queries and keys, before rotation.
        rotate: Cosines and sines for a number of positions, or None.
        window: A query sees this many keys, itself included; None for all.
        softcap: Scores s become c tanh(s / c).
    """

    qkv: tuple[Affine, ...]
    out: Affine
    n_heads: int
    n_kv: int
    d_head: int
    scale: float
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    rotate: Callable[[int], Rotation] | None = None
    window: int | None = None
    softcap: float | None = None

    @property
    def widths(self) -> tuple[int, int, int]:
        """Return the widths of queries, keys and values, heads side by side."""
        return self.n_heads * self.d_head, self.n_kv * self.d_head, self.n_kv * self.d_head


@dataclass(frozen=True, slots=True, eq=False)
class Mlp:
    """One layer's MLP: act(x gate) out, or (act(x gate) * x up) out.

    Attributes:
        activation: Name of the nonlinearity in transformers' spelling.
    """

    gate: Affine
    out: Affine
    activation: str
    up: Affine | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One layer.

    Attributes:
        norm1, norm2: Before each branch; with `post`, after each sum instead.
        branch1, branch2: Norms of what each branch wrote, before the sum.
        post: Norms follow the sums, as in BERT.
    """

    norm1: Norm
    attention: Attention
    norm2: Norm
    mlp: Mlp
    branch1: Norm | None = None
    branch2: Norm | None = None
    post: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One step of the way out: an affine map, then maybe a nonlinearity, then maybe a norm."""

    affine: Affine
    activation: str | None = None
    norm: Norm | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """From the last residual stream to logits.

    Attributes:
        norm: The last norm, or None.
        stages: In order; the last one is the unembedding or classifier.
        softcap: Logits s become c tanh(s / c).
        position: Only this position is read, as by classifiers; None reads every one.
    """

    norm: Norm | None
    stages: tuple[Stage, ...]
    softcap: float | None = None
    position: int | None = None


class MadeBlocks(Sequence[Block]):
    """Blocks made of others when they are read; the last two are kept.

    Args:
        blocks: What they are made of.
        make: Makes one.
    """

    def __init__(self, blocks: Sequence[Block], make: Callable[[Block], Block]) -> None:
        self._n = len(blocks)
        self._made = lru_cache(maxsize=2)(lambda layer: make(blocks[layer]))

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, layer: int) -> Block: ...
    @overload
    def __getitem__(self, layer: slice) -> Sequence[Block]: ...
    def __getitem__(self, layer: int | slice) -> Block | Sequence[Block]:
        if isinstance(layer, slice):
            return [self[at] for at in range(self._n)[layer]]
        return self._made(range(self._n)[layer])


@dataclass(frozen=True, slots=True, eq=False)
class Blueprint:
    """A whole model.

    Attributes:
        embed: From ids int64 [pos] to the first residual stream, [pos, d_model].
        causal: Whether a position sees only itself and earlier ones.
        preparation: How the weights were prepared: "raw", "centred" or "folded".
    """

    embed: Callable[[Tensor], Tensor]
    blocks: Sequence[Block]
    readout: Readout
    causal: bool
    preparation: str = field(default="raw")

    def with_blocks(self, make: Callable[[Block], Block]) -> Sequence[Block]:
        """Return the blocks changed: at once, or one at a time where these are made so."""
        if isinstance(self.blocks, tuple):
            return tuple(map(make, self.blocks))
        return MadeBlocks(self.blocks, make)

    @property
    def n_layers(self) -> int:
        """Return the number of layers."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Return the width of the residual stream."""
        return self.blocks[0].attention.out.weight.shape[1]

    @property
    def heads(self) -> tuple[int, int]:
        """Return the number of heads and their width."""
        attention = self.blocks[0].attention
        return attention.n_heads, attention.d_head

    @property
    def n_out(self) -> int:
        """Return the size of the vocabulary, or the number of labels."""
        return self.readout.stages[-1].affine.weight.shape[1]


def wide(value: T) -> T:
    """Return a tensor, or a part of a blueprint, with halves in float32."""
    found: Any = value
    if isinstance(found, Tensor):
        found = found.float() if found.dtype in HALVES else found
    elif isinstance(found, tuple):
        found = tuple(wide(item) for item in found)
    elif is_dataclass(found) and not isinstance(found, type):
        new = {f.name: wide(getattr(found, f.name)) for f in fields(found)}
        found = replace(found, **new)
    result: T = found
    return result


def rotated(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate queries or keys [.., pos, head, d_head] by angles of their positions."""
    cos, sin = (part[:, None] for part in rotation)
    width = cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    first, second = turned.chunk(2, -1)
    turned = turned * cos + torch.cat((-second, first), -1) * sin
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def attention_mask(blueprint: Blueprint, layer: int, n: int, like: Tensor) -> Tensor | None:
    """Return what is added to scores, [query, key], 0 or minus infinity; None adds nothing."""
    window = blueprint.blocks[layer].attention.window
    if not blueprint.causal:
        return None
    at = torch.arange(n, device=like.device)
    hidden = at[None, :] > at[:, None]
    if window is not None:
        hidden = hidden | (at[None, :] <= at[:, None] - window)
    return like.new_zeros(n, n).masked_fill_(hidden, float("-inf"))
