"""Layered layout of the circuit view: few boxes, bottom to top in the order of computation.

1. Levels: boxes are sorted by rank (mean stage of their members); equal rounded ranks share a
   level, and an edge from a lower rank always climbs at least one level. A level that is too wide
   is split.
2. Order within a level: start from mean token position; then sweeps of the median heuristic
   (Eades and Wormald 1994), long edges represented by thin stand-ins on the levels they pass, and
   swaps of neighbours where that removes crossings. Where crossings are left, other starts (fixed
   seed) and the barycentre instead of the median are tried and the best is kept. Boxes of the
   lowest rank (tokens) keep their reading order.
3. x: every box is drawn to the mean of its neighbours and its start, and kept apart from the next
   one by the exact solution of that least-squares problem (pool adjacent violators).

Deterministic: the same boxes and edges give the same places.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.steps import Steps, finish
from circuitscope.graph.crossings import LEVELS_AT_ONCE, SWEEPS, Net, few_crossings

_HOME: Final = 0.2
_SPLIT_GAP: Final = 0.4


@dataclass(frozen=True, slots=True)
class LayoutBox:
    """A box to place.

    Attributes:
        width: In points; height: likewise.
        rank: Place in the order of computation; the lowest stand at the bottom.
        hint: Mean token position, NaN where it has none.
        end: "bottom" for tokens, which keep their reading order; "top" for logits; else "".
    """

    width: float
    height: float
    rank: float
    hint: float
    end: Literal["", "bottom", "top"] = ""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Free room between boxes, in points.

    Attributes:
        across: Between neighbours of a level; up: between levels.
        most: Width that a level should not exceed, infinite where it does not matter.
    """

    across: float = 16.0
    up: float = 48.0
    most: float = float("inf")


def circuit_layout(
    boxes: Sequence[LayoutBox],
    edges: Sequence[tuple[int, int]],
    gaps: Gaps | None = None,
) -> NDArray[np.float64]:
    """Place boxes in levels with few crossings and no overlaps; see `layout_steps`."""
    return finish(layout_steps(boxes, edges, gaps))


def layout_steps(
    boxes: Sequence[LayoutBox],
    edges: Sequence[tuple[int, int]],
    gaps: Gaps | None = None,
) -> Steps[NDArray[np.float64]]:
    """Place boxes in levels with few crossings and no overlaps, in steps.

    Args:
        boxes: What to place.
        edges: Source and target indices; cycles are allowed.
        gaps: Free room and the width to stay within; a single box wider than that keeps its own.

    Returns:
        Top left corner of each box, float64 [k, 2]; the bounding box starts at 0, 0.
    """
    space = gaps or Gaps()
    if not boxes:
        return np.zeros((0, 2))
    levels, is_split = _levels(boxes, edges, space)
    yield
    net = Net(
        levels, [box.width for box in boxes], [box.hint for box in boxes],
        [boxes[level[0]].end == "bottom" for level in levels],
    )  # fmt: skip
    yield from net.link(edges, levels)
    best = yield from few_crossings(net)
    centre = yield from _across(net, best, space)
    places = np.zeros((len(boxes), 2))
    bottom = 0.0
    for number, level in enumerate(levels):
        tallest = max(boxes[i].height for i in level)
        for i in level:
            places[i, 1] = bottom - tallest / 2 - boxes[i].height / 2
        follows_split = number + 1 < len(levels) and is_split[number + 1]
        bottom -= tallest + space.up * (_SPLIT_GAP if follows_split else 1.0)
    places[:, 0] = centre[: len(boxes)] - np.array([box.width for box in boxes]) / 2
    corner: NDArray[np.float64] = places - places.min(axis=0)
    return corner


def _levels(
    boxes: Sequence[LayoutBox], edges: Sequence[tuple[int, int]], space: Gaps
) -> tuple[list[list[int]], list[bool]]:
    ends = {"bottom": 0, "": 1, "top": 2}
    order = sorted(range(len(boxes)), key=lambda i: (ends[boxes[i].end], boxes[i].rank, i))
    ranks = [box.rank for box in boxes]
    tolerance = max(1.5, (max(ranks) - min(ranks)) / 8)
    linked = {frozenset(edge) for edge in edges}
    levels: list[list[int]] = []
    for i in order:
        level = levels[-1] if levels else []
        fits = (
            bool(level)
            and boxes[level[0]].end == boxes[i].end
            and (boxes[i].end != "" or ranks[i] - ranks[level[0]] < tolerance)
            and (boxes[i].end != "" or not any(frozenset((i, j)) in linked for j in level))
        )
        if fits:
            level.append(i)
        else:
            levels.append([i])
    return _split(boxes, levels, space)


