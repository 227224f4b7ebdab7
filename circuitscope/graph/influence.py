"""Influence: what share of the explained roots passes through each node.

Every row of the graph is divided by the sum of its absolute entries; a node's influence is what
reaches it when the roots' weights flow down these shares, over all paths:
I = w (N + N^2 + ...). The graph is a DAG whose order is known from layers and sites, so one sweep
from the top computes the sum exactly; circuit-tracer iterates a dense matrix for the same number.

One definition serves our traces and imported graphs: BIAS and POSITION columns are left out, as
the reference has none (Ameisen et al. 2025; circuit-tracer 0.4.1 `compute_node_influence`).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, NodeTable, Route
from circuitscope.core.keys import NodeKind

CONSTANTS: Final = (NodeKind.BIAS, NodeKind.POSITION)
_ROW_FLOOR = 1e-10
_MOST_STEPS = 128

_WITHIN_LAYER = np.full(256, 3, np.int64)
for _site in (
    Site.ATTN_OUT, Site.HEAD_Z, Site.LN1_NORMALIZED, Site.HEAD_V, Site.PATTERN,
):  # fmt: skip
    _WITHIN_LAYER[int(_site)] = 1
for _site, _place in ((Site.RESID_PRE, 0), (Site.RESID_MID, 2), (Site.RESID_POST, 4)):
    _WITHIN_LAYER[int(_site)] = _place


def stages(nodes: NodeTable) -> NDArray[np.int64]:
    """Return the order in which nodes are computed, int64 [n]: sources come before targets."""
    stage = 4 * nodes.layer.astype(np.int64) + _WITHIN_LAYER[nodes.site]
    stage[nodes.of_kind(NodeKind.TOKEN, *CONSTANTS)] = -1
    top = int(stage.max(initial=0)) + 1
    stage[nodes.of_kind(NodeKind.LOGIT)] = top
    return stage


def counted_edges(circuit: Circuit) -> NDArray[np.bool_]:
    """Return which edges influence and pruning see, bool [m].

    Not those of constants, nor relevances: these are effects along all paths already.
    """
    constant = circuit.nodes.of_kind(*CONSTANTS)[circuit.edges.source]
    counted: NDArray[np.bool_] = ~constant & ~relevance_edges(circuit)
    return counted


def relevance_edges(circuit: Circuit) -> NDArray[np.bool_]:
    """Return which edges are relevances of contextual decomposition, bool [m]."""
    found: NDArray[np.bool_] = circuit.edges.route == Route.RELEVANCE
    return found


def is_relevance(circuit: Circuit) -> bool:
    """Return whether a circuit's edges are relevances: then all are."""
    return int(Route.RELEVANCE) in circuit.edges.routes


def row_shares(
    target: NDArray[np.int32], weight: NDArray[np.float32], n_nodes: int
) -> NDArray[np.float64]:
    """Return |weight| / sum of |weights into the same target|, float64 [m]."""
    size = np.abs(weight.astype(np.float64))
    total = np.bincount(target, size, minlength=n_nodes)
    return size / np.maximum(total, _ROW_FLOOR)[target]


def is_flow(circuit: Circuit) -> bool:
    """Return whether edges are shares of what states consist of (information flow): then all are.

    They are passed on as influence is, but say nothing of effects, and are not called so.
    """
    return bool((circuit.edges.route == Route.FLOW).any())


def signed_shares(circuit: Circuit) -> NDArray[np.float64]:
    """Return what edges are drawn by, float64 [m]: signed shares of their target's row.

    Relevances make no row: into the metric they are shares of the whole metric, into a head of
    what it holds; they do not add up to one.
    """
    edges = circuit.edges
    if not is_relevance(circuit):
        return np.sign(edges.weight) * row_shares(edges.target, edges.weight, len(circuit.nodes))
    whole = np.ones(len(circuit.nodes))
    whole[circuit.roots] = np.abs(circuit.preactivation[circuit.roots])
    found: NDArray[np.float64] = edges.weight / np.maximum(whole, _ROW_FLOOR)[edges.target]
    return found


