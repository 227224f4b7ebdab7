"""The circuit view: the pinned and grouped part as a diagram that the user lays out.

It paints the very `Figure` that is exported, in screen colours, so screen and paper cannot drift
(decision 8). Dragging a box makes the figure anew with that place overridden; letting go commits
one edit that holds the places of all boxes, so that the first drag turns the automatic layout
into the user's own.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QShowEvent,
)
from PySide6.QtWidgets import QPushButton, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas import diagram_things
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.diagram_things import (
    Shown,
    Thing,
    by_layer,
    diagram_on_screen,
    in_focus,
    screen_theme,
    united,
)
from circuitscope.app.canvas.frame_corner import FrameCorner, corner_at
from circuitscope.app.canvas.link_paint import paint_band, text_font
from circuitscope.app.canvas.picture import Lifted, MovedPicture, paint_highlighted, paint_seen
from circuitscope.app.canvas.view import CLICK, SHIFT, CanvasView
from circuitscope.app.meanings import meaning
from circuitscope.app.stepwise import Stepwise
from circuitscope.app.theme import Palette
from circuitscope.app.words import DOT, count, plural, tr
from circuitscope.core.rows import Rows
from circuitscope.exchange.figure import Box, Figure
from circuitscope.exchange.routing import Link
from circuitscope.graph import groups
from circuitscope.project import arranging, verbs
from circuitscope.project.arranging import move
from circuitscope.project.wording import count as counted
from circuitscope.session.document import Document
from circuitscope.session.showing import Focus

_MARGIN: Final = 24.0
_NUDGE: Final = 8.0
_CORNER_CURSOR: Final = Qt.CursorShape.SizeFDiagCursor


class CircuitView(CanvasView):
    """Show the active circuit's diagram; see `CanvasView`."""

    text_wanted = Signal(str)
    """Emitted with the id of a note, frame or sketch that was double clicked."""

    FARTHEST, CLOSEST = 0.1, 12.0

    def __init__(self, session: Document, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(session, palette, parent)
        self._figure: Figure | None = None
        self._boxes: tuple[groups.Box, ...] = ()
        self._faces: tuple[Box, ...] = ()
        self._things: tuple[Thing, ...] = ()
        self._chosen: frozenset[str] = frozenset()
        self._links: list[Link] = []
        self._lifted: Lifted | None = None
        self._dragged: dict[str, tuple[float, float]] = {}
        self._stale = False
        self._carrying = False
        self._corner: FrameCorner | None = None
        self._whole = Shown()
        self._seen = object()
        self._anchor: tuple[str, tuple[float, float]] | None = None
        self._work = Stepwise(self)
        self._work.done.connect(self._take)
        self._picture = MovedPicture(self)
        self._picture.changed.connect(self.update)
        self._offer = QPushButton(tr("Group them by layer"), self)
        self._offer.clicked.connect(self.group_by_layer)
        self._offer.hide()
        self.setAccessibleName(tr("Circuit diagram"))
        self.setWhatsThis(meaning("share"))
        to_gui(session.focus_changed, self._look_anew, self)
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
        if not (chosen := self.selected()):
            self.fit()
            return
        self._fitted = False
        self._frame(united(chosen).adjusted(-80, -80, 80, 80), 1.5)

    @property
    def is_complete(self) -> bool:
        """Say whether what is painted is the drawing as it is now."""
        return not self._work.is_busy and not self._stale

    def refresh(self) -> None:
        """Make the figure anew: the drawing or the colours have changed.

        A large one is made in steps between other events; until it is done the old one stands.
        """
        self._stale = not self.isVisible() and (self._figure is not None or bool(self._boxes))
        if not self._stale:
            self._lifted = None
            theme = screen_theme(self._palette)
            self._work.start(diagram_on_screen(self._session.circuit, self._rows(), theme))

    def _take(self, shown: Shown) -> None:
        """Take up a figure that was just made."""
        self._lifted = None
        self._whole = shown
        self._look_anew()
        self._figure, self._boxes, self._links = shown.figure, shown.boxes, shown.links
        self._faces, self._things = shown.faces, shown.things
        self._offer.setVisible(shown.are_too_many)
        anchor, self._anchor = self._anchor, None
        if self._fitted and not self._dragged:
            self.fit()
        elif anchor is not None and (after := self._standing().get(anchor[0])) is not None:
            scale, before = self._camera.scale_x, anchor[1]
            moved = ((before[0] - after[0]) * scale, (before[1] - after[1]) * scale)
            self.look(self._camera.panned(*moved))
        self.update()

    def _look_anew(self, *_: object) -> None:
        """Paint a new picture: another figure, or other parts of it stand out."""
        self._seen = object()
        self.update()

    def group_by_layer(self) -> None:
        """Put the pinned nodes that are in no group into one group for each layer."""
        circuit = self._session.circuit
        assert circuit is not None
        for name, keys in by_layer(circuit, self._boxes).items():
            self._session.edit(verbs.group, keys, name)

    # ---- following the session -------------------------------------------------------------
    def _new_circuit(self) -> None:
        self._dragged, self._lifted, self._chosen = {}, None, frozenset()
        self._figure, self._faces, self._things, self._anchor = None, (), (), None
        super()._new_circuit()

    def _rows(self) -> Rows:
        """Return the drawing's rows, with the places of what is being dragged."""
        rows: Rows = dict(self._drawing.rows) if self._drawing is not None else {}
        if self._dragged:
            rows.update(move(self._drawing, self._dragged).after)
        return rows

    # ---- boxes -----------------------------------------------------------------------------
    def box_at(self, pixel: QPointF) -> int | None:
        """Return the index of the box under a pixel."""
        x, y = self._camera.to_units(pixel)
        for number, face in enumerate(self._faces):
            if QRectF(face.x, face.y, face.width, face.height).contains(x, y):
                return number
        return None

    def middle_of(self, box: int) -> QPointF:
        """Return the pixel in the middle of a box."""
        face = self._faces[box]
        middle = np.array([[face.x + face.width / 2, face.y + face.height / 2]])
        return QPointF(*self._camera.to_pixels(middle)[0])

    def _selected(self) -> list[bool]:
        chosen = set(self._session.selection)
        return [not chosen.isdisjoint(box.members.tolist()) for box in self._boxes]

    # ---- what stands in the diagram --------------------------------------------------------
    def thing_at(self, pixel: QPointF) -> Thing | None:
        """Return what is under a pixel: boxes before frames."""
        x, y = self._camera.to_units(pixel)
        for number, thing in enumerate(self._things):
            dx, dy = self._lifted.offset_of(number) if self._lifted is not None else (0.0, 0.0)
            if thing.is_at(x - dx, y - dy):
                return thing
        return None

    def selected(self) -> list[Thing]:
        """Return the selected boxes, notes, frames and sketches."""
        return [thing for thing in self._things if self._is_selected(thing)]

    def selected_items(self) -> tuple[str, ...]:
        """Return the ids of selected notes, frames and nodes drawn by hand."""
        return tuple(thing.id for thing in self._things if thing.id in self._chosen)

    def places(self) -> dict[str, tuple[float, float]]:
        """Return where everything stands, by node key, group id or row id."""
        self._work.settle()
        return self._standing()

    def _standing(self) -> dict[str, tuple[float, float]]:
        """Return where everything stands in the figure that is shown."""
        return {thing.id: (thing.face.x, thing.face.y) for thing in self._things if thing.has_place}

    def _is_selected(self, thing: Thing) -> bool:
        return thing.id in self._chosen or not thing.members.isdisjoint(self._session.selection)

    def _choose(self, things: list[Thing], *, add: bool = False) -> None:
        """Select things; with `add`, one that was selected already is dropped."""
        items = {thing.id for thing in things if not thing.members}
        self._chosen = self._chosen ^ items if add else frozenset(items)
        members = [node for thing in things for node in sorted(thing.members)]
        self._session.select(members, add=add, toggle=add)
        self.update()

    def _shift(self, dx: float, dy: float, *, alone: bool) -> None:
        """Move what is selected by points, the rest staying where it is on screen.

        Args:
            dx: Rightwards.
            dy: Downwards.
            alone: Frames leave their contents behind.
        """
        moving = {thing.id for thing in self.selected()}
        if not alone:
            frames = [thing for thing in self.selected() if thing.kind in ("frame", "open")]
            moving |= {one.id for frame in frames for one in self._things if frame.holds(one)}
        self._place({
            name: (x + dx, y + dy) if name in moving else (x, y)
            for name, (x, y) in self.places().items()
        }, next((name for name in self.places() if name not in moving), None))  # fmt: skip

    def _place(self, places: dict[str, tuple[float, float]], still: str | None) -> None:
        """Make the figure anew with other places, one thing staying where it is on screen."""
        self._anchor = None if still is None else (still, self.places()[still])
        self._dragged, self._fitted = places, False
        self.refresh()
        self._work.settle()

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

    def free_spot(self) -> tuple[float, float]:
        """Return a place for something new: beside what is selected, else in the middle."""
        chosen = self.selected()
        if chosen:
            return chosen[0].face.x + chosen[0].face.width + 32, chosen[0].face.y
        return self._camera.to_units(QRectF(self.rect()).center())

    def frame_around_selection(self) -> tuple[float, float, float, float]:
        """Return x, y, width, height of a frame around what is selected, or in the middle."""
        if not (chosen := self.selected()):
            return (*self.free_spot(), 240.0, 160.0)
        return united(chosen).adjusted(-20, -36, 20, 20).getRect()

    def _lift(self, dx: float, dy: float) -> None:
        """Move the selected boxes by points on screen; `_put_down` makes it an edit."""
        moving, lifted = np.array(self._selected(), np.bool_), self._lifted
        if lifted is None or not np.array_equal(lifted.moving, moving):
            # Others may have been let go whose figure is not made yet.
            self._work.settle()
            moving, lifted = np.array(self._selected(), np.bool_), None
        if self._figure is None:
            return
        offset = (0.0, 0.0) if lifted is None else lifted.offset
        if lifted is None or lifted.camera != self._camera:
            view = (self._camera, self.size(), self.devicePixelRatioF())
            lifted = Lifted(self._figure, self._links, moving, view)
        lifted.offset = (offset[0] + dx, offset[1] + dy)
        self._lifted, self._carrying = lifted, True
        self.update()

    def _put_down(self) -> None:
        """Store the places of all boxes as one edit, those not moved staying where they are."""
        lifted, carrying = self._lifted, self._carrying
        self._carrying = False
        if lifted is not None and carrying:
            still = next((i for i, moved in enumerate(lifted.moving) if not moved), None)
            places = self._standing()
            if still is not None:
                name = self._boxes[still].id
                self._anchor = (name, places[name])
            places |= {box.id: lifted.place(i) for i, box in enumerate(self._boxes)}
            self._fitted = False
            self._session.edit(move, places, f"Move {counted(self.selected(), 'item')}")
            # What was let go is seen there until the figure with its edges is made.
            self._lifted = lifted if self._work.is_busy else None
        elif self._dragged:
            places, self._dragged = self.places(), {}
            self._session.edit(move, places, f"Move {counted(self.selected(), 'item')}")

    # ---- camera ----------------------------------------------------------------------------
    def _frame(self, world: QRectF, closest: float) -> None:
        room = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        self.look(Camera.framing(world, room, closest))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.refresh()

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
            corner = self._corner_at(event.position())
            self.unsetCursor() if corner is None else self.setCursor(_CORNER_CURSOR)
            return
        moved = event.position() - self._press
        if self._corner is not None:
            scale, self._press = self._camera.scale_x, event.position()
            self._corner = self._corner.dragged(moved.x() / scale, moved.y() / scale)
            self.update()
            return
        drags = self._carrying or bool(self._dragged)
        far = drags or moved.manhattanLength() > CLICK
        if event.buttons() & Qt.MouseButton.LeftButton and far and self.selected():
            self._press = event.position()
            alone = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
            self._carry(
                moved.x() / self._camera.scale_x, moved.y() / self._camera.scale_y, alone=alone
            )

    def _carry(self, dx: float, dy: float, *, alone: bool = False) -> None:
        """Move what is selected: boxes as a picture, what belongs to no box with a new figure."""
        if self._chosen:
            self._shift(dx, dy, alone=alone)
        else:
            self._lift(dx, dy)

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
        return corner_at(self._things, *self._camera.to_units(pixel), self._camera.scale_x)

    def _inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        """Return the nodes of the boxes that a band touches; it selects notes and frames too."""
        band = QRectF(QPointF(*low), QPointF(*high))
        touched = [thing for thing in self._things if band.intersects(thing.rect)]
        inside = [
            t for t in touched if t.kind == "item" or (t.kind == "frame" and band.contains(t.rect))
        ]
        self._chosen = frozenset(thing.id for thing in inside)
        return [node for thing in touched for node in sorted(thing.members)]

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

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        thing = self.thing_at(QPointF(event.pos()))
        if thing is not None and not self._is_selected(thing):
            self._choose([thing])
        node = min(thing.members) if thing is not None and thing.members else -1
        self.menu_wanted.emit(node, event.globalPos())

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
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.panel))
        if self._figure is None:
            self._paint_words(painter, self._why_empty(), Qt.AlignmentFlag.AlignCenter)
            return
        if not any(key.kind in ("pin", "member") for key in self._drawing.rows):
            text = tr("Nothing is pinned yet: these are the strongest nodes. "
                      "Pin (P) or group (G) nodes to draw your own explanation.")  # fmt: skip
            corner = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
            self._paint_words(painter, text, corner)
        if self._lifted is not None:
            self._lifted.paint(painter, self._camera)
        else:
            figure, camera, focus = self._figure, self._camera, self._session.focus
            view = (camera, self.size(), self.devicePixelRatioF())
            if focus is None or self._session.circuit is None:
                self._picture.paint(
                    painter, self._seen, view, lambda p: paint_seen(p, figure, camera)
                )
            else:
                boxes, links, missing = in_focus(self._session.circuit, self._whole, focus)
                self._picture.paint(
                    painter, self._seen, view,
                    lambda p: paint_highlighted(p, figure, camera, boxes, links),
                )  # fmt: skip
                self._paint_focus(painter, focus, missing)
        self._paint_selection(painter)
        if self._band is not None:
            paint_band(painter, self._band, self._palette)

    def _why_empty(self) -> str:
        if self._work.is_busy:
            return tr("Laying out the diagram…")
        if not self._boxes:
            return tr("Pin nodes (P) or group them (G) in the link graph to build an explanation.")
        self._offer.move((self.width() - self._offer.width()) // 2, self.height() // 2 + 28)
        text = tr("{0} boxes are more than can be laid out and moved by hand ({1}).\n"
                  "Group nodes that belong together, or unpin some.")  # fmt: skip
        return text.format(count(len(self._boxes)), count(diagram_things.MOST_BOXES))

    def _paint_focus(self, painter: QPainter, focus: Focus, missing: int) -> None:
        """Say what stands out, and what of it the diagram does not hold."""
        text = tr("{0} (Esc leaves)").format(focus.title)
        if missing:
            nodes = plural(missing, "node", "nodes")
            text += DOT + tr("{0} of it not in the diagram; pin them (P)").format(nodes)
        corner = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft
        self._paint_words(painter, text, corner)

    def _paint_words(self, painter: QPainter, text: str, at: Qt.AlignmentFlag) -> None:
        painter.setPen(QColor(self._palette.secondary))
        painter.setFont(text_font(self.font(), 13))
        painter.drawText(self.rect().adjusted(16, 8, -16, -8), at | Qt.TextFlag.TextWordWrap, text)

    def _paint_selection(self, painter: QPainter) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(self._camera.offset_x, self._camera.offset_y)
        painter.scale(self._camera.scale_x, self._camera.scale_y)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(self._palette.accent), 2.0))
        for number, thing in enumerate(self._things):
            if self._is_selected(thing):
                offset = (0.0, 0.0) if self._lifted is None else self._lifted.offset_of(number)
                ring = thing.rect.adjusted(-3, -3, 3, 3).translated(*offset)
                painter.drawRoundedRect(ring, thing.face.radius + 3, thing.face.radius + 3)
        if self._corner is not None:
            painter.setPen(QPen(QColor(self._palette.accent), 1.0, Qt.PenStyle.DashLine))
            painter.drawRect(self._corner.rect)
        painter.restore()
