"""Attribution-graph JSON of Neuronpedia, circuit-tracer and Anthropic: read and written."""

from pathlib import Path

from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.graph_file import (
    LARGEST_FILE,
    GraphFile,
    read_graph_file,
    unreadable,
)
from circuitscope.exchange.graph_reading import read_graph
from circuitscope.exchange.graph_writing import graph_json, restore
from circuitscope.exchange.lossless import edited_rows, with_original
from circuitscope.exchange.saving import save_bytes


class Neuronpedia:
    """Attribution-graph JSON."""

    suffix = ".json"
    title = "Attribution graph (Neuronpedia, circuit-tracer)"
    can_read = True
    can_write = True
    draws = False

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write circuit and drawing; see `exchange.format.FileFormat`.

        An imported graph is its original with what was edited; see `exchange.lossless`.
        """
        content = None
        if document.original:
            name = document.circuit.provenance.source_file or path.name
            content = with_original(document.circuit, document.rows, document.original, name)
        if content is None:
            content = graph_json(document.circuit, document.rows, document.name).encode("utf-8")
        save_bytes(path, content)

    def read(self, path: Path, progress: Progress) -> Imported:
        """Read a graph; see `exchange.format.FileFormat`.

        A file that CircuitScope wrote and nobody changed comes back exactly; any other is read by
        `exchange.graph_reading`.
        """
        graph = _opened(path, progress)
        data = graph.data
        metadata = data.get("metadata")
        slug = metadata.get("slug") if isinstance(metadata, dict) else None
        name = str(slug) if slug else path.stem
        own = restore(graph)
        if own is not None:
            return Imported(own[0], own[1], name, graph.digest)
        circuit, rows, remarks = read_graph(graph, path, progress)
        for remark in remarks:
            progress.note(remark)
        return Imported(circuit, edited_rows(data) or rows, name, graph.digest)


def _opened(path: Path, progress: Progress) -> GraphFile:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise unreadable(
                f"{path.name} has {size / 2**20:.0f} MB; graphs up to "
                f"{LARGEST_FILE // 2**20} MB can be read.",
                "Export it again with a lower node threshold.",
            )
        with path.open("rb") as file:
            return read_graph_file(file, path.name, progress, size=size)
    except OSError as error:
        raise unreadable(
            f"{path.name} could not be opened: {error.strerror or error}.",
            "Check that the file exists and that you may read it.",
        ) from error
