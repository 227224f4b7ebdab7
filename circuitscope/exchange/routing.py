"""Edges of the circuit diagram: where they leave and land, how they pass boxes, where numbers go.

1. Ports: an edge leaves the top of its source and enters the bottom of its target; the ports of a
   side are drawn towards the other end and kept apart, in the order that avoids crossings.
2. Route: one cubic curve with upright ends. Where it would run over a box, it passes through the
   nearest free gap beside that box instead. Boxes that stand level are linked side to side.
3. Numbers: on the curve where it is slanted, beside it where it is steep; never over a box or
   another number when any place is free, strongest edges first.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.steps import Steps, finish
from circuitscope.graph.layered import apart

Rect = tuple[float, float, float, float]
"""x, y, width, height."""
_SAMPLES: Final = np.linspace(0, 1, 25)[:, None]
_BASIS: Final = np.concatenate(
    [(1 - _SAMPLES) ** 3, 3 * (1 - _SAMPLES) ** 2 * _SAMPLES, 3 * (1 - _SAMPLES) * _SAMPLES**2,
     _SAMPLES**3], axis=1,
)  # fmt: skip
_MOST_BENDS: Final = 4
_ALONG: Final = np.array([0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82])
_FARTHER: Final = (1, 3, 6)
_COVERS: Final = 100
_BELOW: Final = np.array([1.2, 1.7, 2.2, 2.7, 3.3, 4.0])
"""Last resort of short edges between neighbours, in heights of the number."""
_ORDER: Final = np.concatenate([
    np.arange(27).reshape(3, 9).T.ravel(), 27 + np.arange(12).reshape(2, 6).T.ravel()
])  # fmt: skip
"""Equals are taken in this order: place by place along the line, then the last resort."""
_STEEP: Final = 2.2
_AT_ONCE: Final = 4
"""Links that are handled in one step."""
_MOST_POINTS: Final = 6
"""Points of curves under a number, beyond which it does not matter how many."""


@dataclass(frozen=True, slots=True)
class Link:
    """An edge to route: box indices and its signed share."""

    source: int
    target: int
    share: float


def sample(pieces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points along a chain of cubic pieces, [25 * pieces, 2]."""
    return np.concatenate([_BASIS @ piece for piece in pieces])


def route(
    boxes: Sequence[Rect], links: Sequence[Link], clearance: float
) -> list[NDArray[np.float64]]:
    """Find a curve for every link; see `route_steps`."""
    return finish(route_steps(boxes, links, clearance))


def route_steps(
    boxes: Sequence[Rect], links: Sequence[Link], clearance: float
) -> Steps[list[NDArray[np.float64]]]:
    """Find a curve for every link, in steps.

    Args:
        boxes: Places of the boxes.
        links: Edges between them.
        clearance: Free room to keep from boxes that are passed, in points.

    Returns:
        Control points of each link's pieces, float64 [pieces, 4, 2]; the last point lies on the
        border of the target box.
    """
    rects = np.array(boxes, np.float64).reshape(-1, 4)
    centre = (rects[:, 0] + rects[:, 2] / 2).tolist()
    towards = [centre[link.target] for link in links]
    back = [centre[link.source] for link in links]
    first = yield from _routes(rects, links, (towards, back), clearance)
    towards = [float(pieces[0, 3, 0]) for pieces in first]
    back = [float(pieces[-1, 0, 0]) for pieces in first]
    found = yield from _routes(rects, links, (towards, back), clearance)
    return found


def _routes(
    rects: NDArray[np.float64],
    links: Sequence[Link],
    aims: tuple[list[float], list[float]],
    clearance: float,
) -> Steps[list[NDArray[np.float64]]]:
    """Route all links, their ports ordered by where each goes first and comes from last."""
    leave = yield from _ports(rects, [link.source for link in links], aims[0])
    land = yield from _ports(rects, [link.target for link in links], aims[1])
    solid = _Solid(rects, clearance)
    found = []
    for i, link in enumerate(links):
        start = np.array([leave[i], rects[link.source, 1]])
        end = np.array([land[i], rects[link.target, 1] + rects[link.target, 3]])
        if start[1] - end[1] < clearance:
            found.append(_aside(rects[link.source], rects[link.target]))
        else:
            found.append(_avoid(start, end, solid, [link.source, link.target]))
        if not i % _AT_ONCE:
            yield
    return found


