"""The order of boxes within levels: few crossings, by sweeps of the median heuristic.

Step 2 of `layered`: long edges pass through stand-ins, so that links run between neighbouring
levels only; sweeps up and down sort each level by its neighbours (Eades and Wormald 1994), and
neighbours are swapped where that removes crossings.
"""

import bisect
import statistics
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from circuitscope.core.steps import Steps

SWEEPS: Final = 12
_IN_VAIN: Final = 3
_STARTS: Final = 5
_MANY: Final = 100
"""Boxes and stand-ins beyond which one start has to do."""
_AT_ONCE: Final = 32
"""Edges that are followed in one step; levels likewise."""
LEVELS_AT_ONCE: Final = 8
_THIN: Final = 8.0


class Net:
    """Boxes and stand-ins on their levels, with links between neighbouring levels only.

    Args:
        levels: Boxes of each level.
        widths: Of the boxes.
        hints: Where along its level each box belongs, NaN where it does not matter.
        fixed: Levels that keep their order.
    """

    def __init__(
        self, levels: list[list[int]], widths: list[float], hints: list[float], fixed: list[bool]
    ) -> None:
        self.order = [list(level) for level in levels]
        self.n_boxes = len(widths)
        self.width, self.hint, self.is_fixed = list(widths), list(hints), fixed
        self.links: list[list[tuple[int, int]]] = [[] for _ in levels[1:]]
        self.below: list[list[int]] = []
        self.above: list[list[int]] = []

    def link(self, edges: Sequence[tuple[int, int]], levels: list[list[int]]) -> Steps[None]:
        """Link neighbouring levels, through a stand-in on every level that an edge passes."""
        level_of = {i: number for number, level in enumerate(levels) for i in level}
        for done, edge in enumerate(dict.fromkeys(edges)):
            low, high = sorted(edge, key=lambda i: level_of[i])
            previous = low
            for number in range(level_of[low] + 1, level_of[high]):
                previous = self._pass(previous, number, self.hint[low])
            if level_of[low] < level_of[high]:
                self.links[level_of[high] - 1].append((previous, high))
            if not done % _AT_ONCE:
                yield
        self.below = [[] for _ in self.width]
        yield
        self.above = [[] for _ in self.width]
        yield
        for number, pairs in enumerate(self.links):
            for low, high in pairs:
                self.below[high].append(low)
                self.above[low].append(high)
            if not number % LEVELS_AT_ONCE:
                yield

    def _pass(self, previous: int, number: int, hint: float) -> int:
        stand_in = len(self.width)
        self.width.append(_THIN)
        self.hint.append(hint)
        self.order[number].append(stand_in)
        self.links[number - 1].append((previous, stand_in))
        return stand_in


def few_crossings(net: Net) -> Steps[list[list[int]]]:
    """Sweep from the start by position; where crossings are left, from other starts as well."""
    order = [list(level) for level in net.order]
    home = np.nan_to_num(np.array(net.hint, np.float64), nan=1e9).tolist()
    for number, level in enumerate(order):
        if not net.is_fixed[number]:
            level.sort(key=home.__getitem__)
    best, fewest = yield from _swept(net, order, _median)
    chance = np.random.default_rng(0)
    for start in range(_STARTS if len(net.width) <= _MANY else 0):
        if not fewest:
            break
        if start:
            for number, level in enumerate(order):
                if not net.is_fixed[number]:
                    chance.shuffle(level)
        found, number_found = yield from _swept(net, order, _median if start % 2 else _mean)
        if number_found < fewest:
            best, fewest = found, number_found
    return best


def _median(places: list[int]) -> float:
    return float(statistics.median(places))


def _mean(places: list[int]) -> float:
    return sum(places) / len(places)


