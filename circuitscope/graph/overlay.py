"""Two compared circuits as one: the union of their tokens, nodes and edges, each with its class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey
from circuitscope.graph.compare import WHERES, Comparison, EdgePair, Pair, Where

BETWEEN: Final = " | "
"""Stands between the names that one thing has in the first and in the second circuit."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """The union of two circuits.

    Attributes:
        circuit: Nodes in the order of `Comparison.nodes`, tokens of both in one row; weights are
            those of the first circuit that has the edge.
        nodes: Place in `WHERES` of each node, uint8 [n]; edges: likewise, uint8 [m].
        share: Of each edge, the larger of its shares of the target's input, float64 [m].
    """

    circuit: Circuit
    nodes: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    share: NDArray[np.float64]

    def of(self, *wheres: Where) -> NDArray[np.bool_]:
        """Return the nodes of some classes, bool [n]."""
        return np.isin(self.nodes, [WHERES.index(where) for where in wheres])


def overlay(a: Circuit, b: Circuit, found: Comparison) -> Overlay:
    """Lay two circuits over each other.

    Args:
        a: The first circuit of the comparison.
        b: The second.
        found: What `graph.compare.compare` says of them.
    """
    tokens, of_a, of_b = _tokens(a, b, found)
    keys = [_moved(pair, of_a if pair.a >= 0 else of_b) for pair in found.nodes]
    nodes = NodeTable.from_keys(
        keys, np.array([_larger(pair.activation) for pair in found.nodes], np.float32),
        np.array([max(pair.influence) for pair in found.nodes], np.float32),
    )  # fmt: skip
    drawn: Sequence[EdgePair] = found.edges
    ends = np.array([pair.ends for pair in drawn], np.int32).reshape(-1, 2)
    order = np.lexsort((ends[:, 0], ends[:, 1]))
    drawn, ends = [drawn[at] for at in order], ends[order]
    edges = EdgeTable(
        ends[:, 0], ends[:, 1],
        np.array([pair.weights[0] or pair.weights[1] for pair in drawn], np.float32),
        np.full(len(drawn), Route.DIRECT),
    )  # fmt: skip
    n = len(keys)
    roots = [at for at, pair in enumerate(found.nodes) if pair.a in a.roots or pair.b in b.roots]
    zero = np.zeros(n, np.float32)
    circuit = Circuit(
        tokens, tuple(range(len(tokens))), nodes, edges, np.array(roots, np.int32),
        np.array([_weight(a, b, found.nodes[at]) for at in roots], np.float32),
        zero, zero, zero, zero > 1, Provenance("comparison"),
        tuple(names_of(a, b, pair) for pair in found.nodes),
    )  # fmt: skip
    return Overlay(
        circuit, np.array([WHERES.index(pair.where) for pair in found.nodes], np.uint8),
        np.array([WHERES.index(pair.where) for pair in drawn], np.uint8),
        np.array([max(map(abs, pair.shares)) for pair in drawn], np.float64),
    )  # fmt: skip


def names_of(a: Circuit, b: Circuit, pair: Pair) -> str:
    """Return a node's automatic label, in both circuits where they differ."""
    names = [a.labels[pair.a]] if pair.a >= 0 else []
    names += [b.labels[pair.b]] if pair.b >= 0 else []
    return BETWEEN.join(dict.fromkeys(name for name in names if name))


def _tokens(
    a: Circuit, b: Circuit, found: Comparison
) -> tuple[tuple[str, ...], dict[int, int], dict[int, int]]:
    """Return one row of tokens, and where those of each circuit stand in it."""
    tokens: list[str] = []
    of_a: dict[int, int] = {}
    of_b: dict[int, int] = {}
    i = j = 0
    for p, q in (*found.positions, (len(a.tokens), len(b.tokens))):
        for at, circuit, places in (*((k, a, of_a) for k in range(i, p)),
                                    *((k, b, of_b) for k in range(j, q))):  # fmt: skip
            places[at] = len(tokens)
            tokens.append(circuit.tokens[at])
        if p < len(a.tokens):
            of_a[p] = of_b[q] = len(tokens)
            tokens.append(BETWEEN.join(dict.fromkeys((a.tokens[p], b.tokens[q]))))
        i, j = p + 1, q + 1
    return tuple(tokens), of_a, of_b


def _moved(pair: Pair, places: dict[int, int]) -> NodeKey:
    key = pair.key
    return NodeKey(key.kind, key.site, key.layer, places.get(key.position, -1), key.unit)


def _larger(values: tuple[float, float]) -> float:
    return max(values, key=abs)


def _weight(a: Circuit, b: Circuit, pair: Pair) -> float:
    found = [
        float(one.root_weights[np.flatnonzero(one.roots == node)[0]])
        for one, node in ((a, pair.a), (b, pair.b))
        if node in one.roots
    ]
    return max(found)
