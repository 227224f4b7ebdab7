"""Rows of attributions where attention passes effects on: one walk over packed rows.

1. Sort the rows by the stage they read at, highest first. Each row owns one block: positions 0 to
   its own, as attention only looks back. G is all blocks, one after the other, [place, d_model].
2. Walk the stages down. Where the walk reaches a row's stage, inject its direction. The rows
   reached so far are the first blocks of G, so every large product covers exactly the places that
   can hold something: no row is walked above its stage or beyond its position.
3. At every stage read G out against what was written there: one product per position.
4. Where attention passes, add what its output reads from its input; `folded` has the products.
   Rows that have passed none yet hold something at their own position alone.
5. Where a dictionary cuts the stream, the rows above end: G returns to 0.
6. The lowest attention is not walked through: embeddings are pushed up through it once instead,
   where that is less work (`readings`).

Constants are the same at all positions but for attention sinks: their part is one skinny product,
summed over each row's places. Batches are walked side by side, one on each processor core.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.models.folded import FoldedAttention, Run, fold_attention
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.threads import side_by_side
from circuitscope.tracing.read_points import Explained, Points
from circuitscope.tracing.readings import StageReadings, lifted
from circuitscope.tracing.sources import Sources, attention_layer
from circuitscope.tracing.walk import Walk, in_batches

BATCH_BYTES = 32e6
"""What the places of one batch may take."""
_LARGEST_BATCH = 1024
_PIECES = 8
"""Batches that rows are split into where each is work enough for a core."""
_WORTH = 0.75e9
"""Multiplications a layer from which a batch is work enough."""
MOST_LIFTED = 32e6
"""What embeddings pushed up may take."""


class PackedWalk(Walk):
    """Compute rows of attributions for batches of nodes; see `BackwardWalk` for the arguments."""

    def __init__(
        self,
        frozen: FrozenModel,
        sources: Sources,
        explained: Explained,
        points: Points,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(frozen, sources, explained, progress)
        self._points = points
        self._readings: dict[int, StageReadings] = {}
        self._folded: dict[int, FoldedAttention] = {}
        self._lifted: tuple[int, StageReadings] | None = None

    def rows(
        self,
        wanted: NDArray[np.int64],
        batch_size: int | None = None,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Compute rows; see `Walk.rows`."""
        size = batch_size or self._batch_size(wanted)
        batches = list(in_batches(self._explained, wanted, size))
        if out is None:
            out = np.zeros((len(wanted), self.width), self.number)
        with torch.no_grad():
            self._prepare(wanted, len(batches))
        on_cpu = self._frozen.cache.token_ids.device.type == "cpu"
        work = side_by_side(
            lambda batch, go_on: self._walk(wanted[batch], go_on).cpu().numpy(),
            batches, self._pulse, None if on_cpu else 1,
        )  # fmt: skip
        for batch, found in work:
            out[batch] = found
            self._progress.advance(len(batch))
        return out

    def _batch_size(self, wanted: NDArray[np.int64]) -> int:
        """Return rows for a batch: a share of all of them, within bounds of memory and of work."""
        places = self._mean_places(wanted)
        anatomy = self._frozen.model.anatomy
        heads = (anatomy.n_heads + anatomy.n_kv_heads) * anatomy.d_head
        worth = _WORTH / (places * anatomy.d_model * heads)
        share = max(len(wanted) / _PIECES, worth)
        width = anatomy.d_model + 2 * anatomy.n_heads * anatomy.d_head
        return int(np.clip(min(share, BATCH_BYTES / (4 * places * width)), 8, _LARGEST_BATCH))

    def _mean_places(self, wanted: NDArray[np.int64]) -> float:
        return float(self._explained.position[wanted].mean()) + 1 if len(wanted) else 1.0

    def _prepare(self, wanted: NDArray[np.int64], n_batches: int) -> None:
        """Fold and gather beforehand what several batches share."""
        if self._lifted is None and self._worth_lifting(wanted):
            number = self._lowest_attention()
            stage = lifted(self._sources.stages[0], self._fold(number), self._frozen.cache.n_pos)
            self._lifted = number, StageReadings(stage)
        if n_batches > 1:
            for number in range(int(self._explained.stage[wanted].max(initial=0))):
                self._reading(number)
                if self._sources.stages[number].spreads:
                    self._fold(number)

    def _lowest_attention(self) -> int:
        """Return the stage of the lowest attention that passes effects on, -1 where none does."""
        stages = enumerate(self._sources.stages)
        return next((number for number, stage in stages if stage.spreads), -1)

    def _worth_lifting(self, wanted: NDArray[np.int64]) -> bool:
        """Return whether pushing the embeddings up costs less than pulling these rows down."""
        anatomy, n_pos = self._frozen.model.anatomy, self._frozen.cache.n_pos
        number = self._lowest_attention()
        between = self._sources.stages[1 : max(number, 1)]
        if number < 0 or any(s.groups or s.constants or s.through for s in between):
            return False
        if any(stage.beside for stage in self._sources.stages[: number + 1]):
            return False
        columns = sum(len(group.vectors) for group in self._sources.stages[0].groups)
        if 2 * columns * n_pos * anatomy.d_model > MOST_LIFTED:
            return False
        heads = (anatomy.n_heads + anatomy.n_kv_heads) * anatomy.d_head
        pulled = len(wanted) * self._mean_places(wanted) * 2 * heads
        return columns * n_pos * (anatomy.n_heads * anatomy.d_head) < pulled

    @torch.no_grad()
    def _walk(self, rows: NDArray[np.int64], go_on: Callable[[], None]) -> Tensor:
        """Walk rows sorted by stage, highest first; return [row, column + 1]."""
        batch = _Batch(self._explained, rows, self._frozen)
        out = torch.zeros(len(rows), self.width, dtype=self._frozen.dtype, device=batch.G.device)
        live = 0
        for number in range(int(batch.stage[0]) - 1, -1, -1):
            go_on()
            reached = int(np.searchsorted(-batch.stage, -number, side="left"))
            if reached > live:
                self._inject(rows, live, reached, batch, out)
                live = reached
            self._read(self._reading(number), batch, live, out)
            stage = self._sources.stages[number]
            if self._lifted and number == self._lifted[0] and live == len(rows):
                self._read(self._lifted[1], batch, live, out)
                break
            if stage.through is not None or stage.beside is not None:
                self._pass(number, batch, live)
            if stage.cuts:
                batch.G[: batch.ends[live - 1]] = 0
        return out

    def _pass(self, number: int, batch: _Batch, live: int) -> None:
        """Add to G what passes a stage."""
        stage, G = self._sources.stages[number], batch.G[: batch.ends[live - 1]]
        places = batch.places[: len(G)]
        beside = None if stage.beside is None else stage.beside.pull(G, places)
        if stage.spreads:
            self._fold(number).pull(G, *batch.runs(live))
            batch.lone[:live] = False
        elif stage.through is not None:
            G += stage.through.pull(G, places)
        if beside is not None:
            G += beside

    def _inject(
        self, rows: NDArray[np.int64], start: int, stop: int, batch: _Batch, out: Tensor
    ) -> None:
        """Inject the rows from `start` to `stop` of the batch."""
        G, starts = batch.G, batch.starts
        G[int(starts[start]) : batch.ends[stop - 1]] = 0
        for members, injection in self._points.inject(rows[start:stop]):
            at = members + start
            batch.lone[at] = injection.vectors.dim() == 2
            if injection.vectors.dim() == 2:
                G[torch.from_numpy(starts[at] + batch.position[at]).to(G.device)] = (
                    injection.vectors
                )
            else:
                for row, vectors in zip(at, injection.vectors, strict=True):
                    n = int(batch.position[row]) + 1
                    G[int(starts[row]) : int(starts[row]) + n] = vectors[:n]
            index = torch.from_numpy(at).to(G.device)
            for bias, value in injection.constants.items():
                out[index, self._sources.biases[bias]] += value

    def _read(self, here: StageReadings, batch: _Batch, live: int, out: Tensor) -> None:
        """Read the live rows out against what one stage wrote."""
        for reading in here.at:
            rows, places = batch.at(reading.position, live)
            if not len(rows):
                continue
            g = batch.G.index_select(0, places)
            for columns, vectors in reading.parts:
                out[:, columns].index_add_(0, rows, g @ vectors.T)
            if reading.shared is not None and reading.constants is not None:
                out[rows[:, None], reading.shared] += g @ reading.constants.T
        if here.constants is not None:
            everywhere = batch.G[: batch.ends[live - 1]] @ here.constants
            total = out.new_zeros(live, everywhere.shape[1])
            total.index_add_(0, batch.owners[: len(everywhere)], everywhere)
            out[:live, here.constant_columns] += total

    def _reading(self, number: int) -> StageReadings:
        if number not in self._readings:
            self._readings[number] = StageReadings(self._sources.stages[number])
        return self._readings[number]

    def _fold(self, number: int) -> FoldedAttention:
        layer = attention_layer(number)
        if layer not in self._folded:
            self._folded[layer] = fold_attention(self._frozen, layer)
        return self._folded[layer]


