"""Contextual decomposition, exact and fast: only the relevant part is propagated.

The rules are those of `decomposition`; relevant plus irrelevant is the plain activation whatever
the source, so the total is computed once (`totals`) and i = x - r where a rule needs it.

1. Shared totals: each affine map costs one product, r W; no second softmax, norm or nonlinearity.
2. The sign fix is a clamp of r between 0 and x.
3. Causal window: before a set's first source everything is irrelevant, after the last position
   read nothing matters. The keys before the window have relevant score 0 and no relevant value; one
   virtual key stands for them, scored by the logsumexp of the mask over those that a query sees.
4. Sets of one window make one batch that grows layer by layer: a set joins where its first source
   is, and there only the positions of its sources are computed.
5. In the last layer only positions that are read are computed, and only tokens asked for
   unembedded.
6. Where both images of a bias split are exactly 0 the bias follows the whole row:
   sum |r| / (sum |r| + sum |i|) of the map's input, 0 if that is 0/0.
7. A position is pure where all it has seen so far is relevant: there r is set to x, bit by bit, so
   that rounding in x - r never splits a bias (a span over the whole prompt leaves exactly 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.models.blueprint import (
    Affine,
    Attention,
    Block,
    Blueprint,
    Mlp,
    Readout,
    Stage,
    rotated,
)
from circuitscope.models.family import Norm
from circuitscope.tracing.decomposition import Place, Rules
from circuitscope.tracing.injection import (
    Injector,
    Means,
    Numbered,
    Recorder,
    SourceSet,
    Stop,
    Where,
)
from circuitscope.tracing.totals import (
    Image,
    LayerTotals,
    Scaled,
    Totals,
    capped,
    curve,
    image,
    scaled,
    spread,
)

_BUDGET = 96 * 2**20
"""Bytes of the widest intermediate of one batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What is read at the end.

    Attributes:
        positions: Positions of the prompt, ascending.
        tokens: Columns of the unembedding, int64, or None for all.
    """

    positions: tuple[int, ...]
    tokens: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Here:
    """Positions that a tensor [set, pos, ...] holds, and where it is pure, bool [set, pos]."""

    at: slice | Tensor
    pure: Tensor | None = None

    def settle(self, r: Tensor, total: Tensor) -> Tensor:
        """Return r, the total [pos, ...] itself where all of it is relevant."""
        if self.pure is None:
            return r
        pure = self.pure.reshape(*self.pure.shape, *(1,) * (r.dim() - 2))
        return torch.where(pure, total[self.at], r)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Sets of one window that walk together.

    Attributes:
        order: Each set's number in the caller's list.
        positions: The window, as slice of the prompt.
    """

    injector: Injector
    order: list[int]
    positions: slice


