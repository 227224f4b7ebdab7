"""Contextual decomposition: the rules, and the walk that follows the public code step by step.

Question: which part of an activation comes from chosen sources? Every activation x is kept as a
pair, relevant r and irrelevant i, with r + i = x (Hsu et al. 2025, arXiv 2407.00886, eqs. 3-15 and
appendix B.1).

1. A source's own activation is relevant: r = x (zero ablation) or r = x - mean, i = mean.
2. Affine map: r W and i W; the bias is shared per output by |r W| and |i W|.
3. Norm: each part loses its own mean and is divided by the total's deviation; the bias is shared
   by |r| and |i| at the norm's input. RMSNorm has neither mean nor bias.
4. Attention: the relevant pattern is the softmax of relevant queries on relevant keys; the relevant
   z is relevant values through it; all else is irrelevant. Or, for token spans of encoders,
   "frozen": the total's pattern, applied to both parts.
5. Nonlinearity: i' = f(i), r' = f(r + i) - f(i). Gated product: i' = f(g_i) u_i, the rest r'.
6. Where r and i differ in sign, the larger takes the whole sum ("sign fix"): after the MLP's first
   and last map and after its sum; in encoders after the layer's last norm; for spans also after
   z, attention's output, its sum and its norm.

The bias splits depend on the basis, and a small r sees a uniform pattern: relevance is not
additive over sources, and an all-paths quantity, not a direct effect.

This module is the reference mode: both parts are propagated, in the order of the public code, with
its tolerance of 1e-8 in every share, so the sum leaks a little. `relevance` is the exact mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from circuitscope.models.blueprint import (
    Affine,
    Attention,
    Block,
    Blueprint,
    Mlp,
    rotated,
)
from circuitscope.models.family import Norm
from circuitscope.tracing.injection import Injector, Recorder, Stop, Where
from circuitscope.tracing.totals import Totals, capped, curve, run_attention, spread

AttentionRule = Literal["relrel", "frozen"]
Place = Literal["z", "attn_out", "mid", "norm1", "mlp_in", "mlp_out", "resid", "norm2"]

TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True)
class Rules:
    """Which attention rule holds and where signs are fixed."""

    attention: AttentionRule
    fixes: frozenset[Place]


def choose_rules(blueprint: Blueprint, attention: AttentionRule) -> Rules:
    """Return the rules of the public code for a kind of model and attention rule."""
    fixes: set[Place] = {"mlp_in", "mlp_out", "resid"}
    if blueprint.blocks[0].post:
        fixes.add("norm2")
        if attention == "frozen":
            fixes |= {"z", "attn_out", "mid", "norm1"}
    return Rules(attention, frozenset(fixes))


def with_eps(blueprint: Blueprint, eps: float | None) -> Blueprint:
    """Return the blueprint with another epsilon in every norm of the stream, or itself."""
    if eps is None:
        return blueprint

    def changed(norm: Norm | None) -> Norm | None:
        return None if norm is None else replace(norm, eps=eps)

    def block(old: Block) -> Block:
        names = ("norm1", "norm2", "branch1", "branch2")
        norms: dict[str, Any] = {name: changed(getattr(old, name)) for name in names}
        return replace(old, **norms)

    out = blueprint.readout
    stages = tuple(replace(stage, norm=changed(stage.norm)) for stage in out.stages)
    return replace(
        blueprint, blocks=blueprint.with_blocks(block),
        readout=replace(out, norm=changed(out.norm), stages=stages),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Relevant and irrelevant parts, each [set, pos, ...]."""

    r: Tensor
    i: Tensor

    def over(self, *shape: int) -> Pair:
        """Return both parts with the last axis split."""
        return Pair(torch.unflatten(self.r, -1, shape), torch.unflatten(self.i, -1, shape))

    def flat(self) -> Pair:
        """Return both parts with the last two axes joined."""
        return Pair(self.r.flatten(-2), self.i.flatten(-2))

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.r + other.r, self.i + other.i)


def split_affine(x: Pair, affine: Affine, tolerance: float = TOLERANCE) -> Pair:
    """Split an affine map; the bias goes by the sizes of both images."""
    r, i = x.r @ affine.weight, x.i @ affine.weight
    if affine.bias is None:
        return Pair(r, i)
    return _share(Pair(r, i), Pair(r, i), affine.bias, tolerance)


def _share(x: Pair, by: Pair, bias: Tensor, tolerance: float) -> Pair:
    size = by.r.abs() + by.i.abs() + tolerance
    return Pair(x.r + bias * (by.r.abs() / size), x.i + bias * (by.i.abs() / size))


