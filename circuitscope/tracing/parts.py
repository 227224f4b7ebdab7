"""A model as parts that write to the residual stream and read from it: embedding, heads, MLPs.

1. Every part reads the sum of what earlier parts wrote, one read for each head and MLP, one for
   the logits. An edge is one writer's share of one read, at every position or at one.
2. A run may hold, for every edge, what its writer holds in this run or what it held in another
   run, such as that of a corrupted prompt; everything else is computed (edge patching).
3. Many choices of edges run as copies of one prompt, side by side.

Queries, keys and values of a head read alike, or each by its own edges where a mask has an axis of
ways. Biases of attention belong to no part and stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from circuitscope.core.errors import TraceError
from circuitscope.models.blueprint import Affine, Attention, Block, Blueprint, attention_mask
from circuitscope.models.family import Norm
from circuitscope.tracing.metrics import Meter
from circuitscope.tracing.relevance import Reading, read_logits
from circuitscope.tracing.totals import capped, curve, scaled, turned

INPUT = 0
WAYS = 3
"""Queries, keys and values."""
_WITH_WAYS = 5


@dataclass(frozen=True, slots=True)
class PartList:
    """Writers and readers of a model by number.

    Writers are the embedding (0), then for each layer its heads and its MLP; readers are the same
    without the embedding, one lower, and the logits.
    """

    n_layers: int
    n_heads: int

    @property
    def n_writers(self) -> int:
        """Return the number of writers."""
        return 1 + self.n_layers * (self.n_heads + 1)

    @property
    def n_readers(self) -> int:
        """Return the number of readers; the last one is the logits."""
        return self.n_writers

    @property
    def logits(self) -> int:
        """Return the reader that the logits are."""
        return self.n_readers - 1

    def writer(self, layer: int, head: int) -> int:
        """Return a head as a writer, or with head -1 the layer's MLP."""
        return 1 + layer * (self.n_heads + 1) + (self.n_heads if head < 0 else head)

    def place(self, writer: int) -> tuple[int, int]:
        """Return layer and head of a writer; head -1 is the MLP, layer -1 the embedding."""
        if writer == INPUT:
            return -1, -1
        layer, head = divmod(writer - 1, self.n_heads + 1)
        return layer, -1 if head == self.n_heads else head

    def n_before(self, reader: int) -> int:
        """Return how many writers come before a reader; they are the first ones."""
        layer, head = self.place(reader + 1)
        return reader + 1 if reader == self.logits or head < 0 else 1 + layer * (self.n_heads + 1)

    def ways(self) -> Tensor:
        """Return which edges there are where heads read by three ways, bool [way, reader, writer].

        MLPs and logits read by the first one.
        """
        heads = torch.tensor([self.place(reader + 1)[1] >= 0 for reader in range(self.n_readers)])
        heads[self.logits] = False
        every = self.edges()
        return torch.stack([every, *[every & heads[:, None]] * (WAYS - 1)])

    def edges(self) -> Tensor:
        """Return which edges there are, bool [reader, writer]."""
        before = torch.tensor([self.n_before(reader) for reader in range(self.n_readers)])
        return torch.arange(self.n_writers) < before[:, None]


