"""File formats: what one has to offer, and how the right one is found by suffix.

A format is one class and one line in the entry-point group "circuitscope.file_formats", whose
name is the suffix without its dot. Figures (SVG, PDF, PNG, HTML, TikZ) are written from a `Figure`,
graph files from the circuit and its rows; both come in one `Document`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CannotExpress, ExchangeError, UnreadableGraph
from circuitscope.core.progress import Progress, silent
from circuitscope.core.registry import Registry
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.theme import PRINT, Theme, preset_named
from circuitscope.graph.view import View, rows_of

GROUP = "circuitscope.file_formats"
What = Literal["auto", "circuit", "link_graph"]


@dataclass(frozen=True, eq=False)
class Document:
    """What is written to a file.

    Attributes:
        circuit: The evidence; rows: its drawing.
        figure: The figure to write; made by `export` for formats that draw.
        name: The circuit's name in its project.
        original: The bytes of the graph file that the circuit was imported from, if it was.
        author: Whose figure it is, "" where nobody is named.
    """

    circuit: Circuit
    rows: Rows = field(default_factory=dict)
    figure: Figure | None = None
    name: str = ""
    original: bytes = b""
    author: str = ""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Say how to write.

    Attributes:
        dpi: Dots per inch of raster files, 72 to 600.
        transparent: Leave the page transparent where the format can.
    """

    dpi: int = 300
    transparent: bool = False


@dataclass(frozen=True, eq=False)
class Imported:
    """What a file held.

    Attributes:
        circuit: The evidence, provenance and remarks included.
        rows: Its drawing (pins, groups, labels); the keys' circuit_id is empty until
            `rows_for` names it.
        name: The file's own name for it.
        digest: sha256 of the file's bytes, which are kept so that nothing of it is lost.
    """

    circuit: Circuit
    rows: Rows
    name: str
    digest: str

    def rows_for(self, circuit_id: str) -> Rows:
        """Return the rows as they belong to a circuit of a project."""
        return {RowKey(circuit_id, key.kind, key.id): row for key, row in self.rows.items()}


class FileFormat(Protocol):
    """Read or write one kind of file.

    Attributes:
        suffix: With its dot, such as ".svg".
        title: What people call it, such as "Scalable Vector Graphics".
        draws: Whether it is written from a figure.
        parts: Ends of the files it writes where those are several, such as ".nodes.csv"; may be
            left out.
    """

    suffix: str
    title: str
    can_read: bool
    can_write: bool
    draws: bool

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write a file, whole or not at all.

        Raises:
            CannotExpress: The format has no place for what is asked.
            ExchangeError: The file cannot be written.
        """

    def read(self, path: Path, progress: Progress) -> Imported:
        """Read a file.

        Raises:
            UnreadableGraph: The file does not hold what the format needs.
        """


def formats() -> dict[str, FileFormat]:
    """Return every file format that loads, by suffix."""
    return {plugin.suffix: plugin for plugin in Registry[FileFormat](GROUP).all().values()}


def format_of(path: Path | str, *, reading: bool = False) -> FileFormat:
    """Find the format of a file by its suffix.

    Raises:
        CannotExpress: Nothing writes (or, when reading, reads) such a file; the hint lists what
            there is.
    """
    suffix = Path(path).suffix.lower()
    registry = Registry[FileFormat](GROUP)
    found = registry.get(suffix.removeprefix("."))
    if found is not None and (found.can_read if reading else found.can_write):
        return found
    able = [
        plugin.suffix for plugin in registry.all().values()
        if (plugin.can_read if reading else plugin.can_write)
    ]  # fmt: skip
    verb = "read" if reading else "written"
    kind: type[ExchangeError] = UnreadableGraph if reading else CannotExpress
    raise kind(
        f"Files ending in {suffix!r} cannot be {verb}."
        if suffix
        else f"{Path(path).name!r} has no suffix to choose a format by.",
        kept="Nothing was changed.",
        hint=f"Suffixes that can be {verb}: {', '.join(sorted(able))}.",
    )


def files_of(path: Path | str) -> tuple[Path, ...]:
    """Return the files that an export to a path writes: one, or several for tables."""
    target = Path(path)
    parts = getattr(format_of(target), "parts", ())
    return tuple(target.with_name(target.stem + part) for part in parts) or (target,)


def figure_of(
    circuit: Circuit,
    rows: Rows,
    what: What = "auto",
    *,
    view: View | None = None,
    preset: str = "screen",
    theme: Theme = PRINT,
) -> Figure:
    """Draw a circuit; "auto" draws the diagram where something is pinned or grouped."""
    if what == "auto":
        drawn = any(
            True
            for kind in ("pin", "member", "sketch_node", "note", "frame")
            for _ in rows_of(rows, kind)
        )
        what = "circuit" if drawn else "link_graph"
    draw = circuit_figure if what == "circuit" else link_figure
    return draw(circuit, rows, view, preset_named(preset), theme)


def export(
    document: Document,
    path: Path | str,
    *,
    what: What = "auto",
    preset: str = "screen",
    options: WriteOptions | None = None,
) -> tuple[str, ...]:
    """Write a circuit and its drawing to a file whose suffix says the format.

    Args:
        document: Circuit and rows; a figure is drawn where the format needs one and none is given.
        path: Where to.
        what: Which figure, for formats that draw.
        preset: Size of the figure, see `exchange.theme.PRESETS`.
        options: Resolution and transparency.

    Returns:
        What the user should know about the figure, such as edges left out.

    Raises:
        ExchangeError: No format has that suffix, or the file cannot be written.
    """
    chosen = format_of(path)
    if chosen.draws and document.figure is None:
        figure = figure_of(document.circuit, document.rows, what, preset=preset)
        if document.author:
            figure = replace(figure, metadata={**figure.metadata, "author": document.author})
        document = replace(document, figure=figure)
    chosen.write(document, Path(path), options or WriteOptions())
    return document.figure.warnings if document.figure else ()


def import_file(path: Path | str, progress: Progress | None = None) -> Imported:
    """Read a graph file whose suffix says the format.

    Raises:
        ExchangeError: No format reads such a file, or the file is not what it seems.
    """
    return format_of(path, reading=True).read(Path(path), progress or silent())
