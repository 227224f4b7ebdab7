"""The link graph: layers upwards, tokens sideways, every node and edge the view keeps.

An own widget with its own camera and cached layers (see `edge_layer`): no scene, no item per node.
It reads the session and asks the session for every change; it holds no state that is worth saving.

Mouse: click selects, Shift adds, Ctrl pins, drag on the ground selects a frame, wheel zooms at the
cursor, middle button or Space and drag pan, double click names a node, right click asks for a menu.
"""

from contextlib import suppress
from typing import Any

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas import link_paint as draw
from circuitscope.app.canvas.badge_paint import paint_badges
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.edge_layer import EdgeLayer, edge_pens, pen_indices
from circuitscope.app.canvas.legend import (
    Entry,
    edge_palette,
    legend_entries,
    legend_height,
    paint_legend,
)
from circuitscope.app.canvas.link_scene import LinkScene, make_scene
from circuitscope.app.canvas.minimap import Minimap
from circuitscope.app.canvas.picture import MovedPicture
from circuitscope.app.canvas.view import SHIFT, CanvasView
from circuitscope.app.conditions import traced_here
from circuitscope.app.later import Later
from circuitscope.app.meanings import meaning
from circuitscope.app.naming import heads_line, is_attention
from circuitscope.app.theme import Palette
from circuitscope.app.words import tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.graph.evidence import Marks, marks_of
from circuitscope.session.document import Document
from circuitscope.session.session import Session

MAGNET = 30.0
GRIP = 11.0
"""A press so near to a node is a click on it; farther off a drag draws a frame instead."""
PALE = 0.38
"""Strength of the circuit's edges while those of one node stand before them."""
DWELL_MS = 350
"""The pointer rests so long before the engine is asked which heads an edge passes."""
STEPS = {
    Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1),
}  # fmt: skip