def split_norm(x: Pair, norm: Norm, tolerance: float = TOLERANCE) -> Pair:
    """Split a norm with the denominator of the sum."""
    total = x.r + x.i
    variance = total.square().mean(-1, keepdim=True)
    r, i = x.r, x.i
    if norm.kind == "layer":
        variance = variance - total.mean(-1, keepdim=True).square()
        r, i = (part - part.mean(-1, keepdim=True) for part in (r, i))
    scale = (variance + norm.eps).sqrt()
    out = Pair(r / scale * norm.weight, i / scale * norm.weight)
    return out if norm.bias is None else _share(out, x, norm.bias, tolerance)


def fix_signs(x: Pair) -> Pair:
    """Give the whole sum to the larger part wherever the signs differ."""
    total, clash = x.r + x.i, x.r * x.i < 0
    larger = x.r.abs() >= x.i.abs()
    zero = torch.zeros_like(total)
    return Pair(
        torch.where(clash, torch.where(larger, total, zero), x.r),
        torch.where(clash, torch.where(larger, zero, total), x.i),
    )


def split_bend(x: Pair, name: str) -> Pair:
    """Split a nonlinearity: the irrelevant part goes through, the relevant makes up the rest."""
    f = curve(name)
    i = f(x.i)
    return Pair(f(x.r + x.i) - i, i)


def split_gated(g: Pair, u: Pair, name: str) -> Pair:
    """Split act(g) u: the product of the irrelevant parts is irrelevant, the rest relevant."""
    f = curve(name)
    i = f(g.i) * u.i
    return Pair(f(g.r + g.i) * (u.r + u.i) - i, i)


def _bent_cap(r: Tensor, i: Tensor, cap: float | None) -> Tensor:
    return r if cap is None else capped(r + i, cap) - capped(i, cap)


