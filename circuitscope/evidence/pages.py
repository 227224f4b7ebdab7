"""From an evidence file to pages: all of one feature, or which features are alive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.records import (
    ALIVE_EXAMPLES,
    ALIVE_TOKENS,
    QUANTILES,
    Companion,
    EvidenceMissing,
    Example,
    FeatureId,
    FeaturePage,
    Histogram,
    Promoted,
)
from circuitscope.evidence.tally import bin_edges, quantile

BANDS = ("75–100 %", "50–75 %", "25–50 %", "0–25 %")


class DictionaryEvidence:
    """What was collected about one dictionary in one layer.

    Args:
        file: The evidence file.
        digest: The dictionary.
        layer: The layer that it reads.

    Raises:
        EvidenceMissing: The dictionary is not in the file.
    """

    def __init__(self, file: EvidenceFile, digest: str, layer: int) -> None:
        if not file.has(digest, layer):
            raise EvidenceMissing(
                f"{file.path} holds nothing about this dictionary in layer {layer}.",
                hint="Collect it from a corpus: circuitscope collect --model … --dictionary …",
            )
        self.file, self.digest, self.layer = file, digest, layer
        self.card = file.cards[digest, layer]
        self._tokens: dict[int, str] | None = None

    def __len__(self) -> int:
        return int(self.card["n_features"])

    @property
    def n_tokens(self) -> int:
        """Return of how many tokens it was collected."""
        return int(self.file.meta.get("n_tokens", 0))

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Return on which share of the tokens each feature is active, [feature]."""
        share: NDArray[np.float64] = self._of_all("count") / max(self.n_tokens, 1)
        return share

    @property
    def is_collected(self) -> bool:
        """Say whether it was collected here, or only imported."""
        try:
            self._of_all("count")
        except EvidenceMissing:
            return False
        return True

    def _of_all(self, name: str) -> NDArray[Any]:
        return self.file.array(self.digest, self.layer, name)

    def alive(self) -> NDArray[np.int64]:
        """Return the features active on enough tokens and in enough examples, ascending."""
        if not self.is_collected:
            return np.array(self.file.imported_units(self.digest, self.layer), np.int64)
        enough = self._of_all("count") >= ALIVE_TOKENS
        return np.flatnonzero(enough & (self._of_all("n_examples") >= ALIVE_EXAMPLES))

    def dead(self) -> NDArray[np.int64]:
        """Return the features that were never active, ascending; none where that is not known."""
        if not self.is_collected:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self._of_all("count") == 0)

    def feature(self, unit: int) -> FeaturePage:
        """Return all of one feature.

        Raises:
            EvidenceMissing: There is no such feature.
        """
        if not 0 <= unit < len(self):
            raise EvidenceMissing(
                f"There is no feature {unit}.", hint=f"Features go from 0 to {len(self) - 1}."
            )
        feature = FeatureId(self.digest, self.layer, unit)
        if not self.is_collected:
            page = self.file.page(feature)
            if page is None:
                raise EvidenceMissing(f"Nothing is known of feature {unit}.")
            return replace(page, feature=feature, labels=self.file.labels(feature))
        counts = self._of_all("histogram")[unit]
        n_active = int(self._of_all("count")[unit])
        return FeaturePage(
            feature,
            frequency=n_active / max(self.n_tokens, 1),
            n_active=n_active,
            n_tokens=self.n_tokens,
            maximum=float(self._of_all("maximum")[unit]),
            mean=float(self._of_all("total")[unit]) / max(n_active, 1),
            quantiles=tuple((share, quantile(counts, share)) for share in QUANTILES),
            histogram=_histogram(counts),
            examples=self.examples(unit),
            promoted=self._effects("promoted", unit),
            suppressed=self._effects("suppressed", unit),
            companions=self._others(unit, "companion", "companion_similarity"),
            similar=self._others(unit, "similar", "similar_cosine"),
            labels=self.file.labels(feature),
            corpus=str(self.file.meta.get("corpus", {}).get("title", "")),
        )

    def text(self, token_id: int) -> str:
        """Return a token's text."""
        if self._tokens is None:
            self._tokens = self.file.tokens()
        return self._tokens.get(token_id, f"#{token_id}")

    def examples(self, unit: int) -> tuple[Example, ...]:
        """Return a feature's strongest examples, then its sample by quarters, strongest first."""
        block = self.file.block(FeatureId(self.digest, self.layer, unit))
        if not block or unit not in block["unit"]:
            return ()
        row = int(np.searchsorted(block["unit"], unit))
        first, last = (int(n) for n in block["example"][row : row + 2])
        found = [self._example(block, at, unit) for at in range(first, last)]
        top = [example for example in found if example.band == "top"]
        rest = sorted((e for e in found if e.band != "top"), key=lambda e: -e.activation)
        return (*top, *_in_bands(rest))

    def _example(self, block: dict[str, NDArray[Any]], at: int, unit: int) -> Example:
        end = int(block["length"][: at + 1].sum(dtype=np.int64))
        start, peak = end - int(block["length"][at]), int(block["peak"][at])
        ids, value = block["ids"][start:end].tolist(), float(block["value"][at])
        acts = opened(block["acts"][start:end], float(self._of_all("maximum")[unit]))
        acts[peak] = value
        return Example(
            tuple(ids),
            tuple(self.text(token) for token in ids),
            tuple(acts.tolist()),
            peak,
            value,
            "top" if block["kind"][at] == 0 else "",
            int(block["sequence"][at]),
            int(block["position"][at]),
        )

    def _effects(self, name: str, unit: int) -> tuple[Promoted, ...]:
        try:
            ids, weights = self._of_all(f"{name}_id")[unit], self._of_all(f"{name}_weight")[unit]
        except EvidenceMissing:
            return ()
        pairs = zip(ids.tolist(), weights.tolist(), strict=True)
        return tuple(Promoted(token, self.text(token), weight) for token, weight in pairs)

    def _others(self, unit: int, name: str, measure: str) -> tuple[Companion, ...]:
        try:
            units = self._of_all(name)[unit].tolist()
            alike = self._of_all(measure)[unit].tolist()
        except EvidenceMissing:
            return ()
        return tuple(Companion(u, a) for u, a in zip(units, alike, strict=True) if u >= 0)


