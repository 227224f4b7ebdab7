"""How the link graph looks: hairlines, glyphs, curves, names, token strip.

Shapes say the kind (square token and logit, disc MLP feature, triangle attention feature, hollow
diamond unexplained part, bar constant); colour says the group; curves of the circuit stand before
the pale straight lines of everything else. Negative edges are dashed as well as orange.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import shiboken6
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetricsF,
    QPainter,
    QPainterPath,
    QPen,
    QPolygonF,
)

from circuitscope.app import words
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.link_scene import LinkScene
from circuitscope.app.theme import Palette, px
from circuitscope.app.words import shown_token, signed
from circuitscope.core.keys import NodeKind
from circuitscope.exchange.figure import Shape
from circuitscope.exchange.theme import edge_width

GLYPH = 9.0
LEFT, RIGHT, TOP, STRIP = 84.0, 16.0, 36.0, 44.0
"""Margins around the graph in pixels; the strip of tokens lies at the bottom."""
MOST_NAMES = 48
SMOOTH_NODES = 2_000
"""Nodes up to which each has smooth edges and a rim; more overlap each other anyway."""
STRONGEST = 4.0
"""Width in pixels of an edge that is all of its target's input; others on the figure's scale."""


def text_font(base: QFont, pixels: float, *, bold: bool = False) -> QFont:
    """Return the window's font in a size, semibold where asked."""
    font = QFont(base)
    font.setPixelSize(px(pixels))
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    return font


