"""The link graph on 10 000 nodes and 200 000 edges: building the picture, then frames.

The baseline is what a frame costs without the cached layer: drawing the same lines with Qt's
raster painter in one go.
"""

import os
import statistics
import time
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import shiboken6
from PySide6.QtCore import QLineF, QSize, Qt
from PySide6.QtGui import QPainter, QPen, QPixmap
from PySide6.QtWidgets import QApplication

from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.edge_layer import EdgeLayer, edge_pens, pen_indices
from circuitscope.app.theme import LIGHT

NODES, EDGES = 10_000, 200_000
SIZE = QSize(1400, 900)


def run() -> list[dict[str, Any]]:
    """Measure the edge layer."""
    app = QApplication.instance() or QApplication([])
    random = np.random.default_rng(0)
    places = random.random((NODES, 2)) * (SIZE.width(), SIZE.height())
    ends = places[random.integers(0, NODES, (EDGES, 2))].reshape(EDGES, 4)
    share = (random.random(EDGES) - 0.5).astype(np.float32) * 0.2

    layer = EdgeLayer(app)
    start = time.perf_counter()
    layer.set_edges(ends, pen_indices(share), edge_pens(LIGHT))
    layer.look(Camera(), SIZE, 1.0)
    chunks = []
    while not layer.is_complete:
        begun = time.perf_counter()
        app.processEvents()
        chunks.append(time.perf_counter() - begun)
    built = time.perf_counter() - start

    page = QPixmap(SIZE)
    frames = [_frame(page, layer) for _ in range(40)]
    whole = _everything(page, ends)
    frame = statistics.median(frames)
    return [
        _row("canvas.build_s", built, "s", 0.5),
        _row("canvas.longest_stall_ms", 1000 * max(chunks), "ms", 33.0),
        _row("canvas.frame_ms", 1000 * frame, "ms", 1000 * whole),
    ]


def _row(name: str, value: float, unit: str, baseline: float) -> dict[str, Any]:
    ratio = value / baseline
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio}


def _frame(page: QPixmap, layer: EdgeLayer) -> float:
    start = time.perf_counter()
    page.fill(Qt.GlobalColor.white)
    painter = QPainter(page)
    layer.paint(painter)
    painter.end()
    return time.perf_counter() - start


def _everything(page: QPixmap, ends: np.ndarray) -> float:
    start = time.perf_counter()
    painter = QPainter(page)
    painter.setPen(QPen(Qt.GlobalColor.blue, 1.0001))
    painter.drawLines(shiboken6.Shiboken.wrapInstance(ends.ctypes.data, QLineF), len(ends))
    painter.end()
    return time.perf_counter() - start
