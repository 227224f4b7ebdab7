"""An even sample of places in the corpus, with everything that is active there.

It tells which features fire together, and is what a label is tested on: places where a feature is
silent. As many places stay as there is room for, those whose drawn numbers are smallest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.file import PackedArray
from circuitscope.evidence.tally import Batch, Window, draw

ROOM = 2048
LISTED = 6
_SALT = 2**40
_LEAST_TOGETHER = 3

Chosen = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Row and position in a batch, and the number drawn for the place."""


class Contexts:
    """Keep the sample while a corpus is read."""

    FIELDS = ("lot", "sequence", "position", "first", "length", "ids")

    def __init__(self, n_parts: int, window: Window, id_type: Any, room: int = ROOM) -> None:
        self.window, self.room, self.limit = window, room, 1.0
        self.lot = np.zeros(0)
        self.sequence = np.zeros(0, np.int64)
        self.position, self.first, self.length = (np.zeros(0, np.int32) for _ in range(3))
        self.ids = np.zeros((0, window.width), id_type)
        self._active: list[list[tuple[NDArray, NDArray]]] = [[] for _ in range(n_parts)]

    def choose(self, batch: Batch) -> Chosen:
        """Take places of a batch into the sample."""
        row, position = np.nonzero(batch.counted)
        lot = draw(batch.sequences[row], position, _SALT)
        lucky = lot < self.limit
        row, position, lot = row[lucky], position[lucky], lot[lucky]
        first = np.maximum(position - self.window.before, 0)
        n_pos = batch.token_ids.shape[1]
        end = np.minimum(position + self.window.after + 1, n_pos)
        places = first[:, None] + np.arange(self.window.width)
        inside = places < end[:, None]
        ids = np.where(inside, batch.token_ids[row[:, None], np.minimum(places, n_pos - 1)], 0)
        fresh = {
            "lot": lot, "sequence": batch.sequences[row], "position": position, "first": first,
            "length": end - first, "ids": ids,
        }  # fmt: skip
        for name, array in fresh.items():
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, array.astype(old.dtype)]))
        return row, position, lot

    def note(self, part: int, chosen: Chosen, values: Any) -> None:
        """Remember what one dictionary has active at the places just taken.

        Args:
            part: Number of the dictionary.
            chosen: From `choose`.
            values: Activations, indexed [sequence, pos, feature].
        """
        row, position, lot = chosen
        if len(row):
            found = values[row, position, slice(None)] != 0
            at, unit = np.nonzero(found)
            self._active[part].append((lot[at], unit.astype(np.int32)))

    def settle(self) -> None:
        """Make room: keep the places with the smallest numbers."""
        if len(self.lot) > 2 * self.room:
            self._keep(self.room)

    def _keep(self, n: int) -> None:
        if len(self.lot) <= n:
            return
        self.limit = float(np.partition(self.lot, n)[n])
        stay = self.lot < self.limit
        for name in self.FIELDS:
            setattr(self, name, getattr(self, name)[stay])
        for part in range(len(self._active)):
            lot, unit = self.noted(part)
            self._active[part] = [(lot[lot < self.limit], unit[lot < self.limit])]

    def noted(self, part: int) -> tuple[NDArray, NDArray]:
        """Return the numbers of places and the features active there, of one dictionary."""
        parts = self._active[part]
        if not parts:
            return np.zeros(0), np.zeros(0, np.int32)
        return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])

    def state(self) -> dict[str, NDArray]:
        """Return everything, for a checkpoint."""
        found = {name: getattr(self, name) for name in self.FIELDS}
        found["limit"] = np.array(self.limit)
        for part in range(len(self._active)):
            found[f"lot{part}"], found[f"unit{part}"] = self.noted(part)
        return found

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Go on from a checkpoint."""
        for name in self.FIELDS:
            setattr(self, name, state[name])
        self.limit = float(state["limit"])
        self._active = [
            [(state[f"lot{part}"], state[f"unit{part}"])] for part in range(len(self._active))
        ]

    # ---- the end -------------------------------------------------------------------------------
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.lot, kind="stable")[: self.room]

    def arrays(self) -> list[PackedArray]:
        """Return the sample as arrays of no dictionary, in the order of their numbers."""
        order = self._order()
        length = self.length[order]
        rows = [self.ids[at, :n] for at, n in zip(order.tolist(), length.tolist(), strict=True)]
        made = {
            "context_ids": np.concatenate(rows) if rows else self.ids[:0, 0],
            "context_offset": np.concatenate([[0], np.cumsum(length)]).astype(np.uint32),
            "context_peak": (self.position - self.first)[order].astype(np.uint16),
            "context_sequence": self.sequence[order].astype(np.int32),
            "context_position": self.position[order].astype(np.int32),
        }
        return [PackedArray("", -1, name, array) for name, array in made.items()]

    def active(self, part: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return places, as numbered by `arrays`, and the features active there."""
        lot, unit = self.noted(part)
        known = self.lot[self._order()]
        at = np.searchsorted(known, lot)
        there = at < len(known)
        there[there] = known[at[there]] == lot[there]
        at, unit = at[there], unit[there].astype(np.int64)
        order = np.lexsort((unit, at))
        return at[order], unit[order]

    def active_arrays(self, part: int) -> dict[str, NDArray[Any]]:
        """Return what one dictionary has active in the sample."""
        at, unit = self.active(part)
        counts = np.bincount(at, minlength=min(len(self.lot), self.room))
        return {
            "active_offset": np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
            "active_unit": unit.astype(np.uint16 if unit.max(initial=0) < 2**16 else np.uint32),
        }


def companions(
    place: NDArray[np.int64], unit: NDArray[np.int64], n_features: int, listed: int = LISTED
) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Find the features that fire at the same places.

    Args:
        place: Where something is active, ascending.
        unit: What.
        n_features: Of the dictionary.
        listed: Most for each feature.

    Returns:
        Features, -1 for none, and the cosine of both firings, [feature, companion].
    """
    units = np.full((n_features, listed), -1, np.int32)
    alike = np.zeros((n_features, listed), np.float16)
    if not len(unit):
        return units, alike
    count = np.bincount(unit, minlength=n_features)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    pairs: list[NDArray[np.int64]] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(place)], strict=True):
        here = unit[start:end]
        pairs.append((here[:, None] * n_features + here).ravel())
    both, times = np.unique(np.concatenate(pairs), return_counts=True)
    a, b = np.divmod(both, n_features)
    other = (a != b) & (times >= _LEAST_TOGETHER)
    a, b, times = a[other], b[other], times[other]
    cosine = times / np.sqrt(count[a] * count[b])
    order = np.lexsort((b, -cosine, a))
    a, b, cosine = a[order], b[order], cosine[order]
    first = np.flatnonzero(np.diff(a, prepend=-1))
    rank = np.arange(len(a)) - np.repeat(first, np.diff(first, append=len(a)))
    near = rank < listed
    units[a[near], rank[near]] = b[near]
    alike[a[near], rank[near]] = cosine[near]
    return units, alike
