"""What both canvases share: following the session, the camera, panning, zooming, the band.

Mouse: wheel zooms at the cursor, middle button or Space and drag pan, a drag on the ground pulls
a band open. Where the user looked is kept for every circuit while the window lives, and asked for
by the window when it closes; it is never part of the drawing.
"""

from typing import Any

import numpy as np
from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.theme import Palette
from circuitscope.session.document import Document

CLICK = 4.0
"""A drag shorter than this, in pixels, is a click."""
ZOOM_STEP = 1.0015
SHIFT = Qt.KeyboardModifier.ShiftModifier


class CanvasView(QWidget):
    """Follow the session and hold the camera; what is drawn is the subclass's.

    Args:
        session: What is open, or a second look into it; the view follows its signals.
        palette: Colours.
        parent: The widget that owns it.
    """

    label_wanted = Signal(int)
    """Emitted with a node that was double clicked, or the first of a group."""
    menu_wanted = Signal(int, QPoint)
    """Emitted with the node under a right click (-1: none) and the global place."""
    hovered = Signal(object)
    """Emitted with the node under the mouse, of a group its first, None when there is none."""
    CLOSEST, FARTHEST = 60.0, 0.02

    def __init__(self, session: Document, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._palette = session, palette
        self._camera = Camera()
        self._fitted = True
        self._press: QPointF | None = None
        self._band: QRectF | None = None
        self._panning = False
        self._space = False
        self._drawing: Any = None
        self._looks: dict[str, tuple[float, ...]] = {}
        self._shown_id = ""
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(360, 240)
        to_gui(session.active_changed, lambda *_: self._new_circuit(), self)
        to_gui(session.project_closed, lambda *_: self._new_circuit(), self)
        to_gui(session.selection_changed, lambda *_: self._selection_changed(), self)

    # ---- what the window asks for ----------------------------------------------------------
    @property
    def camera(self) -> Camera:
        """Return where the user looks."""
        return self._camera

    def fit(self) -> None:
        """Show everything."""
        raise NotImplementedError

    def frame_selection(self) -> None:
        """Bring what is selected into view; everything where nothing is selected."""
        raise NotImplementedError

    def point_at(self, node: int | None) -> None:
        """Show a node as if the mouse were on it, where it is visible; None for none."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Work out anew what is shown."""
        raise NotImplementedError

    def zoom(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom at a point of the widget, its middle where none is given."""
        if self.FARTHEST <= self._camera.scale_x * factor <= self.CLOSEST:
            self._fitted = False
            self.look(self._camera.zoomed(factor, at or self.ground().center()))

    def looks(self) -> dict[str, tuple[float, ...]]:
        """Return, by circuit, the point in the middle of the view and both scales."""
        self._keep_look()
        return dict(self._looks)

    def take_looks(self, looks: dict[str, tuple[float, ...]]) -> None:
        """Take back what `looks` returned in an earlier run, and look there."""
        self._looks |= looks
        self._look_as_before()

    # ---- following the session -------------------------------------------------------------
    def _new_circuit(self) -> None:
        self._keep_look()
        self._shown_id = self._session.active_drawing
        self._press = self._band = None
        self._fitted = True
        drawing = self._session.drawing
        if drawing is not self._drawing:
            self._drawing = drawing
            if drawing is not None:
                to_gui(drawing.changed, lambda *_: self._drawing_changed(drawing), self)
        self.refresh()
        self._look_as_before()

    def _drawing_changed(self, drawing: Any) -> None:
        if drawing is self._drawing:
            self.refresh()

    def _selection_changed(self) -> None:
        self.update()

    # ---- camera ----------------------------------------------------------------------------
    def ground(self) -> QRectF:
        """Return the part of the widget that the graph fills."""
        return QRectF(self.rect())

    def look(self, camera: Camera) -> None:
        """Look from another place."""
        self._camera = camera
        self.update()

    def pan(self, dx: float, dy: float) -> None:
        """Move what is seen by pixels."""
        self._fitted = False
        self.look(self._camera.panned(dx, dy))

    def _keep_look(self) -> None:
        if not self._shown_id:
            return
        if self._fitted:
            self._looks.pop(self._shown_id, None)
            return
        middle = self._camera.to_units(self.ground().center())
        self._looks[self._shown_id] = (*middle, self._camera.scale_x, self._camera.scale_y)

    def _look_as_before(self) -> None:
        kept = self._looks.get(self._shown_id)
        if kept is None or len(kept) != 4 or not np.isfinite(kept).all() or min(kept[2:]) <= 0:
            return
        x, y, scale_x, scale_y = kept
        middle = self.ground().center()
        self._fitted = False
        offset = (middle.x() - x * scale_x, middle.y() - y * scale_y)
        self.look(Camera(scale_x, scale_y, *offset))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit() if self._fitted else self.look(self._camera)

    def wheelEvent(self, event: QWheelEvent) -> None:
        delta = event.angleDelta()
        if event.modifiers() & SHIFT:
            self._fitted = False
            self.look(self._camera.panned(delta.y() or delta.x(), 0))
        else:
            self.zoom(ZOOM_STEP ** delta.y(), event.position())
        event.accept()

    # ---- mouse and keyboard ----------------------------------------------------------------
    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._press = event.position()
        if event.button() == Qt.MouseButton.MiddleButton or self._space:
            self._panning = True
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        elif event.button() == Qt.MouseButton.LeftButton:
            self._pressed(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._panning and self._press is not None:
            moved = event.position() - self._press
            self._press, self._fitted = event.position(), False
            self.look(self._camera.panned(moved.x(), moved.y()))
        elif self._band is not None:
            self._band.setBottomRight(event.position())
            self.update()
        else:
            self._moved(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        band, self._band = self._band, None
        if self._panning:
            self._panning = False
            self.unsetCursor()
        elif band is not None:
            add = bool(event.modifiers() & SHIFT)
            if band.normalized().width() < CLICK and band.normalized().height() < CLICK:
                self._clicked(band.topLeft(), add=add)
            else:
                low, high = band.normalized().topLeft(), band.normalized().bottomRight()
                corners = (self._camera.to_units(low), self._camera.to_units(high))
                self._session.select(self._inside(*corners), add=add)
        self._press = None
        self._released()
        self.update()

    def _start_band(self, at: QPointF) -> None:
        self._band = QRectF(at, at)

    def _pressed(self, event: QMouseEvent) -> None:
        """Take a press of the left button."""

    def _moved(self, event: QMouseEvent) -> None:
        """Take a movement that neither pans nor pulls a band."""

    def _released(self) -> None:
        """Take the end of a press."""

    def _clicked(self, at: QPointF, *, add: bool) -> None:
        """Take a click on the ground."""

    def _inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        """Return the nodes that a band of layout units chooses."""
        raise NotImplementedError

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space:
            self._space = True
            self.setCursor(Qt.CursorShape.OpenHandCursor)
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self.unsetCursor()
        else:
            super().keyReleaseEvent(event)

    def sizeHint(self) -> QSize:
        return QSize(880, 560)