def flow(
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    share: NDArray[np.float64],
    start: NDArray[np.float64],
    stage: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Let start weights flow down the shares, over all paths.

    Args:
        source: Edge sources, int [m].
        target: Edge targets, int [m].
        share: Share of the target's row that each edge carries, [m].
        start: Weight of each root, 0 elsewhere, [n].
        stage: Order of computation, [n]; where an edge runs against it (an imported graph may),
            the sum is taken step by step instead.

    Returns:
        What reaches each node, its own start weight not counted, float64 [n].
    """
    n = len(start)
    if np.any(stage[source] >= stage[target]):
        return _flow_by_steps(source, target, share, start)
    reached = np.zeros(n)
    order = np.argsort(-stage[target], kind="stable")
    source, target, share = source[order], target[order], share[order]
    ends = np.flatnonzero(np.diff(stage[target])) + 1
    for part in np.split(np.arange(len(order)), ends):
        if len(part):
            at = target[part]
            carried = share[part] * (reached[at] + start[at])
            reached += np.bincount(source[part], carried, minlength=n)
    return reached


def _flow_by_steps(
    source: NDArray, target: NDArray, share: NDArray, start: NDArray
) -> NDArray[np.float64]:
    reached = np.zeros(len(start))
    wave = start
    for _ in range(_MOST_STEPS):
        wave = np.bincount(source, share * wave[target], minlength=len(start))
        if not wave.any():
            break
        reached += wave
    return reached


def root_vector(circuit: Circuit) -> NDArray[np.float64]:
    """Return each root's weight at its node and 0 elsewhere, float64 [n]."""
    start = np.zeros(len(circuit.nodes))
    start[circuit.roots] = circuit.root_weights
    return start


@dataclass(frozen=True, eq=False)
class Standing:
    """What no threshold changes: the counted edges of a circuit and what reaches each node.

    Attributes:
        seen: Places of the counted edges, int64 [s].
        source: Their sources, int32 [s]; target, weight and share of the target's row: likewise.
        start: Weight of each root, [n]; stage: order of computation, [n].
        reached: Influence, float64 [n].
    """

    seen: NDArray[np.int64]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    share: NDArray[np.float64]
    start: NDArray[np.float64]
    stage: NDArray[np.int64]
    reached: NDArray[np.float64]


@lru_cache(maxsize=2)
def standing(circuit: Circuit) -> Standing:
    """Return what no threshold changes; the last two circuits asked for are remembered."""
    seen = np.flatnonzero(counted_edges(circuit))
    source, target = circuit.edges.source[seen], circuit.edges.target[seen]
    weight = circuit.edges.weight[seen]
    share = row_shares(target, weight, len(circuit.nodes))
    start, stage = root_vector(circuit), stages(circuit.nodes)
    reached = flow(source, target, share, start, stage)
    return Standing(seen, source, target, weight, share, start, stage, reached)


def strengths(circuit: Circuit) -> NDArray[np.float32]:
    """Return what nodes are ranked by, float32 [n]: influence, or the size of a relevance."""
    nodes = circuit.nodes
    return np.abs(nodes.activation) if is_relevance(circuit) else nodes.influence


def influence(circuit: Circuit) -> NDArray[np.float32]:
    """Compute the influence of every node, float32 [n]; roots that nothing follows hold 0."""
    return standing(circuit).reached.astype(np.float32)


def scores(circuit: Circuit) -> dict[str, float]:
    """Compute how much of the roots is carried by what the dictionaries explain.

    Returns:
        "replacement": influence of tokens / (tokens + errors);
        "completeness": mean share of rows that is not error, weighted by influence + root weight;
        "error_share": influence of errors / sum of root weights.
    """
    nodes = circuit.nodes
    known = standing(circuit)
    source, target, share = known.source, known.target, known.share
    start, reached = known.start, known.reached
    is_error = nodes.of_kind(NodeKind.ERROR)
    tokens = float(reached[nodes.of_kind(NodeKind.TOKEN)].sum())
    errors = float(reached[is_error].sum())
    error_part = np.bincount(target, share * is_error[source], minlength=len(nodes))
    out = reached + start
    return {
        "replacement": tokens / (tokens + errors) if tokens + errors else 0.0,
        "completeness": float((1 - error_part) @ out / out.sum()) if out.any() else 0.0,
        "error_share": errors / float(start.sum()) if start.any() else 0.0,
    }