def parts_of(blueprint: Blueprint) -> PartList:
    """Return a model's parts.

    Raises:
        TraceError: Its branches are normed together with the stream, as in BERT.
    """
    if blueprint.blocks[0].post or not blueprint.causal:
        raise TraceError(
            "Edges between heads need a residual stream that every branch adds to; in this model "
            "a norm follows each sum.",
            hint="Choose contextual decomposition, or a causal language model.",
        )
    return PartList(blueprint.n_layers, blueprint.heads[0])


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What the parts of a run wrote, [copy, writer, pos, d_model], and the metric, [copy]."""

    rows: Tensor
    value: Tensor


@dataclass(eq=False)
class PartRun:
    """Runs of one prompt.

    Attributes:
        meter: The model and the metric.
        ids: The prompt, int64 [pos].
        other: What edges that are not kept carry, [writer, pos, d_model].
        keep: Which edges carry this run, [copy, reader, writer, pos], 1 or 0; None keeps all. With
            an axis of ways, [copy, way, reader, writer, pos], heads read queries, keys and values
            (way 0, 1, 2) apart; MLPs and logits read by way 0.
        start: The embedding in place of the prompt's, [copy, pos, d_model].
        nudges: Added to each read, [reader, pos, d_model], or [way, reader, pos, d_model]; their
            gradients score edges.
    """

    meter: Meter
    ids: Tensor
    other: Tensor | None = None
    keep: Tensor | None = None
    start: Tensor | None = None
    nudges: Tensor | None = None
    _rows: list[Tensor] = field(default_factory=list)
    _constant: Tensor | None = None

    def run(self) -> Written:
        """Run and return what was written, and the metric."""
        blueprint = self.meter.blueprint
        copies = 1 if self.keep is None else len(self.keep)
        start = blueprint.embed(self.ids)[None] if self.start is None else self.start
        self._rows = [start.expand(copies, -1, -1)[:, None]]
        self._constant = torch.zeros_like(start[:1, None])
        reader = 0
        for layer, block in enumerate(blueprint.blocks):
            mask = attention_mask(blueprint, layer, len(self.ids), start)
            heads = block.attention.n_heads
            self._attend(block, [self._read(reader, heads, way) for way in self._ways()], mask)
            self._bend(block, self._read(reader + heads, 1)[:, 0])
            reader += heads + 1
        final = self._read(reader, 1)[:, 0]
        reading = Reading((self.meter.position,), self.meter.tokens)
        value = self.meter.value(read_logits(blueprint, final, reading)[:, 0])
        return Written(torch.cat(self._rows, 1), value)

    def _ways(self) -> range:
        apart = self.keep is not None and self.keep.ndim == _WITH_WAYS
        nudged = self.nudges is not None and self.nudges.ndim == _WITH_WAYS - 1
        return range(WAYS if apart or nudged else 1)

    def _read(self, first: int, n: int, way: int = 0) -> Tensor:
        """Return what readers of one stage read by one way, [copy, reader, pos, d_model]."""
        rows = torch.cat(self._rows, 1)
        assert self._constant is not None
        if self.keep is None:
            x = rows.sum(1, keepdim=True) + self._constant
        else:
            assert self.other is not None, "edges that are not kept carry another run"
            other = self.other[: rows.shape[1]]
            keep = self.keep if self.keep.ndim < _WITH_WAYS else self.keep[:, way]
            keep = keep[:, first : first + n, : rows.shape[1]].to(rows)
            x = torch.einsum("crwp,cwpd->crpd", keep, rows - other)
            x = x + (other.sum(0) + self._constant)
        x = x.expand(-1, n, -1, -1)
        if self.nudges is None:
            return x
        nudges = self.nudges if self.nudges.ndim < _WITH_WAYS - 1 else self.nudges[way]
        return x + nudges[first : first + n]

    def _write(self, rows: Tensor, constant: Tensor | None, norm: Norm | None) -> None:
        """Add what a branch wrote, [copy, writer, pos, d_model]; its norm's size is the sum's."""
        bias = rows.new_zeros(rows.shape[-1]) if constant is None else constant
        still = bias.expand(len(rows), 1, *rows.shape[2:])
        if norm is not None:
            scale = scaled(rows.sum(1, keepdim=True) + still, norm).scale
            centre = norm.kind == "layer"
            rows, still = (
                (x - x.mean(-1, keepdim=True) if centre else x) / scale * norm.weight
                for x in (rows, still)
            )
            still = still if norm.bias is None else still + norm.bias
        self._rows.append(rows)
        assert self._constant is not None
        self._constant = self._constant + still

    def _attend(self, block: Block, reads: Sequence[Tensor], mask: Tensor | None) -> None:
        """Attend to what queries, keys and values read; one read is that of all three."""
        attention, n = block.attention, reads[0].shape[-2]
        seen = [scaled(x, block.norm1).after for x in reads]
        q, k, v = (
            torch.einsum("chpd,hde->cphe", seen[min(way, len(seen) - 1)], weight) + bias
            for way, (weight, bias) in enumerate(_by_head(attention))
        )
        q, k = (
            turned(one, one if norm is None else scaled(one, norm).after, attention, n)
            for one, norm in ((q, attention.q_norm), (k, attention.k_norm))
        )
        q, k, v = (one.transpose(1, 2) for one in (q, k, v))
        scores = capped(q @ k.transpose(-1, -2) * attention.scale, attention.softcap)
        z = (scores if mask is None else scores + mask).softmax(-1) @ v
        out = torch.unflatten(attention.out.weight, 0, (attention.n_heads, -1))
        self._write(torch.einsum("chpe,hed->chpd", z, out), attention.out.bias, block.branch1)

    def _bend(self, block: Block, x: Tensor) -> None:
        mlp = block.mlp
        x = scaled(x, block.norm2).after
        bent = curve(mlp.activation)(_apply(x, mlp.gate))
        hidden = bent if mlp.up is None else bent * _apply(x, mlp.up)
        self._write(_apply(hidden, mlp.out)[:, None], None, block.branch2)


def _apply(x: Tensor, affine: Affine) -> Tensor:
    y = x @ affine.weight
    return y if affine.bias is None else y + affine.bias


def _by_head(attention: Attention) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield weights [head, d_model, d_head] and biases [head, d_head] of queries, keys, values."""
    weight = torch.cat([one.weight for one in attention.qkv], -1)
    biases = [
        one.weight.new_zeros(one.weight.shape[1]) if one.bias is None else one.bias
        for one in attention.qkv
    ]
    split = list(attention.widths)
    pairs = zip(torch.split(weight, split, -1), torch.split(torch.cat(biases), split), strict=True)
    for part, bias in pairs:
        heads = torch.unflatten(part, -1, (-1, attention.d_head)).permute(1, 0, 2)
        own = torch.unflatten(bias, 0, (-1, attention.d_head))
        group = attention.n_heads // len(heads)
        yield heads.repeat_interleave(group, 0), own.repeat_interleave(group, 0)


MOST_NUMBERS = 40_000_000


def values_of(meter: Meter, ids: Tensor, other: Tensor, keep: Iterable[Tensor]) -> list[float]:
    """Return the metric for each choice of edges [reader, writer, pos], copies side by side."""
    parts = parts_of(meter.blueprint)
    width = len(ids) * meter.blueprint.d_model * (parts.n_writers + 4 * parts.n_heads)
    step, found = max(1, MOST_NUMBERS // width), []
    waiting: list[Tensor] = []

    def run() -> None:
        if waiting:
            with torch.no_grad():
                done = PartRun(meter, ids, other, torch.stack(waiting)).run()
            found.extend(done.value.double().tolist())
            waiting.clear()

    for one in keep:
        waiting.append(one)
        if len(waiting) == step:
            run()
    run()
    return found
