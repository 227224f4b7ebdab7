"""The circuit view: the pinned and grouped part as a diagram that the user lays out.

What is dragged moves as a picture (`canvas.picture`); letting go commits one edit that holds the
places of everything, so that the first drag turns the automatic layout into the user's own.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPen
from PySide6.QtWidgets import QWidget

from circuitscope.app.canvas.diagram_things import Shown
from circuitscope.app.canvas.diagram_view import DiagramView
from circuitscope.app.canvas.frame_corner import FrameCorner, corner_at
from circuitscope.app.canvas.picture import Lifted
from circuitscope.app.canvas.view import CLICK, SHIFT
from circuitscope.app.theme import Palette
from circuitscope.exchange.figure import Figure
from circuitscope.project import arranging, verbs
from circuitscope.project.arranging import move
from circuitscope.project.wording import count as counted
from circuitscope.session.document import Document

_NUDGE: Final = 8.0
_CORNER_CURSOR: Final = Qt.CursorShape.SizeFDiagCursor


class CircuitView(DiagramView):
    """Show the active circuit's diagram and let a person lay it out."""

    text_wanted = Signal(str)
    """Emitted with the id of a note, frame or sketch that was double clicked."""

    def __init__(self, session: Document, palette: Palette, parent: QWidget | None = None) -> None:
        self._lifted: Lifted | None = None
        self._carrying = False
        self._corner: FrameCorner | None = None
        super().__init__(session, palette, parent)

    # ---- following the session -------------------------------------------------------------
    def refresh(self) -> None:
        super().refresh()
        if not self._stale:
            self._lifted = None

    def _take(self, shown: Shown) -> None:
        self._lifted = None
        super()._take(shown)

    def _new_circuit(self) -> None:
        self._lifted, self._carrying = None, False
        super()._new_circuit()

    # ---- moving ----------------------------------------------------------------------------
    def rearrange(
        self, places: Callable[[NDArray[np.float64]], NDArray[np.float64]], text: str
    ) -> None:
        """Give the selected things new places, as one edit.

        Args:
            places: Turns rectangles x, y, width, height [k, 4] into corners [k, 2].
            text: What the Edit menu calls it.
        """
        chosen = [thing for thing in self.selected() if thing.has_place]
        rects = np.array([thing.rect.getRect() for thing in chosen], np.float64).reshape(-1, 4)
        corners = map(tuple, places(rects).tolist())
        new = dict(zip((thing.id for thing in chosen), corners, strict=True))
        self._session.edit(move, {**self.places(), **new}, text)

    def _moving(self, *, alone: bool) -> NDArray[np.bool_]:
        """Say which things move with the selection: frames take along what lies in them."""
        things, chosen = self._shown.things, self.selected()
        frames = [] if alone else [thing for thing in chosen if thing.kind in ("frame", "open")]
        ids = {thing.id for thing in chosen}
        ids |= {one.id for frame in frames for one in things if frame.holds(one)}
        return np.array([thing.id in ids for thing in things], np.bool_)

    def _carry(self, dx: float, dy: float, *, alone: bool = False) -> None:
        """Move what is selected by points on screen; `_put_down` makes it an edit."""
        lifted = self._lifted
        if not self._carrying:
            moving = self._moving(alone=alone)
            if lifted is None or not np.array_equal(lifted.moving, moving):
                # Others may have been let go whose figure is not made yet.
                self._work.settle()
                moving, lifted = self._moving(alone=alone), None
        else:
            assert lifted is not None
            moving = lifted.moving
        if self.figure is None:
            return
        offset = (0.0, 0.0) if lifted is None else lifted.offset
        if lifted is None or lifted.camera != self._camera:
            view = (self._camera, self.size(), self.devicePixelRatioF())
            lifted = Lifted(self._shown, moving, view)
        lifted.offset = (offset[0] + dx, offset[1] + dy)
        self._lifted, self._carrying = lifted, True
        self.update()

    def _put_down(self) -> None:
        """Store the places of everything as one edit, what did not move staying where it is."""
        lifted, carrying = self._lifted, self._carrying
        self._carrying = False
        if lifted is None or not carrying:
            return
        places = self._standing()
        moved = {thing.id for thing, moves in zip(self._shown.things, lifted.moving, strict=True)
                 if moves}  # fmt: skip
        still = next((name for name in places if name not in moved), None)
        self._anchor = None if still is None else (still, places[still])
        dx, dy = lifted.offset
        places |= {name: (x + dx, y + dy) for name, (x, y) in places.items() if name in moved}
        self._fitted = False
        self._session.edit(move, places, f"Move {counted(self.selected(), 'item')}")
        # What was let go is seen there until the figure with its edges is made.
        self._lifted = lifted if self._work.is_busy else None

    def _offset_of(self, number: int) -> tuple[float, float]:
        return (0.0, 0.0) if self._lifted is None else self._lifted.offset_of(number)

    # ---- mouse and keyboard ----------------------------------------------------------------
    def _pressed(self, event: QMouseEvent) -> None:
        add, thing = bool(event.modifiers() & SHIFT), self.thing_at(event.position())
        self._corner = self._corner_at(event.position())
        if self._corner is not None:
            self._choose([self._corner.frame])
        elif thing is None:
            self._choose([], add=add)
            self._start_band(event.position())
        elif add or not self._is_selected(thing):
            self._choose([thing], add=add)

    def _moved(self, event: QMouseEvent) -> None:
        if self._press is None:
            thing = self.thing_at(event.position())
            self.setToolTip("" if thing is None else thing.face.title)
            self._hover_over(thing)
            corner = self._corner_at(event.position())
            self.unsetCursor() if corner is None else self.setCursor(_CORNER_CURSOR)
            return
        moved = event.position() - self._press
        dx, dy = moved.x() / self._camera.scale_x, moved.y() / self._camera.scale_y
        if self._corner is not None:
            self._press = event.position()
            self._corner = self._corner.dragged(dx, dy)
            self.update()
            return
        far = self._carrying or moved.manhattanLength() > CLICK
        if event.buttons() & Qt.MouseButton.LeftButton and far and self.selected():
            self._press = event.position()
            alone = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
            self._carry(dx, dy, alone=alone)

    def _released(self) -> None:
        corner, self._corner = self._corner, None
        if corner is None:
            self._put_down()
        elif corner.rect != corner.frame.rect:
            row = self._session.drawing.row("frame", corner.frame.id) or {}
            rect, places = corner.rect.getRect(), self.places()
            title = str(row.get("title", ""))
            self._session.edit(arranging.frame, title, rect, corner.frame.id, places)

    def _corner_at(self, pixel: QPointF) -> FrameCorner | None:
        x, y = self._camera.to_units(pixel)
        return corner_at(self._shown.things, x, y, self._camera.scale_x)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        thing = self.thing_at(event.position())
        if thing is None:
            self.fit()
        elif thing.kind == "open":
            self._session.edit(verbs.open_group, thing.id.removeprefix("open "), open=False)
        elif thing.members:
            self.label_wanted.emit(min(thing.members))
        else:
            self.text_wanted.emit(thing.id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {
            Qt.Key.Key_Left: (-_NUDGE, 0.0), Qt.Key.Key_Right: (_NUDGE, 0.0),
            Qt.Key.Key_Up: (0.0, -_NUDGE), Qt.Key.Key_Down: (0.0, _NUDGE),
        }  # fmt: skip
        key = Qt.Key(event.key())
        if key in steps and self.selected():
            self._carry(*steps[key])
            self._put_down()
        else:
            super().keyPressEvent(event)

    # ---- painting --------------------------------------------------------------------------
    def _paint_figure(self, painter: QPainter, figure: Figure) -> None:
        if self._lifted is None:
            super()._paint_figure(painter, figure)
        else:
            self._lifted.paint(painter, self._camera)

    def _paint_held(self, painter: QPainter) -> None:
        if self._corner is not None:
            painter.setPen(QPen(QColor(self._palette.accent), 1.0, Qt.PenStyle.DashLine))
            painter.drawRect(self._corner.rect)
