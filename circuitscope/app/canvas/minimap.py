"""The minimap: the whole link graph in a corner, and the part of it that is in sight.

Drag the rectangle or click beside it; with the keyboard, Tab reaches it and the arrows move it.
"""

from typing import Any, Final

import numpy as np
import shiboken6
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.link_scene import LinkScene
from circuitscope.app.canvas.view import CanvasView
from circuitscope.app.theme import Palette
from circuitscope.app.words import tr

WIDTH, HEIGHT, EDGE = 168, 104, 8.0
_STEP: Final = 0.2
"""Part of what is in sight that an arrow key moves it by."""
_ARROWS: Final = {
    Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1),
}  # fmt: skip


class Minimap(QWidget):
    """Show where the canvas looks, and look elsewhere.

    Args:
        canvas: Whose map it is, and its parent.
        palette: Colours.
    """

    def __init__(self, canvas: CanvasView, palette: Palette) -> None:
        super().__init__(canvas)
        self._canvas, self._palette = canvas, palette
        self._scene: LinkScene | None = None
        self.resize(WIDTH, HEIGHT)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.setAccessibleName(tr("Minimap"))
        self.setAccessibleDescription(tr("Arrow keys move what is in sight."))
        self.setToolTip(tr("Drag to look elsewhere"))

    def show_scene(self, scene: LinkScene | None) -> None:
        """Take another graph."""
        self._scene = scene
        self.update()

    def _camera(self) -> Camera:
        assert self._scene is not None
        layout = self._scene.layout
        room = QRectF(self.rect()).adjusted(EDGE, EDGE, -EDGE, -EDGE)
        return Camera.fitted(QRectF(0, 0, layout.width, layout.height), room)

    def in_sight(self) -> QRectF:
        """Return the rectangle of what the canvas shows, in pixels of the map."""
        ground, camera = self._canvas.ground(), self._canvas.camera
        corners = [camera.to_units(p) for p in (ground.topLeft(), ground.bottomRight())]
        low, high = self._camera().to_pixels(np.array(corners))
        return QRectF(QPointF(*low), QPointF(*high))

    def _centre_on(self, pixel: QPointF) -> None:
        if self._scene is None:
            return
        x, y = self._camera().to_units(pixel)
        here = self._canvas.camera.to_units(self._canvas.ground().center())
        scale = self._canvas.camera.scale_x, self._canvas.camera.scale_y
        self._canvas.pan((here[0] - x) * scale[0], (here[1] - y) * scale[1])

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._centre_on(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._centre_on(event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _ARROWS.get(Qt.Key(event.key()))
        if step is None or self._scene is None:
            super().keyPressEvent(event)
            return
        sight = self.in_sight()
        by = QPointF(step[0] * sight.width() * _STEP, step[1] * sight.height() * _STEP)
        self._centre_on(sight.center() + by)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        focused = self.hasFocus()
        painter.setPen(QPen(QColor(self._palette.accent if focused else self._palette.hairline), 1))
        painter.setBrush(QColor(self._palette.panel))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        if self._scene is None:
            return
        scene = self._scene
        for chosen, color, size in (
            (~scene.in_circuit, self._palette.faint, 2.0),
            (scene.in_circuit, self._palette.ink, 3.0),
        ):
            nodes = scene.shown[chosen[scene.shown]]
            if len(nodes):
                points = np.ascontiguousarray(self._camera().to_pixels(scene.places[nodes]))
                painter.setPen(QPen(QColor(color), size))
                first: Any = shiboken6.Shiboken.wrapInstance(points.ctypes.data, QPointF)
                painter.drawPoints(first, len(points))
        painter.setPen(QPen(QColor(self._palette.accent), 1.4))
        tint = QColor(self._palette.accent)
        tint.setAlpha(28)
        painter.setBrush(tint)
        frame = QRectF(self.rect()).adjusted(2, 2, -2, -2)
        painter.drawRect(self.in_sight().intersected(frame))
