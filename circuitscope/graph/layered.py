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

import bisect
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

_SWEEPS: Final = 12
_IN_VAIN: Final = 3
_STARTS: Final = 5
_MANY: Final = 100
"""Boxes and stand-ins beyond which one start has to do."""
_THIN: Final = 8.0
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
    """Place boxes in levels with few crossings and no overlaps.

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
    net = _Net(boxes, levels, edges)
    best = _few_crossings(net)
    centre = _across(net, best, space)
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


def crossings(order: Sequence[Sequence[int]], links: Sequence[Sequence[tuple[int, int]]]) -> int:
    """Count crossings of straight links between neighbouring levels.

    Args:
        order: Nodes of each level from left to right.
        links: Lower and upper node of each link between level i and i + 1.
    """
    total = 0
    for (low, high), pairs in zip(itertools.pairwise(order), links, strict=True):
        at_low, at_high = {v: i for i, v in enumerate(low)}, {v: i for i, v in enumerate(high)}
        seen: list[int] = []
        for _, end in sorted((at_low[a], at_high[b]) for a, b in pairs):
            # A link crosses those that start further left and end further right.
            before = bisect.bisect_right(seen, end)
            total += len(seen) - before
            seen.insert(before, end)
    return total


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


class _Net:
    """Boxes and stand-ins on their levels, with links between neighbouring levels only."""

    def __init__(
        self,
        boxes: Sequence[LayoutBox],
        levels: list[list[int]],
        edges: Sequence[tuple[int, int]],
    ) -> None:
        self.order = [list(level) for level in levels]
        self.n_boxes = len(boxes)
        self.width = [box.width for box in boxes]
        self.hint = [box.hint for box in boxes]
        self.is_fixed = [boxes[level[0]].end == "bottom" for level in levels]
        self.links: list[list[tuple[int, int]]] = [[] for _ in levels[1:]]
        level_of = {i: number for number, level in enumerate(levels) for i in level}
        for edge in dict.fromkeys(edges):
            low, high = sorted(edge, key=lambda i: level_of[i])
            previous = low
            for number in range(level_of[low] + 1, level_of[high]):
                previous = self._pass(previous, number, self.hint[low])
            if level_of[low] < level_of[high]:
                self.links[level_of[high] - 1].append((previous, high))
        self.below: list[list[int]] = [[] for _ in self.width]
        self.above: list[list[int]] = [[] for _ in self.width]
        for pairs in self.links:
            for low, high in pairs:
                self.below[high].append(low)
                self.above[low].append(high)

    def _pass(self, previous: int, number: int, hint: float) -> int:
        stand_in = len(self.width)
        self.width.append(_THIN)
        self.hint.append(hint)
        self.order[number].append(stand_in)
        self.links[number - 1].append((previous, stand_in))
        return stand_in


def _few_crossings(net: _Net) -> list[list[int]]:
    """Sweep from the start by position; where crossings are left, from other starts as well."""
    order = [list(level) for level in net.order]
    for number, level in enumerate(order):
        if not net.is_fixed[number]:
            level.sort(key=lambda v: np.nan_to_num(net.hint[v], nan=1e9))
    best = _swept(net, order, _median)
    fewest = crossings(best, net.links)
    chance = np.random.default_rng(0)
    for start in range(_STARTS if len(net.width) <= _MANY else 0):
        if not fewest:
            break
        if start:
            for number, level in enumerate(order):
                if not net.is_fixed[number]:
                    chance.shuffle(level)
        found = _swept(net, order, _median if start % 2 else _mean)
        number_found = crossings(found, net.links)
        if number_found < fewest:
            best, fewest = found, number_found
    return best


def _median(places: list[int]) -> float:
    return float(statistics.median(places))


def _mean(places: list[int]) -> float:
    return sum(places) / len(places)


def _swept(
    net: _Net, start: list[list[int]], middle: Callable[[list[int]], float]
) -> list[list[int]]:
    order = [list(level) for level in start]
    best, fewest = [list(level) for level in order], crossings(order, net.links)
    in_vain = 0
    for sweep in range(_SWEEPS):
        upward = sweep % 2 == 0
        numbers = range(1, len(order)) if upward else range(len(order) - 2, -1, -1)
        for number in numbers:
            if not net.is_fixed[number]:
                beside = order[number - 1] if upward else order[number + 1]
                _by_middle(order[number], beside, net.below if upward else net.above, middle)
        _swap(net, order)
        found = crossings(order, net.links)
        in_vain += 1
        if found < fewest:
            best, fewest, in_vain = [list(level) for level in order], found, 0
        if not fewest or in_vain == _IN_VAIN:
            break
    return best


def _by_middle(
    level: list[int],
    beside: list[int],
    neighbours: list[list[int]],
    middle: Callable[[list[int]], float],
) -> None:
    at = {v: i for i, v in enumerate(beside)}
    size = max(len(level) - 1, 1)
    own = {v: i * max(len(beside) - 1, 0) / size for i, v in enumerate(level)}

    def wanted(v: int) -> float:
        places = [at[u] for u in neighbours[v] if u in at]
        return middle(places) if places else own[v]

    level.sort(key=wanted)


def _swap(net: _Net, order: list[list[int]]) -> None:
    """Swap neighbours of a level where their own links then cross less."""
    places = [{v: i for i, v in enumerate(level)} for level in order]
    for number, level in enumerate(order):
        if net.is_fixed[number]:
            continue
        sides = [(places[number - 1], net.below)] if number else []
        sides += [(places[number + 1], net.above)] if number + 1 < len(order) else []
        ends = {v: [sorted(at[u] for u in near[v]) for at, near in sides] for v in level}
        for i in range(len(level) - 1):
            left, right = ends[level[i]], ends[level[i + 1]]
            gained = sum(
                bisect.bisect_left(b, x) - (len(b) - bisect.bisect_right(b, x))
                for a, b in zip(left, right, strict=True)
                for x in a
            )
            if gained > 0:
                level[i], level[i + 1] = level[i + 1], level[i]
        places[number] = {v: i for i, v in enumerate(level)}


def _across(net: _Net, order: list[list[int]], space: Gaps) -> NDArray[np.float64]:
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
    beside = [_beside(net, level) for level in order]
    for sweep in range(_SWEEPS):
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


def _beside(net: _Net, level: list[int]) -> tuple[NDArray[np.int64], ...]:
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
    for value in wanted - widths / 2 - shift:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, count = pools.pop()
            pools[-1] = [
                (pools[-1][0] * pools[-1][1] + mean * count) / (pools[-1][1] + count),
                pools[-1][1] + count,
            ]
    left = np.concatenate([np.full(int(count), mean) for mean, count in pools])
    slack = max(room - float(shift[-1] + widths[-1]), 0.0)
    middle: NDArray[np.float64] = np.clip(left, 0.0, slack) + shift + widths / 2
    return middle
