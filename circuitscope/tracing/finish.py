"""Steps the tracing methods end with: which rows to compute again, and from rows to a circuit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.progress import Progress
from circuitscope.tracing.assemble import Parts, assemble
from circuitscope.tracing.expansion import Rows
from circuitscope.tracing.labels import label_nodes
from circuitscope.tracing.run import Clock, Run


def rows_of(run: Run, keep: set[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the explained nodes with the given keys, and the roots."""
    e, n_roots = run.explained, len(run.roots)
    keys = zip(e.kind, e.site, e.layer, e.position, e.unit, strict=True)
    wanted = np.array([tuple(map(int, key)) in keep for key in keys])
    wanted[n_roots:] &= ~np.isin(e.column[n_roots:], e.column[:n_roots])
    wanted[:n_roots] = True
    return np.flatnonzero(wanted)


def finish(run: Run, rows: Rows, clock: Clock, progress: Progress) -> Circuit:
    """Assemble a circuit, label its nodes and note how long it took."""
    parts = Parts(*run.parts, rows)
    circuit = assemble(parts, run.provenance)
    labels = label_nodes(parts, circuit, run.frozen, progress)
    provenance = replace(circuit.provenance, seconds=clock.seconds())
    return replace(circuit, labels=labels, provenance=provenance)
