"""GEXF 1.3 for Gephi: places, colours and sizes, weights without sign and the signed ones beside.

Gephi reads a negative weight as none, so an edge's `weight` is its size and `signed_weight` the
evidence's own number.
"""

from pathlib import Path
from typing import Any, Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.graph_table import (
    EDGE_FIELDS,
    NODE_FIELDS,
    GraphTable,
    graph_table,
    number,
)
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.theme import PRINT
from circuitscope.exchange.xml_text import attribute, content

_TYPES: Final = {str: "string", int: "long", float: "double", bool: "boolean"}
_OWN_PLACE: Final = frozenset({"id", "label", "x", "y", "color", "source", "target", "weight"})
_SMALLEST, _LARGEST = 4.0, 24.0


def gexf_text(table: GraphTable) -> str:
    """Return the tables as one GEXF document."""
    meta = table.metadata
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<gexf xmlns="http://gexf.net/1.3" xmlns:viz="http://gexf.net/1.3/viz" version="1.3">',
        f"<meta><creator>CircuitScope {content(meta['version'])}</creator>"
        f"<description>{content(table.provenance)}</description></meta>",
        '<graph defaultedgetype="directed" mode="static">',
        *_declared("node", NODE_FIELDS), *_declared("edge", EDGE_FIELDS, ["signed_weight"]),
        "<nodes>",
    ]  # fmt: skip
    most = max((node["influence"] for node in table.nodes), default=0.0) or 1.0
    for node in table.nodes:
        size = _SMALLEST + (_LARGEST - _SMALLEST) * max(node["influence"], 0.0) / most
        out.append(
            f"<node id={attribute(node['id'])} label={attribute(node['label'])}>"
            f"{_values(node)}{_color(node['color'])}"
            f'<viz:position x="{number(node["x"])}" y="{number(-node["y"])}" z="0.0"/>'
            f'<viz:size value="{number(size)}"/></node>'
        )
    out += ["</nodes>", "<edges>"]
    for index, edge in table.edges():
        ends = f"source={attribute(edge['source'])} target={attribute(edge['target'])}"
        sign = PRINT.positive if edge["weight"] >= 0 else PRINT.negative
        values = _values({**edge, "signed_weight": edge["weight"]})
        out.append(
            f'<edge id="{index}" {ends} weight="{number(abs(edge["weight"]))}" '
            f'kind="{edge["route"]}">{values}{_color(sign)}</edge>'
        )
    return "\n".join([*out, "</edges>", "</graph>", "</gexf>", ""])


def _declared(what: str, fields: dict[str, type], more: list[str] | None = None) -> list[str]:
    kinds = {name: kind for name, kind in fields.items() if name not in _OWN_PLACE}
    kinds |= dict.fromkeys(more or [], float)
    lines = [
        f'<attribute id="{name}" title="{name}" type="{_TYPES[kind]}"/>'
        for name, kind in kinds.items()
    ]
    return [f'<attributes class="{what}" mode="static">', *lines, "</attributes>"]


def _values(fields: dict[str, Any]) -> str:
    inside = "".join(
        f'<attvalue for="{name}" value={_value(value)}/>'
        for name, value in fields.items()
        if name not in _OWN_PLACE and value is not None
    )
    return f"<attvalues>{inside}</attvalues>"


def _color(color: str) -> str:
    r, g, b = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f'<viz:color r="{r}" g="{g}" b="{b}"/>'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return '"true"' if value else '"false"'
    return f'"{number(value)}"' if isinstance(value, float) else attribute(str(value))


class Gexf:
    """GEXF."""

    suffix = ".gexf"
    title = "GEXF (Gephi)"
    can_read = False
    can_write = True
    draws = False

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write circuit and drawing; see `exchange.format.FileFormat`."""
        text = gexf_text(graph_table(document.circuit, document.rows))
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: other programs' GEXF does not say what its edges measure."""
        raise UnreadableGraph(f"{path.name} cannot be read back; keep the project or its JSON.")
