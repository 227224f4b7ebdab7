"""Thousands of edges as one cached picture, drawn in chunks so that the window never waits.

Measured on 10 000 nodes and 200 000 edges: one item per edge never finishes, a batched scene takes
740 ms a frame; this layer takes 0.5 s in pieces of a few milliseconds to build and 3.5 ms a frame
to show. Colours are mixed with the background beforehand: transparency costs ten times more.
"""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import shiboken6
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QObject, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap

from circuitscope.app.canvas.camera import Camera
from circuitscope.app.later import Later
from circuitscope.app.theme import Palette

RUN = 500
"""Lines drawn between two looks at the clock."""
STEP_S = 0.006
"""Time that one step of the building may take before the window gets its turn."""
IDLE_MS = 120
SMOOTH_BELOW = 4_000
LEVELS = 4


def edge_pens(palette: Palette) -> list[QPen]:
    """Return one pen per strength and sign: `LEVELS` negative ones, then `LEVELS` positive."""
    pens = []
    for color in (palette.negative, palette.positive):
        for level in range(LEVELS):
            mixed = QColor(palette.mix(color, 0.16 + 0.18 * level))
            pen = QPen(mixed, 1.0001 + 0.35 * level)
            pen.setCapStyle(Qt.PenCapStyle.FlatCap)
            pens.append(pen)
    return pens


def pen_indices(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the pen of each edge by its signed share of its target's row."""
    level = np.minimum((np.sqrt(np.abs(share)) * LEVELS * 1.3).astype(np.int64), LEVELS - 1)
    found: NDArray[np.uint8] = (level + LEVELS * (share >= 0)).astype(np.uint8)
    return found


@dataclass(frozen=True, slots=True)
class _Picture:
    pixmap: QPixmap
    camera: Camera


class EdgeLayer(QObject):
    """Keep a picture of all edges for the current camera, rebuilt when the camera rests."""

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._ends = np.zeros((0, 4))
        self._pen = np.zeros(0, np.uint8)
        self._pens: list[QPen] = []
        self._shown: _Picture | None = None
        self._next: _Picture | None = None
        self._lines = np.zeros((0, 4))
        self._done = 0
        self._camera = Camera()
        self._size = QSize(1, 1)
        self._ratio = 1.0
        self._rest = Later(self, self._begin)
        self._rest.setInterval(IDLE_MS)
        self._step = QTimer(self)
        self._step.timeout.connect(self._draw_for_a_while)

    @property
    def is_complete(self) -> bool:
        """Say whether the picture shows every edge at the present camera."""
        return (
            not self._rest.isActive()
            and not self._step.isActive()
            and self._shown is not None
            and self._shown.camera == self._camera
        )

    def set_edges(
        self, ends: NDArray[np.float64], pen: NDArray[np.uint8], pens: list[QPen]
    ) -> None:
        """Take other edges: ends in layout units [m, 4], weakest first, and the pen of each."""
        self._ends, self._pen, self._pens = ends, pen, pens
        self._begin()

    def look(self, camera: Camera, size: QSize, ratio: float) -> None:
        """Follow the camera; the picture is rebuilt once the camera has rested."""
        if (camera, size, ratio) == (self._camera, self._size, self._ratio):
            return
        first = self._shown is None or size != self._size  # a stretched picture would not do
        self._camera, self._size, self._ratio = camera, size, ratio
        self._step.stop()
        self._begin() if first else self._rest.start()

    def paint(self, painter: QPainter) -> None:
        """Draw the picture, moved and stretched where the camera has left it."""
        if self._shown is None:
            if self._next is not None and self._next.camera == self._camera:
                painter.drawPixmap(0, 0, self._next.pixmap)  # as far as it has come
            return
        old, new = self._shown.camera, self._camera
        if old == new:
            painter.drawPixmap(0, 0, self._shown.pixmap)
            return
        stretch_x, stretch_y = new.scale_x / old.scale_x, new.scale_y / old.scale_y
        ratio = self._shown.pixmap.devicePixelRatio()
        width, height = self._shown.pixmap.width() / ratio, self._shown.pixmap.height() / ratio
        corner = QPointF(
            new.offset_x - old.offset_x * stretch_x, new.offset_y - old.offset_y * stretch_y
        )
        target = QRectF(corner.x(), corner.y(), width * stretch_x, height * stretch_y)
        painter.drawPixmap(target, self._shown.pixmap, QRectF(self._shown.pixmap.rect()))

    def _begin(self) -> None:
        self._rest.stop()
        pixmap = QPixmap(self._size * self._ratio)
        pixmap.setDevicePixelRatio(self._ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        self._next = _Picture(pixmap, self._camera)
        pixels = self._camera.to_pixels(self._ends.reshape(-1, 2)).reshape(-1, 4)
        left, right = np.minimum(pixels[:, 0], pixels[:, 2]), np.maximum(pixels[:, 0], pixels[:, 2])
        top, bottom = np.minimum(pixels[:, 1], pixels[:, 3]), np.maximum(pixels[:, 1], pixels[:, 3])
        inside = (right > 0) & (left < self._size.width())
        inside &= (bottom > 0) & (top < self._size.height())
        # One run of each pen, weak pens first, keeps the strongest edges on top.
        order = np.argsort(self._pen[inside] % LEVELS, kind="stable")
        self._lines = np.ascontiguousarray(pixels[inside][order])
        self._line_pen = self._pen[inside][order]
        self._done = 0
        self._draw_for_a_while()
        if not self._finished:
            self._step.start()

    @property
    def _finished(self) -> bool:
        return self._done >= len(self._lines)

    def _draw_for_a_while(self) -> None:
        assert self._next is not None
        painter = QPainter(self._next.pixmap)
        smooth = len(self._lines) <= SMOOTH_BELOW
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, smooth)
        end = time.perf_counter() + STEP_S
        while not self._finished:
            self._draw_run(painter)
            if time.perf_counter() > end:
                break
        painter.end()
        if self._finished:
            self._step.stop()
            self._shown, self._next = self._next, None
            self.changed.emit()
        elif self._shown is None:
            self.changed.emit()

    def _draw_run(self, painter: QPainter) -> None:
        end = min(self._done + RUN, len(self._lines))
        pens = self._line_pen[self._done : end]
        cuts = [0, *(np.flatnonzero(np.diff(pens)) + 1).tolist(), len(pens)]
        for start, stop in itertools.pairwise(cuts):
            if start == stop:
                continue
            painter.setPen(self._pens[int(pens[start])])
            run = self._lines[self._done + start : self._done + stop]
            first: Any = shiboken6.Shiboken.wrapInstance(run.ctypes.data, QLineF)
            painter.drawLines(first, len(run))
        self._done = end