def _ports(
    rects: NDArray[np.float64], boxes: Sequence[int], aims: list[float]
) -> Steps[list[float]]:
    """Return where on its box's side each link leaves or lands, drawn towards what it aims at."""
    ports = [0.0] * len(boxes)
    mine: dict[int, list[int]] = {}
    for i, box in enumerate(boxes):
        mine.setdefault(box, []).append(i)
    for done, (box, ends) in enumerate(mine.items()):
        x, _, width, _ = rects[box]
        order = sorted(ends, key=lambda i: (round(aims[i], 3), i))
        inset = min(0.18 * width, 18.0)
        room = width - 2 * inset
        step = min(room / (len(order) - 1), 0.3 * width) if len(order) > 1 else 0.0
        wanted = np.clip(np.array([aims[i] for i in order]) - x - inset, 0, room)
        pulled = 0.45 * wanted + 0.55 * room / 2
        spots = apart(pulled, np.zeros(len(order)), step * 0.999, room)
        for i, spot in zip(order, spots.tolist(), strict=True):
            ports[i] = float(x + inset + spot)
        if not done % _AT_ONCE:
            yield
    return ports


class _Solid:
    """Boxes that curves go round, and which of the gaps beside them are taken.

    Args:
        rects: Places of the boxes, [k, 4].
        clearance: Free room to keep.
    """

    def __init__(self, rects: NDArray[np.float64], clearance: float) -> None:
        self.rects, self.clearance = rects, clearance
        low, high = rects[:, :2], rects[:, :2] + rects[:, 2:]
        self.top, self.bottom = low[:, 1], high[:, 1]
        self.tight = np.concatenate([low - 0.3 * clearance, high + 0.3 * clearance], axis=1)
        self.tight += (1, 1, -1, -1)
        self.used: dict[tuple[int, float], int] = {}


def _piece(
    start: NDArray[np.float64], end: NDArray[np.float64], least: float
) -> NDArray[np.float64]:
    """Return a cubic with upright ends: it leaves upwards and arrives upwards."""
    rise = start[1] - end[1]
    reach = max(rise * 0.5, min(least, rise) if rise > 0 else least)
    up = np.array([0.0, reach])
    return np.array([start, start - up, end + up, end])


