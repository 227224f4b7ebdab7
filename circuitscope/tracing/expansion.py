"""Which nodes get a row: all of them, or the strongest first under a budget.

1. Compute the rows of the roots.
2. Let the roots' weights flow down the rows known so far (one sweep from the top, exact because
   the graph has no cycles) and rank the nodes without a row by what reaches them.
3. Compute the rows of the best `update_interval` steps; repeat from 2 until the budget is spent.
   A step is 1/32 of the budget, at most 64 rows: small budgets are ranked as often as large ones,
   and `batch_size`, which only trades memory for speed, never changes what is kept.

Nodes that nothing reaches come last, in their order, so a budget larger than the run keeps
exactly what no budget would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray

from circuitscope.core.errors import OutOfMemory
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import Progress
from circuitscope.tracing.read_points import Explained
from circuitscope.tracing.sources import Sources
from circuitscope.tracing.walk import Walk

_MOST_STEP = 64
_STEPS = 32
_COPIES = 2
"""Rows, and the part of them that is kept in the circuit, are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Computed rows.

    Attributes:
        explained: Which node each row is of: indices into the explained nodes, int64 [row].
        weights: Contributions of every column, then `rest`, [row, column + 1].
    """

    explained: NDArray[np.int64]
    weights: NDArray[np.floating]


def check_room(n_rows: int, walk: Walk) -> None:
    """Refuse a table of rows that cannot be held, before any work is done.

    Raises:
        OutOfMemory: It needs more than is free; both numbers are named.
    """
    needed = _COPIES * n_rows * walk.width * np.dtype(walk.number).itemsize
    free = psutil.virtual_memory().available
    if needed > free:
        raise OutOfMemory(
            f"{n_rows:,} rows of {walk.width:,} sources need {needed / 1e9:.1f} GB, but "
            f"{free / 1e9:.1f} GB are free.",
            kept="Nothing has been changed.",
            hint="Set a smaller node budget.",
        )


def expand_chosen(
    walk: Walk, chosen: NDArray[np.int64], batch_size: int | None, progress: Progress
) -> Rows:
    """Compute the rows of chosen explained nodes, in ascending order."""
    check_room(len(chosen), walk)
    progress.phase("Attribution rows", len(chosen))
    ordered = np.sort(chosen)
    return Rows(ordered, walk.rows(ordered, batch_size))


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is expanded and in what steps; see `TraceSettings`.

    Attributes:
        queue: Rows between two rankings; None goes by the budget.
    """

    max_nodes: int | None
    update_interval: int
    batch_size: int | None
    queue: int | None = None


def expand_strongest(
    walk: Walk,
    explained: Explained,
    sources: Sources,
    root_weights: NDArray[np.float64],
    budget: Budget,
    progress: Progress,
) -> Rows:
    """Compute the rows of the roots and of the strongest nodes a budget allows.

    Args:
        walk: Computes rows.
        explained: All nodes that can have one; the first are the roots.
        sources: The columns.
        root_weights: Weight of each root, [root].
        budget: Most nodes besides roots, and the rhythm of ranking.
        progress: Hears of every row.
    """
    n_roots = len(root_weights)
    # A root that is a writer too (a feature) stands in the table twice; its row is the root's.
    own = np.isin(explained.column[n_roots:], explained.column[:n_roots])
    candidates = np.flatnonzero(~own) + n_roots
    roots = np.arange(n_roots)
    most = len(candidates) if budget.max_nodes is None else budget.max_nodes
    if most >= len(candidates):
        return expand_chosen(walk, np.r_[roots, candidates], budget.batch_size, progress)
    check_room(n_roots + most, walk)
    progress.phase("Attribution rows", n_roots + most)
    step = budget.queue or budget.update_interval * int(np.clip(most // _STEPS, 1, _MOST_STEP))
    known = roots
    weights = np.empty((n_roots + most, walk.width), walk.number)
    sizes = np.empty(n_roots + most)
    walk.rows(roots, budget.batch_size, weights[:n_roots])
    sizes[:n_roots] = _sizes(weights[:n_roots], sources)
    left = np.zeros(len(explained), bool)
    left[candidates] = True
    while len(known) < len(weights):
        strength = _flow(explained, known, (weights, sizes), root_weights)
        waiting = np.flatnonzero(left)
        reached = strength[explained.column[waiting]]
        best = waiting[np.argsort(-reached, kind="stable")]
        best = np.sort(best[: min(step, len(weights) - len(known))])
        here = slice(len(known), len(known) + len(best))
        walk.rows(best, budget.batch_size, weights[here])
        sizes[here] = _sizes(weights[here], sources)
        known, left[best] = np.r_[known, best], False
    return Rows(known, weights)


def _sizes(weights: NDArray[np.floating], sources: Sources) -> NDArray[np.floating]:
    """Return the sum of |weights| of each row, constants left out, [row]."""
    size: NDArray[np.floating] = np.abs(weights[:, : sources.rest])
    size[:, sources.columns.of_kind(NodeKind.BIAS, NodeKind.POSITION)] = 0
    total: NDArray[np.floating] = np.maximum(size.sum(1), 1e-30)
    return total


def _flow(
    explained: Explained,
    known: NDArray[np.int64],
    rows: tuple[NDArray[np.floating], NDArray[np.float64]],
    root_weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what flows from the roots to every column through the rows known, [column].

    Args:
        explained: All nodes that can have a row.
        known: Those that have one, [row].
        rows: Their weights, [row, column + 1], and the sums of their sizes, [row].
        root_weights: What enters at each root.
    """
    weights, sizes = rows
    reached = np.zeros(weights.shape[1])
    stage = explained.stage[known]
    n_roots = len(root_weights)
    for number in np.unique(stage)[::-1]:
        here = np.flatnonzero(stage == number)
        column = explained.column[known[here]]
        amount = np.where(column >= 0, reached[column], 0.0)
        is_root = known[here] < n_roots
        amount[is_root] += root_weights[known[here[is_root]]]
        share = (amount / sizes[here]).astype(np.float32)
        reached += share @ np.abs(weights[here])
    return reached
