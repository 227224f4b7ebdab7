"""The circuit view: the pinned and grouped part as a diagram that the user lays out.

It paints the very `Figure` that is exported, in screen colours, so screen and paper cannot drift
(decision 8). Dragging a box makes the figure anew with that place overridden; letting go commits
one edit that holds the places of all boxes, so that the first drag turns the automatic layout
into the user's own.
"""

from dataclasses import replace
from typing import Any, Final

from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.link_paint import paint_band, text_font
from circuitscope.app.theme import Palette
from circuitscope.app.words import tr
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.diagram import circuit_figure, subgraph_of
from circuitscope.exchange.figure import Box, Figure
from circuitscope.exchange.theme import PRESETS, PRINT, Theme
from circuitscope.graph import groups
from circuitscope.graph.view import view_of
from circuitscope.printing.paint import paint_figure
from circuitscope.project import verbs
from circuitscope.session.session import Session

_MARGIN: Final = 24.0
_ZOOM_STEP: Final = 1.0015
_NUDGE: Final = 8.0
_CLICK: Final = 4.0


def screen_theme(palette: Palette) -> Theme:
    """Return the figure's colours on screen."""
    names = ("ink", "secondary", "faint", "hairline", "grid", "positive", "negative")
    shared = {name: getattr(palette, name) for name in (*names, "supported", "token", "logit")}
    return replace(
        PRINT, **shared, background=palette.panel, on_logit=palette.panel,
        token_fill=palette.field, token_stroke=palette.feature, groups=dict(palette.groups),
    )  # fmt: skip


