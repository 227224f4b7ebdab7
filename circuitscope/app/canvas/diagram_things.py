"""What stands in the diagram and can be selected and moved: boxes, notes, frames, sketches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF

from circuitscope.app.theme import Palette
from circuitscope.app.words import tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Rows
from circuitscope.core.steps import Steps, finish
from circuitscope.exchange.annotations import ByHand
from circuitscope.exchange.diagram import diagram_steps, subgraph_of
from circuitscope.exchange.figure import Box, Figure
from circuitscope.exchange.routing import Link
from circuitscope.exchange.theme import PRESETS, Theme
from circuitscope.graph import groups
from circuitscope.graph.view import rows_of, view_of
from circuitscope.session.showing import Focus

_TITLE = 26.0
"""How deep the part of an open group's frame is that takes clicks."""


MOST_BOXES: Final = 1_000
"""Boxes that can be laid out and moved by hand; beyond, the view offers to group them."""
AT_ONCE: Final = 60
"""Pinned and grouped nodes whose diagram is made at once; a larger one in steps."""


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


@dataclass(frozen=True, slots=True)
class Shown:
    """A diagram as the circuit view shows it.

    Attributes:
        figure: What is painted, None where there is nothing or too much to paint.
        boxes: What its nodes stand for, also where there are too many.
        links: Its edges, in the order of its curves and numbers.
        faces: The boxes as painted.
        things: All that can be selected and moved: boxes, then what else lines end on, then frames.
        by_hand: Makes the lines drawn by hand.
    """

    figure: Figure | None = None
    boxes: tuple[groups.Box, ...] = ()
    links: list[Link] = field(default_factory=list)
    faces: tuple[Box, ...] = ()
    things: tuple[Thing, ...] = ()
    by_hand: ByHand | None = None

    @property
    def are_too_many(self) -> bool:
        """Say whether the boxes should be grouped before they are laid out."""
        return len(self.boxes) > MOST_BOXES


def screen_theme(palette: Palette) -> Theme:
    """Return the figure's colours on screen."""
    shared = {
        one.name: getattr(palette, one.name) for one in fields(Theme) if hasattr(palette, one.name)
    }
    return Theme(
        **shared, background=palette.panel, on_logit=palette.panel, token_fill=palette.field,
        token_stroke=palette.feature,
    )  # fmt: skip


def united(things: Sequence[Thing]) -> QRectF:
    """Return the rectangle around things, in points."""
    frame = QRectF(things[0].rect)
    for thing in things[1:]:
        frame = frame.united(thing.rect)
    return frame


def by_layer(circuit: Circuit, boxes: Sequence[groups.Box]) -> dict[str, list[str]]:
    """Return the keys of nodes that stand alone, by what a group of their layer would be called."""
    found: dict[str, list[str]] = {}
    for box in boxes:
        if not box.is_group:
            name = tr("layer {0}").format(box.layers[0]) if box.layers[1] >= 0 else tr("tokens")
            found.setdefault(name, []).append(str(circuit.nodes.key(int(box.members[0]))))
    return found


def in_focus(
    circuit: Circuit, shown: Shown, focus: Focus
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Return which boxes and links a focus is about, and how many of its nodes have no box.

    A link is in focus where an edge of the focus runs between members of its two boxes.
    """
    box_of = np.full(len(circuit.nodes), -1, np.int64)
    for number, box in enumerate(shown.boxes):
        box_of[box.members] = number
    within = box_of[focus.nodes]
    boxes = np.zeros(len(shown.boxes), np.bool_)
    boxes[within[within >= 0]] = True
    edges = circuit.edges
    ends = zip(
        box_of[edges.source[focus.edges]].tolist(), box_of[edges.target[focus.edges]].tolist(),
        strict=True,
    )  # fmt: skip
    drawn = set(ends)
    links = np.array([(link.source, link.target) in drawn for link in shown.links], np.bool_)
    return boxes, links, int((within < 0).sum())


def diagram_on_screen(circuit: Circuit | None, rows: Rows, theme: Theme) -> Steps[Shown]:
    """Make the diagram that the circuit view shows, in steps where it is a large one."""
    if circuit is None:
        return Shown()
    is_large = sum(key.kind in ("pin", "member") for key in rows) > AT_ONCE
    if is_large:
        yield
    view = view_of(circuit, rows)
    if is_large:
        yield
    subgraph = subgraph_of(circuit, rows, view)
    boxes = subgraph.boxes
    if len(boxes) > MOST_BOXES:
        return Shown(boxes=boxes)
    spots = [box.place[0] for box in boxes if box.place is not None]
    wide = max(spots, default=0.0) - min(spots, default=0.0) + 320
    preset = replace(PRESETS["screen"], width=max(PRESETS["screen"].width, wide))
    steps = diagram_steps(circuit, rows, view, subgraph, (preset, theme))
    made = (yield from steps) if is_large else finish(steps)
    faces = next(layer.boxes for layer in made.figure.layers if layer.id == "nodes")
    things = things_of(made.figure, boxes, rows)
    return Shown(made.figure, boxes, made.links, faces, things, made.by_hand)


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
