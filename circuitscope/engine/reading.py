"""Read a graph file of another program, here, so that a large one never stalls the window.

What comes back is packed as a project keeps it: the window only writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.core.rows import Rows
from circuitscope.exchange.format import import_file
from circuitscope.project.findings import Packed, pack_finding
from circuitscope.project.originals import PackedFile, pack_file

if TYPE_CHECKING:
    from circuitscope.engine.answers import Holdings

TRACER_SUFFIX: Final = ".pt"
"""Graphs that circuit-tracer kept for itself; reading one takes torch."""


@dataclass(frozen=True, slots=True)
class ReadGraph:
    """Read a graph file."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class GraphRead:
    """What the file held.

    Attributes:
        name: The file's own name for it.
        finding: The circuit, packed.
        rows: Its drawing, with empty circuit_id.
        original: The file, packed.
    """

    name: str
    finding: Packed
    rows: Rows
    original: PackedFile


def read_graph_file(path: Path, progress: Progress) -> GraphRead:
    """Read a graph file.

    Raises:
        CircuitScopeError: It does not hold a graph, or changed while it was read.
    """
    if path.suffix.lower() == TRACER_SUFFIX:
        from circuitscope.engine.tracer_graph import read_tracer_graph

        found = read_tracer_graph(path, progress)
    else:
        found = import_file(path, progress)
    original = pack_file(path, progress)
    if found.digest not in ("", original.digest):
        raise UnreadableGraph(
            f"{path.name} changed while it was read.",
            kept="Nothing was imported.",
            hint="Try again when no other program changes it.",
        )
    progress.phase("Packing", 0)
    return GraphRead(found.name, pack_finding(found.circuit), found.rows, original)


def answer_read_graph(request: ReadGraph, holdings: Holdings, progress: Progress) -> GraphRead:
    """Answer the request."""
    if request.path.lower().endswith(TRACER_SUFFIX):
        holdings.await_torch(progress)
    return read_graph_file(Path(request.path), progress)
