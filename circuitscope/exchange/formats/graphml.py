"""GraphML: read by yEd, Cytoscape, Gephi, igraph and networkx.

Every attribute is declared with its type. Groups are attributes (`group`, `group_label`), because
nesting is an extension that few programs read.
"""

from pathlib import Path
from typing import Any, Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.graph_table import (
    EDGE_FIELDS,
    NODE_FIELDS,
    NOTES,
    GraphTable,
    graph_table,
    number,
)
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.xml_text import attribute, content

_TYPES: Final = {str: "string", int: "long", float: "double", bool: "boolean"}
_GRAPH_FIELDS: Final = ("title", "prompt", "provenance")


def graphml_text(table: GraphTable) -> str:
    """Return the tables as one GraphML document."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>',
           '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']  # fmt: skip
    out += [
        f'<key id="g_{name}" for="graph" attr.name="{name}" attr.type="string"/>'
        for name in _GRAPH_FIELDS
    ]
    for prefix, what, fields in (("n", "node", NODE_FIELDS), ("e", "edge", EDGE_FIELDS)):
        for name, kind in fields.items():
            if name in ("id", "source", "target"):
                continue
            note = f"<desc>{content(NOTES[name])}</desc>" if name in NOTES else ""
            out.append(
                f'<key id="{prefix}_{name}" for="{what}" attr.name="{name}" '
                f'attr.type="{_TYPES[kind]}">{note}</key>'
            )
    out.append('<graph id="circuit" edgedefault="directed">')
    values = (table.metadata["prompt"], table.metadata["prompt"], table.provenance)
    out += [
        f'<data key="g_{name}">{content(value)}</data>'
        for name, value in zip(_GRAPH_FIELDS, values, strict=True)
    ]
    for node in table.nodes:
        out.append(f"<node id={attribute(node['id'])}>{_data('n', node)}</node>")
    for index, edge in table.edges():
        ends = f"source={attribute(edge['source'])} target={attribute(edge['target'])}"
        out.append(f'<edge id="e{index}" {ends}>{_data("e", edge)}</edge>')
    return "\n".join([*out, "</graph>", "</graphml>", ""])


def _data(prefix: str, fields: dict[str, Any]) -> str:
    return "".join(
        f'<data key="{prefix}_{name}">{_value(value)}</data>'
        for name, value in fields.items()
        if name not in ("id", "source", "target") and value is not None
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else content(str(value))


class GraphMl:
    """GraphML."""

    suffix = ".graphml"
    title = "GraphML (yEd, Cytoscape, networkx)"
    can_read = False
    can_write = True
    draws = False

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write circuit and drawing; see `exchange.format.FileFormat`."""
        text = graphml_text(graph_table(document.circuit, document.rows))
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: other programs' GraphML does not say what its edges measure."""
        raise UnreadableGraph(f"{path.name} cannot be read back; keep the project or its JSON.")
