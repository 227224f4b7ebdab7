"""Write a graph as data, here, so that a large one never stalls the window.

Figures are not written here: they hold no more edges than can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, export

if TYPE_CHECKING:
    from circuitscope.engine.answers import Holdings


@dataclass(frozen=True, slots=True, eq=False)
class WriteGraph:
    """Write a circuit and its drawing to a file whose suffix says the format."""

    document: Document
    path: str


@dataclass(frozen=True, slots=True)
class GraphWritten:
    """Say what was written."""

    path: str


def answer_write_graph(request: WriteGraph, holdings: Holdings, progress: Progress) -> GraphWritten:
    """Answer the request."""
    del holdings
    progress.phase("Writing", 0)
    export(request.document, request.path)
    return GraphWritten(request.path)
