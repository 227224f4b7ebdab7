"""Rows of attributions by one walk down the residual stream; no autograd.

1. Sort the rows by the stage they read at, highest first; G [row, pos, d_model] starts at 0.
2. Walk the stages down. Where the walk reaches a row's stage, inject its direction into G.
3. At every stage read G out against what was written there: one matrix product per position.
4. Where the method lets effects pass through the module, add the pulled-back G to G. In parallel
   blocks attention and MLP are passed at once, as both read the same stream.
5. Where a dictionary cuts the stream, the rows above end: G returns to 0.

Positions that no row of the batch reads cost nothing: attention only looks back, and MLPs and
logits read their own position alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.models.frozen import FrozenModel
from circuitscope.tracing.read_points import Explained, Points
from circuitscope.tracing.sources import Sources, Stage
from circuitscope.tracing.walk import Walk, in_batches

_BATCH_BYTES = 256e6
_LARGEST_BATCH = 512


class BackwardWalk(Walk):
    """Compute rows of attributions for batches of nodes.

    Args:
        frozen: The forward pass.
        sources: What writes to the residual stream.
        explained: The nodes that have rows.
        points: Their read points.
        progress: Hears of finished rows, and at least every 200 ms of work.
    """

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

    def rows(
        self,
        wanted: NDArray[np.int64],
        batch_size: int | None = None,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Compute rows; see `Walk.rows`."""
        n_pos = int(self._explained.position[wanted].max(initial=0)) + 1
        if out is None:
            out = np.zeros((len(wanted), self.width), self.number)
        size = batch_size or self._batch_size(n_pos)
        for batch in in_batches(self._explained, wanted, size):
            out[batch] = self._walk(wanted[batch]).cpu().numpy()
            self._progress.advance(len(batch))
        return out

    def _batch_size(self, n_pos: int) -> int:
        d_model = self._frozen.model.anatomy.d_model
        return int(np.clip(_BATCH_BYTES // (4 * n_pos * d_model), 8, _LARGEST_BATCH))

    def _walk(self, rows: NDArray[np.int64]) -> Tensor:
        """Walk rows sorted by stage, highest first; return [row, column + 1]."""
        e, frozen = self._explained, self._frozen
        stage = e.stage[rows]
        n_pos = int(e.position[rows].max()) + 1
        device = frozen.cache.token_ids.device
        shape = (len(rows), n_pos, frozen.model.anatomy.d_model)
        G = torch.zeros(shape, dtype=frozen.dtype, device=device)
        out = torch.zeros(len(rows), self.width, dtype=frozen.dtype, device=device)
        live, readers = 0, _Readers(e.position[rows], n_pos)
        for number in range(int(stage.max()) - 1, -1, -1):
            reached = int(np.searchsorted(-stage, -number, side="left"))
            here = self._sources.stages[number]
            if reached > live:
                self._inject(rows[live:reached], live, (G, out), readers)
                live = reached
            self._read(here, G[:live], out[:live], readers)
            passed = [one.pull(G[:live]) for one in (here.through, here.beside) if one is not None]
            for part in passed:
                G[:live] += part
            if here.spreads:
                readers.spread(np.arange(live))
            if here.cuts:
                G[:live] = 0
                readers.leave(np.arange(live))
            self._pulse()
        return out

    def _inject(
        self,
        rows: NDArray[np.int64],
        start: int,
        into: tuple[Tensor, Tensor],
        readers: _Readers,
    ) -> None:
        """Inject rows whose first place in the batch is `start`."""
        G, out = into
        for members, injection in self._points.inject(rows):
            at = torch.from_numpy(members + start).to(G.device)
            vectors = injection.vectors
            if vectors.dim() == 2:
                positions = self._explained.position[rows[members]]
                G[at, torch.from_numpy(positions).to(G.device)] = vectors
                readers.stay(members + start)
            else:
                G[at, : vectors.shape[1]] = vectors
                readers.spread(members + start)
            for bias, value in injection.constants.items():
                out[at, self._sources.biases[bias]] += value

    def _read(self, stage: Stage, G: Tensor, out: Tensor, readers: _Readers) -> None:
        """Read G [row, pos, d_model] out against what one stage wrote."""
        for group in stage.groups:
            if group.position >= G.shape[1] or group.columns.start == group.columns.stop:
                continue
            rows = readers.at(group.position)
            if len(rows) == len(G):
                out[:, group.columns] = G[:, group.position] @ group.vectors.T
            elif len(rows):
                out[rows, group.columns] = G[rows, group.position] @ group.vectors.T
        for column, vectors in stage.constants:
            if vectors.dim() == 1:
                out[:, column] += G.sum(1) @ vectors
            else:
                out[:, column] += torch.einsum("rpd,pd->r", G, vectors[: G.shape[1]])


class _Readers:
    """Which rows of a batch read which position.

    Args:
        position: Each row's own position, [row].
        n_pos: Positions of the batch.
    """

    def __init__(self, position: NDArray[np.int64], n_pos: int) -> None:
        self._position = position
        self._places = np.arange(n_pos)
        self._mask = np.zeros((len(position), n_pos), bool)
        self._rows: dict[int, Tensor] = {}

    def stay(self, rows: NDArray[np.int64]) -> None:
        """Let rows read their own position."""
        self._mask[rows, self._position[rows]] = True
        self._rows.clear()

    def spread(self, rows: NDArray[np.int64]) -> None:
        """Let rows read every position up to their own."""
        self._mask[rows] = self._places <= self._position[rows, None]
        self._rows.clear()

    def leave(self, rows: NDArray[np.int64]) -> None:
        """Let rows read nothing more."""
        self._mask[rows] = False
        self._rows.clear()

    def at(self, position: int) -> Tensor:
        """Return the rows that read a position, ascending."""
        if position not in self._rows:
            self._rows[position] = torch.from_numpy(np.flatnonzero(self._mask[:, position]))
        return self._rows[position]