def _aside(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a curve between boxes that do not stand above each other, [1, 4, 2].

    It runs from side to side where there is room between them, else from bottom to top.
    """
    (sx, sy, sw, sh), (tx, ty, tw, th) = source, target
    is_right = tx + tw / 2 >= sx + sw / 2
    room = tx - (sx + sw) if is_right else sx - (tx + tw)
    if room > 0:
        start = np.array([sx + sw if is_right else sx, sy + sh / 2])
        end = np.array([tx if is_right else tx + tw, ty + th / 2])
        along = np.array([(0.5 if is_right else -0.5) * room, 0.0])
    else:
        start = np.array([sx + sw / 2, sy + sh])
        end = np.array([tx + tw / 2, ty])
        along = np.array([0.0, 0.5 * max(end[1] - start[1], 1.0)])
    return np.array([[start, start + along, end - along, end]])


def _avoid(
    start: NDArray[np.float64], end: NDArray[np.float64], solid: _Solid, own: list[int]
) -> NDArray[np.float64]:
    """Return a curve that goes round the boxes other than its `own` two."""
    straights: list[NDArray[np.float64]] = []
    passed = np.zeros(len(solid.rects), np.bool_)
    passed[own] = True
    while True:
        straights.sort(key=lambda pair: -pair[0, 1])
        stops = [start, *(stop for pair in straights for stop in pair), end]
        pieces = np.array([_piece(a, b, 2 * solid.clearance) for a, b in itertools.pairwise(stops)])
        if len(straights) == _MOST_BENDS:
            return pieces
        hit = _first_hit(sample(pieces), solid.tight, passed)
        if hit is None:
            return pieces
        straights.append(_beside(solid, hit, (start, end), own))
        low, high = solid.top[hit], solid.bottom[hit]
        passed |= (solid.top < high - 1) & (solid.bottom > low + 1)


def _first_hit(
    points: NDArray[np.float64], corners: NDArray[np.float64], passed: NDArray[np.bool_]
) -> int | None:
    """Return the box that most points lie in, the first of equals, None where none does."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    left, top, right, bottom = corners.T
    near = np.flatnonzero(
        (right > x0 - 1) & (left < x1 + 1) & (bottom > y0 - 1) & (top < y1 + 1) & ~passed
    )
    # Few of the boxes in reach of a long curve have a point of it at their height.
    heights = np.sort(points[:, 1])
    begin = np.searchsorted(heights, top[near] - 1, side="right")
    near = near[begin < np.searchsorted(heights, bottom[near] + 1, side="left")]
    if not len(near):
        return None
    inside = _points_in(corners[near], points)
    return int(near[np.argmax(inside)]) if inside.any() else None


def _beside(
    solid: _Solid, hit: int, ends: tuple[NDArray[np.float64], NDArray[np.float64]], own: list[int]
) -> NDArray[np.float64]:
    """Return the upright way past a box through the nearest gap: lower and upper end, [2, 2]."""
    (start, end), (x, y, width, height) = ends, solid.rects[hit]
    clearance, middle = solid.clearance, y + height / 2
    near = (solid.top < y + height + clearance) & (solid.bottom > y - clearance)
    near[own] = False
    row = solid.rects[near]
    low, high = row[:, 0] - clearance, row[:, 0] + row[:, 2] + clearance
    along = np.clip((start[1] - middle) / ((start[1] - end[1]) or 1.0), 0, 1)
    direct = start[0] + along * (end[0] - start[0])
    spots = np.concatenate([low, high])
    free = ~((spots[:, None] > low + 1e-6) & (spots[:, None] < high - 1e-6)).any(axis=1)
    spots = spots[free] if free.any() else np.array([x - clearance, x + width + clearance])
    chosen = float(spots[np.argmin(np.abs(spots - direct))])
    key = (round(middle), round(chosen))
    lane = solid.used[key] = solid.used.get(key, -1) + 1
    chosen += (1.0 if chosen > x else -1.0) * lane * clearance * 0.7
    return np.array([[chosen, y + height], [chosen, y]])


def place_numbers(
    curves: Sequence[NDArray[np.float64]],
    sizes: Sequence[tuple[float, float]],
    strength: Sequence[float],
    boxes: Sequence[Rect],
    gap: float,
) -> Steps[list[tuple[float, float]]]:
    """Find a centre for the number of every curve, in steps.

    Args:
        curves: Control points of each curve's pieces.
        sizes: Width and height of each number.
        strength: The strongest choose first.
        boxes: What must not be covered.
        gap: Distance from a steep curve, in points.

    Returns:
        Centres, in the order of the curves.
    """
    lines = [sample(curve) for curve in curves]
    yield
    every = np.concatenate(lines) if lines else np.zeros((0, 2))
    x, y = every[np.argsort(every[:, 1])].T.copy()
    centres: list[tuple[float, float]] = [(0.0, 0.0)] * len(curves)
    taken = np.zeros((len(boxes) + len(curves), 4))
    solid = np.array(boxes, np.float64).reshape(-1, 4)
    taken[: len(solid), :2] = solid[:, :2] - 1
    taken[: len(solid), 2:] = solid[:, :2] + solid[:, 2:] + 1
    n_taken = len(solid)
    for i in sorted(range(len(curves)), key=lambda i: (-abs(strength[i]), i)):
        half = np.array(sizes[i]) / 2
        for away in _FARTHER:  # farther from its curve where all nearer places are taken
            middle, dislike, is_aside = _spots(lines[i], sizes[i], away * gap)
            rects = np.concatenate([middle - half, middle + half], axis=1)
            own = _points_in(rects, lines[i])
            rest = np.minimum(_sorted_in(rects, x, y) - own, _MOST_POINTS)
            own = np.minimum(own, _MOST_POINTS)
            (left, top), (right, bottom) = rects[:, :2].min(axis=0), rects[:, 2:].max(axis=0)
            there = taken[:n_taken]
            there = there[
                (there[:, 0] < right) & (there[:, 2] > left)
                & (there[:, 1] < bottom) & (there[:, 3] > top)
            ]  # fmt: skip
            cost = dislike + _COVERS * _covered(rects, there)
            cost += 0.8 * rest + np.where(is_aside, 0.6 * own, 0.0)
            if cost.min() < _COVERS:
                break
        best = np.flatnonzero(cost <= cost.min() + 1e-9)[0]
        centres[i] = (float(middle[best, 0]), float(middle[best, 1]))
        taken[n_taken] = rects[best]
        n_taken += 1
        if not n_taken % _AT_ONCE:
            yield
    return centres


def _spots(
    line: NDArray[np.float64], size: tuple[float, float], gap: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return places for a number [s, 2], how much each is disliked, which are beside the line."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    last = len(line) - 1
    at = np.minimum(np.searchsorted(travelled, _ALONG * travelled[-1]), last)
    near = np.abs(line[np.minimum(at + 2, last)] - line[np.maximum(at - 2, 0)])
    steep = near[:, 1] > _STEEP * near[:, 0]
    aside = np.array([size[0] / 2 + gap, 0.0])
    off = _BELOW[:, None] * (0.0, size[1])
    middle = line[len(line) // 2]
    far = 4 * np.abs(_ALONG - 0.5)
    spots = [line[at], line[at] + aside, line[at] - aside, middle - off, middle + off]
    dislike = [
        far + np.where(steep, 1.5, 0.0), far + np.where(steep, 0.0, 3.0),
        far + np.where(steep, 0.1, 3.1), 4 + _BELOW, 4.1 + _BELOW,
    ]  # fmt: skip
    is_aside = np.ones(_ORDER.size, np.bool_)
    is_aside[: len(_ALONG)] = False
    return np.concatenate(spots)[_ORDER], np.concatenate(dislike)[_ORDER], is_aside[_ORDER]


def _covered(rects: NDArray[np.float64], solid: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of the solid rectangles [s, 4] each rectangle [r, 4] overlaps."""
    low = np.maximum(rects[:, None, :2], solid[None, :, :2])
    high = np.minimum(rects[:, None, 2:], solid[None, :, 2:])
    found: NDArray[np.int64] = (low < high).all(axis=2).sum(axis=1)
    return found


def _points_in(rects: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many points [p, 2] lie in or beside each rectangle [r, 4]."""
    x, y = points[:, 0], points[:, 1]
    low, high = rects[:, :2] - 1, rects[:, 2:] + 1
    inside = (x > low[:, :1]) & (x < high[:, :1]) & (y > low[:, 1:]) & (y < high[:, 1:])
    found: NDArray[np.int64] = np.count_nonzero(inside, axis=1)
    return found


def _sorted_in(
    rects: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many of many points, sorted by y, lie in or beside each rectangle [r, 4]."""
    low, high = rects[:, :2] - 1, rects[:, 2:] + 1
    begin = np.searchsorted(y, low[:, 1], side="right").tolist()
    end = np.searchsorted(y, high[:, 1], side="left").tolist()
    left, right = low[:, 0].tolist(), high[:, 0].tolist()
    found = np.zeros(len(rects), np.int64)
    for i, (first, last) in enumerate(zip(begin, end, strict=True)):
        level = x[first:last]
        found[i] = np.count_nonzero((level > left[i]) & (level < right[i]))
    return found
