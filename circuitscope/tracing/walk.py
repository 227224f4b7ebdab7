"""What every walk down the residual stream has in common: its rows, their order, and its pulse."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.progress import Progress, silent
from circuitscope.models.frozen import FrozenModel
from circuitscope.tracing.read_points import Explained
from circuitscope.tracing.sources import Sources

_PULSE_SECONDS = 0.1


class Walk(ABC):
    """Compute rows of attributions.

    Args:
        frozen: The forward pass.
        sources: What writes to the residual stream.
        explained: The nodes that have rows.
        progress: Hears of finished rows, and at least every 200 ms of work.
    """

    def __init__(
        self,
        frozen: FrozenModel,
        sources: Sources,
        explained: Explained,
        progress: Progress | None = None,
    ) -> None:
        self._frozen = frozen
        self._sources = sources
        self._explained = explained
        self._progress = progress or silent()
        self._heard = time.monotonic()

    @property
    def width(self) -> int:
        """Return the length of a row: all columns and `rest`."""
        return self._sources.rest + 1

    @property
    def number(self) -> type[np.floating]:
        """Return the type of a row's entries."""
        return np.float64 if self._frozen.dtype == torch.float64 else np.float32

    @abstractmethod
    def rows(
        self,
        wanted: NDArray[np.int64],
        batch_size: int | None = None,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Compute the rows of some explained nodes.

        Args:
            wanted: Indices into the explained nodes, [n].
            batch_size: Rows walked at once; None chooses by memory and work.
            out: Where to write them, [n, column + 1].

        Returns:
            Contributions, [n, column + 1], float32 (float64 where the walk is); the last entry
            is that of writers which are not nodes.
        """

    def _pulse(self) -> None:
        now = time.monotonic()
        if now - self._heard > _PULSE_SECONDS:
            self._heard = now
            self._progress.advance(0)


def in_batches(
    explained: Explained, wanted: NDArray[np.int64], size: int
) -> Iterator[NDArray[np.int64]]:
    """Yield places in `wanted`, `size` at a time, in the order in which a walk meets their nodes.

    Positions ascend within a stage, so that early positions are short batches.
    """
    order = np.lexsort((explained.position[wanted], -explained.stage[wanted]))
    for start in range(0, len(order), size):
        yield order[start : start + size]
