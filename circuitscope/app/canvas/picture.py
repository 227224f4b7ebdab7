"""A painted graph kept as a picture, and the picture of what is being dragged over it.

A diagram of a thousand boxes takes a fifth of a second to paint, and seconds to route. So it is
painted once; while the camera moves the picture moves with it, and it is painted anew when the
camera rests. While boxes are dragged, what stays is one picture and what moves another; only the
edges between the two are drawn in every frame, as plain curves. Routes and numbers follow when the
boxes are let go.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap

from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.diagram_things import Shown
from circuitscope.app.canvas.link_paint import curve
from circuitscope.app.later import Later
from circuitscope.exchange.figure import Box, Curves, Figure, Glyphs, Layer, dashes
from circuitscope.exchange.routing import Link
from circuitscope.printing.paint import paint_figure

FRAME_S: Final = 0.012
"""A figure that takes longer than this to paint is shown as a moved picture until it rests."""
_REST_MS: Final = 90
PALE: Final = 0.28
"""Strength of what is not in focus."""


View = tuple[Camera, QSize, float]
"""Camera, size and pixel ratio of a widget."""


@dataclass(frozen=True, slots=True)
class _Picture:
    shown: object
    pixmap: QPixmap
    camera: Camera


class MovedPicture(QObject):
    """Paint something through a cached picture."""

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._kept: _Picture | None = None
        self._cost = 0.0
        self._rest = Later(self, self._rested)
        self._rest.setInterval(_REST_MS)

    def paint(
        self, painter: QPainter, shown: object, view: View, act: Callable[[QPainter], object]
    ) -> None:
        """Draw what the camera sees, or the latest picture moved there.

        Args:
            painter: Of the widget.
            shown: What is painted; another object is painted anew.
            view: How the widget looks at it.
            act: Paints it in the widget's pixels.
        """
        (camera, size, ratio), kept = view, self._kept
        fresh = kept is not None and kept.shown is shown
        fresh = fresh and kept is not None and kept.pixmap.size() == size * ratio
        if kept is None or not fresh or (kept.camera != camera and self._cost < FRAME_S):
            start = time.perf_counter()
            kept = self._kept = _Picture(shown, _pixmap(size, ratio, act), camera)
            self._cost = time.perf_counter() - start
            self._rest.stop()
        if kept.camera == camera:
            painter.drawPixmap(0, 0, kept.pixmap)
            return
        grown = camera.scale_x / kept.camera.scale_x
        corner = QPointF(camera.offset_x, camera.offset_y)
        corner -= QPointF(kept.camera.offset_x, kept.camera.offset_y) * grown
        target = QRectF(corner.x(), corner.y(), size.width() * grown, size.height() * grown)
        painter.drawPixmap(target, kept.pixmap, QRectF(kept.pixmap.rect()))
        self._rest.start()

    def _rested(self) -> None:
        self._kept = None
        self.changed.emit()


def _pixmap(size: QSize, ratio: float, act: Callable[[QPainter], object]) -> QPixmap:
    pixmap = QPixmap(size * ratio)
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    act(painter)
    painter.end()
    return pixmap


def paint_seen(painter: QPainter, figure: Figure, camera: Camera) -> None:
    """Paint a figure as the camera sees it."""
    device = painter.device()
    ratio = device.devicePixelRatioF()
    left, top = camera.to_units(QPointF(0, 0))
    right, bottom = camera.to_units(QPointF(device.width() / ratio, device.height() / ratio))
    seen = QRectF(left, top, right - left, bottom - top)
    painter.save()
    painter.translate(camera.offset_x, camera.offset_y)
    painter.scale(camera.scale_x, camera.scale_y)
    paint_figure(painter, figure, background=False, seen=seen)
    painter.restore()


class Lifted:
    """Things of a diagram that are being dragged.

    Args:
        shown: The diagram as it was.
        moving: Whether each of its things moves, bool [things].
        view: Camera, size and pixel ratio of the widget.
    """

    def __init__(self, shown: Shown, moving: NDArray[np.bool_], view: View) -> None:
        assert shown.figure is not None
        self.camera, size, ratio = view
        self.offset = (0.0, 0.0)
        self.moving = moving
        self._shown = shown
        faces = [id(thing.face) for thing in shown.things]
        lifted = {face for face, moves in zip(faces, moving, strict=True) if moves}
        source = np.array([moving[link.source] for link in shown.links], np.bool_)
        target = np.array([moving[link.target] for link in shown.links], np.bool_)
        self._ends = [(shown.links[int(i)], int(i)) for i in np.flatnonzero(source != target)]
        self._curves = _layer(shown.figure, "edges").curves
        still = part_of(shown.figure, set(faces) - lifted, ~source & ~target, words=True)
        self._still = self._painted(still, self.camera, size, ratio)
        # What moves may come from outside the widget: its picture is larger on every side.
        self._border = (size.width() // 2, size.height() // 2)
        shifted = self.camera.panned(*self._border)
        larger = QSize(size.width() + 2 * self._border[0], size.height() + 2 * self._border[1])
        moves = part_of(shown.figure, lifted, source & target)
        self._lifted = self._painted(moves, shifted, larger, ratio)

    @staticmethod
    def _painted(figure: Figure, camera: Camera, size: QSize, ratio: float) -> QPixmap:
        return _pixmap(size, ratio, lambda painter: paint_seen(painter, figure, camera))

    def offset_of(self, thing: int) -> tuple[float, float]:
        """Return how far a thing is from its place in the figure."""
        return self.offset if thing < len(self.moving) and self.moving[thing] else (0.0, 0.0)

    def paint(self, painter: QPainter, camera: Camera) -> None:
        """Draw what stays, the edges between, and what moves, as the camera sees it by now."""
        painter.save()
        if camera != self.camera:
            grown = camera.scale_x / self.camera.scale_x
            painter.translate(
                camera.offset_x - grown * self.camera.offset_x,
                camera.offset_y - grown * self.camera.offset_y,
            )
            painter.scale(grown, grown)
        self._paint(painter)
        painter.restore()

    def _paint(self, painter: QPainter) -> None:
        painter.drawPixmap(0, 0, self._still)
        if self._curves is not None:
            for link, number in self._ends:
                self._paint_edge(painter, self._curves, link, number)
        dx, dy = self.offset[0] * self.camera.scale_x, self.offset[1] * self.camera.scale_y
        painter.drawPixmap(QPointF(dx - self._border[0], dy - self._border[1]), self._lifted)
        if (by_hand := self._shown.by_hand) is not None and self._shown.figure is not None:
            shift = np.array(self.offset) * self.moving[: len(by_hand.rects), None]
            layers = by_hand.lines(shift)
            if layers:
                paint_seen(painter, replace(self._shown.figure, layers=layers), self.camera)

    def _paint_edge(self, painter: QPainter, curves: Curves, link: Link, number: int) -> None:
        ends = []
        for box, at_bottom in ((link.source, False), (link.target, True)):
            face, (dx, dy) = self._shown.faces[box], self.offset_of(box)
            height = face.height if at_bottom else 0.0
            ends.append((face.x + dx + face.width / 2, face.y + dy + height))
        pixels = self.camera.to_pixels(np.array(ends))
        width = float(curves.width[number]) * self.camera.scale_x
        pen = QPen(QColor(curves.colors[curves.color[number]]), width)
        if curves.dashed[number]:
            pen.setDashPattern(
                [length / max(width, 1e-6) for length in dashes(width, int(curves.dashed[number]))]
            )
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(pen)
        painter.drawPath(curve(QPointF(*pixels[0]), QPointF(*pixels[1])))


def paint_highlighted(
    painter: QPainter,
    figure: Figure,
    camera: Camera,
    boxes: NDArray[np.bool_],
    edges: NDArray[np.bool_],
) -> None:
    """Paint a figure pale, but for some of its boxes and edges."""
    painter.setOpacity(PALE)
    paint_seen(painter, figure, camera)
    painter.setOpacity(1.0)
    faces = _layer(figure, "nodes").boxes
    kept = {id(face) for face, is_kept in zip(faces, boxes, strict=True) if is_kept}
    paint_seen(painter, part_of(figure, kept, edges), camera)


def _layer(figure: Figure, name: str) -> Layer:
    return next((layer for layer in figure.layers if layer.id == name), Layer(name))


def part_of(
    figure: Figure, kept: set[int], edges: NDArray[np.bool_], *, words: bool = False
) -> Figure:
    """Return a figure of some boxes, some edges, their signs, and title and caption.

    Lines drawn by hand are left out.

    Args:
        figure: The whole.
        kept: `id` of these boxes: two may be equal.
        edges: Which of its edges.
        words: With title and caption.
    """
    faces = [face for face in _layer(figure, "nodes").boxes if id(face) in kept]
    layers = []
    for layer in figure.layers:
        if layer.id == "nodes":
            layers.append(replace(layer, boxes=tuple(faces)))
        elif layer.id in ("frames", "sketches"):
            boxes = tuple(face for face in layer.boxes if id(face) in kept)
            layers.append(replace(layer, boxes=boxes, curves=None))
        elif layer.id == "edges" and layer.curves is not None:
            layers.append(replace(layer, curves=_some_curves(layer.curves, edges)))
        elif layer.id == "numbers":
            plates = zip(layer.boxes, edges, strict=True)
            layers.append(replace(layer, boxes=tuple(box for box, kept in plates if kept)))
        elif layer.id in ("badges", "shapes") and layer.glyphs is not None:
            layers.append(replace(layer, glyphs=_glyphs_at(layer.glyphs, faces)))
        elif words and layer.id != "leaders":
            layers.append(layer)
    return replace(figure, layers=tuple(layers))


def _some_curves(curves: Curves, kept: NDArray[np.bool_]) -> Curves | None:
    if not kept.any():
        return None
    new = np.cumsum(kept) - 1
    pieces = kept[curves.chain]
    return replace(
        curves, points=curves.points[pieces], chain=new[curves.chain[pieces]].astype(np.int32),
        width=curves.width[kept], color=curves.color[kept], dashed=curves.dashed[kept],
        arrow=curves.arrow[kept], ids=(), titles=(),
    )  # fmt: skip


def _glyphs_at(glyphs: Glyphs, faces: Sequence[Box]) -> Glyphs | None:
    corners = np.array(
        [(x, face.y) for face in faces for x in (face.x, face.x + face.width)]
    ).reshape(-1, 2)
    at = np.stack([glyphs.x, glyphs.y], axis=1)
    if len(corners) < len(at):
        kept = np.zeros(len(at), np.bool_)
        for corner in corners:
            kept |= (np.abs(at - corner) < 6).all(axis=1)
    else:
        near = [(np.abs(corners - place) < 6).all(axis=1).any() for place in at]
        kept = np.array(near, np.bool_)
    if not kept.any():
        return None
    return replace(
        glyphs, shape=glyphs.shape[kept], x=glyphs.x[kept], y=glyphs.y[kept],
        size=glyphs.size[kept], color=glyphs.color[kept], ids=(), titles=(),
    )  # fmt: skip
