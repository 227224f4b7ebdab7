"""What stands in the diagram and can be selected and moved: boxes, notes, frames, sketches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QRectF

from circuitscope.core.rows import Rows
from circuitscope.exchange.figure import Box, Figure
from circuitscope.graph import groups
from circuitscope.graph.view import rows_of

_TITLE = 26.0
"""How deep the part of an open group's frame is that takes clicks."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of the diagram.

    Attributes:
        id: Node key, group id or row id; "open GROUP" for the frame of an open group.
        face: Where it is and what it looks like; members: nodes that it stands for.
    """

    kind: Literal["box", "item", "frame", "open"]
    id: str
    face: Box
    members: frozenset[int] = frozenset()

    @property
    def rect(self) -> QRectF:
        """Return its rectangle in points."""
        return QRectF(self.face.x, self.face.y, self.face.width, self.face.height)

    @property
    def has_place(self) -> bool:
        """Say whether the user may place it; the frame of an open group follows its members."""
        return self.kind != "open"

    def is_at(self, x: float, y: float) -> bool:
        """Say whether a point hits it: of an open group's frame, its title."""
        rect = self.rect
        if self.kind == "open":
            rect.setHeight(min(_TITLE, rect.height()))
        return rect.contains(x, y)

    def holds(self, other: "Thing") -> bool:
        """Say whether the middle of something else lies in it."""
        return other.id != self.id and self.rect.contains(other.rect.center())


def things_of(figure: Figure, boxes: Sequence[groups.Box], rows: Rows) -> tuple[Thing, ...]:
    """Return the things of a figure, in the order in which a click finds them.

    Args:
        figure: As painted.
        boxes: What its nodes stand for.
        rows: The drawing.
    """
    faces = {layer.id: layer.boxes for layer in figure.layers}
    pairs = zip(boxes, faces["nodes"], strict=True)
    found = [
        Thing("box", box.id, face, frozenset(int(i) for i in box.members)) for box, face in pairs
    ]
    names = [name for kind in ("sketch_node", "note") for name, _ in rows_of(rows, kind)]
    found += [
        Thing("item", name, face)
        for name, face in zip(names, faces.get("sketches", ()), strict=False)
    ]
    frames = faces.get("frames", ())
    by_id = {face.id: face for face in frames}
    own = [Thing("frame", name, by_id[f"f-{name}"]) for name, _ in rows_of(rows, "frame")
           if f"f-{name}" in by_id]  # fmt: skip
    opened = [Thing("open", f"open {face.id.removeprefix('o-')}", face) for face in frames
              if face.id.startswith("o-")]  # fmt: skip
    inner_first = sorted([*own, *opened], key=lambda thing: thing.face.width * thing.face.height)
    return (*found, *inner_first)