def paint_bands(
    painter: QPainter, scene: LinkScene, camera: Camera, palette: Palette, size: QRectF
) -> None:
    """Draw a hairline for every row and column, and the rows' names on the left."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.setPen(QPen(QColor(palette.grid), 1))
    bottom = size.height() - STRIP
    for band in scene.layout.columns:
        x = round(band.stop * camera.scale_x + camera.offset_x)
        if LEFT < x < size.width() - RIGHT:
            painter.drawLine(QLineF(x, TOP - 14, x, bottom))
    font = text_font(painter.font(), 12)
    painter.setFont(font)
    last = float("inf")
    for band in scene.layout.rows:
        y = round(band.centre * camera.scale_y + camera.offset_y)
        if not TOP - 20 < y < bottom:
            continue
        painter.setPen(QPen(QColor(palette.grid), 1))
        painter.drawLine(QLineF(LEFT, y, size.width() - RIGHT, y))
        if last - y < px(15):
            continue
        last = y
        painter.setPen(QColor(palette.secondary))
        place = QRectF(0, y - px(10), LEFT - 10, px(20))
        painter.drawText(
            place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, band.label
        )


def curve(start: QPointF, end: QPointF) -> QPainterPath:
    """Return the S-curve that leaves a node upwards and enters the next from below."""
    path = QPainterPath(start)
    bend = (end.y() - start.y()) * 0.5
    path.cubicTo(start.x(), start.y() + bend, end.x(), end.y() - bend, end.x(), end.y())
    return path


def paint_curves(
    painter: QPainter,
    scene: LinkScene,
    edges: NDArray[np.int64],
    camera: Camera,
    palette: Palette,
    strength: float = 1.0,
) -> None:
    """Draw a few edges as smooth curves: width by share, colour and dashes by sign.

    A strength below one mixes them with the background, so that others stand before them.
    """
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    pixels = camera.to_pixels(scene.ends(edges).reshape(-1, 2)).reshape(-1, 4)
    for edge, (x0, y0, x1, y1) in zip(edges, pixels, strict=True):
        share = float(scene.share[edge])
        color = palette.positive if share >= 0 else palette.negative
        color = color if strength >= 1 else palette.mix(color, strength)
        pen = QPen(QColor(color), edge_width(share, STRONGEST))
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        if share < 0:
            pen.setDashPattern([3.0, 2.2])
            pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        painter.setPen(pen)
        painter.drawPath(curve(QPointF(x0, y0), QPointF(x1, y1)))


def paint_nodes(
    painter: QPainter, scene: LinkScene, camera: Camera, palette: Palette, size: QRectF
) -> None:
    """Draw the glyph of every visible node: discs and squares in bulk, the rest one by one."""
    pixels = camera.to_pixels(scene.places[scene.shown])
    inside = (pixels[:, 0] > LEFT - 8) & (pixels[:, 0] < size.width())
    inside &= (pixels[:, 1] > 0) & (pixels[:, 1] < size.height() - STRIP + 4)
    nodes, pixels = scene.shown[inside], pixels[inside]
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, len(nodes) <= SMOOTH_NODES)
    for number, color in enumerate(scene.colors):
        tinted = scene.color[nodes] == number
        if not tinted.any():
            continue
        glyph, places = scene.glyph[nodes[tinted]], pixels[tinted]
        _points(painter, places[glyph == Shape.DISC], color, palette, Qt.PenCapStyle.RoundCap)
        _points(painter, places[glyph == Shape.SQUARE], color, palette, Qt.PenCapStyle.SquareCap)
        painter.setPen(QPen(QColor(palette.panel), 1))
        painter.setBrush(QColor(color if number else palette.attention))
        for x, y in places[glyph == Shape.TRIANGLE]:
            painter.drawPolygon(_triangle(x, y))
        painter.setPen(QPen(QColor(color if number else palette.feature), 1.4))
        for x, y in places[glyph == Shape.CROSS]:
            painter.drawLine(QLineF(x - 4, y, x + 4, y))
            painter.drawLine(QLineF(x, y - 4, x, y + 4))
        painter.setBrush(QColor(palette.panel))
        for x, y in places[glyph == Shape.RING]:
            painter.drawEllipse(QPointF(x, y), GLYPH / 2, GLYPH / 2)
        hollow = glyph == Shape.HOLLOW_DIAMOND
        for corners, brush in ((hollow, palette.panel), (glyph == Shape.DIAMOND, color)):
            painter.setBrush(QColor(brush))
            for x, y in places[corners]:
                painter.drawPolygon(_diamond(x, y))


def _points(
    painter: QPainter,
    places: NDArray[np.float64],
    color: str,
    palette: Palette,
    cap: Qt.PenCapStyle,
) -> None:
    if not len(places):
        return
    points = np.ascontiguousarray(places)
    side = GLYPH if cap is Qt.PenCapStyle.RoundCap else GLYPH - 1
    rim = (side + 2, palette.panel)
    for width, tint in (rim, (side, color)) if len(places) <= SMOOTH_NODES else ((side, color),):
        pen = QPen(QColor(tint), width)
        pen.setCapStyle(cap)
        painter.setPen(pen)
        first: Any = shiboken6.Shiboken.wrapInstance(points.ctypes.data, QPointF)
        painter.drawPoints(first, len(points))


def paint_glyph(
    painter: QPainter, shape: Shape, at: QPointF, palette: Palette, color_name: str = ""
) -> None:
    """Draw one glyph by itself; without a colour in that of nodes that no group colours."""
    own = palette.attention if shape == Shape.TRIANGLE else palette.feature
    color = QColor(color_name or own)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    half = GLYPH / 2 - 0.5
    if shape == Shape.DISC:
        painter.drawEllipse(at, half, half)
    elif shape == Shape.SQUARE:
        painter.drawRect(QRectF(at.x() - half, at.y() - half, 2 * half, 2 * half))
    elif shape == Shape.TRIANGLE:
        painter.drawPolygon(_triangle(at.x(), at.y()))
    else:
        painter.setPen(QPen(color, 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if shape == Shape.CROSS:
            painter.drawLine(QLineF(at.x() - 4, at.y(), at.x() + 4, at.y()))
            painter.drawLine(QLineF(at.x(), at.y() - 4, at.x(), at.y() + 4))
        elif shape == Shape.RING:
            painter.drawEllipse(at, half, half)
        else:
            painter.setBrush(color if shape == Shape.DIAMOND else QBrush(Qt.BrushStyle.NoBrush))
            painter.drawPolygon(_diamond(at.x(), at.y()))


def _triangle(x: float, y: float) -> QPolygonF:
    half = GLYPH * 0.6
    return QPolygonF(
        [QPointF(x - half, y + half * 0.8), QPointF(x, y - half), QPointF(x + half, y + half * 0.8)]
    )


def _diamond(x: float, y: float) -> QPolygonF:
    half = GLYPH * 0.62
    corners = ((x, y - half), (x + half, y), (x, y + half), (x - half, y))
    return QPolygonF([QPointF(*corner) for corner in corners])


def paint_ring(painter: QPainter, at: QPointF, color: str, width: float = 1.8) -> None:
    """Draw the ring around a selected or hovered node."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(color), width))
    painter.drawEllipse(at, GLYPH * 1.05, GLYPH * 1.05)


def name_places(
    scene: LinkScene, camera: Camera, base: QFont, names: dict[int, str], size: QRectF
) -> list[tuple[QRectF, str]]:
    """Return where names stand, most wanted first; one that would cover another is left out."""
    metrics = QFontMetricsF(text_font(base, 12, bold=True))
    placed: list[tuple[QRectF, str]] = []
    for node, text in list(names.items())[:MOST_NAMES]:
        x, y = camera.to_pixels(scene.places[node][None])[0]
        if not (LEFT < x < size.width() and 0 < y < size.height() - STRIP + 4):
            continue
        short = metrics.elidedText(text, Qt.TextElideMode.ElideRight, px(150))
        width = metrics.horizontalAdvance(short)
        left = min(max(x - width / 2, LEFT), size.width() - 6 - width)
        box = QRectF(left, y - GLYPH - px(15), width, px(15))
        if not any(box.adjusted(-3, 0, 3, 0).intersects(other) for other, _ in placed):
            placed.append((box, short))
    return placed


