"""Write a figure as SVG; see `exchange.vector`."""

from pathlib import Path

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.vector import svg_text


class Svg:
    """Scalable Vector Graphics."""

    suffix = ".svg"
    title = "SVG drawing"
    can_read = False
    can_write = True
    draws = True

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write the document's figure; see `exchange.format.FileFormat`."""
        assert document.figure is not None, "SVG is written from a figure"
        text = svg_text(document.figure, transparent=options.transparent)
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: a drawing holds no graph."""
        raise UnreadableGraph(f"{path.name} is a drawing and cannot be read as a graph.")
