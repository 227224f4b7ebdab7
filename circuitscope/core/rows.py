"""Rows: what a drawing is made of, so that projects, exporters and the window share one form.

A row is a small mapping of JSON values. Its key says which circuit it belongs to (empty: the
project itself), which kind it is, and which thing it is about.

    kind          id                        fields
    label         node key text             text, source ("person", "machine", "imported")
    group         group id                  label, color ("teal", ...), open (bool), parent
                                            (id of the group around it), source ("machine" while
                                            it is a suggestion that nobody renamed)
    member        node key text             group (a group id)
    place         node key, group id        x, y in points, top left is 0, 0
    pin           node key text             (none)
    hidden        node key text             (none)
    note          note id                   text (Markdown), x, y, width, about (what it is bound
                                            to, as text of a `core.binding.Binding`)
    frame         frame id                  title, x, y, width, height
    sketch_node   sketch id                 label, x, y
    sketch_edge   sketch id                 source, target, label
    look          node key text             color (of GROUP_COLORS), shape (of LOOK_SHAPES), either
                                            may be ""
    look_rule     rule id                   query (see `graph.query`), color, shape, index
    run           run id                    fields of `core.badges.Outcome`: one test on the model
    view          "link_graph", "circuit"   node_threshold, edge_threshold, show_errors,
                                            show_biases, filter (see `graph.query`)
    name          (project) finding id      text
    order         (project) finding id      index
    deleted       (project) finding id      (none)
    text          (project) note id         text
    drawing       (project) drawing id      text (the name of a circuit's further or first drawing)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
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
        "look",
        "look_rule",
        "run",
        "view",
    ]
)
PROJECT_ROW_KINDS: Final = frozenset(["name", "order", "deleted", "text", "drawing"])


GROUP_COLORS: Final = ("teal", "violet", "amber", "rose", "sky", "olive", "slate", "brick")
"""Names of group colours, in the order new groups take them; themes say how each looks."""

LOOK_SHAPES: Final = ("disc", "square", "triangle", "diamond", "ring")
"""Names of shapes that users give to nodes."""

VIEW_DEFAULTS: Final[Row] = {
    "node_threshold": 0.8, "edge_threshold": 0.98, "show_errors": True, "show_biases": False,
    "filter": "",
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

_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_FIELDS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "label": {"text": _TEXT, "source": _TEXT},
    "group": {"label": _TEXT, "color": _TEXT, "open": (bool,), "source": _TEXT, "parent": _TEXT},
    "member": {"group": _TEXT},
    "place": {"x": _NUMBER, "y": _NUMBER},
    "note": {"text": _TEXT, "x": _NUMBER, "y": _NUMBER, "width": _NUMBER, "about": _TEXT},
    "frame": {"title": _TEXT, "x": _NUMBER, "y": _NUMBER, "width": _NUMBER, "height": _NUMBER},
    "sketch_node": {"label": _TEXT, "x": _NUMBER, "y": _NUMBER},
    "sketch_edge": {"source": _TEXT, "target": _TEXT, "label": _TEXT},
    "look": {"color": _TEXT, "shape": _TEXT},
    "look_rule": {"query": _TEXT, "color": _TEXT, "shape": _TEXT, "index": (int,)},
    "view": {
        "node_threshold": _NUMBER, "edge_threshold": _NUMBER, "show_errors": (bool,),
        "show_biases": (bool,), "filter": _TEXT,
    },
    "name": {"text": _TEXT},
    "order": {"index": (int,)},
    "text": {"text": _TEXT},
    "drawing": {"text": _TEXT},
}  # fmt: skip
_NEEDED: Final = {
    "label": ("text",), "group": ("label",), "member": ("group",), "place": ("x", "y"),
    "note": ("text",), "sketch_edge": ("source", "target"), "name": ("text",), "text": ("text",),
    "frame": ("x", "y", "width", "height"), "sketch_node": ("x", "y"), "drawing": ("text",),
    "look_rule": ("query",),
}  # fmt: skip
_FARTHEST: Final = 1e7


def is_sound(kind: str, row: Row) -> bool:
    """Say whether a row from a file has what its kind needs, in types that drawing can use.

    Kinds and fields that are not known here pass: a newer program may have written them.
    """
    fields = _FIELDS.get(kind, {})
    return (
        all(name in row for name in _NEEDED.get(kind, ()))
        and all(_is_value(row[name], types) for name, types in fields.items() if name in row)
        and all(_is_finite(value) for value in row.values())
    )


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or isfinite(value)


def _is_value(value: Any, types: tuple[type, ...]) -> bool:
    if type(value) not in types:
        return False
    return not isinstance(value, float | int) or abs(value) <= _FARTHEST
