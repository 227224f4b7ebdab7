"""Pruning: from all nodes to the few that matter, with a reason for every node left out.

1. Influence of every node; keep the strongest nodes that together hold `node_threshold` of it.
   Tokens and roots are always kept (and count in the sum).
2. Drop the other rows and columns, normalise again, influence again.
3. Score each edge by its share of its row times what reaches the row; keep the strongest edges
   that together hold `edge_threshold`.
4. Until nothing changes: drop nodes without an outgoing edge, then nodes without an incoming one.

The rule and its numbers are circuit-tracer's `prune_graph` (0.4.1). Pruning is a view: nothing is
deleted, and what is hidden says why.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.graph.influence import (
    CONSTANTS,
    flow,
    relevance_edges,
    row_shares,
    standing,
)


class Reason(IntEnum):
    """Say why a node is not shown."""

    SHOWN = 0
    INFLUENCE = 1
    """Its influence lies below the threshold."""
    NO_OUTGOING = 2
    """None of its effects is among the edges kept."""
    NO_INCOMING = 3
    """None of its causes is among the edges kept."""
    CONSTANT = 4
    """It holds a constant (biases, positions), which influence does not count."""
    ERROR = 5
    """Unexplained parts are switched off in this view."""
    BY_HAND = 6
    """The user hid it."""
    FILTER = 7
    """A filter of this view leaves it out."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a view shows of a circuit.

    Attributes:
        node_mask: Nodes kept, bool [n].
        edge_mask: Edges kept, bool [m].
        reasons: `Reason` code of each node, uint8 [n].
        cumulative: Fraction of all influence held by this node and stronger ones, float32 [n].
    """

    node_mask: NDArray[np.bool_]
    edge_mask: NDArray[np.bool_]
    reasons: NDArray[np.uint8]
    cumulative: NDArray[np.float32]

    def counts(self) -> dict[Reason, int]:
        """Return how many nodes each reason hides; their sum is all that is hidden."""
        codes, numbers = np.unique(self.reasons[~self.node_mask], return_counts=True)
        return {Reason(int(code)): int(n) for code, n in zip(codes, numbers, strict=True)}


def _threshold(values: NDArray[np.float64], fraction: float) -> float:
    ordered = np.sort(values)[::-1]
    total = np.cumsum(ordered)
    if not len(ordered) or total[-1] <= 0:
        return 0.0
    at = int(np.searchsorted(total / total[-1], fraction))
    return float(ordered[min(at, len(ordered) - 1)])


def cumulative(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the fraction of a sum held by each value and larger ones, float32 [n]."""
    order = np.argsort(-values, kind="stable")
    held = np.empty(len(values))
    held[order] = np.cumsum(values[order])
    return (held / max(float(values.sum()), 1e-30)).astype(np.float32)


def prune(
    circuit: Circuit,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    *,
    keep: NDArray[np.bool_] | None = None,
) -> Pruned:
    """Choose the nodes and edges that carry most of the explanation.

    Args:
        circuit: The evidence; unchanged.
        node_threshold: Fraction of influence that the kept nodes hold together, 0 to 1.
        edge_threshold: Fraction of edge score that the kept edges hold together, 0 to 1.
        keep: Nodes kept whatever their influence, such as pinned ones, bool [n].

    Returns:
        Masks, reasons and cumulative influence; constants are never among the nodes kept here,
        unless `keep` names them.
    """
    nodes, n = circuit.nodes, len(circuit.nodes)
    known = standing(circuit)
    start, first = known.start, known.reached

    fixed = nodes.of_kind(NodeKind.TOKEN, NodeKind.LOGIT) | (start > 0)
    if keep is not None:
        fixed |= keep
    # A discovered circuit is a choice already: its relevances and their ends stay.
    relevance = relevance_edges(circuit)
    fixed[circuit.edges.source[relevance]] = True
    fixed[circuit.edges.target[relevance]] = True
    constant = nodes.of_kind(*CONSTANTS)
    kept = fixed | ((first >= _threshold(first, node_threshold)) & (first > 0) & ~constant)
    reasons = np.where(kept, Reason.SHOWN, np.where(constant, Reason.CONSTANT, Reason.INFLUENCE))

    inside = np.flatnonzero(kept[known.source] & kept[known.target])
    source, target = known.source[inside], known.target[inside]
    share = row_shares(target, known.weight[inside], n)
    reached = flow(source, target, share, start, known.stage)
    score = share * (reached + start)[target]
    alive = (score >= _threshold(score, edge_threshold)) & (score > 0)

    drop = _dead_ends(circuit, source, target, kept, alive, fixed)
    for reason, gone in drop.items():
        reasons[gone] = reason
        kept &= ~gone
    edge_mask = np.zeros(len(circuit.edges), np.bool_)
    edge_mask[known.seen[inside[alive & kept[source] & kept[target]]]] = True
    edge_mask |= relevance
    return Pruned(kept, edge_mask, reasons.astype(np.uint8), cumulative(first))


def _dead_ends(
    circuit: Circuit,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    kept: NDArray[np.bool_],
    alive: NDArray[np.bool_],
    fixed: NDArray[np.bool_],
) -> dict[Reason, NDArray[np.bool_]]:
    n = len(kept)
    is_error = circuit.nodes.of_kind(NodeKind.ERROR)
    gone = {
        Reason.NO_OUTGOING: np.zeros(n, np.bool_),
        Reason.NO_INCOMING: np.zeros(n, np.bool_),
    }
    here, edges = kept.copy(), alive.copy()
    while True:
        has_out = np.bincount(source[edges], minlength=n) > 0
        no_out = here & ~fixed & ~has_out
        has_in = np.bincount(target[edges], minlength=n) > 0
        no_in = here & ~fixed & ~is_error & ~has_in & ~no_out
        if not (no_out.any() or no_in.any()):
            return gone
        gone[Reason.NO_OUTGOING] |= no_out
        gone[Reason.NO_INCOMING] |= no_in
        here &= ~(no_out | no_in)
        edges &= here[source] & here[target]
