"""Count and keep, batch by batch, what is to be known of every feature of one dictionary.

1. Active tokens are counted, their activations summed and put into bins of a logarithmic
   histogram.
2. Of each sequence the token on which a feature is most active competes for its `TOP` strongest
   examples.
3. Every active token draws a number from its place in the corpus and the feature; the `SAMPLED`
   tokens with the largest stay: an even sample of all activations, whatever their number.

Memory depends on the number of features and the width of a window, never on the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP, SAMPLED = 8, 16
PER_OCTAVE, OCTAVES, LOWEST = 8, 24, -8
BINS = PER_OCTAVE * OCTAVES

Ids = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a sequence an example shows: tokens before its peak and after it."""

    before: int = 24
    after: int = 7

    @property
    def width(self) -> int:
        """Return the most tokens of an example."""
        return self.before + 1 + self.after


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of one length.

    Attributes:
        token_ids: [sequence, pos].
        sequences: Their numbers in the corpus, int64 [sequence].
        counted: False at tokens that are not counted, such as BOS, [sequence, pos].
    """

    token_ids: Ids
    sequences: NDArray[np.int64]
    counted: NDArray[np.bool_]


def draw(sequence: NDArray[Any], position: NDArray[Any], salt: NDArray[Any] | int) -> NDArray:
    """Draw a number in [0, 1) for each place in the corpus: always the same for the same place."""
    x = sequence.astype(np.uint64)
    x <<= np.uint64(20)
    x |= position.astype(np.uint64)
    with np.errstate(over="ignore"):
        x ^= (np.asarray(salt, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x ^= x >> np.uint64(shift)
            x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    x >>= np.uint64(11)
    found = x.astype(np.float64)
    found /= 2.0**53
    return found


class Kept:
    """Keep the examples of each feature whose keys are largest, with the tokens around them.

    Attributes:
        key: What decided, [feature, example], descending; -inf where there is no example.
        value, sequence, position: Activation, and where in the corpus.
        first, length: Position of the window's first token, and how many it has.
        ids, acts: Tokens and activations of the window, [feature, example, token].
    """

    FIELDS = ("key", "value", "sequence", "position", "first", "length", "ids", "acts")

    def __init__(self, n_features: int, most: int, window: Window, id_type: Any) -> None:
        self.window = window
        wide = (window.width,)
        # One record an example, so that examples change places as wholes.
        self._records = np.zeros((n_features, most), [
            ("key", np.float64), ("sequence", np.int64), ("value", np.float32),
            ("position", np.int32), ("first", np.int32), ("length", np.int32),
            ("ids", id_type, wide), ("acts", np.float16, wide),
        ])  # fmt: skip
        views = (self._records[name] for name in self.FIELDS)
        self.key, self.value, self.sequence, self.position = islice(views, 4)
        self.first, self.length, self.ids, self.acts = views
        self.key[:] = -np.inf

    def rows_above(self, unit: NDArray, key: NDArray) -> NDArray[np.int64]:
        """Return which candidates would stay if they were alone."""
        return np.flatnonzero(key > self.key[:, -1].astype(key.dtype).take(unit))

    def insert(
        self, batch: Batch, values: NDArray, at: tuple[NDArray, NDArray, NDArray], key: NDArray
    ) -> None:
        """Let candidates compete.

        Args:
            batch: The sequences.
            values: Activations of all features, [sequence, pos, feature].
            at: Row in the batch, position and feature of each candidate.
            key: What decides, [candidate].
        """
        row, position, unit = at
        order = np.lexsort((position, batch.sequences[row], -key, unit))
        row, position, unit, key = row[order], position[order], unit[order], key[order]
        most = self.key.shape[1]
        new = _changes(unit)
        starts, owner = np.flatnonzero(new), np.cumsum(new) - 1
        rank = np.arange(len(unit)) - starts[owner]
        near = np.flatnonzero(rank < most)
        touched, owner, rank = unit[starts], owner[near], rank[near]
        # Old examples and candidates beside each other; `source` tells where each comes from.
        both = np.full((len(touched), 2 * most), -np.inf)
        both[:, :most] = self.key[touched]
        both[owner, most + rank] = key[near]
        source = np.full((len(touched), 2 * most), -1)
        source[owner, most + rank] = near
        best = np.argsort(-both, axis=1, kind="stable")[:, :most]
        line = np.arange(len(touched))[:, None]
        self._records[touched] = self._records[touched[:, None], np.minimum(best, most - 1)]
        self.key[touched] = both[line, best]
        candidate = source[line, best]
        t, slot = np.nonzero(candidate >= 0)
        chosen = candidate[t, slot]
        self._put(batch, values, (touched[t], slot), (row[chosen], position[chosen]))

    def _put(
        self,
        batch: Batch,
        values: NDArray,
        to: tuple[NDArray, NDArray],
        at: tuple[NDArray, NDArray],
    ) -> None:
        row, position = at
        n_pos = batch.token_ids.shape[1]
        first = np.maximum(position - self.window.before, 0)
        end = np.minimum(position + self.window.after + 1, n_pos)
        places = first[:, None] + np.arange(self.window.width)
        inside = places < end[:, None]
        places = np.minimum(places, n_pos - 1)
        unit = to[0]
        self.value[to] = values[row, position, unit]
        self.sequence[to] = batch.sequences[row]
        self.position[to] = position
        self.first[to] = first
        self.length[to] = end - first
        self.ids[to] = np.where(inside, batch.token_ids[row[:, None], places], 0)
        seen = values[row[:, None], places, unit[:, None]]
        self.acts[to] = np.where(inside, seen, 0).clip(-6e4, 6e4)


class Tally:
    """Hold the counts and examples of one dictionary's features in one layer."""

    COUNTS = ("total", "maximum", "histogram")

    def __init__(self, n_features: int, window: Window, id_type: Any = np.uint16) -> None:
        self.n_features = n_features
        self.total = np.zeros(n_features)
        self.maximum = np.zeros(n_features, np.float32)
        self.histogram = np.zeros((n_features, BINS), np.int64)
        self.top = Kept(n_features, TOP, window, id_type)
        self.sample = Kept(n_features, SAMPLED, window, id_type)

    @property
    def count(self) -> NDArray[np.int64]:
        """Return on how many tokens each feature was active, [feature]."""
        count: NDArray[np.int64] = self.histogram.sum(1)
        return count

    def add(self, batch: Batch, values: NDArray[np.float32], active: tuple[NDArray, ...]) -> None:
        """Count a batch.

        Args:
            batch: The sequences.
            values: Activations, [sequence, pos, feature].
            active: Row, position, feature and activation of what is active and counted, in this
                order.
        """
        row, position, unit, value = active
        if not len(unit):
            return
        self.total += np.bincount(unit, value, minlength=self.n_features)
        bins = bin_of(np.abs(value))  # of dictionaries whose features may be negative: the size
        bins += unit * BINS
        np.add.at(self.histogram.reshape(-1), bins, 1)  # only few of all bins are met in a batch
        strong = self.top.rows_above(unit, value)
        if len(strong):
            at = _strongest(batch, row[strong], position[strong], unit[strong], value[strong])
            key = values[at].astype(np.float64)
            np.maximum.at(self.maximum, at[2], key.astype(np.float32))
            self.top.insert(batch, values, at, key)
        lots = draw(batch.sequences[row], position, unit)
        lucky = self.sample.rows_above(unit, lots)
        if len(lucky):
            at = (row[lucky], position[lucky], unit[lucky])
            self.sample.insert(batch, values, at, lots[lucky])

    def state(self) -> dict[str, NDArray]:
        """Return everything counted, for a checkpoint."""
        found = {name: getattr(self, name) for name in self.COUNTS}
        for part in ("top", "sample"):
            kept = getattr(self, part)
            found |= {f"{part}.{name}": getattr(kept, name) for name in Kept.FIELDS}
        return found

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Go on from a checkpoint."""
        for name, array in state.items():
            part, _, field = name.rpartition(".")
            getattr(getattr(self, part) if part else self, field)[...] = array


def _strongest(
    batch: Batch, row: NDArray, position: NDArray, unit: NDArray, value: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Keep of each sequence and feature the first of the strongest tokens."""
    order = np.lexsort((position, -value, row, unit))
    row, position, unit = row[order], position[order], unit[order]
    new = _changes(unit) | _changes(row)
    return row[new], position[new], unit[new]


def _changes(values: NDArray) -> NDArray[np.bool_]:
    """Say where a value differs from the one before it; the first does."""
    new = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new


def bin_of(value: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the histogram's bin of each activation; beyond the ends it is the first or last."""
    scale = np.log2(np.maximum(value, 2.0**LOWEST)) - LOWEST
    bins: NDArray[np.int64] = np.minimum((scale * PER_OCTAVE).astype(np.int64), BINS - 1)
    return bins


def bin_edges() -> NDArray[np.float64]:
    """Return the edges of the bins, [BINS + 1]."""
    edges: NDArray[np.float64] = 2.0 ** (LOWEST + np.arange(BINS + 1) / PER_OCTAVE)
    return edges


def quantile(counts: NDArray[np.integer[Any]], share: float) -> float:
    """Read a quantile off a histogram, evenly within its bin."""
    total = int(counts.sum())
    if not total:
        return 0.0
    running = np.cumsum(counts)
    wanted = share * total
    at = int(np.searchsorted(running, wanted))
    at = min(at, len(counts) - 1)
    inside = (wanted - (running[at] - counts[at])) / max(int(counts[at]), 1)
    return float(2.0 ** (LOWEST + (at + min(max(inside, 0.0), 1.0)) / PER_OCTAVE))
