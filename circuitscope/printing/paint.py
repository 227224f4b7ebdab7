"""Paint a figure with Qt: one function for PDF, PNG and the window's canvas.

The painter's unit is the figure's point; scale the painter for other resolutions.
"""

import os
import re
import unicodedata
from functools import lru_cache
from typing import Final

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontDatabase,
    QFontMetricsF,
    QGuiApplication,
    QPaintEngine,
    QPainter,
    QPainterPath,
    QPen,
    QPolygonF,
)

from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.figure import (
    Box,
    Curves,
    Figure,
    Glyphs,
    Shape,
    Text,
    dashes,
    outline,
    with_heads,
)
from circuitscope.exchange.typeface import FALLBACKS, FAMILY

_DESIGN_SIZE: Final = 128
_READABLE: Final = 2.0
"""Pixels below which text on screen is no more than a smear."""
_STROKED: Final = (Shape.HOLLOW_DIAMOND, Shape.RING, Shape.CROSS, Shape.CHECK, Shape.SALTIRE)


def ensure_gui() -> None:
    """Start an offscreen QGuiApplication when the process has no Qt application yet."""
    if QGuiApplication.instance() is not None:
        return
    had = os.environ.get("QT_QPA_PLATFORM")
    os.environ["QT_QPA_PLATFORM"] = had or "offscreen"
    try:
        _own_application()
    finally:
        if had is None:
            del os.environ["QT_QPA_PLATFORM"]


@lru_cache(maxsize=1)
def _own_application() -> QGuiApplication:
    return QGuiApplication(["circuitscope"])


def load_fonts() -> None:
    """Make the bundled fonts known to Qt, once for each application."""
    if FAMILY in QFontDatabase.families():
        return
    for file in sorted(shipped_path("resources", "fonts").glob("*.ttf")):
        QFontDatabase.addApplicationFont(str(file))


def paint_figure(
    painter: QPainter, figure: Figure, *, background: bool = True, seen: QRectF | None = None
) -> None:
    """Paint a whole figure at 0, 0.

    Args:
        painter: Active, its unit scaled to points.
        figure: What to paint.
        background: Whether to fill the page first.
        seen: On screen, the part that is looked at, in points: what lies outside and text too
            small to read are left out. None paints everything, for paper.
    """
    load_fonts()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
    if background and figure.background:
        page = QRectF(0, 0, figure.width, figure.height)
        painter.fillRect(page, QColor(figure.background))
    scale = painter.worldTransform().m11()
    for layer in figure.layers:
        if layer.curves is not None:
            paint_curves(painter, layer.curves, seen)
        for box in layer.boxes:
            if seen is None or _is_seen(box, seen, scale):
                is_read = seen is None or not box.texts or box.texts[0].size * scale >= _READABLE
                paint_box(painter, box, texts=is_read)
        if layer.glyphs is not None:
            paint_glyphs(painter, layer.glyphs)
        for text in layer.texts:
            if seen is None or text.size * scale >= _READABLE:
                paint_text(painter, text)


def _is_seen(box: Box, seen: QRectF, scale: float) -> bool:
    """Say whether a box is in the part that is looked at and larger than a dot."""
    if box.x > seen.right() or box.x + box.width < seen.left():
        return False
    if box.y > seen.bottom() or box.y + box.height < seen.top():
        return False
    return bool(box.stroke) or box.height * scale >= _READABLE


def paint_curves(painter: QPainter, curves: Curves, seen: QRectF | None = None) -> None:
    """Paint curves in order; neighbours of the same pen are one path."""
    points, heads = with_heads(curves)
    starts = curves.starts()
    kept = np.ones(len(curves), np.bool_)
    if seen is not None:
        low = np.minimum.reduceat(points.min(axis=1), starts[:-1])
        high = np.maximum.reduceat(points.max(axis=1), starts[:-1])
        kept = (low[:, 0] <= seen.right()) & (high[:, 0] >= seen.left())
        kept &= (low[:, 1] <= seen.bottom()) & (high[:, 1] >= seen.top())
    pens = np.stack([curves.color, curves.dashed, np.round(curves.width * 100)], 1).astype(int)
    breaks = np.flatnonzero(np.any(np.diff(pens, axis=0) != 0, axis=1)) + 1
    chains = points.reshape(-1, 8).tolist()
    for part in np.split(np.arange(len(curves)), breaks):
        drawn = part[kept[part]].tolist()
        if not drawn:
            continue
        path = QPainterPath()
        for i in drawn:
            for k, piece in enumerate(chains[starts[i] : starts[i + 1]]):
                if not k:
                    path.moveTo(*piece[:2])
                path.cubicTo(*piece[2:])
        first = drawn[0]
        color = QColor(curves.colors[curves.color[first]])
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(_pen(color, float(curves.width[first]), dashed=int(curves.dashed[first])))
        painter.drawPath(path)
    painter.setPen(Qt.PenStyle.NoPen)
    for i in np.flatnonzero((curves.arrow > 0) & kept):
        painter.setBrush(QColor(curves.colors[curves.color[i]]))
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in heads[i].tolist()]))


