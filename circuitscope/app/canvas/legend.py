"""The line above every link graph: which shape is what, what the signs mean, what was held fixed.

The same words and shapes as the legend of an exported figure.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen

from circuitscope.app.canvas.badge_paint import paint_badge
from circuitscope.app.canvas.link_paint import LEFT, RIGHT, paint_glyph, text_font
from circuitscope.app.canvas.link_scene import LinkScene
from circuitscope.app.theme import Palette, px
from circuitscope.app.words import MINUS, count, percent, tr
from circuitscope.core.anatomy import Site
from circuitscope.core.badges import Badge
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.exchange.caption import holds_fixed
from circuitscope.exchange.figure import Shape
from circuitscope.exchange.theme import NAMED_SHAPES
from circuitscope.graph.evidence import Marks
from circuitscope.graph.influence import is_flow, is_relevance, scores

_NAMES: Final = {
    Shape.SQUARE: "token, logit", Shape.DISC: "MLP feature", Shape.TRIANGLE: "attention feature",
    Shape.HOLLOW_DIAMOND: "unexplained", Shape.CROSS: "constant",
}  # fmt: skip
_ROW: Final = 18
_GAP: Final = 16.0
_SIGN: Final = 22.0
_GLYPH_ROOM: Final = 15.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of the legend: a glyph, a line of one sign, a badge, or words alone.

    Strong ones say what restricts the view. A colour is a group colour's name, "" for the kind's.
    """

    text: str
    shape: Shape | None = None
    sign: int = 0
    badge: Badge | None = None
    strong: bool = False
    color: str = ""

    @property
    def room(self) -> float:
        """Return the width of what stands before the words."""
        if self.shape is not None or self.badge is not None:
            return _GLYPH_ROOM
        return _SIGN if self.sign else 0.0


def legend_entries(scene: LinkScene, marks: Marks = Marks()) -> list[Entry]:  # noqa: B008 - frozen
    """Return what the legend says about a scene: the shapes in it, the signs, what is fixed."""
    present = {int(shape) for shape in np.unique(scene.glyph[scene.shown])}
    names = dict(_NAMES)
    nodes = scene.circuit.nodes
    if not (nodes.of_kind(NodeKind.FEATURE) & (nodes.site == Site.ATTN_OUT)).any():
        names[Shape.TRIANGLE] = "attention head"
    found = [Entry(tr(name), shape) for shape, name in names.items() if int(shape) in present]
    if is_flow(scene.circuit):
        found.append(Entry(tr("part of what the target reads"), sign=1))
    elif is_relevance(scene.circuit):
        found.append(Entry(tr("+ relevant along all paths"), sign=1))
        found.append(Entry(tr("{0} relevant against").format(MINUS), sign=-1))
    else:
        found.append(Entry(tr("+ adds"), sign=1))
        found.append(Entry(tr("{0} takes away").format(MINUS), sign=-1))
    if holds_fixed(scene.circuit):
        found.append(Entry(tr("attention patterns and norms held fixed")))
    found += [
        Entry(f"{tr(badge.value)} ({number})", badge=badge)
        for badge, number in marks.counts().items()
    ]
    if scene.looks is not None:
        found += [
            Entry(look.title, NAMED_SHAPES.get(look.shape, Shape.DISC), color=look.color)
            for look in scene.looks.among(scene.view.nodes)
        ]
    if scene.view.filter:
        found.append(Entry(tr("only {0}").format(scene.view.filter), strong=True))
    present_at_all = set(scene.glyph.tolist())
    if not scene.view.show_errors and Shape.HOLLOW_DIAMOND in present_at_all:
        share = percent(scores(scene.circuit)["error_share"])
        found.append(Entry(tr("unexplained not shown ({0})").format(share)))
    if not scene.view.show_biases and Shape.CROSS in present_at_all:
        found.append(Entry(tr("constant not shown")))
    if scene.n_edges > len(scene.edges):
        text = tr("the strongest {0} of {1} edges")
        found.append(Entry(text.format(count(len(scene.edges)), count(scene.n_edges))))
    return found


def edge_palette(palette: Palette, circuit: Circuit) -> Palette:
    """Return the palette with other inks where edges are relevances or flow, no direct effects."""
    groups = palette.groups
    if is_flow(circuit):
        return replace(palette, positive=groups["teal"], negative=groups["teal"])
    if not is_relevance(circuit):
        return palette
    return replace(palette, positive=groups["violet"], negative=groups["amber"])


def legend_rows(entries: list[Entry], font: QFont, room: float) -> list[list[tuple[float, Entry]]]:
    """Set entries in rows no wider than `room` pixels; each with its distance from the left."""
    metrics = QFontMetricsF(font)
    rows: list[list[tuple[float, Entry]]] = [[]]
    x = 0.0
    for entry in entries:
        width = entry.room + metrics.horizontalAdvance(entry.text)
        if rows[-1] and x + width > room:
            rows.append([])
            x = 0.0
        rows[-1].append((x, entry))
        x += width + _GAP
    return rows


def legend_height(entries: list[Entry], base: QFont, width: float) -> float:
    """Return how far down the legend reaches in a widget of a width."""
    rows = legend_rows(entries, text_font(base, 11), width - LEFT - RIGHT)
    return 8 + px(_ROW) * len(rows)


def paint_legend(painter: QPainter, entries: list[Entry], palette: Palette, size: QRectF) -> None:
    """Draw the legend at the top, before whatever the camera has moved there."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    font = text_font(painter.font(), 11)
    painter.setFont(font)
    rows = legend_rows(entries, font, size.width() - LEFT - RIGHT)
    high = px(_ROW)
    back = QColor(palette.panel)
    back.setAlpha(225)
    painter.fillRect(QRectF(0, 0, size.width(), 8 + high * len(rows)), back)
    for number, row in enumerate(rows):
        for x, entry in row:
            at = QRectF(LEFT + x, 6 + number * high, size.width(), high)
            _paint_entry(painter, entry, at, palette)
    painter.restore()


def _paint_entry(painter: QPainter, entry: Entry, at: QRectF, palette: Palette) -> None:
    middle = at.center().y()
    if entry.shape is not None:
        color = palette.group(entry.color) if entry.color else ""
        paint_glyph(painter, entry.shape, QPointF(at.left() + 5, middle), palette, color)
    elif entry.badge is not None:
        paint_badge(painter, entry.badge, QPointF(at.left() + 5, middle), palette)
    elif entry.sign:
        pen = QPen(QColor(palette.positive if entry.sign > 0 else palette.negative), 1.8)
        if entry.sign < 0:
            pen.setDashPattern([3.0, 2.2])
        painter.setPen(pen)
        painter.drawLine(QLineF(at.left(), middle, at.left() + _SIGN - 6, middle))
    painter.setPen(QColor(palette.accent if entry.strong else palette.secondary))
    words = at.adjusted(entry.room, 0, 0, 0)
    painter.drawText(words, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, entry.text)