class PairWalk:
    """Propagate both parts of every set over the whole prompt.

    Args:
        totals: The prompt's forward pass: gives the blueprint, the masks and what sources hold.
        rules: Attention rule and sign fixes.
        tolerance: In the denominator of every share of a bias.
    """

    def __init__(self, totals: Totals, rules: Rules, tolerance: float = TOLERANCE) -> None:
        self._totals = totals
        self._rules = rules
        self._affine = partial(split_affine, tolerance=tolerance)
        self._norm = partial(split_norm, tolerance=tolerance)

    def run(self, sources: Injector, relevant: Recorder, irrelevant: Recorder) -> None:
        """Walk the layers once; each recorder hears of its parts."""
        totals, n = self._totals, len(sources)
        places = torch.arange(totals.n_pos, device=totals.embed.device)
        self._at = Where(slice(0, n), places, tuple(range(n)))
        self._sources, self._recorders = sources, (relevant, irrelevant)
        # The public code runs an encoder's layers below the spans plainly, so nothing leaks there.
        frozen = self._rules.attention == "frozen"
        first = (
            min((one.entry[0] for one in sources.sets if one.places()), default=0) if frozen else 0
        )
        start = totals.layers[first].pre
        x = Pair(start.new_zeros(n, *start.shape), start.repeat(n, 1, 1))
        try:
            for layer in range(first, totals.blueprint.n_layers):
                x = self._layer(layer, totals.blueprint.blocks[layer], x)
        except Stop:
            return
        self._tell("logits", self._readout(x))

    def _tell(self, what: str, x: Pair, *layer: int) -> None:
        for recorder, part in zip(self._recorders, (x.r, x.i), strict=True):
            getattr(recorder, what)(*layer, part, self._at)

    def _put(self, put: Callable[..., None], layer: int, x: Pair) -> Pair:
        """Set sources in the relevant part; the other keeps the rest of this walk's sum."""
        r, total = x.r.clone(), x.r + x.i
        put(layer, r, self._at, total)
        return Pair(r, torch.where(r != x.r, total - r, x.i))

    def _fix(self, place: Place, x: Pair) -> Pair:
        return fix_signs(x) if place in self._rules.fixes else x

    def _layer(self, layer: int, block: Block, x: Pair) -> Pair:
        sources = self._sources
        x = self._put(sources.put_residual, layer, x)
        z = self._fix("z", self._attention(layer, block, x).flat())
        z = self._put(sources.put_z, layer, z.over(*self._totals.blueprint.heads))
        self._tell("z", z, layer)
        out = self._fix("attn_out", self._affine(z.flat(), block.attention.out))
        out = self._put(sources.put_attention, layer, out)
        out = out if block.branch1 is None else self._norm(out, block.branch1)
        mid = self._fix("mid", x + out)
        self._tell("residual", mid, layer)
        read = self._fix("norm1", self._norm(mid, block.norm1)) if block.post else mid
        added = self._mlp(block.mlp, read if block.post else self._norm(read, block.norm2))
        added = self._put(sources.put_mlp, layer, added)
        self._tell("mlp", added, layer)
        added = added if block.branch2 is None else self._norm(added, block.branch2)
        total = self._fix("resid", read + added)
        return self._fix("norm2", self._norm(total, block.norm2)) if block.post else total

    def _mlp(self, mlp: Mlp, x: Pair) -> Pair:
        g = self._fix("mlp_in", self._affine(x, mlp.gate))
        if mlp.up is None:
            hidden = split_bend(g, mlp.activation)
        else:
            u = self._fix("mlp_in", self._affine(x, mlp.up))
            hidden = split_gated(g, u, mlp.activation)
        return self._fix("mlp_out", self._affine(hidden, mlp.out))

    def _attention(self, layer: int, block: Block, x: Pair) -> Pair:
        attention = block.attention
        read = x if block.post else self._norm(x, block.norm1)
        maps = [self._affine(read, one) for one in attention.qkv]
        r = torch.split(torch.cat([one.r for one in maps], -1), list(attention.widths), -1)
        i = torch.split(torch.cat([one.i for one in maps], -1), list(attention.widths), -1)
        q, k, v = (Pair(a, b).over(-1, attention.d_head) for a, b in zip(r, i, strict=True))
        for recorder, parts in zip(
            self._recorders, ((q.r, k.r, v.r), (q.i, k.i, v.i)), strict=True
        ):
            recorder.qkv(layer, parts, self._at)
        v = Pair(spread(v.r, attention.n_heads), spread(v.i, attention.n_heads))
        if self._rules.attention == "frozen":
            pattern = self._whole_pattern(layer, block, x.r + x.i)
            return Pair(_mix(pattern, v.r), _mix(pattern, v.i))
        q = q if attention.q_norm is None else self._norm(q, attention.q_norm)
        k = k if attention.k_norm is None else self._norm(k, attention.k_norm)
        relevant, whole = self._patterns(layer, attention, q, k)
        z = _mix(relevant, v.r)
        return Pair(z, _mix(whole, v.r + v.i) - z)

    def _whole_pattern(self, layer: int, block: Block, x: Tensor) -> Tensor:
        """Return the pattern of this walk's sum, whose queries and keys lose nothing to shares."""
        mask = self._totals.masks[layer]
        return torch.stack([run_attention(block, one, mask).pattern for one in x])

    def _patterns(
        self, layer: int, attention: Attention, q: Pair, k: Pair
    ) -> tuple[Tensor, Tensor]:
        n, mask = q.r.shape[1], self._totals.masks[layer]

        def scores(queries: Tensor, keys: Tensor) -> Tensor:
            if attention.rotate is not None:
                rotation = attention.rotate(n)
                queries, keys = rotated(queries, rotation), rotated(keys, rotation)
            keys = spread(keys, attention.n_heads)
            return torch.einsum("bqhe,bkhe->bhqk", queries, keys) * attention.scale

        whole, part = scores(q.r + q.i, k.r + k.i), scores(q.r, k.r)
        part = _bent_cap(part, whole - part, attention.softcap)
        whole = capped(whole, attention.softcap)
        hide = 0.0 if mask is None else mask
        return (part + hide).softmax(-1), (whole + hide).softmax(-1)

    def _readout(self, x: Pair) -> Pair:
        out = self._totals.blueprint.readout
        if out.position is not None:
            at = slice(out.position, out.position + 1)
            x = Pair(x.r[:, at], x.i[:, at])
        x = x if out.norm is None else self._norm(x, out.norm)
        for stage in out.stages:
            x = self._affine(x, stage.affine)
            x = x if stage.activation is None else split_bend(x, stage.activation)
            x = x if stage.norm is None else self._norm(x, stage.norm)
        if out.softcap is None:
            return x
        i = capped(x.i, out.softcap)
        return Pair(capped(x.r + x.i, out.softcap) - i, i)


def _mix(pattern: Tensor, v: Tensor) -> Tensor:
    """Return pattern [(set,) head, query, key] times values [set, key, head, d_head]."""
    return (pattern @ v.transpose(1, 2)).transpose(1, 2)
