"""Steps the tracing methods end with: which rows to compute again, and from rows to a circuit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit, NodeTable
from circuitscope.core.errors import TraceError
from circuitscope.core.progress import Progress
from circuitscope.tracing.assemble import Parts, assemble
from circuitscope.tracing.expansion import Rows, check_room
from circuitscope.tracing.forward_walk import column_of_rows
from circuitscope.tracing.labels import label_nodes
from circuitscope.tracing.read_points import Explained
from circuitscope.tracing.run import Clock, Run
from circuitscope.tracing.sources import Columns


def rows_of(run: Run, keep: set[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the explained nodes with the given keys, and the roots."""
    e, n_roots = run.explained, len(run.roots)
    wanted = np.array([key in keep for key in _keys(e)])
    wanted[n_roots:] &= ~np.isin(e.column[n_roots:], e.column[:n_roots])
    wanted[:n_roots] = True
    return np.flatnonzero(wanted)


def grown_rows(
    run: Run, known: Circuit, wanted: NDArray[np.int64], batch_size: int | None, progress: Progress
) -> Rows:
    """Compute the rows that a circuit lacks; take the others from it.

    The rows it has gain one entry for every node that is new, which one walk up finds; what they
    leave unexplained is less by that.

    Args:
        run: The run that the circuit is from.
        known: The circuit.
        wanted: The explained nodes that shall have rows, the circuit's among them, ascending.
        batch_size: Rows walked at once.
        progress: Hears of the rows computed.

    Raises:
        TraceError: The run has no such nodes.
        OutOfMemory: The table of rows does not fit.
    """
    e, c, nodes = run.explained, run.sources.columns, known.nodes
    columns = {key: n for n, key in enumerate(_keys(c))}
    explained = {key: n for n, key in reversed(list(enumerate(_keys(e))))}
    mine = list(_keys(nodes))
    place = np.array([columns.get(key, -1) for key in mine])
    rows = [explained.get(mine[n], -1) for n in np.flatnonzero(known.expanded).tolist()]
    if -1 in rows or (place[known.edges.source] < 0).any():
        raise TraceError(
            "Tracing the prompt again finds other nodes than the circuit has.",
            kept="The circuit is unchanged.",
            hint="Trace it again: the model or a dictionary has changed.",
        )
    check_room(len(wanted), run.walk)
    row_of = dict(zip(rows, np.flatnonzero(known.expanded).tolist(), strict=True))
    weights = np.zeros((len(wanted), run.walk.width), run.walk.number)
    has = np.array([row in row_of for row in wanted.tolist()])
    node_of = np.array([row_of.get(row, -1) for row in wanted.tolist()])
    at = np.full(len(nodes), -1)
    at[node_of[has]] = np.flatnonzero(has)
    edges = known.edges
    weights[at[edges.target], place[edges.source]] = edges.weight
    weights[has, -1] = known.unexplained[node_of[has]]
    new = e.column[wanted[~has]]
    for column in new[new >= 0].tolist():
        entries = column_of_rows(run.frozen, run.sources, e, run.points, column, wanted[has])
        weights[has, column] = entries
        weights[has, -1] -= entries.astype(weights.dtype)
    progress.phase("Attribution rows", int((~has).sum()))
    weights[~has] = run.walk.rows(wanted[~has], batch_size)
    return Rows(wanted, weights)


def _keys(table: Columns | Explained | NodeTable) -> Iterator[tuple[int, ...]]:
    """Yield the keys of a table as plain numbers."""
    names = (table.kind, table.site, table.layer, table.position, table.unit)
    return zip(*(column.tolist() for column in names), strict=True)


def finish(run: Run, rows: Rows, clock: Clock, progress: Progress) -> Circuit:
    """Assemble a circuit, label its nodes and note how long it took."""
    parts = Parts(*run.parts, rows)
    circuit = assemble(parts, run.provenance)
    labels = label_nodes(parts, circuit, run.frozen, progress)
    provenance = replace(circuit.provenance, seconds=clock.seconds())
    return replace(circuit, labels=labels, provenance=provenance)
