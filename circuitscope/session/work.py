"""Work that ends in the project or in a file: adding what was computed or read, exporting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CannotExpress, UnreadableGraph
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.core.rows import Row, RowKey, Rows
from circuitscope.engine.reading import GraphRead, read_graph_file
from circuitscope.engine.writing import WriteGraph
from circuitscope.exchange import format as exchange
from circuitscope.exchange.format import Document, WriteOptions
from circuitscope.exchange.links import rows_of_link
from circuitscope.graph.prune import prune
from circuitscope.project import verbs
from circuitscope.project.edit import change
from circuitscope.project.file import ProjectFile
from circuitscope.project.wording import short

if TYPE_CHECKING:
    from circuitscope.session.jobs import Job
    from circuitscope.session.session import Session

_FIRST = "first position"

_WHATS = {"link": "link_graph", "link_graph": "link_graph", "circuit": "circuit", "auto": "auto"}


LARGE_EDGES = 200_000
"""Graphs of more edges are written as data by the engine process."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Say how a circuit is written.

    Attributes:
        what: "link" (layers by tokens), "circuit" (pinned and grouped nodes) or "auto", which
            draws the diagram where something is pinned or grouped.
        preset: Size of the figure, see `exchange.theme.PRESETS`.
        dpi: Dots per inch of raster files, 72 to 600.
        transparent: Leave the page transparent where the format can.
        author: Whose name figures carry, "" for none.
    """

    what: str = "auto"
    preset: str = "screen"
    dpi: int = 300
    transparent: bool = False
    author: str = ""


class Project(ProjectFile):
    """A project file that can also take in graph files, for scripts and notebooks."""

    def import_file(self, path: Path | str, progress: Progress | None = None) -> str:
        """Add the graph of a Neuronpedia / circuit-tracer JSON file; returns the finding's id.

        Raises:
            ExchangeError: The file is not what it seems; the project is unchanged.
        """
        return add_imported(self, read_graph_file(Path(path), progress or silent()), Path(path))


def fold_first_position(project: ProjectFile, finding_id: str) -> None:
    """Fold what an attribution graph shows at its first position into one group.

    Models write large constant vectors there; one expandable node says so without crowding.
    """
    circuit = project.circuit(finding_id)
    if circuit.provenance.method != "attribution":
        return
    nodes = circuit.nodes
    units = nodes.of_kind(NodeKind.FEATURE, NodeKind.NEURON) & (nodes.position == 0)
    kept = np.flatnonzero(units & prune(circuit).node_mask).tolist()
    if len(kept) > 1:
        drawing = project.drawing(finding_id)
        drawing.commit(verbs.group(drawing, [nodes.key(node) for node in kept], _FIRST))


def add_imported(project: ProjectFile, read: GraphRead, path: Path) -> str:
    """Add an imported graph: evidence, its drawing as one edit, and the file's own bytes.

    Returns:
        The finding's id.
    """
    finding_id = project.add_finding(read.finding, read.name or path.stem)
    drawing = project.drawing(finding_id)
    rows: Rows = {RowKey(finding_id, key.kind, key.id): row for key, row in read.rows.items()}
    if rows:
        drawing.commit(change(f"Import {short(path.name)}", drawing.rows, rows))
    kind = path.suffix.removeprefix(".").lower()
    project.attach_original(path.name, read.original, kind, finding_id)
    return finding_id


def take_link(project: ProjectFile, finding_id: str, link: str) -> tuple[str, ...]:
    """Take pins, groups and labels of a Neuronpedia link for an imported graph, as one edit.

    Returns:
        What could not be used.

    Raises:
        UnreadableGraph: The link does not fit, or the circuit was not imported from such a file.
    """
    original = original_of(project, finding_id, "x.json")
    if not original:
        raise UnreadableGraph(
            "Links of Neuronpedia belong to graphs that were imported from its files.",
            kept="The drawing is unchanged.",
            hint="Import the graph's JSON file first.",
        )
    rows, remarks = rows_of_link(link, project.circuit(finding_id), original)
    drawing = project.drawing(finding_id)
    after: Rows = {RowKey(finding_id, key.kind, key.id): row for key, row in rows.items()}
    groups = any(key.kind == "group" for key in rows)
    gone: Rows = {
        key: None for key in drawing.rows
        if key.kind in ("pin", "group", "member") and (groups or key.kind == "pin")
    }  # fmt: skip
    drawing.commit(change("Take the view of a link", drawing.rows, {**gone, **after}))
    return remarks


def add_grown(project: ProjectFile, circuit: Circuit, rows: Mapping[RowKey, Row], name: str) -> str:
    """Add a circuit that grew out of another, with that one's drawing as one edit.

    Returns:
        The finding's id.
    """
    finding_id = project.add_finding(circuit, name)
    moved: Rows = {RowKey(finding_id, key.kind, key.id): row for key, row in rows.items()}
    if moved:
        drawing = project.drawing(finding_id)
        drawing.commit(change("Take the drawing along", drawing.rows, moved))
    return finding_id


def original_of(project: ProjectFile, finding_id: str, path: Path | str) -> bytes:
    """Return the file that a circuit was imported from, if `path` has that format."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    for entry in project.originals():
        if entry.finding_id == finding_id and entry.kind == suffix:
            return project.original(entry.id)
    return b""


def file_name(title: str) -> str:
    """Return a name as files may have it: letters, numbers, spaces and dashes, not too long."""
    plain = "".join(c if c.isalnum() or c in " -_" else "-" for c in title)
    return " ".join(plain.split()).strip("-")[:80] or "figure"


def export_large(session: Session, path: Path | str) -> Job | None:
    """Write the shown graph in the engine; None where it is a figure or small enough."""
    project, circuit, drawing = session.project, session.circuit, session.drawing
    if project is None or circuit is None or drawing is None:
        return None
    if exchange.format_of(path).draws or len(circuit.edges) <= LARGE_EDGES:
        return None
    target = Path(path).expanduser().absolute()
    document = Document(
        circuit, dict(drawing.rows), name=project.finding(session.active).name,
        original=original_of(project, session.active, target),
        author=session.preferences.now.projects.author,
    )  # fmt: skip

    def written(_job: Job, _result: Any) -> None:
        session.exported = target

    return session.jobs.add(f"Write {target.name}", WriteGraph(document, str(target)), written)


def export_circuit(
    circuit: Circuit,
    rows: Mapping[RowKey, Row],
    path: Path | str,
    name: str = "",
    options: ExportOptions | None = None,
    original: bytes = b"",
) -> tuple[str, ...]:
    """Write a circuit and its drawing; the suffix says the format.

    Args:
        circuit: The evidence.
        rows: Its drawing.
        path: Where to.
        name: The circuit's name in its project.
        options: How.
        original: See `original_of`.

    Returns:
        What the user should know about the figure, such as edges left out.

    Raises:
        ExchangeError: No format has that suffix, or the file cannot be written.
    """
    chosen = options or ExportOptions()
    what: Any = _WHATS.get(chosen.what)
    if what is None:
        raise CannotExpress(
            f"There is no figure called {chosen.what!r}.",
            kept="Nothing was written.",
            hint=f"Figures are: {', '.join(_WHATS)}.",
        )
    return exchange.export(
        Document(circuit, dict(rows), name=name, original=original, author=chosen.author),
        path,
        what=what,
        preset=chosen.preset,
        options=WriteOptions(chosen.dpi, chosen.transparent),
    )
