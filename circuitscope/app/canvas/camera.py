"""Where the user looks: layout units to widget pixels and back.

The link graph stretches each axis on its own (columns and rows are categories), so the camera
keeps two scales; zooming multiplies both.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF


@dataclass(frozen=True, slots=True)
class Camera:
    """Map layout units to pixels: pixel = unit * scale + offset, per axis."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points [n, 2] to pixels [n, 2]."""
        scale = (self.scale_x, self.scale_y)
        return points * scale + (self.offset_x, self.offset_y)

    def to_units(self, pixel: QPointF) -> tuple[float, float]:
        """Map one pixel to layout units."""
        x = (pixel.x() - self.offset_x) / self.scale_x
        return x, (pixel.y() - self.offset_y) / self.scale_y

    def panned(self, dx: float, dy: float) -> "Camera":
        """Return the camera moved by pixels."""
        return replace(self, offset_x=self.offset_x + dx, offset_y=self.offset_y + dy)

    def zoomed(self, factor: float, at: QPointF) -> "Camera":
        """Return the camera zoomed so that the point under the cursor stays where it is."""
        return Camera(
            self.scale_x * factor,
            self.scale_y * factor,
            at.x() - (at.x() - self.offset_x) * factor,
            at.y() - (at.y() - self.offset_y) * factor,
        )

    @staticmethod
    def fitted(world: QRectF, view: QRectF) -> "Camera":
        """Return the camera that shows all of `world` inside `view`, each axis stretched."""
        scale_x = view.width() / max(world.width(), 1e-9)
        scale_y = view.height() / max(world.height(), 1e-9)
        return Camera(
            scale_x,
            scale_y,
            view.x() - world.x() * scale_x,
            view.y() - world.y() * scale_y,
        )

    @staticmethod
    def framing(world: QRectF, view: QRectF, closest: float) -> "Camera":
        """Return the camera with `world` in the middle of `view`, both axes at one scale."""
        fitted = Camera.fitted(world, view)
        scale = min(fitted.scale_x, fitted.scale_y, closest)
        middle = view.center() - world.center() * scale
        return Camera(scale, scale, middle.x(), middle.y())
