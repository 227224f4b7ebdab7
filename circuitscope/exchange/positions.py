"""Places of a subgraph in attribution-graph JSON (`sg_pos`): "x y x y ..." in thousandths.

The pairs have no names: they follow the order of the pinned nodes and groups, sorted by the
characters of their members' feature numbers, as the public front end sorts them.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from circuitscope.core.rows import Rows
from circuitscope.graph.view import rows_of

WIDTH, HEIGHT = 900.0, 600.0
"""Points of our diagram that stand for the whole panel."""
_WHOLE: Final = 1000

Drawn = Sequence[tuple[str, list[int]]]
"""Id of each pinned node or group, with the indices of its nodes."""


def _slug(nodes: list[int], features: Sequence[Any]) -> str:
    texts = ["" if features[i] is None else str(features[i]) for i in nodes]
    return ",".join(sorted(" ".join(texts)))


def _sorted(drawn: Drawn, features: Sequence[Any]) -> list[str]:
    return [name for name, _ in sorted(drawn, key=lambda one: _slug(one[1], features))]


def read(text: str, drawn: Drawn, features: Sequence[Any]) -> dict[str, tuple[float, float]] | None:
    """Return places in points by id; None where the text does not fit what is drawn."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return None
    if len(numbers) != 2 * len(drawn) or not all(math.isfinite(n) for n in numbers):
        return None
    if any(abs(n) > 100 * _WHOLE for n in numbers):
        return None
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {
        name: (x * WIDTH / _WHOLE, y * HEIGHT / _WHOLE)
        for name, (x, y) in zip(_sorted(drawn, features), pairs, strict=True)
    }


def written(drawn: Drawn, features: Sequence[Any], rows: Rows) -> str:
    """Return the text for places that were all given by hand; empty where one is missing."""
    places = {name: (float(row["x"]), float(row["y"])) for name, row in rows_of(rows, "place")}
    names = _sorted(drawn, features)
    if not names or not all(name in places for name in names):
        return ""
    wide = max(WIDTH, *(places[name][0] for name in names))
    high = max(HEIGHT, *(places[name][1] for name in names))
    pairs = [
        (round(places[name][0] / wide * _WHOLE), round(places[name][1] / high * _WHOLE))
        for name in names
    ]
    return " ".join(f"{max(x, 0)} {max(y, 0)}" for x, y in pairs)
