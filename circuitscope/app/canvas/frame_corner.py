"""The lower right corner of a frame: dragging it changes the frame's size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QRectF

from circuitscope.app.canvas.diagram_things import Thing
from circuitscope.project.arranging import LEAST

REACH = 12.0
"""Pixels around the corner in which a press takes hold of it."""


@dataclass(frozen=True, slots=True)
class FrameCorner:
    """A frame whose corner is held, and where the corner is now.

    Attributes:
        frame: The frame as it was.
        rect: What it would be if it were let go.
    """

    frame: Thing
    rect: QRectF

    def dragged(self, dx: float, dy: float) -> "FrameCorner":
        """Return the corner moved by points; a frame keeps its least size."""
        rect = QRectF(self.rect)
        rect.setWidth(max(rect.width() + dx, LEAST))
        rect.setHeight(max(rect.height() + dy, LEAST))
        return replace(self, rect=rect)


def corner_at(things: Sequence[Thing], x: float, y: float, scale: float) -> FrameCorner | None:
    """Return the corner of a frame near a point of the figure.

    Args:
        things: What stands in the diagram.
        x: In points.
        y: In points.
        scale: Pixels of a point.
    """
    for thing in things:
        if thing.kind == "frame":
            corner = thing.rect.bottomRight()
            if max(abs(corner.x() - x), abs(corner.y() - y)) * scale <= REACH:
                return FrameCorner(thing, thing.rect)
    return None
