"""Take the view out of a Neuronpedia link: pins, groups, labels and threshold; nothing is fetched.

The link only names nodes, so it needs the graph that was imported, whose own ids are in its file.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import silent
from circuitscope.core.rows import Rows
from circuitscope.exchange.graph_file import read_graph_file
from circuitscope.exchange.graph_reading import read_nodes
from circuitscope.exchange.graph_view import rows_of_view

_VIEW: Final = ("pinnedIds", "supernodes", "clerps", "pruningThreshold", "sg_pos")
_LONGEST: Final = 2_000_000


def view_in_link(link: str) -> dict[str, Any]:
    """Return what a link says of the view, under the names that graph files use.

    Raises:
        UnreadableGraph: It is no link, or says nothing of a view.
    """
    text = link.strip()
    try:
        found = parse_qs(urlsplit(text[:_LONGEST]).query, max_num_fields=100)
    except ValueError:
        found = {}
    view: dict[str, Any] = {name: found[name][0] for name in _VIEW if name in found}
    if not view:
        raise UnreadableGraph(
            "This link names no pins, groups or labels.",
            kept="The drawing is unchanged.",
            hint="Copy the whole link from the address bar or the Share button of Neuronpedia.",
        )
    return view


def rows_of_link(link: str, circuit: Circuit, original: bytes) -> tuple[Rows, tuple[str, ...]]:
    """Return the rows of a link's view, with empty circuit_id, and what could not be used.

    Args:
        link: The address, as copied.
        circuit: The imported graph.
        original: The file that it was imported from.

    Raises:
        UnreadableGraph: The link says nothing of a view, names none of these nodes, or the file
            is not this circuit's.
    """
    view = view_in_link(link)
    name = Path(circuit.provenance.source_file).name
    graph = read_graph_file(BytesIO(original), name, silent())
    parts = read_nodes(graph.data["nodes"], silent())
    parts.counts.clear()
    if [str(key) for key in parts.keys] != [
        str(circuit.nodes.key(i)) for i in range(len(circuit.nodes))
    ]:
        raise UnreadableGraph(
            "The attached file is not the one that this circuit was read from.",
            kept="The drawing is unchanged.",
        )
    rows = rows_of_view(view, parts)
    if not rows:
        slug = f" (it is for {urlsplit(link.strip()).path})" if "://" in link else ""
        raise UnreadableGraph(
            f"None of the nodes that this link names is in this graph{slug}.",
            kept="The drawing is unchanged.",
            hint="Import the graph that the link belongs to, then use the link.",
        )
    return rows, parts.remarks()