class CircuitView(QWidget):
    """Show the active circuit's diagram.

    Args:
        session: What is open; the view follows its signals.
        palette: Colours.
        parent: The widget that owns it.
    """

    label_wanted = Signal(int)
    """Emitted with a node that was double clicked, or the first of a group."""
    menu_wanted = Signal(int, QPoint)
    """Emitted with the node under a right click (-1: none) and the global place."""

    def __init__(self, session: Session, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._palette = session, palette
        self._figure: Figure | None = None
        self._boxes: tuple[groups.Box, ...] = ()
        self._faces: tuple[Box, ...] = ()
        self._camera = Camera()
        self._fitted = True
        self._press: QPointF | None = None
        self._band: QRectF | None = None
        self._panning = False
        self._space = False
        self._dragged: dict[str, tuple[float, float]] = {}
        self._drawing: Any = None
        self._stale = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(360, 240)
        self.setAccessibleName(tr("Circuit diagram"))
        to_gui(session.active_changed, lambda *_: self._new_circuit(), self)
        to_gui(session.project_closed, lambda *_: self._new_circuit(), self)
        to_gui(session.selection_changed, lambda *_: self.update(), self)
        self._new_circuit()

    # ---- what the window asks for ----------------------------------------------------------
    @property
    def figure(self) -> Figure | None:
        """Return what is painted, None where no circuit is active."""
        return self._figure

    def fit(self) -> None:
        """Show the whole diagram."""
        self._fitted = True
        if self._figure is not None:
            self._frame(QRectF(0, 0, self._figure.width, self._figure.height), 1.25)

    def frame_selection(self) -> None:
        """Bring the selected boxes into view; everything where nothing is selected."""
        chosen = [QRectF(f.x, f.y, f.width, f.height) for f in self._selected_faces()]
        if not chosen:
            self.fit()
            return
        frame = chosen[0]
        for other in chosen[1:]:
            frame = frame.united(other)
        self._fitted = False
        self._frame(frame.adjusted(-80, -80, 80, 80), 1.5)

    def zoom(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom at a point of the widget, its middle where none is given."""
        if 0.1 <= self._camera.scale_x * factor <= 12:
            self._fitted = False
            self._camera = self._camera.zoomed(factor, at or QRectF(self.rect()).center())
            self.update()

    def refresh(self) -> None:
        """Make the figure anew: the drawing or the colours have changed."""
        self._stale = not self.isVisible() and self._figure is not None
        if self._stale:
            return
        circuit = self._session.circuit
        if circuit is None:
            self._figure, self._boxes, self._faces = None, (), ()
            self.update()
            return
        rows = self._rows()
        view = view_of(circuit, rows)
        self._boxes = subgraph_of(circuit, rows, view).boxes
        width = max(PRESETS["screen"].width, self._hand_width() + 320)
        preset = replace(PRESETS["screen"], width=width)
        self._figure = circuit_figure(circuit, rows, view, preset, screen_theme(self._palette))
        self._faces = next(layer.boxes for layer in self._figure.layers if layer.id == "nodes")
        if self._fitted and not self._dragged:
            self.fit()
        self.update()

    # ---- following the session -------------------------------------------------------------
    def _new_circuit(self) -> None:
        self._press, self._dragged, self._fitted = None, {}, True
        drawing = self._session.drawing
        if drawing is not self._drawing:
            self._drawing = drawing
            if drawing is not None:
                to_gui(drawing.changed, lambda *_: self._drawing_changed(drawing), self)
        self.refresh()

    def _drawing_changed(self, drawing: Any) -> None:
        if drawing is self._drawing:
            self.refresh()

    def _rows(self) -> Rows:
        """Return the drawing's rows, with the places of boxes that are being dragged."""
        rows: Rows = dict(self._drawing.rows) if self._drawing is not None else {}
        for name, (x, y) in self._dragged.items():
            rows[RowKey(self._drawing.circuit_id, "place", name)] = {"x": x, "y": y}
        return rows

    def _hand_width(self) -> float:
        places = [box.place for box in self._boxes if box.place is not None]
        return max((x for x, _ in places), default=0.0) - min((x for x, _ in places), default=0.0)

    # ---- boxes -----------------------------------------------------------------------------
    def box_at(self, pixel: QPointF) -> int | None:
        """Return the index of the box under a pixel."""
        x, y = self._camera.to_units(pixel)
        for number, face in enumerate(self._faces):
            if QRectF(face.x, face.y, face.width, face.height).contains(x, y):
                return number
        return None

    def _is_selected(self, box: groups.Box) -> bool:
        return bool(set(self._session.selection) & {int(i) for i in box.members})

    def _selected_faces(self) -> list[Box]:
        pairs = zip(self._boxes, self._faces, strict=True)
        return [face for box, face in pairs if self._is_selected(box)]

    def _move(self, dx: float, dy: float) -> None:
        """Move the selected boxes by points, the others staying where they are on screen."""
        still = next((i for i, b in enumerate(self._boxes) if not self._is_selected(b)), None)
        name = None if still is None else self._boxes[still].id
        before = None if still is None else self._faces[still]
        self._dragged = {
            box.id: (face.x + dx, face.y + dy) if self._is_selected(box) else (face.x, face.y)
            for box, face in zip(self._boxes, self._faces, strict=True)
        }
        self.refresh()
        if before is not None:
            after = next(f for b, f in zip(self._boxes, self._faces, strict=True) if b.id == name)
            scale = self._camera.scale_x
            moved = ((before.x - after.x) * scale, (before.y - after.y) * scale)
            self._camera = self._camera.panned(*moved)
        self._fitted = False

    def _commit(self) -> None:
        """Store the places of all boxes as one edit."""
        if self._dragged:
            places = {
                box.id: (face.x, face.y) for box, face in zip(self._boxes, self._faces, strict=True)
            }
            self._dragged = {}
            self._session.edit(verbs.place, places)

    # ---- camera ----------------------------------------------------------------------------
    def _frame(self, world: QRectF, closest: float) -> None:
        room = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        self._camera = Camera.framing(world, room, closest)
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._fitted:
            self.fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.refresh()

    def wheelEvent(self, event: QWheelEvent) -> None:
        self.zoom(_ZOOM_STEP ** event.angleDelta().y(), event.position())
        event.accept()

    # ---- mouse and keyboard ----------------------------------------------------------------
    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._press = event.position()
        if event.button() == Qt.MouseButton.MiddleButton or self._space:
            self._panning = True
        elif event.button() == Qt.MouseButton.LeftButton:
            add = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            number = self.box_at(event.position())
            if number is None:
                self._session.select([], add=add)
                self._band = QRectF(event.position(), event.position())
            elif add or not self._is_selected(self._boxes[number]):
                members = [int(i) for i in self._boxes[number].members]
                self._session.select(members, add=add, toggle=add)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._press is None:
            number = self.box_at(event.position())
            self.setToolTip("" if number is None else self._faces[number].title)
            return
        moved = event.position() - self._press
        if self._panning:
            self._press, self._fitted = event.position(), False
            self._camera = self._camera.panned(moved.x(), moved.y())
            self.update()
        elif self._band is not None:
            self._band.setBottomRight(event.position())
            self.update()
        elif event.buttons() & Qt.MouseButton.LeftButton and self._selected_faces():
            self._drag(event.position(), moved)

    def _drag(self, at: QPointF, moved: QPointF) -> None:
        if self._dragged or moved.manhattanLength() > _CLICK:
            self._press = at
            self._move(moved.x() / self._camera.scale_x, moved.y() / self._camera.scale_y)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._panning, self._press = False, None
        band, self._band = self._band, None
        if band is not None:
            add = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._select_within(band.normalized(), add=add)
        self._commit()

    def _select_within(self, band: QRectF, *, add: bool) -> None:
        """Select the boxes that a frame of widget pixels touches; a mere click selects none."""
        self.update()
        if band.width() < _CLICK and band.height() < _CLICK:
            return
        corners = (self._camera.to_units(p) for p in (band.topLeft(), band.bottomRight()))
        frame = QRectF(*(QPointF(*corner) for corner in corners))
        members = [
            int(node)
            for box, face in zip(self._boxes, self._faces, strict=True)
            if frame.intersects(QRectF(face.x, face.y, face.width, face.height))
            for node in box.members
        ]
        self._session.select(members, add=add)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        number = self.box_at(event.position())
        if number is None:
            self.fit()
        else:
            self.label_wanted.emit(int(self._boxes[number].members[0]))

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        number = self.box_at(QPointF(event.pos()))
        if number is not None and not self._is_selected(self._boxes[number]):
            self._session.select([int(i) for i in self._boxes[number].members])
        node = -1 if number is None else int(self._boxes[number].members[0])
        self.menu_wanted.emit(node, event.globalPos())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {
            Qt.Key.Key_Left: (-_NUDGE, 0.0), Qt.Key.Key_Right: (_NUDGE, 0.0),
            Qt.Key.Key_Up: (0.0, -_NUDGE), Qt.Key.Key_Down: (0.0, _NUDGE),
        }  # fmt: skip
        key = Qt.Key(event.key())
        if key in steps and self._selected_faces():
            self._move(*steps[key])
            self._commit()
        elif key == Qt.Key.Key_Space:
            self._space = True
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
        else:
            super().keyReleaseEvent(event)

    # ---- painting --------------------------------------------------------------------------
    def sizeHint(self) -> QSize:
        return QSize(880, 560)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.panel))
        if self._figure is None:
            painter.setPen(QColor(self._palette.secondary))
            painter.setFont(text_font(self.font(), 13))
            text = tr("Pin nodes (P) or group them (G) in the link graph to build an explanation.")
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, text)
            return
        if not any(key.kind in ("pin", "member") for key in self._drawing.rows):
            painter.setPen(QColor(self._palette.secondary))
            painter.setFont(text_font(self.font(), 12))
            text = tr("Nothing is pinned yet: these are the strongest nodes. "
                      "Pin (P) or group (G) nodes to draw your own explanation.")  # fmt: skip
            place = self.rect().adjusted(16, 8, -16, -8)
            painter.drawText(place, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, text)
        painter.translate(self._camera.offset_x, self._camera.offset_y)
        painter.scale(self._camera.scale_x, self._camera.scale_y)
        paint_figure(painter, self._figure, background=False)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(self._palette.accent), 2.0))
        for face in self._selected_faces():
            frame = QRectF(face.x, face.y, face.width, face.height).adjusted(-3, -3, 3, 3)
            painter.drawRoundedRect(frame, face.radius + 3, face.radius + 3)
        if self._band is not None:
            painter.resetTransform()
            paint_band(painter, self._band, self._palette)
