"""Turn a figure into SVG: real text in an embedded font, stable ids, titles and provenance.

Every node and edge of the circuit diagram is a group with its id and a <title>; the many edges of
a link graph are one path for each pen. The font is cut down to the characters used, so that the
file looks the same everywhere and stays small. Nothing in the file points to the network.
"""

import base64
import json
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.figure import (
    Box,
    Curves,
    Figure,
    Glyphs,
    Layer,
    Shape,
    Text,
    dashes,
    decimal,
    outline,
    with_heads,
)
from circuitscope.exchange.fontsubset import subset
from circuitscope.exchange.typeface import FALLBACKS, FAMILY, style_of
from circuitscope.exchange.xml_text import attribute, content

_WEIGHTS: Final = {"Regular": 400, "Medium": 500, "SemiBold": 600, "Bold": 700, "Italic": 400}
_LARGEST_FONT: Final = 200_000


def svg_text(figure: Figure, *, transparent: bool = False, embed_font: bool = True) -> str:
    """Return a figure as one SVG document.

    Args:
        figure: What to draw.
        transparent: Leave out the page's background.
        embed_font: Carry the characters used; else the reader's own fonts stand in.
    """
    width, height = decimal(figure.width), decimal(figure.height)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f"font-family={attribute(_families())}>",
        f"<title>{content(figure.title)}</title>",
        f"<desc>{content(figure.description)}</desc>",
        '<metadata><provenance xmlns="urn:circuitscope:provenance">'
        f"{content(json.dumps(figure.metadata, ensure_ascii=False, sort_keys=True))}"
        "</provenance></metadata>",
    ]
    if embed_font:
        parts.append(_style(figure))
    if figure.background and not transparent:
        parts.append(f'<rect width="{width}" height="{height}" fill="{figure.background}"/>')
    for layer in figure.layers:
        parts += _layer(layer)
    parts.append("</svg>\n")
    return "\n".join(part for part in parts if part)


def _layer(layer: Layer) -> list[str]:
    out = [f"<g id={attribute('layer-' + layer.id)}>"]
    if layer.curves is not None and len(layer.curves):
        out += _curves(layer.curves)
    out += [_box(box) for box in layer.boxes]
    if layer.glyphs is not None:
        out += _glyphs(layer.glyphs)
    out += [_text(text) for text in layer.texts]
    return [*out, "</g>"]


def _curves(curves: Curves) -> list[str]:
    points, heads = with_heads(curves)
    starts = curves.starts()
    rows = [" ".join(map(decimal, row)) for row in points.reshape(len(points), 8).tolist()]
    pens = np.stack([curves.color, curves.dashed, np.round(curves.width * 100)], 1).astype(int)
    alone = bool(curves.ids or curves.titles)
    breaks = np.flatnonzero(np.any(np.diff(pens, axis=0) != 0, axis=1)) + 1
    parts = np.arange(len(curves))[:, None] if alone else np.split(np.arange(len(curves)), breaks)
    out = []
    for part in parts:
        first = int(part[0])
        data = "".join(_path(rows[starts[i] : starts[i + 1]]) for i in part)
        color, width = curves.colors[curves.color[first]], float(curves.width[first])
        dash = ""
        if curves.dashed[first]:
            steps = " ".join(map(decimal, dashes(width, int(curves.dashed[first]))))
            dash = f' stroke-dasharray="{steps}"'
        drawn = (
            f'<path d="{data}" fill="none" stroke="{color}" stroke-width="{decimal(width)}"{dash}/>'
        )
        drawn += "".join(_head(heads[i], curves.colors[curves.color[i]]) for i in part)
        out.append(_named(drawn, curves.ids, curves.titles, first))
    return out


def _path(rows: list[str]) -> str:
    pieces = [row.split(" ") for row in rows]
    start = pieces[0]
    return f"M{start[0]} {start[1]}" + "".join("C" + " ".join(piece[2:]) for piece in pieces)


def _head(corners: NDArray[np.float32], color: str) -> str:
    if math.isnan(float(corners[0, 0])):
        return ""
    points = " ".join(f"{decimal(x)},{decimal(y)}" for x, y in corners.tolist())
    return f'<polygon points="{points}" fill="{color}"/>'


