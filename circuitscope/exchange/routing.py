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

from circuitscope.graph.layered import apart

Rect = tuple[float, float, float, float]
"""x, y, width, height."""
_SAMPLES: Final = np.linspace(0, 1, 25)[:, None]
_BASIS: Final = np.concatenate(
    [(1 - _SAMPLES) ** 3, 3 * (1 - _SAMPLES) ** 2 * _SAMPLES, 3 * (1 - _SAMPLES) * _SAMPLES**2,
     _SAMPLES**3], axis=1,
)  # fmt: skip
_MOST_BENDS: Final = 4
_ALONG: Final = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
_STEEP: Final = 2.2
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
    """Find a curve for every link.

    Args:
        boxes: Places of the boxes.
        links: Edges between them.
        clearance: Free room to keep from boxes that are passed, in points.

    Returns:
        Control points of each link's pieces, float64 [pieces, 4, 2]; the last point lies on the
        border of the target box.
    """
    rects = np.array(boxes, np.float64).reshape(-1, 4)
    centre = rects[:, 0] + rects[:, 2] / 2
    towards = [float(centre[link.target]) for link in links]
    back = [float(centre[link.source]) for link in links]
    first = _routes(rects, links, (towards, back), clearance)
    towards = [float(pieces[0, 3, 0]) for pieces in first]
    back = [float(pieces[-1, 0, 0]) for pieces in first]
    return _routes(rects, links, (towards, back), clearance)


def _routes(
    rects: NDArray[np.float64],
    links: Sequence[Link],
    aims: tuple[list[float], list[float]],
    clearance: float,
) -> list[NDArray[np.float64]]:
    """Route all links, their ports ordered by where each goes first and comes from last."""
    leave, land = _ports(rects, links, *aims)
    used: dict[tuple[int, float], int] = {}
    found = []
    for i, link in enumerate(links):
        start = np.array([leave[i], rects[link.source, 1]])
        end = np.array([land[i], rects[link.target, 1] + rects[link.target, 3]])
        if start[1] - end[1] < clearance:
            found.append(_aside(rects[link.source], rects[link.target]))
            continue
        others = np.delete(np.arange(len(rects)), [link.source, link.target])
        found.append(_avoid(start, end, rects[others], clearance, used))
    return found


def _ports(
    rects: NDArray[np.float64], links: Sequence[Link], towards: list[float], back: list[float]
) -> tuple[list[float], list[float]]:
    leave, land = [0.0] * len(links), [0.0] * len(links)
    for box, (x, _, width, _) in enumerate(rects):
        for ports, aims, mine in (
            (leave, towards, [i for i, link in enumerate(links) if link.source == box]),
            (land, back, [i for i, link in enumerate(links) if link.target == box]),
        ):
            order = sorted(mine, key=lambda i, aims=aims: (round(aims[i], 3), i))  # type: ignore[misc]
            if not order:
                continue
            inset = min(0.18 * width, 18.0)
            room = width - 2 * inset
            step = min(room / (len(order) - 1), 0.3 * width) if len(order) > 1 else 0.0
            wanted = np.clip(np.array([aims[i] for i in order]) - x - inset, 0, room)
            pulled = 0.45 * wanted + 0.55 * room / 2
            spots = apart(pulled, np.zeros(len(order)), step * 0.999, room)
            for i, spot in zip(order, spots, strict=True):
                ports[i] = float(x + inset + spot)
    return leave, land


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
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    others: NDArray[np.float64],
    clearance: float,
    used: dict[tuple[int, float], int],
) -> NDArray[np.float64]:
    straights: list[NDArray[np.float64]] = []
    passed: set[int] = set()
    while True:
        straights.sort(key=lambda pair: -pair[0, 1])
        stops = [start, *(stop for pair in straights for stop in pair), end]
        pieces = np.array([_piece(a, b, 2 * clearance) for a, b in itertools.pairwise(stops)])
        if len(straights) == _MOST_BENDS:
            return pieces
        hit = _first_hit(sample(pieces), others, clearance * 0.3, passed)
        if hit is None:
            return pieces
        straights.append(_beside(others, hit, (start, end), clearance, used))
        low, high = others[:, 1], others[:, 1] + others[:, 3]
        in_row = (low < high[hit] - 1) & (high > low[hit] + 1)
        passed |= set(np.flatnonzero(in_row).tolist())


