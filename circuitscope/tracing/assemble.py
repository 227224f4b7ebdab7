"""From rows to a circuit: which columns are nodes, what is left unexplained, does it add up.

1. Nodes: every token, position, expanded writer and root; every error; the constants that a row
   holds. A root that is itself a writer is one node.
2. Edges: the entries of the rows in the nodes' columns that are not zero.
3. `unexplained`: the entries in all other columns, summed on their own.
4. Every row must add up to its pre-activation as the forward pass has it, within 1e-4 of the sum
   of its sizes; otherwise nothing is returned.
5. Influence and scores by `graph.influence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.errors import ConservationBroken
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.graph.influence import influence, scores
from circuitscope.tracing.expansion import Rows
from circuitscope.tracing.read_points import Explained
from circuitscope.tracing.sources import Sources
from circuitscope.tracing.targets import Root

TOLERANCE = 1e-4
_CHUNK = 4_000_000
"""Numbers of the table of rows that are copied at once."""
_ALWAYS = (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.ERROR)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a circuit is assembled from."""

    roots: list[Root]
    explained: Explained
    sources: Sources
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    n_ctx: int
    rows: Rows


def assemble(parts: Parts, provenance: Provenance) -> Circuit:
    """Build the circuit, without labels.

    Raises:
        ConservationBroken: A row does not add up to its pre-activation.
    """
    place = _place(parts)
    table = _nodes(parts, place)
    weights = parts.rows.weights[:, place.kept].astype(np.float32)
    left = _left_over(parts.rows.weights, place.kept).astype(np.float32)
    pre = parts.explained.preactivation[parts.rows.explained].astype(np.float32)
    miss = conserve(pre, weights, left).astype(np.float32)
    _check(miss, place.target, table)

    def at_nodes(values: NDArray, dtype: type) -> NDArray:
        column: NDArray = np.zeros(len(table), dtype)
        column[place.target] = values
        return column

    circuit = Circuit(
        parts.tokens, parts.token_ids, table, _edges(weights, place.target, table, parts.n_ctx),
        place.roots,
        np.array([root.weight for root in parts.roots], np.float32),
        at_nodes(pre, np.float32), at_nodes(left, np.float32), at_nodes(miss, np.float32),
        at_nodes(np.ones(len(pre), bool), np.bool_), provenance,
    )  # fmt: skip
    circuit = circuit.with_influence(influence(circuit))
    return replace(circuit, provenance=replace(provenance, scores=scores(circuit)))


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where columns and rows are among the nodes: kept columns first, then roots without one.

    Attributes:
        kept: Columns that are nodes, int64 [k].
        added: Roots that are no column.
        target: The node that each row explains, int64 [row].
        roots: The node of each root, int32 [root].
    """

    kept: NDArray[np.int64]
    added: list[int]
    target: NDArray[np.int64]
    roots: NDArray[np.int32]


def _place(parts: Parts) -> _Places:
    columns, explained = parts.explained.column, parts.rows.explained
    kept = _kept_columns(parts)
    node_of = np.full(parts.sources.rest, -1, np.int64)
    node_of[kept] = np.arange(len(kept))
    node_of_row = np.where(columns >= 0, node_of[columns], -1)
    added = [row for row in range(len(parts.roots)) if columns[row] < 0]
    node_of_row[added] = len(kept) + np.arange(len(added))
    roots = node_of_row[: len(parts.roots)].astype(np.int32)
    return _Places(kept, added, node_of_row[explained], roots)


def conserve(preactivation: NDArray, weights: NDArray, unexplained: NDArray) -> NDArray[np.float64]:
    """Return |pre - sum - unexplained| / (sum |edges| + |unexplained|) of rows, [row]."""
    total = weights.sum(1, dtype=np.float64) + unexplained
    size = np.abs(unexplained).astype(np.float64)
    for here in _chunks(weights):
        size[here] += np.abs(weights[here]).sum(1, dtype=np.float64)
    share: NDArray[np.float64] = np.abs(preactivation - total) / np.maximum(size, 1e-30)
    return share


def _kept_columns(parts: Parts) -> NDArray[np.int64]:
    c = parts.sources.columns
    keep = c.of_kind(*_ALWAYS)
    expanded = parts.explained.column[parts.rows.explained]
    keep[expanded[expanded >= 0]] = True
    used = np.zeros(parts.sources.rest, bool)
    for here in _chunks(parts.rows.weights):
        used |= parts.rows.weights[here, : parts.sources.rest].any(0)
    return np.flatnonzero(keep | (c.of_kind(NodeKind.BIAS) & used))


def _nodes(parts: Parts, place: _Places) -> NodeTable:
    c = parts.sources.columns
    roots = [parts.roots[row] for row in place.added]

    def joined(name: str) -> NDArray:
        own = np.array([int(getattr(root.key, name)) for root in roots], np.int64)
        return np.concatenate([getattr(c, name)[place.kept], own])

    activation = np.r_[c.activation[place.kept], [root.activation for root in roots]]
    return NodeTable(
        joined("kind"), joined("site"), joined("layer"), joined("position"), joined("unit"),
        activation, np.zeros(len(activation), np.float32),
    )  # fmt: skip


def _edges(
    weights: NDArray[np.float32], target: NDArray[np.int64], nodes: NodeTable, n_ctx: int
) -> EdgeTable:
    row, source = weights.nonzero()
    route = _routes(nodes, source, target[row], n_ctx)
    return EdgeTable(
        source.astype(np.int32), target[row].astype(np.int32), weights[row, source], route
    )


def _routes(nodes: NodeTable, source: NDArray, target: NDArray, n_ctx: int) -> NDArray[np.uint8]:
    """Return by which side a source reaches a score; by neither alone where it reaches by both."""
    route = np.full(len(source), Route.DIRECT, np.uint8)
    is_score = nodes.kind[target] == NodeKind.SCORE
    query, key = nodes.position[target], nodes.unit[target] % n_ctx
    at = nodes.position[source]
    route[is_score & (query != key) & (at == query)] = Route.QUERY
    route[is_score & (query != key) & (at == key)] = Route.KEY
    return route


def _left_over(weights: NDArray[np.floating], kept: NDArray[np.int64]) -> NDArray[np.float64]:
    outside = np.ones(weights.shape[1], bool)
    outside[kept] = False
    total = np.zeros(len(weights))
    for here in _chunks(weights):
        total[here] = weights[here][:, outside].sum(1, dtype=np.float64)
    return total


def _chunks(weights: NDArray) -> Iterator[slice]:
    """Yield slices of rows that are small enough to copy."""
    step = max(1, _CHUNK // max(1, weights.shape[1]))
    return (slice(start, start + step) for start in range(0, len(weights), step))


def _check(miss: NDArray[np.float32], target: NDArray[np.int64], table: NodeTable) -> None:
    worst = int(miss.argmax())
    if not miss[worst] <= TOLERANCE:
        raise ConservationBroken(
            f"The parts of {table.key(int(target[worst]))} miss its pre-activation by "
            f"{miss[worst]:.2g} of their size; at most {TOLERANCE:g} is allowed.",
            kept="No circuit was made.",
            hint='Load the model and trace with dtype="float64"; if it stays, the dictionary or '
            "the model is read wrongly.",
        )
