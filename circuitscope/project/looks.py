"""Verbs on how nodes look: colours and shapes by hand, and rules that give them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from circuitscope.core.errors import ProjectError
from circuitscope.core.keys import NodeKey
from circuitscope.core.rows import GROUP_COLORS, LOOK_SHAPES, RowKey, Rows
from circuitscope.graph.looks import rules_of
from circuitscope.graph.query import parse_query
from circuitscope.project.edit import Edit, change
from circuitscope.project.verbs import new_id
from circuitscope.project.wording import count, short

if TYPE_CHECKING:
    from circuitscope.project.drawing import Drawing


def look(
    drawing: "Drawing", keys: Iterable[NodeKey | str], color: str = "", shape: str = ""
) -> Edit:
    """Give nodes a colour and a shape by hand; with neither they look as their kind and rules.

    Args:
        drawing: Where to.
        keys: Nodes.
        color: Of `GROUP_COLORS`, or "" for their own.
        shape: Of `LOOK_SHAPES`, or "" for their own.
    """
    _check(color, shape)
    names = [str(key) for key in keys]
    row = {"color": color, "shape": shape} if color or shape else None
    after: Rows = {RowKey(drawing.circuit_id, "look", name): row for name in names}
    return change(f"Change the look of {count(names, 'node')}", drawing.rows, after)


def look_rule(
    drawing: "Drawing", query: str, color: str = "", shape: str = "", rule_id: str | None = None
) -> Edit:
    """Add a rule that gives a look to all nodes that a search finds, or change one.

    Raises:
        QueryError: The search is not understood.
        ProjectError: Neither a colour nor a shape is given, or nothing is searched for.
    """
    _check(color, shape)
    text = str(parse_query(query))
    if not text or not (color or shape):
        raise ProjectError(
            "A rule needs a condition, and a colour or a shape.",
            kept="The drawing is unchanged.",
            hint="For example kind:attention in violet.",
        )
    rules = dict(rules_of(dict(drawing.rows)))
    last = max((int(row.get("index", 0)) for row in rules.values()), default=-1)
    index = int(rules[rule_id].get("index", 0)) if rule_id in rules else last + 1
    row = {"query": text, "color": color, "shape": shape, "index": index}
    key = RowKey(drawing.circuit_id, "look_rule", rule_id or new_id())
    return change(f"Colour and shape by “{short(text)}”", drawing.rows, {key: row})


def remove_look_rule(drawing: "Drawing", rule_id: str) -> Edit:
    """Take a rule away."""
    key = RowKey(drawing.circuit_id, "look_rule", rule_id)
    return change("Remove a rule of colour and shape", drawing.rows, {key: None})


def _check(color: str, shape: str) -> None:
    for name, known in ((color, GROUP_COLORS), (shape, LOOK_SHAPES)):
        if name and name not in known:
            raise ProjectError(
                f"There is no {name!r} among {', '.join(known)}.", kept="The drawing is unchanged."
            )
