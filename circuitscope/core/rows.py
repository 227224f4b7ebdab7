"""Rows: what a drawing is made of, so that projects, exporters and the window share one form.

A row is a small mapping of JSON values. Its key says which circuit it belongs to (empty: the
project itself), which kind it is, and which thing it is about.

    kind          id                        fields
    label         node key text             text, source ("person", "machine", "imported")
    group         group id                  label, color ("teal", ...), open (bool)
    member        node key text             group (a group id)
    place         node key text, group id   x, y in points, top left is 0, 0
    pin           node key text             (none)
    hidden        node key text             (none)
    note          note id                   text, x, y, width
    frame         frame id                  title, x, y, width, height
    sketch_node   sketch id                 label, x, y
    sketch_edge   sketch id                 source, target, label
    view          "link_graph", "circuit"   node_threshold, edge_threshold, show_errors, show_biases
    name          (project) finding id      text
    order         (project) finding id      index
    deleted       (project) finding id      (none)
    text          (project) note id         text
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]

ROW_KINDS: Final = frozenset(
    [
        "label",
        "group",
        "member",
        "place",
        "pin",
        "hidden",
        "note",
        "frame",
        "sketch_node",
        "sketch_edge",
        "view",
    ]
)
PROJECT_ROW_KINDS: Final = frozenset(["name", "order", "deleted", "text"])


GROUP_COLORS: Final = ("teal", "violet", "amber", "rose", "sky", "olive", "slate", "brick")
"""Names of group colours, in the order new groups take them; themes say how each looks."""

VIEW_DEFAULTS: Final[Row] = {
    "node_threshold": 0.8, "edge_threshold": 0.98, "show_errors": True, "show_biases": False
}  # fmt: skip
"""What a `view` row holds where nobody has changed it."""


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """Name one row of one drawing."""

    circuit_id: str
    kind: str
    id: str


Rows = dict[RowKey, Row | None]
"""Rows by key; None where a row is absent."""