class _Batch:
    """Where the blocks of a batch of rows lie in G.

    Attributes:
        stage, position: Of each row, [row].
        starts: First place of each row's block, [row]; ends: the place after its last.
        G: Directions, [place, d_model]; room: for head_z and values, [place, ...].
        places: Position of each place, [place]; owners: its row, [place].
        lone: Whether only a row's own position holds something yet, bool [row].
    """

    def __init__(self, explained: Explained, rows: NDArray[np.int64], frozen: FrozenModel) -> None:
        self.stage, self.position = explained.stage[rows], explained.position[rows]
        ends = np.cumsum(self.position + 1)
        self.starts, self.ends = ends - self.position - 1, ends.tolist()
        anatomy, device = frozen.model.anatomy, frozen.cache.token_ids.device
        n, heads = self.ends[-1], anatomy.n_heads * anatomy.d_head

        def room(width: int) -> Tensor:
            return torch.empty(n, width, dtype=frozen.dtype, device=device)

        self.G = room(anatomy.d_model)
        self.room = (room(heads), room(anatomy.n_kv_heads * anatomy.d_head))
        owners = np.repeat(np.arange(len(rows)), self.position + 1)
        self.owners = torch.from_numpy(owners).to(device)
        self.places = torch.from_numpy(np.arange(n) - self.starts[owners]).to(device)
        self.lone = np.zeros(len(rows), bool)
        self._at: dict[int, tuple[NDArray[np.int64], Tensor, Tensor]] = {}
        self._runs = self._find_runs()

    def _find_runs(self) -> list[tuple[int, int, int]]:
        """Return neighbours of equal position and stage: first row, rows, positions."""
        changed = (np.diff(self.position) != 0) | (np.diff(self.stage) != 0)
        edges = np.r_[0, np.flatnonzero(changed) + 1, len(self.position)]
        return [(int(lo), int(hi - lo), int(self.position[lo]) + 1) for lo, hi in pairwise(edges)]

    def runs(self, live: int) -> tuple[list[Run], tuple[Tensor, Tensor], list[Run]]:
        """Return what `FoldedAttention.pull` takes after G: runs, room, and runs of lone rows."""
        full = np.flatnonzero(~self.lone[:live])
        first_lone = int(full[-1]) + 1 if len(full) else 0
        found: tuple[list[Run], list[Run]] = [], []
        for first, n, n_pos in self._runs:
            if first < live:
                found[first >= first_lone].append((int(self.starts[first]), n, n_pos))
        return found[0], self.room, found[1]

    def at(self, position: int, live: int) -> tuple[Tensor, Tensor]:
        """Return the live rows that reach a position, and their places there."""
        if position not in self._at:
            rows = np.flatnonzero(self.position >= position)
            device = self.G.device
            places = torch.from_numpy(self.starts[rows] + position).to(device)
            self._at[position] = rows, torch.from_numpy(rows).to(device), places
        known, members, found = self._at[position]
        n = int(np.searchsorted(known, live))
        return members[:n], found[:n]