def paint_names(
    painter: QPainter,
    scene: LinkScene,
    camera: Camera,
    palette: Palette,
    names: dict[int, str],
    size: QRectF,
) -> None:
    """Write names above nodes."""
    base = painter.font()
    painter.setFont(text_font(base, 12, bold=True))
    for box, text in name_places(scene, camera, base, names, size):
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(palette.panel))
        painter.setOpacity(0.86)
        painter.drawRoundedRect(box.adjusted(-3, 0, 3, 0), 3, 3)
        painter.setOpacity(1.0)
        painter.setPen(QColor(palette.ink))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def wanted_names(scene: LinkScene, label: Callable[[int], str], named: set[int]) -> dict[int, str]:
    """Return the nodes to name: roots, then groups, what a person named, and tokens in use.

    Automatic labels of features stay out: they are in the inspector and under the cursor.
    """
    names: dict[int, str] = {}
    for rank in np.argsort(-scene.circuit.root_weights, kind="stable")[:3]:
        root = int(scene.circuit.roots[rank])
        probability = scene.circuit.probability(root) or 0.0
        names[root] = label(root) + (
            f" {words.probability(probability)}" if probability >= 0.005 else ""
        )
    told: set[str] = set()
    tokens = scene.circuit.nodes.of_kind(NodeKind.TOKEN)
    for node in map(int, scene.shown[::-1]):
        group = scene.group_of.get(node, "")
        if node in names:
            continue
        if group and group not in told:
            told.add(group)
            names[node] = str(scene.groups.get(group, {}).get("label", ""))
        elif node in named or (scene.in_circuit[node] and tokens[node]):
            names.setdefault(node, label(node))
    visible = np.isfinite(scene.places[:, 0])
    return {node: text for node, text in names.items() if text and visible[node]}


def paint_token_strip(
    painter: QPainter,
    scene: LinkScene,
    camera: Camera,
    palette: Palette,
    size: QRectF,
    column: int | None,
) -> None:
    """Draw the prompt along the bottom, every token under its column; the circuit's in bold."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    strip = QRectF(
        LEFT - 8, size.height() - STRIP + 10, size.width() - LEFT - RIGHT + 16, STRIP - 18
    )
    painter.setPen(QPen(QColor(palette.hairline), 1))
    painter.setBrush(QColor(palette.field))
    painter.drawRoundedRect(strip, 6, 6)
    painter.save()
    painter.setClipRect(strip)
    used = {int(p) for p in scene.circuit.nodes.position[scene.in_circuit]}
    base = painter.font()
    for number, band in enumerate(scene.layout.columns):
        left = band.start * camera.scale_x + camera.offset_x
        right = band.stop * camera.scale_x + camera.offset_x
        if right < strip.left() or left > strip.right():
            continue
        bold = band.key in used
        font = text_font(base, 12, bold=bold)
        painter.setFont(font)
        text = shown_token(band.label) if band.key >= 0 else band.label
        short = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, right - left - 2)
        if number == column:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(palette.accent_tint))
            painter.drawRoundedRect(
                QRectF(left, strip.top() + 2, right - left, strip.height() - 4), 4, 4
            )
        painter.setPen(QColor(palette.ink if bold else palette.secondary))
        painter.drawText(
            QRectF(left, strip.top(), right - left, strip.height()),
            Qt.AlignmentFlag.AlignCenter,
            short,
        )
    painter.restore()


def paint_tooltip(
    painter: QPainter, at: QPointF, text: str, palette: Palette, size: QRectF
) -> None:
    """Draw the dark box beside the hovered node."""
    font = text_font(painter.font(), 12)
    metrics = QFontMetricsF(font)
    lines = [
        metrics.elidedText(line, Qt.TextElideMode.ElideRight, 320) for line in text.split("\n")
    ]
    width = max(metrics.horizontalAdvance(line) for line in lines) + 20
    height = metrics.height() * len(lines) + 12
    left = at.x() - width - 14 if at.x() + width + 20 > size.width() else at.x() + 14
    box = QRectF(
        max(left, 4), min(max(at.y() - height - 8, 4), size.height() - height - 4), width, height
    )
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(palette.tooltip))
    painter.drawRoundedRect(box, 6, 6)
    painter.setPen(QColor(palette.tooltip_ink))
    painter.setFont(font)
    for number, line in enumerate(lines):
        row = QRectF(
            box.left() + 10, box.top() + 6 + number * metrics.height(), width, metrics.height()
        )
        painter.drawText(row, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, line)


def paint_band(painter: QPainter, band: QRectF, palette: Palette) -> None:
    """Draw the frame that a drag on the ground pulls open."""
    painter.setPen(QPen(QColor(palette.accent), 1, Qt.PenStyle.DashLine))
    tint = QColor(palette.accent)
    tint.setAlpha(24)
    painter.setBrush(tint)
    painter.drawRect(band)


def hover_text(
    scene: LinkScene, label: Callable[[int], str], node: int, selection: tuple[int, ...]
) -> str:
    """Return a tooltip: the name and, beside one selected node, the share between the two."""
    name = label(node) or str(scene.circuit.nodes.key(node))
    edge = scene.edge_between(node, selection[0]) if len(selection) == 1 else None
    return name if edge is None else f"{name}  {signed(float(scene.share[edge]))}"