def _split(
    boxes: Sequence[LayoutBox], levels: list[list[int]], space: Gaps
) -> tuple[list[list[int]], list[bool]]:
    out: list[list[int]] = []
    is_split: list[bool] = []
    for level in levels:
        ordered = sorted(level, key=lambda i: (_hint(boxes[i]), boxes[i].rank, i))
        parts = 1
        while parts < len(ordered) and any(
            sum(boxes[i].width + space.across for i in ordered[k::parts]) - space.across
            > space.most
            for k in range(parts)
        ):
            parts += 1
        for k in range(parts):
            out.append(ordered[k::parts])
            is_split.append(k > 0)
    return out, is_split


def _hint(box: LayoutBox) -> float:
    return float("inf") if np.isnan(box.hint) else box.hint


def _across(net: Net, order: list[list[int]], space: Gaps) -> Steps[NDArray[np.float64]]:
    width = np.array(net.width)
    space = _wider(space, [width[level] for level in order])
    real = np.arange(len(width)) < net.n_boxes
    room = max(
        min(space.most, max(_extent(width[level], space) for level in order)), width[real].max()
    )
    padded = np.where(real, width + space.across, width)
    hints = np.array(net.hint)
    known = hints[~np.isnan(hints)]
    span = max(float(np.ptp(known)), 1.0) if len(known) else 1.0
    first = float(known.min()) if len(known) else 0.0
    home = np.where(np.isnan(hints), room / 2, (hints - first) / span * room)
    centre: NDArray[np.float64] = home.copy()
    beside = []
    for level in order:
        beside.append(_beside(net, level))
        if not len(beside) % LEVELS_AT_ONCE:
            yield
    for sweep in range(SWEEPS):
        numbers = range(len(order))
        for number in numbers if sweep % 2 == 0 else reversed(numbers):
            level, (near, starts, count) = order[number], beside[number]
            mean = np.add.reduceat(centre[near], starts) / np.maximum(count, 1)
            wanted = np.where(count, (1 - _HOME) * mean + _HOME * home[level], home[level])
            wanted = wanted + space.across / 2
            wide = padded[level]
            if wide.sum() > room + space.across:
                wide = np.where(real[level], wide, 0.0)
            centre[level] = apart(wanted, wide, 0.0, room + space.across) - space.across / 2
            if not number % LEVELS_AT_ONCE:
                yield
    return centre


def _wider(space: Gaps, levels: list[NDArray[np.float64]]) -> Gaps:
    """Let the widest level fill more of the page that is there anyway."""
    if not np.isfinite(space.most):
        return space
    spare = (
        min((space.most - float(w.sum())) / (len(w) - 1) for w in levels if len(w) > 1)
        if any(len(w) > 1 for w in levels)
        else 0.0
    )
    return replace(space, across=float(np.clip(0.6 * spare, space.across, 3 * space.across)))


def _extent(widths: NDArray[np.float64], space: Gaps) -> float:
    return float(widths.sum() + space.across * (len(widths) - 1))


def _beside(net: Net, level: list[int]) -> tuple[NDArray[np.int64], ...]:
    """Return the neighbours of a level's nodes in one row, where each node's start, and how many.

    A node without neighbours is given itself, to be counted as none.
    """
    near = [net.below[v] + net.above[v] for v in level]
    given = np.array([len(nodes) or 1 for nodes in near])
    flat = itertools.chain(*(nodes or [v] for v, nodes in zip(level, near, strict=True)))
    return np.array(list(flat)), np.cumsum(given) - given, np.array([len(n) for n in near])


def apart(
    wanted: NDArray[np.float64], widths: NDArray[np.float64], gap: float, room: float
) -> NDArray[np.float64]:
    """Find the places nearest to those wanted, in this order, without overlaps.

    Moving every box left by the room its predecessors need turns "no overlap" into "ascending";
    the nearest ascending sequence is found by pooling neighbours that violate it.
    """
    shift = np.concatenate([[0.0], np.cumsum(widths[:-1] + gap)])
    pools: list[list[float]] = []
    for value in (wanted - widths / 2 - shift).tolist():
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (before, n_before), (last, n_last) = pools[-2], pools.pop()
            n = n_before + n_last
            pools[-1] = [(before * n_before + last * n_last) / n, n]
    mean, count = np.array(pools).T
    left = np.repeat(mean, count.astype(np.int64))
    slack = max(room - float(shift[-1] + widths[-1]), 0.0)
    middle: NDArray[np.float64] = np.clip(left, 0.0, slack) + shift + widths / 2
    return middle