def _in_bands(sampled: list[Example]) -> list[Example]:
    """Say which quarter of a feature's activations each of an even sample stands for."""
    n = max(len(sampled), 1)
    return [replace(e, band=BANDS[min(4 * at // n, 3)]) for at, e in enumerate(sampled)]


def _histogram(counts: NDArray[Any]) -> Histogram:
    used = np.flatnonzero(counts)
    if not len(used):
        return Histogram((), ())
    start, end = int(used[0]), int(used[-1]) + 1
    edges = bin_edges()[start : end + 1]
    return Histogram(tuple(edges.tolist()), tuple(counts[start:end].tolist()))


def closed(acts: NDArray[Any], maximum: float) -> NDArray[np.uint8]:
    """Store activations in a byte, finer where they are small; what is active stays above 0."""
    share = np.sqrt(np.clip(acts.astype(np.float64) / max(maximum, 1e-30), 0, 1))
    return np.where(acts > 0, np.maximum(np.rint(255 * share), 1), 0).astype(np.uint8)


def opened(stored: NDArray[np.uint8], maximum: float) -> NDArray[np.float64]:
    """Return stored activations, to within 1 % of the largest."""
    acts: NDArray[np.float64] = (stored.astype(np.float64) / 255) ** 2 * maximum
    return acts


def packed_examples(
    kept: list[tuple[int, Any]],
    alive: NDArray[Any],
    maximum: NDArray[Any],
    size: int = 128,
) -> list[tuple[int, int, dict[str, NDArray[Any]]]]:
    """Pack examples in blocks of features.

    Args:
        kept: Kinds (0 the strongest, 1 the sample) and `tally.Kept`s.
        alive: Features with examples, ascending.
        maximum: Largest activation of each feature.
        size: Features in a block.

    Returns:
        First and last feature and the arrays of each block.
    """
    blocks = []
    types = {
        "peak": np.uint16, "value": np.float16, "kind": np.uint8, "sequence": np.int32,
        "position": np.uint16, "length": np.uint16,
    }  # fmt: skip
    for start in range(0, len(alive), size):
        units = alive[start : start + size]
        columns: dict[str, list[Any]] = {name: [] for name in (*types, "ids", "acts")}
        ends = [0]
        for unit in units.tolist():
            for kind, table in kept:
                for slot in np.flatnonzero(table.key[unit] > -np.inf).tolist():
                    length = int(table.length[unit, slot])
                    acts = table.acts[unit, slot, :length]
                    columns["ids"].append(table.ids[unit, slot, :length])
                    columns["acts"].append(closed(acts, float(maximum[unit])))
                    columns["peak"].append(table.position[unit, slot] - table.first[unit, slot])
                    columns["kind"].append(kind)
                    for name in ("value", "sequence", "position", "length"):
                        columns[name].append(getattr(table, name)[unit, slot])
            ends.append(len(columns["kind"]))
        arrays = {name: np.array(columns[name]).astype(dtype) for name, dtype in types.items()}
        arrays |= {name: np.concatenate(columns[name]) for name in ("ids", "acts")}
        arrays["example"] = np.array(ends, np.uint32)
        arrays["unit"] = units.astype(np.int32)
        blocks.append((int(units[0]), int(units[-1]), arrays))
    return blocks


__all__ = ["BANDS", "DictionaryEvidence", "packed_examples"]