def _first_hit(
    points: NDArray[np.float64], rects: NDArray[np.float64], clearance: float, passed: set[int]
) -> int | None:
    x, y, width, height = rects.T
    left, top = x - clearance, y - clearance
    right, bottom = x + width + clearance, y + height + clearance
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    near = (right > x0) & (left < x1) & (bottom > y0) & (top < y1)
    inside = np.zeros(len(rects), np.int64)
    corners = np.stack([left, top, right, bottom], axis=1)
    inside[near] = _points_in(corners[near] + (1, 1, -1, -1), points)
    inside[list(passed)] = 0
    return int(np.argmax(inside)) if inside.any() else None


def _beside(
    rects: NDArray[np.float64],
    hit: int,
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    clearance: float,
    used: dict[tuple[int, float], int],
) -> NDArray[np.float64]:
    """Return the upright way past a box through the nearest gap: lower and upper end, [2, 2]."""
    (start, end), (x, y, width, height) = ends, rects[hit]
    middle = y + height / 2
    near = (rects[:, 1] < y + height + clearance) & (rects[:, 1] + rects[:, 3] > y - clearance)
    low, high = rects[near, 0] - clearance, rects[near, 0] + rects[near, 2] + clearance
    along = np.clip((start[1] - middle) / ((start[1] - end[1]) or 1.0), 0, 1)
    direct = start[0] + along * (end[0] - start[0])
    spots = np.concatenate([low, high])
    free = ~((spots[:, None] > low + 1e-6) & (spots[:, None] < high - 1e-6)).any(axis=1)
    spots = spots[free] if free.any() else np.array([x - clearance, x + width + clearance])
    chosen = float(spots[np.argmin(np.abs(spots - direct))])
    key = (round(middle), round(chosen))
    lane = used[key] = used.get(key, -1) + 1
    chosen += (1.0 if chosen > x else -1.0) * lane * clearance * 0.7
    return np.array([[chosen, y + height], [chosen, y]])


def place_numbers(
    curves: Sequence[NDArray[np.float64]],
    sizes: Sequence[tuple[float, float]],
    strength: Sequence[float],
    boxes: Sequence[Rect],
    gap: float,
) -> list[tuple[float, float]]:
    """Find a centre for the number of every curve.

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
    every = np.concatenate(lines) if lines else np.zeros((0, 2))
    x, y = every.T.copy()
    centres: list[tuple[float, float]] = [(0.0, 0.0)] * len(curves)
    taken = [(left - 1, top - 1, left + w + 1, top + h + 1) for left, top, w, h in boxes]
    for i in sorted(range(len(curves)), key=lambda i: (-abs(strength[i]), i)):
        half = np.array(sizes[i]) / 2
        spots, dislike, is_aside = zip(*_spots(lines[i], sizes[i], gap), strict=True)
        middle = np.array(spots)
        rects = np.concatenate([middle - half, middle + half], axis=1)
        own = _points_in(rects, lines[i])
        (left, top), (right, bottom) = rects[:, :2].min(axis=0) - 1, rects[:, 2:].max(axis=0) + 1
        near = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        rest = np.minimum(_points_in(rects, every[near]) - own, _MOST_POINTS)
        own = np.minimum(own, _MOST_POINTS)
        cost = np.array(dislike) + 100 * _covered(rects, np.array(taken).reshape(-1, 4))
        cost += 0.8 * rest + np.where(is_aside, 0.6 * own, 0.0)
        best = np.flatnonzero(cost <= cost.min() + 1e-9)[0]
        x0, y0, x1, y1 = rects[best].tolist()
        centres[i] = (float(middle[best, 0]), float(middle[best, 1]))
        taken.append((x0, y0, x1, y1))
    return centres


def _spots(
    line: NDArray[np.float64], size: tuple[float, float], gap: float
) -> list[tuple[NDArray[np.float64], float, bool]]:
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    out = []
    for t in _ALONG:
        at = min(int(np.searchsorted(travelled, t * travelled[-1])), len(line) - 1)
        near = line[min(at + 2, len(line) - 1)] - line[max(at - 2, 0)]
        steep = abs(near[1]) > _STEEP * abs(near[0])
        aside = np.array([size[0] / 2 + gap, 0.0])
        dislike = 4 * abs(t - 0.5)
        out += [
            (line[at], dislike + (1.5 if steep else 0.0), False),
            (line[at] + aside, dislike + (0.0 if steep else 3.0), True),
            (line[at] - aside, dislike + (0.1 if steep else 3.1), True),
        ]
    middle = line[len(line) // 2]
    for step in (1.2, 1.7, 2.2, 2.7, 3.3, 4.0):  # last resort of short edges between neighbours
        off = np.array([0.0, step * size[1]])
        out += [(middle - off, 4 + step, True), (middle + off, 4.1 + step, True)]
    return out


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
