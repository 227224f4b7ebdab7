"""The diagram as a person sees it: painted, looked through, chosen from; nothing in it moves.

It paints the very `Figure` that is exported, in screen colours, so screen and paper cannot drift
(decision 8). `circuit_view` adds the hands.
"""

from typing import Final

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QContextMenuEvent, QPainter, QPaintEvent, QPen, QShowEvent
from PySide6.QtWidgets import QPushButton, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas import diagram_things
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.diagram_hover import FADED, Hover
from circuitscope.app.canvas.diagram_things import (
    Shown,
    Thing,
    by_layer,
    diagram_on_screen,
    in_focus,
    screen_theme,
    united,
)
from circuitscope.app.canvas.link_paint import paint_band, text_font
from circuitscope.app.canvas.picture import MovedPicture, paint_highlighted, paint_seen
from circuitscope.app.canvas.view import CanvasView
from circuitscope.app.meanings import meaning
from circuitscope.app.stepwise import Stepwise
from circuitscope.app.theme import Palette
from circuitscope.app.words import DOT, count, plural, tr
from circuitscope.exchange.figure import Figure
from circuitscope.project import verbs
from circuitscope.session.document import Document
from circuitscope.session.showing import Focus

_MARGIN: Final = 24.0


class DiagramView(CanvasView):
    """Show the active circuit's diagram; see `CanvasView`."""

    FARTHEST, CLOSEST = 0.1, 12.0

    def __init__(self, session: Document, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(session, palette, parent)
        self._shown = Shown()
        self._chosen: frozenset[str] = frozenset()
        self._stale = False
        self._seen = object()
        self._anchor: tuple[str, tuple[float, float]] | None = None
        self._work = Stepwise(self)
        self._work.done.connect(self._take)
        self._hover = Hover()
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
    def shown(self) -> Shown:
        """Return what is painted."""
        return self._shown

    @property
    def figure(self) -> Figure | None:
        """Return the figure that is painted, None where no circuit is active."""
        return self._shown.figure

    def fit(self) -> None:
        """Show the whole diagram."""
        self._fitted = True
        if (figure := self.figure) is not None:
            self._frame(QRectF(0, 0, figure.width, figure.height), 1.25)

    def frame_selection(self) -> None:
        """Bring the selected boxes into view; everything where nothing is selected."""
        if not (chosen := self.selected()):
            self.fit()
            return
        self._fitted = False
        self._frame(united(chosen).adjusted(-80, -80, 80, 80), 1.5)

    def _frame(self, world: QRectF, closest: float) -> None:
        room = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        self.look(Camera.framing(world, room, closest))

    def group_by_layer(self) -> None:
        """Put the pinned nodes that are in no group into one group for each layer."""
        circuit = self._session.circuit
        assert circuit is not None
        for name, keys in by_layer(circuit, self._shown.boxes).items():
            self._session.edit(verbs.group, keys, name)

    # ---- following the session -------------------------------------------------------------
    @property
    def is_complete(self) -> bool:
        """Say whether what is painted is the drawing as it is now."""
        return not self._work.is_busy and not self._stale

    def refresh(self) -> None:
        """Make the figure anew: the drawing or the colours have changed.

        A large one is made in steps between other events; until it is done the old one stands.
        """
        self._stale = not self.isVisible() and bool(self._shown.boxes)
        if not self._stale:
            rows = dict(self._drawing.rows) if self._drawing is not None else {}
            theme = screen_theme(self._palette)
            self._work.start(diagram_on_screen(self._session.circuit, rows, theme))

    def _take(self, shown: Shown) -> None:
        """Take up a figure that was just made."""
        self._shown = shown
        self._look_anew()
        self._offer.setVisible(shown.are_too_many)
        anchor, self._anchor = self._anchor, None
        if self._fitted:
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

    def _new_circuit(self) -> None:
        self._chosen, self._anchor = frozenset(), None
        # Boxes stay known, so that a hidden view goes on waiting until somebody looks.
        self._shown = Shown(boxes=self._shown.boxes)
        super()._new_circuit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.refresh()

    # ---- what stands in the diagram --------------------------------------------------------
    def box_at(self, pixel: QPointF) -> int | None:
        """Return the index of the box under a pixel."""
        x, y = self._camera.to_units(pixel)
        for number, face in enumerate(self._shown.faces):
            if QRectF(face.x, face.y, face.width, face.height).contains(x, y):
                return number
        return None

    def middle_of(self, box: int) -> QPointF:
        """Return the pixel in the middle of a box."""
        face = self._shown.faces[box]
        middle = np.array([[face.x + face.width / 2, face.y + face.height / 2]])
        return QPointF(*self._camera.to_pixels(middle)[0])

    def thing_at(self, pixel: QPointF) -> Thing | None:
        """Return what is under a pixel: boxes before frames."""
        x, y = self._camera.to_units(pixel)
        for number, thing in enumerate(self._shown.things):
            dx, dy = self._offset_of(number)
            if thing.is_at(x - dx, y - dy):
                return thing
        return None

    def _offset_of(self, number: int) -> tuple[float, float]:
        """Return how far a thing is from its place in the figure."""
        return 0.0, 0.0

    def places(self) -> dict[str, tuple[float, float]]:
        """Return where everything stands, by node key, group id or row id."""
        self._work.settle()
        return self._standing()

    def _standing(self) -> dict[str, tuple[float, float]]:
        """Return where everything stands in the figure that is shown."""
        things = self._shown.things
        return {thing.id: (thing.face.x, thing.face.y) for thing in things if thing.has_place}

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
        around = [one for one in self._shown.things
                  if one.kind == "open" and any(one.holds(inner) for inner in chosen)]  # fmt: skip
        rect = united([*chosen, *around]).adjusted(-20, -36, 20, 20)
        return rect.x(), rect.y(), rect.width(), rect.height()

    # ---- selection -------------------------------------------------------------------------
    def selected(self) -> list[Thing]:
        """Return the selected boxes, notes, frames and sketches."""
        return [thing for thing in self._shown.things if self._is_selected(thing)]

    def selected_items(self) -> tuple[str, ...]:
        """Return the ids of selected notes, frames and nodes drawn by hand."""
        return tuple(thing.id for thing in self._shown.things if thing.id in self._chosen)

    def _is_selected(self, thing: Thing) -> bool:
        return thing.id in self._chosen or not thing.members.isdisjoint(self._session.selection)

    def _choose(self, things: list[Thing], *, add: bool = False) -> None:
        """Select things; with `add`, one that was selected already is dropped."""
        items = {thing.id for thing in things if not thing.members}
        self._chosen = self._chosen ^ items if add else frozenset(items)
        members = [node for thing in things for node in sorted(thing.members)]
        self._session.select(members, add=add, toggle=add)
        self.update()

    def _inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        """Return the nodes of the boxes that a band touches; it selects notes and frames too."""
        band = QRectF(QPointF(*low), QPointF(*high))
        touched = [thing for thing in self._shown.things if band.intersects(thing.rect)]
        inside = [
            t for t in touched if t.kind == "item" or (t.kind == "frame" and band.contains(t.rect))
        ]
        self._chosen = frozenset(thing.id for thing in inside)
        return [node for thing in touched for node in sorted(thing.members)]

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        thing = self.thing_at(QPointF(event.pos()))
        if thing is not None and not self._is_selected(thing):
            self._choose([thing])
        node = min(thing.members) if thing is not None and thing.members else -1
        self.menu_wanted.emit(node, event.globalPos())

    def point_at(self, node: int | None) -> None:
        """Let what the box of a node is joined to stand out."""
        found = (at for at, box in enumerate(self._shown.boxes) if node in box.members)
        if self._hover.point_at(self._shown, None if node is None else next(found, None)):
            self.update()

    def _hover_over(self, thing: Thing | None) -> None:
        """Let what the box under the mouse is joined to stand out."""
        box = None
        if thing is not None and thing.kind == "box":
            box = next(at for at, face in enumerate(self._shown.faces) if face is thing.face)
        if self._hover.point_at(self._shown, box):
            self.hovered.emit(None if box is None else int(self._shown.boxes[box].members[0]))
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._hover_over(None)

    # ---- painting --------------------------------------------------------------------------
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.panel))
        if self.figure is None:
            self._paint_words(painter, self._why_empty(), Qt.AlignmentFlag.AlignCenter)
            return
        if not any(key.kind in ("pin", "member") for key in self._drawing.rows):
            text = tr("Nothing is pinned yet: these are the strongest nodes. "
                      "Pin (P) or group (G) nodes to draw your own explanation.")  # fmt: skip
            corner = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
            self._paint_words(painter, text, corner)
        self._paint_figure(painter, self.figure)
        self._paint_selection(painter)
        if self._band is not None:
            paint_band(painter, self._band, self._palette)

    def _paint_figure(self, painter: QPainter, figure: Figure) -> None:
        camera, focus, circuit = self._camera, self._session.focus, self._session.circuit
        view = (camera, self.size(), self.devicePixelRatioF())
        if focus is None or circuit is None:
            lit = self._hover.lit(self._shown)
            painter.setOpacity(1.0 if lit is None else FADED)
            self._picture.paint(painter, self._seen, view, lambda p: paint_seen(p, figure, camera))
            painter.setOpacity(1.0)
            if lit is not None:
                paint_seen(painter, lit, camera)
            return
        boxes, links, missing = in_focus(circuit, self._shown, focus)
        self._picture.paint(
            painter, self._seen, view,
            lambda p: paint_highlighted(p, figure, camera, boxes, links),
        )  # fmt: skip
        self._paint_focus(painter, focus, missing)

    def _why_empty(self) -> str:
        if self._work.is_busy:
            return tr("Laying out the diagram…")
        n_boxes = len(self._shown.boxes)
        if not n_boxes:
            return tr("Pin nodes (P) or group them (G) in the link graph to build an explanation.")
        self._offer.move((self.width() - self._offer.width()) // 2, self.height() // 2 + 28)
        text = tr("{0} boxes are more than can be laid out and moved by hand ({1}).\n"
                  "Group nodes that belong together, or unpin some.")  # fmt: skip
        return text.format(count(n_boxes), count(diagram_things.MOST_BOXES))

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
        for number, thing in enumerate(self._shown.things):
            if self._is_selected(thing):
                ring = thing.rect.adjusted(-3, -3, 3, 3).translated(*self._offset_of(number))
                painter.drawRoundedRect(ring, thing.face.radius + 3, thing.face.radius + 3)
        self._paint_held(painter)
        painter.restore()

    def _paint_held(self, painter: QPainter) -> None:
        """Paint over the diagram, in points, what is held by hand."""
