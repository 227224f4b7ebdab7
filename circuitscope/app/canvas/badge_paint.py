"""Badges on the link graph: the same signs as in an exported figure, and their legend's words."""

from typing import Final

import numpy as np
from PySide6.QtCore import QLineF, QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.link_paint import GLYPH
from circuitscope.app.canvas.link_scene import LinkScene
from circuitscope.app.theme import Palette
from circuitscope.core.badges import Badge
from circuitscope.graph.evidence import Marks

_OFF: Final = GLYPH * 0.75
_HALF: Final = 3.4


def badge_ink(badge: Badge, palette: Palette) -> str:
    """Return the colour of a badge on screen."""
    colors = {Badge.SUPPORTED: palette.supported, Badge.CONTRADICTED: palette.negative}
    return colors.get(badge, palette.secondary)


def paint_badge(painter: QPainter, badge: Badge, at: QPointF, palette: Palette) -> None:
    """Draw one badge around a point, on a disc of the panel's colour."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(palette.panel))
    painter.drawEllipse(at, _HALF * 1.7, _HALF * 1.7)
    pen = QPen(QColor(badge_ink(badge, palette)), 1.8)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    x, y, r = at.x(), at.y(), _HALF
    if badge is Badge.SUPPORTED:
        painter.drawLine(QLineF(x - r, y, x - 0.25 * r, y + 0.8 * r))
        painter.drawLine(QLineF(x - 0.25 * r, y + 0.8 * r, x + r, y - 0.8 * r))
    elif badge is Badge.CONTRADICTED:
        s = 0.75 * r
        painter.drawLine(QLineF(x - s, y - s, x + s, y + s))
        painter.drawLine(QLineF(x - s, y + s, x + s, y - s))
    elif badge is Badge.COMPENSATED:
        painter.drawEllipse(at, 0.9 * r, 0.9 * r)
    else:
        corners = (QPointF(x, y - r), QPointF(x + r, y), QPointF(x, y + r), QPointF(x - r, y))
        painter.drawPolygon(list(corners))


def paint_badges(
    painter: QPainter, scene: LinkScene, camera: Camera, palette: Palette, marks: Marks
) -> None:
    """Draw the badges of the nodes and edges that are shown."""
    for node, run in marks.nodes.items():
        at = camera.to_pixels(scene.places[node][None])[0]
        if np.isfinite(at).all():
            paint_badge(painter, run.badge, QPointF(at[0] + _OFF, at[1] - _OFF), palette)
    for ends, run in marks.edges.items():
        at = camera.to_pixels(scene.places[list(ends)]).mean(axis=0)
        if np.isfinite(at).all():
            paint_badge(painter, run.badge, QPointF(*at), palette)
