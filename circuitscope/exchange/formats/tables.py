"""CSV for spreadsheets, R and pandas: one table each of nodes, edges and group members.

`name.csv` becomes `name.nodes.csv`, `name.edges.csv`, `name.members.csv` and, because CSV has no
place for it, `name.provenance.json`. UTF-8, texts quoted, columns always in the same order.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.graph_table import (
    EDGE_FIELDS,
    GROUP_FIELDS,
    NODE_FIELDS,
    graph_table,
    number,
)
from circuitscope.exchange.saving import save_bytes

_MEMBER_FIELDS: Final = ("group", "group_label", "group_color", "node")


def csv_text(fields: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV with a line of names; texts are quoted, numbers are not."""
    names = list(fields)
    lines: list[list[Any]] = [list(names), *([row.get(name) for name in names] for row in rows)]
    return "".join(",".join(map(_cell, line)) + "\r\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    return str(value) if isinstance(value, int) else '"' + value.replace('"', '""') + '"'


class Tables:
    """CSV tables."""

    suffix = ".csv"
    title = "CSV tables (nodes, edges, members)"
    can_read = False
    can_write = True
    draws = False
    parts = (".nodes.csv", ".edges.csv", ".members.csv", ".provenance.json")

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write four files beside each other; see `exchange.format.FileFormat`."""
        table = graph_table(document.circuit, document.rows)
        colors = {group["id"]: group["color"] for group in table.groups}
        members = (
            {"group": node["group"], "group_label": node["group_label"], "node": node["id"],
             "group_color": colors[node["group"]]}
            for node in table.nodes if node["group"]
        )  # fmt: skip
        assert tuple(GROUP_FIELDS) == ("id", "label", "color")
        texts = (
            csv_text(NODE_FIELDS, table.nodes),
            csv_text(EDGE_FIELDS, (edge for _, edge in table.edges())),
            csv_text(_MEMBER_FIELDS, members),
            json.dumps(table.metadata, indent=1, sort_keys=True) + "\n",
        )
        for part, text in zip(self.parts, texts, strict=True):
            save_bytes(path.with_name(path.stem + part), text.encode("utf-8", "replace"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: one table is not the whole."""
        raise UnreadableGraph(f"{path.name} cannot be read back; keep the project or its JSON.")
