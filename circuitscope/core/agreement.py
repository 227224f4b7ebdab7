"""How well two orders of the same things agree: numbers without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return ranks from 1 up, smallest first; equal values share the mean of theirs."""
    array = np.asarray(values, np.float64)
    _, place, n = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(n)
    return ((last - n + 1 + last) / 2)[place]


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return the correlation of two orders; nan where one of them is constant."""
    x, y = (ranks(values) - ranks(values).mean() for values in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else float("nan")


def area_under_curve(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the area under the ROC curve; nan where all are in, or none is.

    Args:
        scores: Higher where something is thought to be in, [n].
        truth: Whether it is, bool [n].
    """
    inside = np.asarray(truth, bool)
    n_in, n_out = int(inside.sum()), int((~inside).sum())
    if not n_in or not n_out:
        return float("nan")
    return float((ranks(scores)[inside].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out))


@dataclass(frozen=True, slots=True)
class HeadRow:
    """A head as two circuits of one prompt see it.

    Attributes:
        dictionary: Influence of its share of the dictionary circuit's attention features.
        relevance: Its relevance by contextual decomposition, with sign.
        discovered: Whether discovery took it.
    """

    layer: int
    head: int
    dictionary: float
    relevance: float
    discovered: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """A dictionary circuit beside one of contextual decomposition.

    Attributes:
        heads: All heads of the model, layer by layer.
        spearman: Correlation of the orders by influence and by size of relevance.
        auc: Area under the ROC curve: do influences rank the discovered heads first?
        projected: Share of attention's influence in the dictionary circuit that goes to heads;
            the rest is what its dictionaries do not explain.
        dictionary_name, contextual_name: What the circuits are called, where they are in a project.
    """

    heads: tuple[HeadRow, ...]
    spearman: float
    auc: float
    projected: float
    dictionary_name: str = ""
    contextual_name: str = ""

    @property
    def n_discovered(self) -> int:
        """Return how many heads discovery took."""
        return sum(row.discovered for row in self.heads)

    @property
    def top(self) -> tuple[HeadRow, ...]:
        """Return as many heads as discovery took, those of the most influence first."""
        order = sorted(self.heads, key=lambda row: -row.dictionary)
        return tuple(row for row in order[: self.n_discovered] if row.dictionary > 0)

    @property
    def only_dictionary(self) -> tuple[HeadRow, ...]:
        """Return heads at the top of the dictionary circuit that discovery did not take."""
        return tuple(row for row in self.top if not row.discovered)

    @property
    def only_contextual(self) -> tuple[HeadRow, ...]:
        """Return heads that discovery took and that are not at the top of the other circuit."""
        top = set(self.top)
        missed = [row for row in self.heads if row.discovered and row not in top]
        return tuple(sorted(missed, key=lambda row: -abs(row.relevance)))


def compare_heads(
    influence: NDArray[np.float64],
    relevance: NDArray[np.float64],
    discovered: NDArray[np.bool_],
    projected: float = 1.0,
) -> Agreement:
    """Compare two circuits by heads.

    Args:
        influence: Of the dictionary circuit, [layer, head].
        relevance: By contextual decomposition, [layer, head].
        discovered: Heads that discovery took, [layer, head].
        projected: See `Agreement`.
    """
    rows = tuple(
        HeadRow(layer, head, float(influence[layer, head]), float(relevance[layer, head]),
                bool(discovered[layer, head]))
        for layer, head in np.ndindex(influence.shape)
    )  # fmt: skip
    return Agreement(
        rows, spearman(influence.ravel(), np.abs(relevance).ravel()),
        area_under_curve(influence.ravel(), discovered.ravel()), projected,
    )  # fmt: skip
