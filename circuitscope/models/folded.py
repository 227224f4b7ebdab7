"""Attention with a frozen pattern as two matrices and a mix, ready for packed rows.

Pulling a direction at attn_out back to resid_pre takes W_O^T, the pattern's transpose, W_V^T, the
norm's gain, its centring and its denominator; where a norm follows attention, that one too. All
but the pattern act on one position, so they are folded once: gains and centring into the
matrices, denominators into the pattern. What is left are two large products and the mix, with
nothing between them to read and write again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.family import Norm
from circuitscope.models.frozen import FrozenModel

Run = tuple[int, int, int]
"""Neighbouring blocks of equal length: first place, blocks, positions."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedAttention:
    """One layer's attention, pulled backwards.

    Attributes:
        read: From attn_out to head_z, [d_model, head * d_head].
        mix: From head_z at q to values at k, [head, k, q], denominators included.
        write: From values to resid_pre, [kv_head * d_head, d_model].
        n_kv: Key and value heads.
    """

    read: Tensor
    mix: Tensor
    write: Tensor
    n_kv: int

    def pull(
        self,
        g: Tensor,
        runs: Sequence[Run],
        into: tuple[Tensor, Tensor],
        lone: Sequence[Run] = (),
    ) -> None:
        """Add to packed rows what their attention outputs read from resid_pre, in place.

        Args:
            g: Blocks of positions 0 to a row's own, one after the other, [place, d_model].
            runs: Blocks of equal length that lie together.
            into: Room for head_z and for values, at least [place, ...] each.
            lone: The last blocks, of which only the last position holds something yet.
        """
        n_full = lone[0][0] if lone else len(g)
        z, values = into[0][:n_full], into[1][: len(g)]
        torch.mm(g[:n_full], self.read, out=z)
        n_heads = len(self.mix)
        d_head = into[0].shape[1] // n_heads
        for start, n, n_pos in runs:
            here = slice(start, start + n * n_pos)
            heads = z[here].view(n, n_pos, n_heads, d_head).permute(2, 1, 0, 3).flatten(2)
            mixed = torch.bmm(self.mix[:, :n_pos, :n_pos], heads)
            mixed = mixed.view(n_heads, n_pos, n, d_head).permute(2, 1, 0, 3)
            self._share(mixed, values[here])
        if lone:
            blocks = [g[start : start + n * p].view(n, p, -1)[:, -1] for start, n, p in lone]
            own = (torch.cat(blocks) @ self.read).view(-1, 1, n_heads, d_head)
            first = 0
            for start, n, n_pos in lone:
                looked = self.mix[:, :n_pos, n_pos - 1].T[:, :, None]
                self._share(own[first : first + n] * looked, values[start : start + n * n_pos])
                first += n
        g.addmm_(values, self.write)

    def _share(self, mixed: Tensor, into: Tensor) -> None:
        """Sum [row, pos, head, d_head] over the heads of each value head, into [place, ...]."""
        n, n_pos, n_heads, d_head = mixed.shape
        out = into.view(n, n_pos, self.n_kv, d_head)
        if self.n_kv == n_heads:
            out.copy_(mixed)
        else:
            grouped = mixed.reshape(n, n_pos, self.n_kv, -1, d_head)
            torch.sum(grouped, 3, out=out)

    def push(self, vectors: Tensor, key: int, n_pos: int) -> Tensor:
        """Return what vectors at one position add to attn_out at it and those after it.

        Args:
            vectors: Written to resid_pre, [n, d_model].
            key: Their position.
            n_pos: Positions of the prompt.

        Returns:
            From that position on, [pos, n, d_model]; the transpose of `pull`.
        """
        group = len(self.mix) // self.n_kv
        values = (vectors @ self.write.T).view(len(vectors), self.n_kv, -1)
        looked = self.mix[:, key, key:n_pos].T[:, None, :, None]
        mixed = looked * values.repeat_interleave(group, 1)
        pushed: Tensor = mixed.flatten(2) @ self.read.T
        return pushed


def fold_attention(frozen: FrozenModel, layer: int) -> FoldedAttention:
    """Fold one layer's attention at the frozen pass."""
    weights = frozen.weights.attention(layer)
    write = weights.W_V.transpose(1, 2).flatten(0, 1)
    read = weights.W_O.flatten(0, 1).T
    mix = frozen.cache.patterns[layer].to(frozen.dtype).transpose(1, 2)
    before = _norm(frozen, "LN1_NORMALIZED", layer)
    if before is not None:
        norm, scale = before
        write = write * norm.weight
        if norm.kind == "layer":
            write = write - write.mean(-1, keepdim=True)
        mix = mix / scale[:, None]
    after = _norm(frozen, "ATTN_OUT_NORM", layer)
    if after is not None:
        norm, scale = after
        if norm.kind == "layer":
            read = read - read.mean(0)
        read = norm.weight[:, None] * read
        mix = mix / scale
    return FoldedAttention(read, mix.contiguous(), write.contiguous(), weights.n_kv)


def _norm(frozen: FrozenModel, name: str, layer: int) -> tuple[Norm, Tensor] | None:
    """Return a norm and its denominators, [pos]; None where the model has none there."""
    site = Site.__members__.get(name)
    norm = None if site is None else frozen.weights.norm(site, layer)
    if site is None or norm is None or norm.kind not in ("layer", "rms"):
        return None
    return norm, frozen.cache.norm_scales[site, layer].to(frozen.dtype)
