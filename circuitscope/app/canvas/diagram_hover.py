"""What a box of the diagram is joined to: it stands out while the mouse is over the box."""

from typing import Final

import numpy as np

from circuitscope.app.canvas.diagram_things import Shown
from circuitscope.app.canvas.picture import part_of
from circuitscope.exchange.figure import Figure

FADED: Final = 0.4
"""Strength of the rest meanwhile."""
_MOST: Final = 150
"""Edges of one box that stand out; a hub's weaker ones would take longer than a frame."""


class Hover:
    """Remember the box under the mouse, and the figure of it, its edges and their other ends."""

    def __init__(self) -> None:
        self._shown = Shown()
        self._ends = np.zeros((2, 0), np.int64)
        self._lit: Figure | None = None
        self.box: int | None = None

    def point_at(self, shown: Shown, box: int | None) -> bool:
        """Turn to a box, or to none; say whether that is another one.

        Args:
            shown: What is painted.
            box: Index into its boxes.
        """
        if shown is not self._shown:
            self._shown, self.box, self._lit = shown, None, None
            ends = [(link.source, link.target) for link in shown.links]
            self._ends = np.array(ends, np.int64).reshape(-1, 2).T
        if box == self.box:
            return False
        self.box, self._lit = box, None if box is None else self._figure_of(box)
        return True

    def lit(self, shown: Shown) -> Figure | None:
        """Return what stands out, None where the mouse is over no box of what is painted."""
        return self._lit if shown is self._shown else None

    def _figure_of(self, box: int) -> Figure | None:
        figure = self._shown.figure
        if figure is None:
            return None
        edges = (self._ends == box).any(axis=0)
        touching = np.flatnonzero(edges)
        curves = next((layer.curves for layer in figure.layers if layer.id == "edges"), None)
        if len(touching) > _MOST and curves is not None:
            weakest = touching[np.argsort(-curves.width[touching], kind="stable")[_MOST:]]
            edges[weakest] = False
        faces = {id(self._shown.faces[at]) for at in (box, *self._ends[:, edges].ravel().tolist())}
        return part_of(figure, faces, edges)
