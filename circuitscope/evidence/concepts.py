"""Tell a feature's concepts apart by clustering the contexts in which it is active.

After PRISM (Kopf et al. 2025, arXiv:2506.15538), with rules of tokens in the place of a language
model's sentences:

1. Contexts are given as vectors. Those of the half that chooses are clustered by k-means, into two
   and up to `MOST` clusters.
2. Each cluster is named by the rules that tell it best from places where the feature is silent.
   Clusters that share a rule are one concept; one that no rule tells stays without a name.
3. How many clusters there are is decided by how well their rules tell this half (the Bayesian
   information criterion), and where that is equal by the silhouette (Rousseeuw 1987). There is no
   label where rules chosen without clusters tell it better, or only one concept has a name.
4. On the other half each context belongs to the nearest cluster: that gives each concept's share
   and score, and the score of all rules together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.labelling import (
    LEAST_PLACES,
    LEAST_SCORE,
    Halves,
    Rule,
    Silences,
    choose,
    detection,
    information,
    say,
)
from circuitscope.evidence.records import CONCEPTS, Label

METHOD = "concepts by clustering (PRISM)"
MOST = 6
"""Most clusters."""
_STARTS, _STEPS = 10, 30


@dataclass(frozen=True, slots=True)
class Concepts:
    """Clusters of a feature's contexts that rules tell from silent places.

    Attributes:
        rules: Of each concept, the one with most contexts first.
        owner: The concept of each cluster; -1 where no rule tells it.
        centres: Of each cluster, [cluster, d].
    """

    rules: tuple[tuple[Rule, ...], ...]
    owner: NDArray[np.int64]
    centres: NDArray[np.float64]

    def of(self, vectors: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the concept of contexts, by the nearest cluster; -1 for none, [context]."""
        found: NDArray[np.int64] = self.owner[_distances(vectors, self.centres).argmin(1)]
        return found


