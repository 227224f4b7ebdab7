"""Which edges of a folded circuit a diagram draws: the strong ones, and one for each box."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.exchange.routing import Link
from circuitscope.graph.groups import Subgraph

LEAST_SHARE: Final = 0.03
LEAST_NUMBER: Final = 0.005
"""Smallest share that is not printed as zero."""
MOST_EDGES: Final = 60


def drawn_links(subgraph: Subgraph) -> tuple[list[Link], int]:
    """Return the edges of the diagram, in the order of its curves, and how many are left out."""
    return strongest_links(subgraph, reach_all=True)


def strongest_links(subgraph: Subgraph, *, reach_all: bool = False) -> tuple[list[Link], int]:
    """Return the edges worth drawing and how many are left out.

    Args:
        subgraph: Boxes and the edges between them.
        reach_all: Draw the strongest edge of a box that no other edge reaches, weak as it may be.
    """
    size = np.abs(subgraph.share)
    order = np.argsort(-size, kind="stable")[:MOST_EDGES]
    kept = np.sort(order[size[order] >= LEAST_SHARE])
    if reach_all:
        kept = _reaching_all(subgraph, size, kept)
    links = [
        Link(int(subgraph.source[i]), int(subgraph.target[i]), float(subgraph.share[i]))
        for i in kept
    ]
    return links, int((size > 0).sum()) - len(links)


def _reaching_all(
    subgraph: Subgraph, size: NDArray[np.float64], kept: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the kept edges and the strongest one of every box that they leave alone."""
    k = len(subgraph.boxes)
    ends = np.concatenate([subgraph.source, subgraph.target])
    edge = np.tile(np.arange(len(size)), 2)
    # By box, the strongest edge first, of equals the first one.
    order = np.lexsort((edge, -size[edge], ends))
    starts = np.searchsorted(ends[order], np.arange(k + 1))
    reached = np.zeros(k, np.bool_)
    reached[subgraph.source[kept]] = reached[subgraph.target[kept]] = True
    found = set(kept.tolist())
    for box in range(k):
        if not reached[box] and starts[box] < starts[box + 1]:
            best = int(edge[order[starts[box]]])
            if size[best] >= LEAST_NUMBER:
                found.add(best)
                reached[subgraph.source[best]] = reached[subgraph.target[best]] = True
    return np.array(sorted(found), np.int64)