def _pen(color: QColor, width: float, *, dashed: int) -> QPen:
    pen = QPen(color, width)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    if dashed:
        pen.setDashPattern([length / max(width, 1e-6) for length in dashes(width, int(dashed))])
    return pen


def paint_box(painter: QPainter, box: Box, *, texts: bool = True) -> None:
    """Paint a box, and its texts unless they could not be read."""
    if box.stroke and box.stroke_width:
        painter.setPen(_pen(QColor(box.stroke), box.stroke_width, dashed=box.dashed))
    else:
        painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(box.fill) if box.fill else QBrush(Qt.BrushStyle.NoBrush))
    painter.drawRoundedRect(QRectF(box.x, box.y, box.width, box.height), box.radius, box.radius)
    for text in box.texts if texts else ():
        paint_text(painter, text)


def paint_glyphs(painter: QPainter, glyphs: Glyphs) -> None:
    """Paint signs in order."""
    codes = [Shape(int(code)) for code in glyphs.shape]
    for i, shape in enumerate(codes):
        size, color = float(glyphs.size[i]), QColor(glyphs.colors[glyphs.color[i]])
        if shape in _STROKED:
            hollow = shape in (Shape.HOLLOW_DIAMOND, Shape.RING)
            painter.setPen(_pen(color, max(0.13 * size, 0.4), dashed=False))
            painter.setBrush(QColor(glyphs.paper) if hollow else QBrush(Qt.BrushStyle.NoBrush))
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color)
        at = QPointF(float(glyphs.x[i]), float(glyphs.y[i]))
        corners = [at + QPointF(x, y) for x, y in outline(shape, size)]
        if shape in (Shape.CROSS, Shape.SALTIRE):
            painter.drawLine(corners[0], corners[1])
            painter.drawLine(corners[2], corners[3])
        elif shape is Shape.CHECK:
            painter.drawPolyline(QPolygonF(corners))
        elif corners:
            painter.drawPolygon(QPolygonF(corners))
        else:
            painter.drawEllipse(at, size / 2, size / 2)


def font_of(text: Text) -> QFont:
    """Return the bundled font of a text at the design size; scale the painter to its size."""
    font = QFont()
    font.setFamilies([FAMILY, *FALLBACKS])
    font.setPixelSize(_DESIGN_SIZE)
    font.setWeight(QFont.Weight(text.weight))
    font.setItalic(text.italic)
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    font.setKerning(False)
    return font


def paint_text(painter: QPainter, text: Text) -> None:
    """Paint one line of text on its baseline."""
    font = font_of(text)
    scale = text.size / _DESIGN_SIZE
    width = QFontMetricsF(font).horizontalAdvance(text.text)
    offset = {"start": 0.0, "middle": -width / 2, "end": -width}[text.anchor]
    painter.save()
    painter.translate(text.x, text.y)
    painter.scale(scale, scale)
    painter.setFont(font)
    if text.halo:
        path = QPainterPath()
        path.addText(offset, 0, font, text.text)
        pen = QPen(QColor(text.halo), 0.34 * _DESIGN_SIZE)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.strokePath(path, pen)
    painter.setPen(QColor(text.color))
    for start, part in _parts(painter, text.text):
        before = QFontMetricsF(font).horizontalAdvance(text.text[:start]) if start else 0.0
        painter.drawText(QPointF(offset + before, 0), part)
    painter.restore()


def _parts(painter: QPainter, text: str) -> list[tuple[int, str]]:
    """Return what to draw at once, and where it starts in the text.

    Qt's PDF engine names the space glyph "tab", so that copied words come with tabs between them.
    Drawn word by word there is no such glyph, and readers put spaces where the gaps are. Scripts
    that run from right to left stay whole.
    """
    engine = painter.paintEngine()
    is_pdf = engine is not None and engine.type() == QPaintEngine.Type.Pdf
    if not is_pdf or any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text):
        return [(0, text)]
    return [(found.start(), found.group()) for found in re.finditer(r"[^ ]+", text)]