def find_concepts(
    vectors: NDArray[np.float64], rules: Sequence[set[Rule]], rate: Callable[[Rule], float]
) -> Concepts | None:
    """Find the concepts of a feature; None where they are fewer than two.

    Args:
        vectors: Contexts in which it is active, [context, d].
        rules: The rules that hold at each.
        rate: How often a rule holds where the feature is silent.
    """
    plain = information(len(rules), *_covered(rules, choose(rules, rate), rate))
    best: tuple[float, float] = (round(plain, 6), -1.0)
    found: Concepts | None = None
    for k in range(2, min(MOST, len(rules) // LEAST_PLACES) + 1):
        cluster = k_means(vectors, k)
        concepts = _named(vectors, cluster, rules, rate)
        every = tuple({rule for named in concepts.rules for rule in named})
        told = information(len(rules), *_covered(rules, every, rate))
        worth = (round(told, 6), silhouette(vectors, cluster))
        if len(concepts.rules) > 1 and worth > best:
            best, found = worth, concepts
    return found


def _covered(
    rules: Sequence[set[Rule]], chosen: Sequence[Rule], rate: Callable[[Rule], float]
) -> tuple[int, float, int]:
    wanted = set(chosen)
    covered = sum(bool(wanted & one) for one in rules)
    return covered, min(sum(map(rate, chosen)), 1.0), len(chosen)


def _named(
    vectors: NDArray[np.float64],
    cluster: NDArray[np.int64],
    rules: Sequence[set[Rule]],
    rate: Callable[[Rule], float],
) -> Concepts:
    """Name clusters; those that share a rule become one concept."""
    n = int(cluster.max()) + 1
    members = [np.flatnonzero(cluster == number) for number in range(n)]
    names = [set(choose([rules[at] for at in here.tolist()], rate)) for here in members]
    joined = _joined(names)
    size = [sum(len(members[at]) for at in range(n) if names[at] & one) for one in joined]
    order = sorted(range(len(joined)), key=lambda at: (-size[at], sorted(joined[at])))
    concepts = [joined[at] for at in order]
    owner = [next((c for c, one in enumerate(concepts) if one & name), -1) for name in names]
    return Concepts(
        tuple(tuple(sorted(one)) for one in concepts),
        np.array(owner),
        np.array([vectors[here].mean(0) for here in members]),
    )


def _joined(names: Sequence[set[Rule]]) -> list[set[Rule]]:
    """Join sets that overlap, directly or through others; empty ones are left out."""
    joined: list[set[Rule]] = []
    for name in filter(None, names):
        near = [one for one in joined if one & name]
        joined = [one for one in joined if not one & name] + [name.union(*near)]
    return joined


def concepts_label(
    halves: Halves,
    vectors: tuple[NDArray[np.float64], NDArray[np.float64]],
    silent: Silences,
    text: Callable[[int], str],
) -> tuple[Label, Concepts] | None:
    """Label a feature that has several concepts; None for others, and where they say too little.

    Args:
        halves: Its places, split.
        vectors: Of the contexts that choose and of those that measure, [context, d].
        silent: The even sample.
        text: Of a token.
    """
    rate = silent.rates(halves.silent_choosing)
    found = find_concepts(vectors[0], halves.choosing, rate)
    if found is None:
        return None
    tested = halves.silent_measuring
    every = {rule for named in found.rules for rule in named}
    score = detection(every, halves.measuring, silent, tested)
    if score < LEAST_SCORE:
        return None
    owner, detail = found.of(vectors[1]), {}
    for number, named in enumerate(found.rules):
        mine = [halves.measuring[at] for at in np.flatnonzero(owner == number)]
        detail[f"share of concept {number + 1}"] = round(len(mine) / max(len(owner), 1), 4)
        if mine:
            own = detection(named, mine, silent, tested)
            detail[f"score of concept {number + 1}"] = round(own, 4)
    said = CONCEPTS.join(say(named, text).replace(CONCEPTS, ", ") for named in found.rules)
    return Label(said, METHOD, "machine", round(score, 4), "detection", detail=detail), found


def k_means(x: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Cluster rows [row, d]; the same rows give the same clusters, numbered without gaps, [row]."""
    found, best = np.zeros(len(x), np.int64), np.inf
    for start in range(_STARTS):
        centres = _start(x, k, np.random.default_rng(start))
        owner = np.full(len(x), -1)
        for _ in range(_STEPS):
            far = _distances(x, centres)
            before, owner = owner, far.argmin(1)
            if (owner == before).all():
                break
            for number in np.unique(owner):
                centres[number] = x[owner == number].mean(0)
        cost = float(far[np.arange(len(x)), owner].sum())
        if cost < best * (1 - 1e-9):
            best, found = cost, owner
    return np.unique(found, return_inverse=True)[1]


def silhouette(x: NDArray[np.float64], cluster: NDArray[np.int64]) -> float:
    """Return how much nearer rows are to their own cluster than to the next, from -1 to 1."""
    n = np.bincount(cluster)
    if len(n) < 2:
        return 0.0
    far = np.sqrt(_distances(x, x))
    sums = np.stack([far[:, cluster == number].sum(1) for number in range(len(n))], 1)
    row = np.arange(len(x))
    own = sums[row, cluster] / np.maximum(n[cluster] - 1, 1)
    others = sums / n
    others[row, cluster] = np.inf
    next_one = others.min(1)
    largest = np.maximum(np.maximum(own, next_one), 1e-12)
    return float(np.where(n[cluster] > 1, (next_one - own) / largest, 0.0).mean())


def _start(x: NDArray[np.float64], k: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw rows far from each other (k-means++, Arthur and Vassilvitskii 2007)."""
    chosen = [int(random.integers(len(x)))]
    while len(chosen) < k:
        far = _distances(x, x[chosen]).min(1)
        total = far.sum()
        chosen.append(int(random.choice(len(x), p=far / total)) if total > 0 else chosen[0])
    return x[chosen].copy()


def _distances(x: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    found: NDArray[np.float64] = np.maximum(squares, 0.0)
    return found
