"""Line boxes up, and space them evenly: places from places, nothing else."""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Edge = Literal["left", "centre", "right", "top", "middle", "bottom"]
Axis = Literal["across", "down"]
_SHARE: Final = {"left": 0.0, "centre": 0.5, "right": 1.0, "top": 0.0, "middle": 0.5, "bottom": 1.0}


def align(rects: NDArray[np.float64], edge: Edge) -> NDArray[np.float64]:
    """Move boxes along one axis until they share an edge or a middle line.

    Args:
        rects: x, y, width, height of each box, [k, 4].
        edge: Which; the outermost box stays, and middles meet at the middle of them all.

    Returns:
        Top left corners, float64 [k, 2].
    """
    out = rects[:, :2].astype(np.float64)
    axis = 0 if edge in ("left", "centre", "right") else 1
    low, high = rects[:, axis], rects[:, axis] + rects[:, axis + 2]
    share = _SHARE[edge]
    line = low.min() * (1 - share) + high.max() * share
    out[:, axis] = line - rects[:, axis + 2] * share
    return out


def distribute(rects: NDArray[np.float64], axis: Axis) -> NDArray[np.float64]:
    """Give boxes equal gaps along one axis; the first and the last stay.

    Args:
        rects: x, y, width, height of each box, [k, 4].
        axis: "across" (left to right) or "down".

    Returns:
        Top left corners, float64 [k, 2]; gaps are negative where there is no room.
    """
    out = rects[:, :2].astype(np.float64)
    if len(rects) < 3:
        return out
    a = 0 if axis == "across" else 1
    size = rects[:, a + 2]
    order = np.argsort(rects[:, a] + size / 2, kind="stable")
    first, last = order[0], order[-1]
    span = rects[last, a] + size[last] - rects[first, a]
    gap = (span - size.sum()) / (len(rects) - 1)
    starts = rects[first, a] + np.concatenate([[0.0], np.cumsum(size[order][:-1] + gap)])
    out[order, a] = starts
    return out