def _swept(
    net: Net, start: list[list[int]], middle: Callable[[list[int]], float]
) -> Steps[tuple[list[list[int]], int]]:
    """Sweep up and down; return the order with the fewest crossings, and how many it has."""
    order = [list(level) for level in start]
    places = [0] * len(net.width)
    for level in order:
        _number(level, places)
    fewest = yield from _all_crossed(net, places)
    best = [list(level) for level in order]
    in_vain = 0
    for sweep in range(SWEEPS):
        yield from _sorted(net, order, places, middle, upward=sweep % 2 == 0)
        for number, level in enumerate(order):
            if not net.is_fixed[number]:
                _swap(net, level, places)
            if not number % LEVELS_AT_ONCE:
                yield
        found = yield from _all_crossed(net, places)
        in_vain += 1
        if found < fewest:
            best, fewest, in_vain = [list(level) for level in order], found, 0
        if not fewest or in_vain == _IN_VAIN:
            break
    return best, fewest


def _sorted(
    net: Net,
    order: list[list[int]],
    places: list[int],
    middle: Callable[[list[int]], float],
    *,
    upward: bool,
) -> Steps[None]:
    """Sort every level by the middles of its neighbours on the level before it."""
    numbers = range(1, len(order)) if upward else range(len(order) - 2, -1, -1)
    for number in numbers:
        if not net.is_fixed[number]:
            n_beside = len(order[number - 1] if upward else order[number + 1])
            near = net.below if upward else net.above
            _by_middle(order[number], places, (near, n_beside), middle)
        if not number % LEVELS_AT_ONCE:
            yield


def _number(level: list[int], places: list[int]) -> None:
    for place, v in enumerate(level):
        places[v] = place


def _all_crossed(net: Net, places: list[int]) -> Steps[int]:
    total = 0
    for number, pairs in enumerate(net.links):
        total += _crossed([(places[a], places[b]) for a, b in pairs])
        if not number % LEVELS_AT_ONCE:
            yield
    return total


def _by_middle(
    level: list[int],
    places: list[int],
    beside: tuple[list[list[int]], int],
    middle: Callable[[list[int]], float],
) -> None:
    """Sort a level by the middle of each node's neighbours on the level beside it."""
    neighbours, n_beside = beside
    size, room = max(len(level) - 1, 1), max(n_beside - 1, 0)
    wanted = {}
    for place, v in enumerate(level):
        near = neighbours[v]
        if len(near) == 1:  # as every stand-in
            wanted[v] = float(places[near[0]])
        else:
            wanted[v] = middle([places[u] for u in near]) if near else place * room / size
    level.sort(key=wanted.__getitem__)
    _number(level, places)


def _swap(net: Net, level: list[int], places: list[int]) -> None:
    """Swap neighbours of a level where their own links then cross less."""
    below, above = ([_ends(near[v], places) for v in level] for near in (net.below, net.above))
    for i in range(len(level) - 1):
        if _gained(below[i], below[i + 1]) + _gained(above[i], above[i + 1]) > 0:
            level[i], level[i + 1] = level[i + 1], level[i]
            for ends in (below, above):
                ends[i], ends[i + 1] = ends[i + 1], ends[i]
    _number(level, places)


def _ends(near: list[int], places: list[int]) -> list[int]:
    return [places[near[0]]] if len(near) == 1 else sorted(places[u] for u in near)


def _gained(left: list[int], right: list[int]) -> int:
    """Return how many crossings fewer two neighbours' links have once these are swapped."""
    if len(left) == len(right) == 1:
        return (right[0] < left[0]) - (right[0] > left[0])
    return sum(
        bisect.bisect_left(right, x) - (len(right) - bisect.bisect_right(right, x)) for x in left
    )


def crossings(order: Sequence[Sequence[int]], links: Sequence[Sequence[tuple[int, int]]]) -> int:
    """Count crossings of straight links between neighbouring levels.

    Args:
        order: Nodes of each level from left to right.
        links: Lower and upper node of each link between level i and i + 1.
    """
    places = {v: i for level in order for i, v in enumerate(level)}
    return sum(_crossed([(places[a], places[b]) for a, b in pairs]) for pairs in links)


def _crossed(pairs: list[tuple[int, int]]) -> int:
    """Count crossings between two levels of links from place to place."""
    total, seen = 0, list[int]()
    for _, end in sorted(pairs):
        # A link crosses those that start further left and end further right.
        before = bisect.bisect_right(seen, end)
        total += len(seen) - before
        seen.insert(before, end)
    return total