class RelevanceWalk:
    """Propagate the relevant parts of many source sets through one prompt.

    Args:
        totals: The prompt's forward pass.
        rules: Attention rule and sign fixes.
        reading: What is read off the logits; None reads none, and the walk ends with the layers.
        last: Last position that matters to the recorder; None for those read or all.
        depth: Walk only so many layers; None for all.
        budget: Bytes of the widest intermediate.
    """

    def __init__(
        self,
        totals: Totals,
        rules: Rules,
        reading: Reading | None,
        *,
        last: int | None = None,
        depth: int | None = None,
        budget: int = _BUDGET,
    ) -> None:
        self._totals = totals
        self._rules = rules
        self._reading = reading
        read = totals.n_pos - 1 if reading is None else max(reading.positions)
        self._stop = (read if last is None else last) + 1
        self._depth = totals.blueprint.n_layers if depth is None else depth
        self._budget = budget

    def run(
        self,
        sets: Sequence[SourceSet],
        means: Means,
        recorder: Recorder,
        progress: Progress,
    ) -> None:
        """Walk every set; `Where.numbers` names a row's set for the recorder."""
        for batch in self._batches(sets, means):
            self._walk(batch, Numbered(recorder, batch.order))
            progress.advance(len(batch.order))

    def _batches(self, sets: Sequence[SourceSet], means: Means) -> list[_Batch]:
        causal = self._totals.blueprint.causal
        starts = [one.start if causal and one.places() else 0 for one in sets]
        n = self._stop if causal else self._totals.n_pos
        numbers = [k for k in range(len(sets)) if sets[k].places() and starts[k] < n]
        numbers.sort(key=lambda k: (starts[k], sets[k].entry))
        blueprint = self._totals.blueprint
        widest = max(block.mlp.gate.weight.shape[1] for block in blueprint.blocks)
        batches = []
        for start, group in groupby(numbers, key=lambda k: starts[k]):
            cells = blueprint.heads[0] * (n - start)
            per_row = (n - start) * max(widest, cells) * self._totals.embed.element_size()
            most = max(1, self._budget // per_row)
            every = list(group)
            for first in range(0, len(every), most):
                order = every[first : first + most]
                injector = Injector([sets[k] for k in order], self._totals, means)
                batches.append(_Batch(injector, order, slice(start, n)))
        return batches

    def _where(self, rows: slice, positions: slice | Tensor) -> Where:
        place = torch.full((self._totals.n_pos,), -1, device=self._totals.embed.device)
        here = torch.arange(self._totals.n_pos, device=place.device)[positions]
        place[here] = torch.arange(len(here), device=place.device)
        return Where(rows, place)

    def _walk(self, batch: _Batch, recorder: Recorder) -> None:
        totals, sources = self._totals, batch.injector
        window = batch.positions
        entries = [one.entry for one in sources.sets]
        r = totals.embed.new_zeros(0, window.stop - window.start, totals.blueprint.d_model)
        # Heads, MLPs and features are set within a layer; only sets of spans stay pure.
        pure = r[..., 0].bool() if any(one.only_spans for one in sources.sets) else None
        try:
            for layer in range(entries[0][0], self._depth):
                before = sum(entry <= (layer, 0) for entry in entries)
                after = sum(entry <= (layer, 3) for entry in entries)
                last = layer == self._depth - 1 and self._reading is not None
                r, at = _padded(r, before), self._where(slice(0, before), window)
                sources.put_residual(layer, r, at)
                if pure is not None:
                    pure = _padded(pure, before)
                    sources.mark_residual(layer, pure, at)
                r = self._layer(layer, r, after, batch, recorder, pure, last=last)
                pure = self._carried(layer, pure, window)
        except Stop:
            return
        if self._reading is not None:
            positions = self._read_positions()
            pure = None if pure is None else _padded(pure, len(r))
            if pure is not None and self._totals.blueprint.causal:
                pure = _at_positions(pure, positions, window)
            elif pure is not None:
                pure = pure[:, positions]
            logits = self._readout(r, _Here(slice(None), pure))
            recorder.logits(logits, self._where(slice(0, len(r)), positions))

    def _carried(self, layer: int, pure: Tensor | None, window: slice) -> Tensor | None:
        """Return where a layer's output is pure: all that attention sees there is."""
        if pure is None:
            return None
        mask = self._totals.masks[layer]
        if mask is None:
            return pure.all(1, keepdim=True).expand_as(pure)
        seen = mask[window] == 0
        whole = pure.new_zeros(len(pure), seen.shape[1])
        whole[:, window] = pure
        return ~(seen & ~whole[:, None]).any(-1)

    def _read_positions(self) -> Tensor:
        assert self._reading is not None
        return torch.tensor(self._reading.positions, device=self._totals.embed.device)

    def _layer(  # noqa: PLR0913 - what a layer needs
        self, layer: int, r: Tensor, n: int, batch: _Batch, recorder: Recorder,
        pure: Tensor | None, *, last: bool,
    ) -> Tensor:  # fmt: skip
        """Take old sets through a layer and let new ones join; r [set, pos, d_model]."""
        old, window = len(r), batch.positions
        out = self._read_positions() if last else window
        # Positions before a window hold no relevance; their rows are read as zeros.
        inside = (
            out[(out >= window.start) & (out < window.stop)] if isinstance(out, Tensor) else None
        )
        where = window if inside is None else inside
        parts = []
        if old:
            z = self._attention(layer, r, batch, recorder, where, pure)
            after = self._carried(layer, pure, window)
            if inside is not None:
                r = r[:, inside - window.start]
                after = None if after is None else after[:, inside - window.start]
            at, here = self._where(slice(0, old), where), _Here(where, after)
            parts.append(self._rest(layer, z, r, batch.injector, recorder, at, here))
        if n > old:
            parts.append(self._joining(layer, old, n, batch, recorder, where))
        found = torch.cat(parts) if len(parts) > 1 else parts[0]
        if inside is None or len(inside) == len(self._read_positions()):
            return found
        whole = found.new_zeros(n, len(self._read_positions()), found.shape[-1])
        whole[:, whole.shape[1] - len(inside) :] = found
        return whole

    def _joining(
        self, layer: int, old: int, n: int, batch: _Batch, recorder: Recorder,
        where: slice | Tensor,
    ) -> Tensor:  # fmt: skip
        """Return the new sets' streams after the layer of their first source."""
        totals, window = self._totals, batch.positions
        narrow = where
        if isinstance(where, slice) and self._totals.blueprint.causal:
            held = [
                p for one in batch.injector.sets[old:n] for at, _, p in one.places() if at == layer
            ]
            narrow = slice(window.start, min(max(held) + 1, window.stop))
        at = self._where(slice(old, n), narrow)
        width = len(torch.arange(totals.n_pos)[narrow])
        heads = totals.blueprint.heads
        z = totals.embed.new_zeros(n - old, width, *heads)
        zero = totals.embed.new_zeros(n - old, width, totals.blueprint.d_model)
        r = self._rest(layer, z, zero, batch.injector, recorder, at, _Here(narrow))
        if narrow is where or narrow == where:
            return r
        pad = window.stop - window.start - r.shape[1]
        return torch.cat([r, r.new_zeros(len(r), pad, r.shape[-1])], 1)

    # The operations, on the relevant part alone

    def _clamp(self, place: Place, r: Tensor, total: Tensor) -> Tensor:
        """Give the whole sum to the larger part where signs differ: r between 0 and the total."""
        if place not in self._rules.fixes:
            return r
        return torch.clamp(r, total.clamp(max=0), total.clamp(min=0))

    def _affine(
        self, x: Tensor, affine: Affine, total: Image, here: _Here, whole: Tensor
    ) -> Tensor:
        """Split an affine map of the relevant part x of `whole`."""
        r = x @ affine.weight
        if affine.bias is not None:
            row = (x, whole) if total.has_zero else None
            r = _add_share(r, r, total.before[here.at], affine.bias, row)
        return here.settle(r, total.after)

    def _norm(self, r: Tensor, norm: Norm, total: Scaled, here: _Here) -> Tensor:
        centred = r - r.mean(-1, keepdim=True) if norm.kind == "layer" else r
        out = centred * (norm.weight / total.scale[here.at])
        if norm.bias is not None:
            before = total.before[here.at]
            out = _add_share(out, r, before, norm.bias, (r, before) if total.has_zero else None)
        return here.settle(out, total.after)

    def _attention(
        self, layer: int, r: Tensor, batch: _Batch, recorder: Recorder, queries: slice | Tensor,
        pure: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Return the relevant z of old sets, [set, query, head, d_head]."""
        window, totals = batch.positions, self._totals.layers[layer]
        block, known = self._totals.blueprint.blocks[layer], totals.attention
        attention, here = block.attention, _Here(window, pure)
        whole = totals.pre if block.post else totals.norm1.after
        read = r if block.post else self._norm(r, block.norm1, totals.norm1, here)
        maps = [
            self._affine(read, one, total, here, whole[window])
            for one, total in zip(attention.qkv, known.qkv, strict=True)
        ]
        joined = torch.cat(maps, -1) if len(maps) > 1 else maps[0]
        q, k, v = (
            torch.unflatten(part, -1, (-1, attention.d_head))
            for part in torch.split(joined, list(attention.widths), -1)
        )
        recorder.qkv(layer, (q, k, v), self._where(slice(0, len(r)), window))
        rows = None if isinstance(queries, slice) else queries - window.start
        v = spread(v, attention.n_heads).transpose(1, 2)
        if self._rules.attention == "frozen":
            pattern = known.pattern[:, queries, window]
            return (pattern @ v).transpose(1, 2)
        if attention.q_norm is not None and attention.k_norm is not None:
            assert known.q_norm is not None
            assert known.k_norm is not None
            q = self._norm(q, attention.q_norm, known.q_norm, here)
            k = self._norm(k, attention.k_norm, known.k_norm, here)
        if attention.rotate is not None:
            cos, sin = (part[window] for part in attention.rotate(window.stop))
            q, k = rotated(q, (cos, sin)), rotated(k, (cos, sin))
        q = q if rows is None else q[:, rows]
        pattern = self._pattern(layer, attention, q, k, queries, window)
        return (pattern @ v).transpose(1, 2)

    def _pattern(
        self, layer: int, attention: Attention, q: Tensor, k: Tensor, queries: slice | Tensor,
        window: slice,
    ) -> Tensor:  # fmt: skip
        """Return the softmax of relevant scores, [set, head, query, key of the window]."""
        keys = spread(k, attention.n_heads).permute(0, 2, 3, 1)
        scores = q.transpose(1, 2) @ keys
        scores *= attention.scale
        if attention.softcap is not None:
            total = self._totals.layers[layer].attention.scores
            assert total is not None
            total = total[:, queries, window]
            scores = capped(total, attention.softcap) - capped(total - scores, attention.softcap)
        mask = self._totals.masks[layer]
        if mask is None:
            return scores.softmax(-1)
        scores += mask[queries, window]
        if not window.start:
            return scores.softmax(-1)
        virtual = mask[queries, : window.start].logsumexp(-1)
        scores = torch.cat([scores, virtual[:, None].expand(*scores.shape[:-1], 1)], -1)
        return scores.softmax(-1)[..., :-1]

    def _rest(  # noqa: PLR0913 - what the rest of a layer needs
        self, layer: int, z: Tensor, r: Tensor, sources: Injector, recorder: Recorder, at: Where,
        here: _Here,
    ) -> Tensor:  # fmt: skip
        """Take z and the stream [set, pos, ...] through the rest of a layer."""
        block, t = self._totals.blueprint.blocks[layer], self._totals.layers[layer]
        z = here.settle(z, t.attention.z)
        flat = self._clamp("z", z.flatten(-2), t.attention.z[here.at].flatten(-2))
        z = torch.unflatten(flat, -1, self._totals.blueprint.heads)
        sources.put_z(layer, z, at)
        recorder.z(layer, z, at)
        whole = t.attention.z[here.at].flatten(-2)
        out = self._affine(z.flatten(-2), block.attention.out, t.out, here, whole)
        out = self._clamp("attn_out", out, t.out.after[here.at])
        sources.put_attention(layer, out, at)
        if block.branch1 is not None and t.branch1 is not None:
            out = self._norm(out, block.branch1, t.branch1, here)
        mid = self._clamp("mid", r + out, t.mid[here.at])
        recorder.residual(layer, mid, at)
        read = mid
        if block.post:
            read = self._norm(mid, block.norm1, t.norm1, here)
            read = self._clamp("norm1", read, t.read[here.at])
        added = self._mlp(block, read, t, here)
        sources.put_mlp(layer, added, at)
        recorder.mlp(layer, added, at)
        if block.branch2 is not None and t.branch2 is not None:
            added = self._norm(added, block.branch2, t.branch2, here)
        total = self._clamp("resid", read + added, t.sum2[here.at])
        if not block.post:
            return total
        return self._clamp("norm2", self._norm(total, block.norm2, t.norm2, here), t.post[here.at])

    def _mlp(self, block: Block, read: Tensor, t: LayerTotals, here: _Here) -> Tensor:
        mlp: Mlp = block.mlp
        known, whole = t.mlp, (t.read if block.post else t.norm2.after)[here.at]
        x = read if block.post else self._norm(read, block.norm2, t.norm2, here)
        f = curve(mlp.activation)
        g = self._affine(x, mlp.gate, known.gate, here, whole)
        g = self._clamp("mlp_in", g, known.gate.after[here.at])
        rest = f(known.gate.after[here.at] - g)
        if mlp.up is not None and known.up is not None:
            u = self._affine(x, mlp.up, known.up, here, whole)
            rest *= known.up.after[here.at] - self._clamp("mlp_in", u, known.up.after[here.at])
        hidden = torch.sub(known.hidden[here.at], rest, out=rest)
        out = self._affine(hidden, mlp.out, known.out, here, known.hidden[here.at])
        return self._clamp("mlp_out", out, known.out.after[here.at])

    def _readout(self, r: Tensor, here: _Here) -> Tensor:
        """Return relevant logits [set, pos, token] from the last stream at the positions read."""
        out, reading = self._totals.blueprint.readout, self._reading
        assert reading is not None
        x = self._totals.final[self._read_positions()]
        if out.norm is not None:
            total = scaled(x, out.norm)
            r, x = self._norm(r, out.norm, total, here), total.after
        for stage in _stages(out, reading):
            known = image(x, stage.affine)
            r, x = self._affine(r, stage.affine, known, here, x), known.after
            if stage.activation is not None:
                f = curve(stage.activation)
                bent = f(x)
                r, x = bent - f(x - r), bent
            if stage.norm is not None:
                normed = scaled(x, stage.norm)
                r, x = self._norm(r, stage.norm, normed, here), normed.after
        if out.softcap is not None:
            r = capped(x, out.softcap) - capped(x - r, out.softcap)
        return r


def _stages(out: Readout, reading: Reading) -> tuple[Stage, ...]:
    """Return the way out with only the tokens asked for in the last map."""
    if reading.tokens is None:
        return out.stages
    *first, last = out.stages
    bias = None if last.affine.bias is None else last.affine.bias[reading.tokens]
    return (*first, replace(last, affine=Affine(last.affine.weight[:, reading.tokens], bias)))


def whole_logits(totals: Totals, reading: Reading) -> Tensor:
    """Return the plain logits of a forward pass, [position, token]."""
    return read_logits(totals.blueprint, totals.final, reading)


def read_logits(blueprint: Blueprint, final: Tensor, reading: Reading) -> Tensor:
    """Return the logits of what leaves the last layer [.., pos, d_model], [.., position, token]."""
    out = blueprint.readout
    x = final[..., list(reading.positions), :]
    x = x if out.norm is None else scaled(x, out.norm).after
    for stage in _stages(out, reading):
        x = image(x, stage.affine).after
        x = x if stage.activation is None else curve(stage.activation)(x)
        x = x if stage.norm is None else scaled(x, stage.norm).after
    return capped(x, out.softcap)


def _add_share(
    out: Tensor, r: Tensor, total: Tensor, bias: Tensor, row: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Add the bias times |r| / (|r| + |total - r|) to out, in place where out is ours.

    Args:
        out: Image or norm of the relevant part.
        r: What the bias goes by, [.., d].
        total: r plus the irrelevant part.
        bias: [d].
        row: Relevant part and total of the row, where `total` has zeros; else None.
    """
    size = (total - r).abs_()
    share = r.abs()
    size += share
    share /= size
    if row is not None:
        empty = size == 0
        if bool(empty.any()):
            part, whole = row
            mine = part.abs().sum(-1, keepdim=True)
            all_ = mine + (whole - part).abs().sum(-1, keepdim=True)
            share = torch.where(empty, torch.where(all_ == 0, 0.0, mine / all_), share)
    return out.addcmul_(share, bias)


def _padded(rows: Tensor, n: int) -> Tensor:
    """Return rows with zeros below, n in all."""
    if n == len(rows):
        return rows
    return torch.cat([rows, rows.new_zeros(n - len(rows), *rows.shape[1:])])


def _at_positions(pure: Tensor, positions: Tensor, window: slice) -> Tensor:
    """Return purity at positions, those before the window impure."""
    inside = (positions >= window.start) & (positions < window.stop)
    found = pure.new_zeros(len(pure), len(positions))
    found[:, inside] = pure[:, positions[inside] - window.start]
    return found
