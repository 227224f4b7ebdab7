"""Places that the user gave to boxes, brought onto a page.

Places are points of the screen's figure and are taken as they are there. Other sizes shrink them
with their type. What is then too wide for the paper keeps its rows and the order in them, and is
set anew: boxes of a row stand side by side, a row that is too wide is split, rows do not overlap.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.nesting import parents_of, upwards
from circuitscope.core.rows import Rows
from circuitscope.exchange.theme import PRESETS, Preset
from circuitscope.graph.groups import Box
from circuitscope.graph.layered import apart
from circuitscope.graph.view import rows_of

Place = tuple[float, float] | None
_GAP = 14.0
"""Points between the boxes of a group that was just unfolded."""


def places_of(boxes: Sequence[Box], rows: Rows, size: NDArray[np.float64]) -> list[Place]:
    """Return the user's places of boxes; those of an unfolded group stand where the group stood.

    Args:
        boxes: In the order of computation, which goes upwards.
        rows: The drawing; place, group and member are read.
        size: Width and height of each box in points of the screen's figure, [k, 2].
    """
    found: list[Place] = [box.place for box in boxes]
    parents = parents_of(dict(rows_of(rows, "group")))
    members = {name: str(row.get("group", "")) for name, row in rows_of(rows, "member")}
    places = {name: (float(at["x"]), float(at["y"])) for name, at in rows_of(rows, "place")}
    loose: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):
        group = parents.get(box.id, "") if box.is_group else members.get(box.id, "")
        around = [name for name in upwards(group, parents) if name in places] if group else []
        if box.place is None and around:
            loose.setdefault(around[0], []).append(number)
    for group, numbers in loose.items():
        columns = math.ceil(math.sqrt(len(numbers)))
        wide, high = size[numbers].max(axis=0) + _GAP
        left = places[group][0] - (columns - 1) / 2 * wide
        low = places[group][1] + (math.ceil(len(numbers) / columns) - 1) / 2 * high
        for at, number in enumerate(numbers):
            found[number] = (left + at % columns * wide, low - at // columns * high)
    return found


def places_by_hand(
    by_hand: Sequence[Place],
    size: NDArray[np.float64],
    top: float,
    preset: Preset,
) -> NDArray[np.float64]:
    """Return the corners of boxes on a page.

    Args:
        by_hand: The user's place of each box, at least one of them given; boxes without one stand
            in a row above the others.
        size: Width and height of each box, [k, 2].
        top: Where the content may begin.
        preset: The page.

    Returns:
        Top left corners, float64 [k, 2].
    """
    placed = [i for i, place in enumerate(by_hand) if place is not None]
    loose = [i for i, place in enumerate(by_hand) if place is None]
    corners = np.zeros((len(by_hand), 2))
    spots = np.array([by_hand[i] for i in placed], np.float64)
    corners[placed] = spots * (preset.label / PRESETS["screen"].label)
    if loose:
        gap = preset.label
        corners[loose, 1] = corners[placed, 1].min() - size[loose, 1].max() - 2 * gap
        starts = np.cumsum(np.r_[0.0, size[loose, 0] + gap])[:-1]
        corners[loose, 0] = corners[placed, 0].min() + starts
    corners += np.maximum(np.array([preset.margin, top]) - corners.min(axis=0), 0.0)
    right = float((corners + size)[:, 0].max())
    if preset.name != "screen" and right > preset.width - preset.margin:
        return _reset(corners, size, top, preset)
    return corners


def _reset(
    corners: NDArray[np.float64], size: NDArray[np.float64], top: float, preset: Preset
) -> NDArray[np.float64]:
    room = preset.width - 2 * preset.margin
    gap = 0.6 * preset.label
    centre = corners + size / 2
    left, right = corners[:, 0].min(), (corners + size)[:, 0].max()
    wanted = (centre[:, 0] - left) / max(right - left, 1e-9) * room
    out = corners.copy()
    y = top
    for row in _rows(corners, size):
        ordered = sorted(row, key=lambda i: (centre[i, 0], i))
        parts = 1
        while parts < len(ordered) and any(
            (size[ordered[k::parts], 0] + gap).sum() - gap > room for k in range(parts)
        ):
            parts += 1
        for k in range(parts):
            mine = ordered[k::parts]
            middle = apart(wanted[mine] + gap / 2, size[mine, 0] + gap, 0.0, room + gap) - gap / 2
            tallest = size[mine, 1].max()
            out[mine, 0] = preset.margin + middle - size[mine, 0] / 2
            out[mine, 1] = y + (tallest - size[mine, 1]) / 2
            y += tallest + preset.label * (1.6 if k + 1 < parts else 4.0)
    return out


def _rows(corners: NDArray[np.float64], size: NDArray[np.float64]) -> list[list[int]]:
    """Return the boxes row by row from the top: those whose middles lie within a row's height."""
    middle = corners[:, 1] + size[:, 1] / 2
    rows: list[list[int]] = []
    for i in np.argsort(middle, kind="stable").tolist():
        first = rows[-1][0] if rows else -1
        if rows and middle[i] - middle[first] < 0.75 * size[first, 1]:
            rows[-1].append(i)
        else:
            rows.append([i])
    return rows