def _named(drawn: str, ids: tuple[str, ...], titles: tuple[str, ...], i: int) -> str:
    if not ids and not titles:
        return drawn
    name = f" id={attribute(ids[i])}" if ids else ""
    title = f"<title>{content(titles[i])}</title>" if titles else ""
    return f"<g{name}>{title}{drawn}</g>"


def _box(box: Box) -> str:
    stroke = ""
    if box.stroke and box.stroke_width:
        stroke = f' stroke="{box.stroke}" stroke-width="{decimal(box.stroke_width)}"'
    if box.dashed:
        stroke += f' stroke-dasharray="{" ".join(map(decimal, dashes(box.stroke_width)))}"'
    drawn = (
        f'<rect x="{decimal(box.x)}" y="{decimal(box.y)}" width="{decimal(box.width)}" '
        f'height="{decimal(box.height)}" rx="{decimal(box.radius)}" '
        f'fill="{box.fill or "none"}"{stroke}/>'
    ) + "".join(_text(text) for text in box.texts)
    return _named(drawn, (box.id,) if box.id else (), (box.title,) if box.title else (), 0)


def _glyphs(glyphs: Glyphs) -> list[str]:
    out = []
    for i, code in enumerate(glyphs.shape.tolist()):
        shape, size = Shape(code), float(glyphs.size[i])
        place = (float(glyphs.x[i]), float(glyphs.y[i]))
        color = glyphs.colors[glyphs.color[i]]
        drawn = _glyph(shape, place, size, (color, glyphs.paper))
        out.append(_named(drawn, glyphs.ids, glyphs.titles, i))
    return out


def _glyph(shape: Shape, place: tuple[float, float], size: float, colors: tuple[str, str]) -> str:
    color, paper = colors
    x, y = place
    hollow = shape in (Shape.HOLLOW_DIAMOND, Shape.RING)
    stroke = f'stroke="{color}" stroke-width="{decimal(max(0.13 * size, 0.4))}"'
    pen = f'fill="{paper}" {stroke}' if hollow else f'fill="{color}"'
    if shape in (Shape.DISC, Shape.RING):
        return f'<circle cx="{decimal(x)}" cy="{decimal(y)}" r="{decimal(size / 2)}" {pen}/>'
    corners = [f"{decimal(x + dx)} {decimal(y + dy)}" for dx, dy in outline(shape, size)]
    if shape in (Shape.CROSS, Shape.SALTIRE):
        data = f"M{corners[0]}L{corners[1]}M{corners[2]}L{corners[3]}"
        return f'<path d="{data}" fill="none" {stroke}/>'
    if shape is Shape.CHECK:
        return f'<polyline points="{" ".join(corners)}" fill="none" {stroke}/>'
    return f'<polygon points="{" ".join(corners)}" {pen}/>'


def _text(text: Text) -> str:
    more = f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    more += f' font-weight="{text.weight}"' if text.weight != 400 else ""
    more += ' font-style="italic"' if text.italic else ""
    place = f'x="{decimal(text.x)}" y="{decimal(text.y)}" font-size="{decimal(text.size)}"'
    words = content(text.text)
    under = ""
    if text.halo:
        under = (
            f'<text {place}{more} fill="none" stroke="{text.halo}" stroke-linejoin="round" '
            f'stroke-width="{decimal(0.34 * text.size)}" aria-hidden="true">{words}</text>'
        )
    return f'{under}<text {place}{more} fill="{text.color}">{words}</text>'


def _style(figure: Figure) -> str:
    used: dict[str, set[str]] = {}
    for text in figure.texts():
        used.setdefault(style_of(text.weight, italic=text.italic), set()).update(text.text)
    faces = []
    for style, characters in sorted(used.items()):
        try:
            font = shipped_path("resources", "fonts", f"{FAMILY}-{style}.ttf").read_bytes()
            cut = subset(font, characters)
        except (OSError, ValueError):
            continue
        if len(cut) > _LARGEST_FONT:
            continue
        slant = "italic" if style == "Italic" else "normal"
        faces.append(
            f"@font-face{{font-family:'{FAMILY}';font-weight:{_WEIGHTS[style]};"
            f"font-style:{slant};src:url(data:font/ttf;base64,{base64.b64encode(cut).decode()}) "
            "format('truetype');}"
        )
    return f"<style>{''.join(faces)}</style>" if faces else ""


def _families() -> str:
    names = [FAMILY, *FALLBACKS]
    return ", ".join(f"'{name}'" if " " in name else name for name in names) + ", sans-serif"
