"""Rows of attributions where attention passes effects on: one walk over packed rows.

1. Sort the rows by the stage they read at, highest first. Each row owns one block: positions 0 to
   its own, as attention only looks back. G is all blocks, one after the other, [place, d_model].
2. Walk the stages down. Where the walk reaches a row's stage, inject its direction. The rows
   reached so far are the first blocks of G, so every large product covers exactly the places that
   can hold something: no row is walked above its stage or beyond its position.
3. At every stage read G out against what was written there: one product per position.
4. Where attention passes, add what its output reads from its input; `folded` has the products.
5. Where a dictionary cuts the stream, the rows above end: G returns to 0.

Constants are the same at all positions but for attention sinks: their part is one skinny product,
summed over each row's places.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.progress import Progress, silent
from circuitscope.models.folded import FoldedAttention, fold_attention
from circuitscope.models.frozen import FrozenModel
from circuitscope.tracing.backward_walk import in_batches
from circuitscope.tracing.read_points import Explained, ReadPoints
from circuitscope.tracing.sources import Sources, Stage, attention_layer

_PULSE_SECONDS = 0.1
_BATCH_BYTES = 100e6
_LARGEST_BATCH = 1024
_SAME = 1e-6


class PackedWalk:
    """Compute rows of attributions for batches of nodes; see `BackwardWalk` for the arguments."""

    def __init__(
        self,
        frozen: FrozenModel,
        sources: Sources,
        explained: Explained,
        points: ReadPoints,
        progress: Progress | None = None,
    ) -> None:
        self._frozen = frozen
        self._sources = sources
        self._explained = explained
        self._points = points
        self._progress = progress or silent()
        self._heard = time.monotonic()
        self._readings: dict[int, _StageReadings] = {}
        self._folded: dict[int, FoldedAttention] = {}

    @property
    def width(self) -> int:
        """Return the length of a row: all columns and `rest`."""
        return self._sources.rest + 1

    @property
    def number(self) -> type[np.floating]:
        """Return the type of a row's entries."""
        return np.float64 if self._frozen.dtype == torch.float64 else np.float32

    def rows(self, wanted: NDArray[np.int64], batch_size: int | None = None) -> NDArray[np.float32]:
        """Compute rows.

        Args:
            wanted: Indices into the explained nodes, [n].
            batch_size: Rows walked at once; None chooses by memory.

        Returns:
            Contributions, [n, column + 1], float32 (float64 where the walk is); the last entry
            is that of writers which are not nodes.
        """
        size = batch_size or self._batch_size(wanted)
        out = np.zeros((len(wanted), self.width), self.number)
        with torch.no_grad():
            for batch in in_batches(self._explained, wanted, size):
                out[batch] = self._walk(wanted[batch]).cpu().numpy()
                self._progress.advance(len(batch))
        return out

    def _batch_size(self, wanted: NDArray[np.int64]) -> int:
        places = float(self._explained.position[wanted].mean()) + 1 if len(wanted) else 1.0
        anatomy = self._frozen.model.anatomy
        width = anatomy.d_model + 2 * anatomy.n_heads * anatomy.d_head
        return int(np.clip(_BATCH_BYTES // (4 * places * width), 8, _LARGEST_BATCH))

    def _walk(self, rows: NDArray[np.int64]) -> Tensor:
        """Walk rows sorted by stage, highest first; return [row, column + 1]."""
        batch = _Batch(self._explained, rows, self._frozen)
        out = torch.zeros(len(rows), self.width, dtype=self._frozen.dtype, device=batch.G.device)
        live = 0
        for number in range(int(batch.stage[0]) - 1, -1, -1):
            reached = int(np.searchsorted(-batch.stage, -number, side="left"))
            if reached > live:
                self._inject(rows, live, reached, batch, out)
                live = reached
            self._read(number, batch, live, out)
            stage = self._sources.stages[number]
            if stage.through is not None:
                G = batch.G[: batch.ends[live - 1]]
                if stage.spreads:
                    self._fold(number).pull(G, batch.runs(live), batch.room)
                else:
                    G += stage.through(G, batch.places[: len(G)])
            if stage.cuts:
                batch.G[: batch.ends[live - 1]] = 0
            self._pulse()
        return out

    def _inject(
        self, rows: NDArray[np.int64], start: int, stop: int, batch: _Batch, out: Tensor
    ) -> None:
        """Inject the rows from `start` to `stop` of the batch."""
        G, starts = batch.G, batch.starts
        G[int(starts[start]) : batch.ends[stop - 1]] = 0
        for members, injection in self._points.inject(rows[start:stop]):
            at = members + start
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

    def _read(self, number: int, batch: _Batch, live: int, out: Tensor) -> None:
        """Read the live rows out against what one stage wrote."""
        if number not in self._readings:
            self._readings[number] = _StageReadings(self._sources.stages[number])
        here = self._readings[number]
        for reading in here.at:
            rows, places = batch.at(reading.position, live)
            if not len(rows):
                continue
            product = batch.G.index_select(0, places) @ reading.vectors.T
            if reading.own is not None:
                n = reading.own.stop - reading.own.start
                out[:, reading.own].index_add_(0, rows, product[:, :n])
                product = product[:, n:]
            if reading.shared is not None:
                out[rows[:, None], reading.shared] += product
        if here.constants is not None:
            everywhere = batch.G[: batch.ends[live - 1]] @ here.constants
            total = out.new_zeros(live, everywhere.shape[1])
            total.index_add_(0, batch.owners[: len(everywhere)], everywhere)
            out[:live, here.constant_columns] += total

    def _fold(self, number: int) -> FoldedAttention:
        layer = attention_layer(number)
        if layer not in self._folded:
            self._folded[layer] = fold_attention(self._frozen, layer)
        return self._folded[layer]

    def _pulse(self) -> None:
        now = time.monotonic()
        if now - self._heard > _PULSE_SECONDS:
            self._heard = now
            self._progress.advance(0)


class _Batch:
    """Where the blocks of a batch of rows lie in G.

    Attributes:
        stage, position: Of each row, [row].
        starts: First place of each row's block, [row]; ends: the place after its last.
        G: Directions, [place, d_model]; room: for head_z and values, [place, ...].
        places: Position of each place, [place]; owners: its row, [place].
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
        self._at: dict[int, tuple[NDArray[np.int64], Tensor, Tensor]] = {}
        self._runs = self._find_runs()

    def _find_runs(self) -> list[tuple[int, int, int]]:
        """Return neighbours of equal position and stage: first row, rows, positions."""
        changed = (np.diff(self.position) != 0) | (np.diff(self.stage) != 0)
        edges = np.r_[0, np.flatnonzero(changed) + 1, len(self.position)]
        return [(int(lo), int(hi - lo), int(self.position[lo]) + 1) for lo, hi in pairwise(edges)]

    def runs(self, live: int) -> list[tuple[int, int, int]]:
        """Return the runs of the live rows: first place, rows, positions."""
        return [
            (int(self.starts[first]), n, n_pos) for first, n, n_pos in self._runs if first < live
        ]

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


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """What one stage wrote at one position: its own columns, then those of earlier writers."""

    position: int
    own: slice | None
    shared: Tensor | None
    vectors: Tensor


class _StageReadings:
    """What one stage wrote, gathered by position.

    Attributes:
        at: Readings, one for each position.
        constants: What is written at all positions alike, [d_model, constant], by column.
    """

    def __init__(self, stage: Stage) -> None:
        own: dict[int, list[tuple[slice, Tensor]]] = {}
        shared: dict[int, dict[int, Tensor]] = {}
        for group in stage.groups:
            if group.columns.stop > group.columns.start:
                own.setdefault(group.position, []).append((group.columns, group.vectors))
        even: list[tuple[int, Tensor]] = []
        for column, vectors in stage.constants:
            if vectors.dim() == 1:
                even.append((column, vectors))
            elif bool((vectors - vectors[0]).abs().max() <= _SAME * vectors.abs().max()):
                even.append((column, vectors.mean(0)))
            else:
                for position in vectors.any(-1).nonzero()[:, 0].tolist():
                    _add(shared.setdefault(position, {}), column, vectors[position])
        later: dict[int, list[tuple[slice, Tensor]]] = {}
        for group in stage.additions:
            later.setdefault(group.position, []).append((group.columns, group.vectors))
        positions = sorted({*own, *shared, *later})
        self.at = [
            _reading(p, own.get(p, []), later.get(p, []), shared.get(p, {})) for p in positions
        ]
        self.constants: Tensor | None = None
        self.constant_columns: list[int] = []
        if even:
            merged: dict[int, Tensor] = {}
            for column, vector in even:
                _add(merged, column, vector)
            self.constant_columns = list(merged)
            self.constants = torch.stack(list(merged.values()), dim=1)


def _add(into: dict[int, Tensor], column: int, vector: Tensor) -> None:
    into[column] = into[column] + vector if column in into else vector


def _reading(
    position: int,
    own: Sequence[tuple[slice, Tensor]],
    later: Sequence[tuple[slice, Tensor]],
    constants: dict[int, Tensor],
) -> _Reading:
    """Join what lies at one position; neighbouring columns become one slice."""
    span = slice(own[0][0].start, own[-1][0].stop) if own else None
    size = sum(columns.stop - columns.start for columns, _ in own)
    assert span is None or span.stop - span.start == size, "columns of a position lie together"
    vectors = [part for _, part in own]
    columns: list[int] = []
    for place, part in later:
        columns += range(place.start, place.stop)
        vectors.append(part)
    if constants:
        columns += list(constants)
        vectors.append(torch.stack(list(constants.values())))
    whole = vectors[0] if len(vectors) == 1 else torch.cat(vectors)
    shared = torch.tensor(columns, device=whole.device) if columns else None
    return _Reading(position, span, shared, whole)
