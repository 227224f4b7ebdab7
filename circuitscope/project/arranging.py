"""Verbs on what a person adds to the diagram (notes, frames, sketches), and on all places."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Final

from circuitscope.core.errors import ProjectError
from circuitscope.core.rows import RowKey, Rows
from circuitscope.project.edit import Edit, change
from circuitscope.project.verbs import new_id
from circuitscope.project.wording import count, short

if TYPE_CHECKING:
    from circuitscope.project.drawing import Drawing

OWN_PLACES: Final = ("sketch_node", "note", "frame")
"""Kinds of rows that hold their own x and y; of all else a `place` row does."""
LEAST: Final = 24.0


def move(drawing: "Drawing", places: Mapping[str, tuple[float, float]], text: str = "") -> Edit:
    """Put boxes, sketches, notes and frames where they should stand.

    Args:
        drawing: Where to.
        places: x and y in points by node key, group id or row id.
        text: Menu text; left out, "Move 3 items".
    """
    after: Rows = {}
    for name, (x, y) in places.items():
        kind = next((kind for kind in OWN_PLACES if drawing.row(kind, name)), "place")
        row = dict(drawing.row(kind, name) or {})
        after[RowKey(drawing.circuit_id, kind, name)] = {**row, "x": _point(x), "y": _point(y)}
    return change(text or f"Move {count(places, 'item')}", drawing.rows, after)


def frame(
    drawing: "Drawing",
    title: str,
    rect: tuple[float, float, float, float],
    frame_id: str | None = None,
    places: Mapping[str, tuple[float, float]] | None = None,
) -> Edit:
    """Draw a titled rectangle behind nodes, or change the one that `frame_id` names.

    Args:
        drawing: Where to.
        title: Its title.
        rect: x, y, width and height in points.
        frame_id: An existing frame keeps its id; None makes a new one.
        places: Places of all that stands in the diagram, so that the layout leaves it there.
    """
    x, y, width, height = map(_point, rect)
    verb = "Change" if frame_id and drawing.row("frame", frame_id) else "Draw"
    row = {
        "title": title, "x": x, "y": y, "width": max(width, LEAST), "height": max(height, LEAST),
    }  # fmt: skip
    after: Rows = dict(move(drawing, places or {}).after)
    after[RowKey(drawing.circuit_id, "frame", frame_id or new_id())] = row
    return change(f"{verb} frame “{short(title)}”", drawing.rows, after)


def with_places(drawing: "Drawing", edit: Edit, places: Mapping[str, tuple[float, float]]) -> Edit:
    """Add to an edit the places of all that stands in the diagram, so that it stays there."""
    after: Rows = {**move(drawing, places).after, **edit.after}
    return change(edit.label, drawing.rows, after, edit.merge_key)


def rename_item(drawing: "Drawing", name: str, text: str) -> Edit:
    """Change the text of a note, the title of a frame, the label of a sketch.

    Raises:
        ProjectError: There is nothing of that id.
    """
    fields = {"note": "text", "frame": "title", "sketch_node": "label", "sketch_edge": "label"}
    for kind, field in fields.items():
        if (row := drawing.row(kind, name)) is not None:
            after: Rows = {RowKey(drawing.circuit_id, kind, name): {**row, field: text}}
            noun = kind.replace("sketch_", "hand-made ")
            return change(f"Change {noun} to “{short(text)}”", drawing.rows, after)
    raise ProjectError("There is no such item.", kept="The drawing is unchanged.")


def erase(drawing: "Drawing", names: Iterable[str]) -> Edit:
    """Take notes, frames and sketches away, with the sketched edges that end on them."""
    gone = list(names)
    after: Rows = {
        RowKey(drawing.circuit_id, kind, name): None
        for name in gone for kind in (*OWN_PLACES, "sketch_edge") if drawing.row(kind, name)
    }  # fmt: skip
    for name, row in drawing.of_kind("sketch_edge").items():
        if row["source"] in gone or row["target"] in gone:
            after[RowKey(drawing.circuit_id, "sketch_edge", name)] = None
    return change(f"Erase {count(gone, 'item')}", drawing.rows, after)


def _point(value: float) -> float:
    number = round(float(value), 3)
    assert isfinite(number), "a place is not a number"
    return number