class LinkGraphView(CanvasView):
    """Show the active circuit as a link graph; see `CanvasView`."""

    pin_wanted = Signal(int)
    """Emitted with a node that was Ctrl-clicked."""

    def __init__(self, session: Document, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(session, palette, parent)
        self._inks = palette
        self._scene: LinkScene | None = None
        self._stale = False
        self._marks = Marks()
        self._names: dict[int, str] = {}
        self._legend: list[Entry] = []
        self._hover: int | None = None
        self._column: int | None = None
        self._edges = EdgeLayer(self)
        self._edges.changed.connect(self.update)
        self._nodes = MovedPicture(self)
        self._nodes.changed.connect(self.update)
        self.minimap = Minimap(self, palette)
        self.minimap.hide()
        self.setAccessibleName(tr("Link graph"))
        self.setWhatsThis(meaning("share"))
        to_gui(session.focus_changed, lambda *_: self.refresh(), self)
        # A half that looks beside the session asks nothing of the engine; a click makes it active.
        self._heads = session.edge_heads if isinstance(session, Session) else None
        if self._heads is not None:
            to_gui(self._heads.told, lambda *_: self.update(), self)
        self._dwell = Later(self, self._ask_heads)
        self._new_circuit()

    # ---- what the window asks for ----------------------------------------------------------
    @property
    def scene(self) -> LinkScene | None:
        """Return what is shown, None where no circuit is active."""
        self._catch_up()
        return self._scene

    @property
    def is_complete(self) -> bool:
        """Say whether every edge is painted as the camera sees it."""
        return self._edges.is_complete

    def fit(self) -> None:
        """Show the whole graph."""
        self._fitted = True
        if self._scene is not None:
            layout = self._scene.layout
            world = QRectF(0, 0, layout.width, layout.height)
            self.look(Camera.fitted(world, self.ground()))

    def frame_selection(self) -> None:
        """Bring the selected nodes into view; the whole graph where nothing is selected."""
        if self._scene is None:
            return
        places = self._scene.places[list(self._session.selection)]
        places = places[np.isfinite(places[:, 0])]
        if not len(places):
            self.fit()
            return
        self._fitted = False
        low, high = places.min(axis=0) - 60, places.max(axis=0) + 60
        world = QRectF(low[0], low[1], *(high - low))
        self.look(Camera.framing(world, self.ground(), 2.5))

    def _drawing_changed(self, drawing: Any) -> None:
        """Wait with the new scene until somebody looks: the diagram is edited in front of it."""
        if drawing is self._drawing and self._scene is not None and not self.isVisible():
            self._stale = True
        else:
            super()._drawing_changed(drawing)

    def _catch_up(self) -> None:
        if self._stale:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Show what the drawing has become meanwhile."""
        super().showEvent(event)
        self._catch_up()

    def refresh(self) -> None:
        """Work out anew what is shown: thresholds, drawing or colours have changed."""
        self._stale = False
        circuit, view = self._session.circuit, self._session.shown()
        if circuit is None or view is None:
            self._scene = None
            self.minimap.show_scene(None)
            self.update()
            return
        metrics = QFontMetricsF(draw.text_font(self.font(), 12, bold=True))
        widths = np.array([metrics.horizontalAdvance(token) for token in circuit.tokens])
        rows = dict(self._drawing.rows) if self._drawing is not None else {}
        self._inks = edge_palette(self._palette, circuit)
        scene = make_scene(circuit, view, rows, self._palette, widths, self._session.focus)
        self._scene = scene
        self.minimap.show_scene(scene)
        named = {circuit.nodes.find(key.id) for key in rows if key.kind == "label"} - {None}
        if (focus := self._session.focus) is not None:
            named = {node for node in named if node is not None and focus.nodes[node]}
            named |= set(np.flatnonzero(focus.nodes).tolist()) if focus.is_path else set()
        self._names = draw.wanted_names(scene, self._session.label, named)
        if focus is not None:
            self._names = {n: text for n, text in self._names.items() if focus.nodes[n]}
        self._marks = marks_of(circuit, rows)
        self._legend = legend_entries(scene, self._marks)
        if focus is not None:
            self._legend.append(Entry(tr("{0} (Esc leaves)").format(focus.title), strong=True))
        if self._fitted:
            self.fit()
        background = scene.edges[~np.isin(scene.edges, scene.circuit_edges)]
        self._edges.set_edges(
            scene.ends(background), pen_indices(scene.share[background]), edge_pens(self._inks)
        )
        self.update()

    # ---- following the session -------------------------------------------------------------
    def _new_circuit(self) -> None:
        self._hover = self._column = None
        super()._new_circuit()

    def _selection_changed(self) -> None:
        selection = self._session.selection
        if selection and self._scene is not None:
            self.setAccessibleDescription(self._session.label(selection[-1]))
        super()._selection_changed()

    # ---- camera ----------------------------------------------------------------------------
    def ground(self) -> QRectF:
        """Return the part of the widget that the graph fills."""
        width = self.width() - draw.LEFT - draw.RIGHT
        # In a narrow half the legend takes more lines; the graph begins below it.
        told = legend_height(self._legend, self.font(), self.width())
        top = max(draw.TOP, told + 10)
        return QRectF(draw.LEFT, top, max(width, 1), max(self.height() - top - draw.STRIP, 1))

    def look(self, camera: Camera) -> None:
        self._camera = camera
        self._edges.look(camera, self.size(), self.devicePixelRatioF())
        corner = self.ground().bottomLeft()
        self.minimap.move(int(corner.x()) + 8, int(corner.y()) - self.minimap.height() - 8)
        self.minimap.update()
        self.update()

    # ---- mouse -----------------------------------------------------------------------------
    def node_at(self, pixel: QPointF) -> int | None:
        """Return the node nearest to a pixel, within the magnet's reach."""
        if self._scene is None or pixel.y() > self.height() - draw.STRIP + 8:
            return None
        x, y = self._camera.to_units(pixel)
        return self._scene.nearest(x, y, (self._camera.scale_x, self._camera.scale_y), MAGNET)

    def _column_at(self, pixel: QPointF) -> int | None:
        if self._scene is None or pixel.y() < self.height() - draw.STRIP + 8:
            return None
        x, _ = self._camera.to_units(pixel)
        for number, band in enumerate(self._scene.layout.columns):
            if band.start <= x < band.stop:
                return number
        return None

    def _pressed(self, event: QMouseEvent) -> None:
        node, column = self.node_at(event.position()), self._column_at(event.position())
        add = bool(event.modifiers() & SHIFT)
        if column is not None and self._scene is not None:
            nodes = self._scene.shown[self._scene.layout.column[self._scene.shown] == column]
            self._session.select([int(n) for n in nodes], add=add)
        elif node is not None and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.pin_wanted.emit(node)
        elif node is None or not self._grips(node, event.position()):
            self._start_band(event.position())
        else:
            self._session.select([node], add=add, toggle=add)

    def _grips(self, node: int, at: QPointF) -> bool:
        away = self._pixel(node) - at
        return bool(np.hypot(away.x(), away.y()) <= GRIP)

    def _pixel(self, node: int) -> QPointF:
        assert self._scene is not None
        return QPointF(*self._camera.to_pixels(self._scene.places[node][None])[0])

    def _moved(self, event: QMouseEvent) -> None:
        if event.modifiers() & SHIFT:
            return
        hover, column = self.node_at(event.position()), self._column_at(event.position())
        if (hover, column) != (self._hover, self._column):
            self._hover, self._column = hover, column
            self._dwell.start(DWELL_MS)
            self.hovered.emit(hover)
            self.update()

    def _hovered_edge(self) -> int | None:
        """Return the edge between the hovered and the one selected node, if attention made it."""
        selection, scene, hover = self._session.selection, self._scene, self._hover
        if scene is None or hover is None or len(selection) != 1 or hover == selection[0]:
            return None
        edge = scene.edge_between(hover, selection[0])
        if edge is None or not is_attention(scene.circuit, int(scene.circuit.edges.target[edge])):
            return None
        return edge

    def _ask_heads(self) -> None:
        session, heads, edge = self._session, self._heads, self._hovered_edge()
        if edge is None or heads is None or not isinstance(session, Session):
            return
        if session.jobs.running is not None:
            return
        if not traced_here(session):
            with suppress(CircuitScopeError):  # the inspector says why it cannot be asked
                heads.ask(edge)

    def _clicked(self, at: QPointF, *, add: bool) -> None:
        node = self.node_at(at)
        self._session.select([] if node is None else [node], add=add, toggle=add)

    def _inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        return self._scene.inside(low, high) if self._scene is not None else []

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        node = self.node_at(event.position())
        if node is not None:
            self.label_wanted.emit(node)
        else:
            self.fit()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        node = self.node_at(QPointF(event.pos()))
        if node is not None and node not in self._session.selection:
            self._session.select([node])
        self.menu_wanted.emit(-1 if node is None else node, event.globalPos())

    def leaveEvent(self, event: Any) -> None:
        self._hover = self._column = None
        self.hovered.emit(None)
        self.update()

    def point_at(self, node: int | None) -> None:
        """Show a node as if the mouse were on it, where it is visible; None for none."""
        seen = node is not None and self._scene is not None and np.isfinite(
            self._scene.places[node, 0])  # fmt: skip
        self._hover = node if seen else None
        self.update()

    # ---- keyboard --------------------------------------------------------------------------
    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        if key in STEPS and not event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self._step(*STEPS[key], add=bool(event.modifiers() & SHIFT))
        else:
            super().keyPressEvent(event)

    def _step(self, right: int, down: int, *, add: bool) -> None:
        if self._scene is None or not len(self._scene.shown):
            return
        here = [n for n in self._session.selection if np.isfinite(self._scene.places[n, 0])]
        found = self._scene.neighbour(here[-1], right, down) if here else int(self._scene.shown[-1])
        if found is not None:
            self._session.select([found], add=add)

    # ---- painting --------------------------------------------------------------------------
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.panel))
        if self._scene is None:
            self._paint_empty(painter)
            return
        scene, camera, palette = self._scene, self._camera, self._inks
        size = QRectF(self.rect())
        draw.paint_bands(painter, scene, camera, palette, size)
        painter.save()
        painter.setClipRect(size.adjusted(draw.LEFT - 8, 0, 0, 4 - draw.STRIP))
        self._edges.paint(painter)
        focus = self._focus()
        strength = 1.0 if focus is None else PALE
        draw.paint_curves(painter, scene, scene.circuit_edges, camera, palette, strength)
        if focus is not None:
            draw.paint_curves(painter, scene, scene.touching(focus), camera, palette)
        view = (camera, self.size(), self.devicePixelRatioF())
        self._nodes.paint(
            painter, scene, view, lambda p: draw.paint_nodes(p, scene, camera, palette, size)
        )
        paint_badges(painter, scene, camera, palette, self._marks)
        for node in self._session.selection:
            self._ring(painter, node, palette.accent)
        if self._hover is not None and self._hover not in self._session.selection:
            self._ring(painter, self._hover, palette.secondary)
        draw.paint_names(painter, scene, camera, palette, self._names, size)
        painter.restore()
        draw.paint_token_strip(painter, scene, camera, palette, size, self._column)
        self._paint_overlay(painter, size)

    def _focus(self) -> int | None:
        if self._hover is not None:
            return self._hover
        selection = self._session.selection
        return selection[-1] if len(selection) == 1 else None

    def _ring(self, painter: QPainter, node: int, color: str) -> None:
        at = self._pixel(node)
        if np.isfinite(at.x()):
            draw.paint_ring(painter, at, color)

    def _paint_overlay(self, painter: QPainter, size: QRectF) -> None:
        scene, palette = self._scene, self._inks
        assert scene is not None
        paint_legend(painter, self._legend, palette, size)
        if self._band is not None:
            draw.paint_band(painter, self._band, palette)
        if self._hover is not None and self._band is None:
            at = self._pixel(self._hover)
            draw.paint_tooltip(painter, at, self.hover_words(), palette, size)

    def hover_words(self) -> str:
        """Return what is said beside the hovered node; heads of an edge once they are known."""
        scene, edge = self._scene, self._hovered_edge()
        assert scene is not None, "a node is hovered over"
        assert self._hover is not None, "a node is hovered over"
        text = draw.hover_text(scene, self._session.label, self._hover, self._session.selection)
        heads = None if edge is None or self._heads is None else self._heads.known(edge)
        return text if heads is None else f"{text}\n{heads_line(scene.circuit, heads)}"

    def _paint_empty(self, painter: QPainter) -> None:
        painter.setPen(QColor(self._palette.secondary))
        painter.setFont(draw.text_font(self.font(), 13))
        text = tr("No circuit is open. Trace a prompt, or open a project.")
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, text)
