"""DOT for Graphviz: what the drawing shows, in its places; groups are clusters.

`neato -n` keeps the places, `dot` makes its own.
"""

from pathlib import Path
from typing import Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.graph_table import GraphTable, graph_table, number
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.theme import PRINT
from circuitscope.exchange.typeface import FAMILY, printable

_SHAPES: Final = {"token": "box", "logit": "box", "error": "diamond", "head": "triangle"}
_THINNEST, _THICKEST = 0.4, 4.0


def dot_text(table: GraphTable) -> str:
    """Return the shown part of the tables as one DOT graph."""
    out = [
        "digraph circuit {",
        f"  comment={_quoted(table.provenance)};",
        f"  label={_quoted(printable(table.metadata['prompt']))}; labelloc=t; rankdir=BT;",
        f"  node [fontname={_quoted(FAMILY)}, style=filled, fillcolor=white];",
        f"  edge [fontname={_quoted(FAMILY)}, arrowsize=0.6];",
    ]
    for group in table.groups:
        members = [n for n in table.nodes if n["shown"] and n["group"] == group["id"]]
        if members:
            out += [f"  subgraph {_quoted('cluster_' + group['id'])} {{",
                    f"    label={_quoted(printable(group['label']))}; "
                    f'color="{PRINT.hue(group["color"])}";']  # fmt: skip
            out += [f"    {_quoted(node['id'])};" for node in members]
            out.append("  }")
    for node in table.nodes:
        if node["shown"]:
            out.append(
                f"  {_quoted(node['id'])} [label={_quoted(printable(node['label']))}, "
                f'shape={_SHAPES.get(node["kind"], "ellipse")}, color="{node["color"]}", '
                f'pos="{number(node["x"])},{number(-node["y"])}!"];'
            )
    for _, edge in table.edges(only_shown=True):
        wide = _THINNEST + (_THICKEST - _THINNEST) * min(abs(edge["share"]), 1.0)
        look = "solid" if edge["weight"] >= 0 else "dashed"
        color = PRINT.positive if edge["weight"] >= 0 else PRINT.negative
        out.append(
            f"  {_quoted(edge['source'])} -> {_quoted(edge['target'])} "
            f"[weight={number(abs(edge['share']) * 100)}, penwidth={wide:.2f}, style={look}, "
            f'color="{color}", tooltip="{number(edge["weight"])}"];'
        )
    return "\n".join([*out, "}", ""])


def _quoted(text: str) -> str:
    """Return a text as DOT takes it: backslashes would be escapes, which labels give meaning."""
    plain = "".join(c for c in text if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Dot:
    """DOT."""

    suffix = ".dot"
    title = "DOT (Graphviz)"
    can_read = False
    can_write = True
    draws = False

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write what the drawing shows; see `exchange.format.FileFormat`."""
        text = dot_text(graph_table(document.circuit, document.rows))
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: DOT does not say what its edges measure."""
        raise UnreadableGraph(f"{path.name} cannot be read back; keep the project or its JSON.")
