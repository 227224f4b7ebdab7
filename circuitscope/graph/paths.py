"""Paths between two nodes, and what lies up and down from some.

The share of a path is the product of its edges' shares of their targets' rows: what part of the
end's input comes from the start along just this way. The strongest paths maximise it:

1. Keep the edges that run up the order of computation, and the nodes that lie between the two.
2. In that order, every node keeps its k best ways from the start: each incoming edge prolongs the
   ways of its source, logarithms of shares add up, and the k largest sums stay.
3. Read the ways of the end backwards.

The graph has no cycle along the order, so step 2 finds the k best of all paths.
"""

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.graph.influence import signed_shares, stages

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Path:
    """One way from a node to another.

    Attributes:
        nodes: Node indices, from the start to the end.
        edges: Edge indices between them.
        share: Product of the edges' signed shares, -1 to 1.
    """

    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    share: float


def strongest_paths(
    circuit: Circuit, start: int, end: int, k: int = 3, edges: Mask | None = None
) -> tuple[Path, ...]:
    """Find the paths between two nodes with the largest products of shares.

    Args:
        circuit: The evidence.
        start: Node index.
        end: Node index, computed later.
        k: How many paths, at most.
        edges: Edges that may be used, bool [m]; all where left out.

    Returns:
        Strongest first; empty where no edges lead from the one to the other.
    """
    share, stage, table = signed_shares(circuit), stages(circuit.nodes), circuit.edges
    usable = stage[table.source] < stage[table.target]
    usable &= share != 0
    if edges is not None:
        usable &= edges
    between = reached(circuit, usable, [start], down=False) & reached(
        circuit, usable, [end], down=True
    )
    usable &= between[table.source] & between[table.target]
    chosen = np.flatnonzero(usable)
    chosen = chosen[np.argsort(stage[table.target[chosen]], kind="stable")]
    # The best ways of a node: sum of logarithms, edge it comes by, and which way of its source.
    ways: dict[int, list[tuple[float, int, int]]] = {start: [(0.0, -1, -1)]}
    found: dict[int, list[tuple[float, int, int]]] = {}
    size = np.log(np.abs(share[chosen]))
    source, target = table.source[chosen].tolist(), table.target[chosen].tolist()
    last = -1
    for edge, low, high, log in zip(chosen.tolist(), source, target, size.tolist(), strict=True):
        if stage[high] != last:
            ways |= {node: heapq.nlargest(k, some) for node, some in found.items()}
            found, last = {}, int(stage[high])
        prolonged = ((total + log, edge, n) for n, (total, _, _) in enumerate(ways.get(low, ())))
        found.setdefault(high, []).extend(prolonged)
    ways |= {node: heapq.nlargest(k, some) for node, some in found.items()}
    if start == end:
        return ()
    return tuple(_read(ways, table.source, end, n, share) for n in range(len(ways.get(end, ()))))


def _read(
    ways: dict[int, list[tuple[float, int, int]]],
    source: NDArray[np.int32],
    end: int,
    number: int,
    share: NDArray[np.float64],
) -> Path:
    nodes, edges = [end], []
    _, edge, number = ways[end][number]
    while edge >= 0:
        edges.append(edge)
        nodes.append(int(source[edge]))
        _, edge, number = ways[nodes[-1]][number]
    return Path(tuple(nodes[::-1]), tuple(edges[::-1]), math.prod(share[edges].tolist()))


def reached(circuit: Circuit, edges: Mask, nodes: list[int], *, down: bool) -> Mask:
    """Return what feeds some nodes over any number of edges, or what they feed, bool [n].

    Args:
        circuit: The evidence.
        edges: Edges that may be used, bool [m].
        nodes: Where to begin; they are part of the result.
        down: Towards the inputs; else towards the outputs.
    """
    table = circuit.edges
    here, there = (table.target, table.source) if down else (table.source, table.target)
    here, there = here[edges], there[edges]
    found = np.zeros(len(circuit.nodes), np.bool_)
    found[nodes] = True
    while True:
        new = there[found[here] & ~found[there]]
        if not len(new):
            return found
        found[new] = True
