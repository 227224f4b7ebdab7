"""Suggest groups: features that read alike and write alike, in layers near each other.

1. Candidates: shown units (features, neurons, heads) outside groups, the most influential ones.
2. Profile of a candidate: its signed in-edges and its signed out-edges, each row of length one.
3. Similarity of two: the mean of the cosines of their in-rows and of their out-rows; where either
   has no edges on a side, that side says nothing, and without any the similarity is 0.
4. Average linkage (Sokal and Michener 1958): the two clusters whose members are most similar on
   average merge, as long as that is at least `least` and they span at most `span` layers.

Deterministic: equal similarities merge in the order of the nodes. Edges say that features do the
same here, not that they mean the same: a suggestion is a machine's until a person names it.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind

LEAST: Final = 0.6
SPAN: Final = 2
MOST: Final = 400
"""Candidates looked at: linkage takes their number squared times merges."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One group that a person may accept.

    Attributes:
        members: Node indices, ascending.
        similarity: Mean over all pairs of members, -1 to 1.
        name: The word that most members' labels share, or "".
    """

    members: tuple[int, ...]
    similarity: float
    name: str = ""


def suggest_groups(
    circuit: Circuit,
    shown: NDArray[np.bool_],
    grouped: NDArray[np.bool_] | None = None,
    *,
    least: float = LEAST,
    span: int = SPAN,
) -> list[Suggestion]:
    """Return groups of nodes with similar edges, those that say most first.

    Args:
        circuit: The evidence.
        shown: Nodes that may take part, bool [n]; edges of all nodes count.
        grouped: Nodes that belong to a group already, bool [n].
        least: Mean similarity that two clusters need to merge.
        span: Layers that a group may span beyond its lowest.
    """
    nodes = circuit.nodes
    kinds = nodes.of_kind(NodeKind.FEATURE, NodeKind.NEURON, NodeKind.HEAD)
    free = kinds & shown & (True if grouped is None else ~grouped)
    found = np.flatnonzero(free)
    strongest = found[np.argsort(-nodes.influence[found], kind="stable")[:MOST]]
    chosen = np.sort(strongest)
    if len(chosen) < 2:
        return []
    alike = similarity(circuit, chosen)
    clusters = _linked(alike, nodes.layer[chosen].astype(np.int64), least, span)
    out = []
    for cluster in clusters:
        pairs = alike[np.ix_(cluster, cluster)]
        mean = float((pairs.sum() - len(cluster)) / (len(cluster) * (len(cluster) - 1)))
        members = tuple(int(i) for i in chosen[cluster])
        out.append(Suggestion(members, mean, _shared_word(circuit, members)))
    return sorted(out, key=lambda one: (-len(one.members) * one.similarity, one.members))


def similarity(circuit: Circuit, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the similarity of every two of some nodes, 1 on the diagonal, [k, k]."""
    edges = circuit.edges
    ends = ((edges.target, edges.source), (edges.source, edges.target))
    n = len(circuit.nodes)
    sides = [_cosines(mine, other, edges.weight, chosen, n) for mine, other in ends]
    known = np.stack([np.outer(has, has) for _, has in sides])
    sums = sum(cosine * both for (cosine, _), both in zip(sides, known, strict=True))
    alike: NDArray[np.float64] = sums / np.maximum(known.sum(axis=0), 1)
    np.fill_diagonal(alike, 1.0)
    return alike


def _cosines(
    mine: NDArray[np.int32], other: NDArray[np.int32], weight: NDArray[np.float32],
    chosen: NDArray[np.int64], n: int,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Return cosines of the nodes' rows of edges on one side, and who has any, [k, k] and [k]."""
    row_of = np.full(n, -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    kept = row_of[mine] >= 0
    columns, column = np.unique(other[kept], return_inverse=True)
    rows = np.zeros((len(chosen), max(len(columns), 1)))
    np.add.at(rows, (row_of[mine[kept]], column), weight[kept].astype(np.float64))
    size = np.linalg.norm(rows, axis=1)
    rows /= np.maximum(size, 1e-30)[:, None]
    return rows @ rows.T, size > 0


def _linked(
    alike: NDArray[np.float64], layer: NDArray[np.int64], least: float, span: int
) -> list[list[int]]:
    """Return clusters of two and more by average linkage."""
    k = len(alike)
    clusters: dict[int, list[int]] = {i: [i] for i in range(k)}
    low, high = layer.copy(), layer.copy()
    mean, size = alike.copy(), np.ones(k)
    far = (np.maximum.outer(high, high) - np.minimum.outer(low, low)) > span
    mean[far | (np.tri(k) > 0)] = -np.inf
    whole = alike.copy()
    while True:
        a, b = divmod(int(np.argmax(mean)), k)
        if mean[a, b] < least:
            break
        total = whole[a] * size[a] + whole[b] * size[b]
        size[a] += size[b]
        whole[a] = whole[:, a] = total / size[a]
        low[a], high[a] = min(low[a], low[b]), max(high[a], high[b])
        clusters[a] += clusters.pop(b)
        mean[b], mean[:, b] = -np.inf, -np.inf
        others = np.array([i for i in clusters if i != a], np.int64)
        near = np.maximum(high[others], high[a]) - np.minimum(low[others], low[a]) <= span
        value = np.where(near, whole[a, others], -np.inf)
        first, second = np.minimum(others, a), np.maximum(others, a)
        mean[first, second] = value
    return [sorted(cluster) for cluster in clusters.values() if len(cluster) > 1]


def _shared_word(circuit: Circuit, members: tuple[int, ...]) -> str:
    counts: Counter[str] = Counter()
    for node in members:
        words = circuit.labels[node].rpartition("→")[2].split(",")
        counts.update({word.strip() for word in words if word.strip()})
    best, number = max(counts.items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))
    return best if number > len(members) / 2 else ""
