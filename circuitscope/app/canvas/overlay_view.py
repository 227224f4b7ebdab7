"""The overlay of two compared circuits on screen: the very figure that is exported.

The wheel zooms at the cursor, the middle button, Space or a drag on the ground pans, a click
selects a node in the window's canvas too, in the circuit that has it.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from circuitscope.app.canvas.diagram_things import screen_theme
from circuitscope.app.canvas.link_paint import paint_band, paint_ring, paint_tooltip
from circuitscope.app.canvas.picture import MovedPicture, paint_seen
from circuitscope.app.canvas.view import CanvasView
from circuitscope.app.theme import Palette, px
from circuitscope.app.words import signed, tr
from circuitscope.exchange.comparison import ComparisonReport, node_order, overlay_figure
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.theme import PRESETS
from circuitscope.graph.compare import WHERES, Where
from circuitscope.session.session import Session

_LEAST_WIDTH, _MAGNET, _REST_MS = 560.0, 22.0, 80
_AROUND = 90.0
"""Height of what is not rows: tokens and margins."""


class OverlayView(CanvasView):
    """Show a comparison as one link graph; see `CanvasView`."""

    FARTHEST, CLOSEST = 0.2, 12.0

    def __init__(self, session: Session, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(session, palette, parent)
        self._report: ComparisonReport | None = None
        self._ids = ("", "")
        self._shown: tuple[Where, ...] = WHERES
        self._figure: Figure | None = None
        self._nodes: list[int] = []
        self._places: NDArray[np.float64] = np.zeros((0, 2))
        self._hover: int | None = None
        self._picture = MovedPicture(self)
        self._picture.changed.connect(self.update)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.refresh)
        self.setMinimumSize(360, 280)
        self.setAccessibleName(tr("Both circuits over each other"))

    def show_report(self, report: ComparisonReport, ids: tuple[str, str]) -> None:
        """Show another comparison.

        Args:
            report: What is compared.
            ids: Of both circuits in the project.
        """
        self._report, self._ids, self._hover = report, ids, None
        self.fit()
        self.refresh()

    def show_classes(self, shown: Collection[Where]) -> None:
        """Show only nodes and edges of some classes."""
        self._shown = tuple(where for where in WHERES if where in shown)
        self.refresh()

    @property
    def figure(self) -> Figure | None:
        """Return what is painted, None before there is a comparison."""
        return self._figure

    def refresh(self) -> None:
        """Draw the figure anew, as wide as the widget."""
        if self._report is None:
            return
        figure = self._drawn(px(13))
        # Rows are as high as there is room for; text keeps its size.
        room = max(self.height() - _AROUND, 1.0) / max(figure.height - _AROUND, 1.0)
        if abs(room - 1) > 0.03:
            figure = self._drawn(px(13) * min(max(room, 0.5), 1.7))
        self._figure = figure
        glyphs = next(layer.glyphs for layer in self._figure.layers if layer.id == "nodes")
        assert glyphs is not None
        self._nodes = node_order(self._figure)
        self._places = np.stack([glyphs.x, glyphs.y], axis=1).astype(np.float64)
        if self._fitted:
            self.fit()
        self.update()

    def _drawn(self, label: float) -> Figure:
        assert self._report is not None
        preset = replace(
            PRESETS["screen"], width=max(float(self.width()), _LEAST_WIDTH), label=label,
            small=px(11), margin=16, line=3.6,
        )  # fmt: skip
        return overlay_figure(
            self._report, preset, screen_theme(self._palette), self._shown, bare=True
        )

    def fit(self) -> None:
        """Show everything."""
        self._fitted = True
        if self._figure is not None:
            world = QRectF(0, 0, self._figure.width, self._figure.height)
            self.look(self._camera.framing(world, QRectF(self.rect()), 1.25))

    def centre_on(self, nodes: Collection[int]) -> None:
        """Bring nodes, by their place in the comparison, into the middle; fitting all is kept."""
        chosen = [at for at, node in enumerate(self._nodes) if node in nodes]
        if chosen:
            middle = self._camera.to_pixels(self._places[chosen].mean(axis=0)[None])[0]
            away = self.ground().center() - QPointF(*middle)
            self._fitted = False
            self.look(self._camera.panned(away.x(), away.y()))
        self.choose(nodes)

    def choose(self, nodes: Collection[int]) -> None:
        """Select nodes in the circuit that has them; the one on screen where it has any."""
        if self._report is None or not all(self._ids):
            return
        pairs = [self._report.found.nodes[node] for node in nodes]
        sides = [pair.a for pair in pairs], [pair.b for pair in pairs]
        held = [[one for one in side if one >= 0] for side in sides]
        active = self._session.active
        side = self._ids.index(active) if active in self._ids else 0
        side = side if held[side] else 1 - side
        if not held[side]:
            self._session.select([])
            return
        self._session.activate(self._ids[side])
        self._session.select(held[side])

    def selected(self) -> list[int]:
        """Return the selected nodes by their place in the comparison."""
        active, selection = self._session.active, set(self._session.selection)
        if self._report is None or active not in self._ids or not selection:
            return []
        side = self._ids.index(active)
        return [
            at for at, pair in enumerate(self._report.found.nodes)
            if (pair.a, pair.b)[side] in selection
        ]  # fmt: skip

    # ---- following the session ---------------------------------------------------------------
    def _new_circuit(self) -> None:
        self.update()

    def _keep_look(self) -> None:
        """Keep nothing: where the user looked belongs to the comparison."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._rest.start()

    # ---- mouse -------------------------------------------------------------------------------
    def node_at(self, pixel: QPointF) -> int | None:
        """Return the place in the comparison of the node nearest to a pixel."""
        if not len(self._places):
            return None
        away = self._camera.to_pixels(self._places) - (pixel.x(), pixel.y())
        distance = np.hypot(away[:, 0], away[:, 1])
        best = int(np.argmin(distance))
        return self._nodes[best] if distance[best] <= _MAGNET else None

    def _pressed(self, event: QMouseEvent) -> None:
        if self.node_at(event.position()) is None:
            self._panning = True
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        else:
            node = self.node_at(event.position())
            self.choose([] if node is None else [node])

    def _moved(self, event: QMouseEvent) -> None:
        node = self.node_at(event.position())
        if node != self._hover:
            self._hover = node
            self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        del event
        self.fit()

    def leaveEvent(self, event: object) -> None:
        del event
        self._hover = None
        self.update()

    def _inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        return []

    # ---- painting ----------------------------------------------------------------------------
    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.panel))
        figure, camera = self._figure, self._camera
        if figure is None:
            return
        view = (camera, self.size(), self.devicePixelRatioF())
        self._picture.paint(painter, figure, view, lambda p: paint_seen(p, figure, camera))
        for node in self.selected():
            self._ring(painter, node, self._palette.accent)
        if self._hover is not None:
            self._ring(painter, self._hover, self._palette.secondary)
            at = self._pixel(self._hover)
            if at is not None:
                paint_tooltip(painter, at, self._told(self._hover), self._palette,
                              QRectF(self.rect()))  # fmt: skip
        if self._band is not None:
            paint_band(painter, self._band, self._palette)

    def _pixel(self, node: int) -> QPointF | None:
        if node not in self._nodes:
            return None
        place = self._places[self._nodes.index(node)]
        return QPointF(*self._camera.to_pixels(place[None])[0])

    def _ring(self, painter: QPainter, node: int, color: str) -> None:
        at = self._pixel(node)
        if at is not None:
            paint_ring(painter, at, color)

    def _told(self, node: int) -> str:
        report = self._report
        assert report is not None
        pair = report.found.nodes[node]
        a, b = (
            f"{name}: {signed(value)}" for name, value in
            zip(report.names, pair.influence, strict=False)
        )  # fmt: skip
        return "\n".join(
            (report.label(node), tr(report.class_name(pair.where)), tr("influence: ") + f"{a}, {b}")
        )
