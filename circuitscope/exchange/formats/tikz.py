r"""TikZ: a figure as LaTeX that compiles in plain pdflatex with packages every TeX has.

Coordinates are the figure's own, in points from the top left corner, so the picture has its exact
size: `\input` the file or include the compiled page. pdflatex knows few characters beyond Latin;
common signs become commands, and what is left is written as its code. Where the standalone class
is missing, as in a small TeX, the page is set up by hand.
"""

import json
import math
import unicodedata
from itertools import cycle
from pathlib import Path
from typing import Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
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
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.saving import save_bytes

_ANCHORS: Final = {"start": "base west", "middle": "base", "end": "base east"}
_SIGNS: Final = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%",
    "&": r"\&", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "-": "{-}",
    "−": r"\ensuremath{-}", "→": r"\ensuremath{\rightarrow}", "←": r"\ensuremath{\leftarrow}",
    "↵": r"\ensuremath{\hookleftarrow}", "⇥": r"\ensuremath{\mapsto}",
    "·": r"\textperiodcentered{}",
    "…": r"\ldots{}", "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'",
    "×": r"\ensuremath{\times}", "≥": r"\ensuremath{\geq}", "≤": r"\ensuremath{\leq}",
    "±": r"\ensuremath{\pm}", "▁": r"\_", "Ġ": r"\.G", "Ċ": r"\.C", "\u00a0": "~",
    "\u2009": r"\,", "\u202f": r"\,", "•": r"\textbullet{}", "€": r"\texteuro{}",
}  # fmt: skip
_LATIN: Final = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽžŁł¡¿£§©®°"
)
_LONGEST_LINE: Final = 900


def tikz_text(figure: Figure, *, transparent: bool = False) -> str:
    """Return a figure as one LaTeX document."""
    record = json.dumps(figure.metadata, sort_keys=True)
    colors = sorted(_colors(figure))
    wide, high = decimal(figure.width), decimal(figure.height)
    out = [
        f"% CircuitScope {figure.metadata.get('version', '')}",
        f"% circuit {figure.metadata.get('circuit', '')}",
        *(f"% {record[at : at + _LONGEST_LINE]}" for at in range(0, len(record), _LONGEST_LINE)),
        r"\IfFileExists{standalone.cls}{\documentclass[border=0pt]{standalone}}{%",
        rf"\documentclass{{article}}\usepackage[paperwidth={wide}bp,paperheight={high}bp,margin=0pt]"
        r"{geometry}\pagestyle{empty}\parindent=0pt }",
        r"\usepackage[T1]{fontenc}", r"\usepackage[utf8]{inputenc}", r"\usepackage{textcomp}",
        r"\usepackage[scaled=0.95]{helvet}", r"\renewcommand{\familydefault}{\sfdefault}",
        r"\usepackage{tikz}",
        *(rf"\definecolor{{c{color[1:]}}}{{HTML}}{{{color[1:].upper()}}}" for color in colors),
        rf"\ifdefined\pdfinfo\pdfinfo{{/Title ({_plain(figure.title)}) /Creator "
        rf"(CircuitScope, circuit {figure.metadata.get('circuit', '')[:16]})}}\fi",
        r"\begin{document}",
        r"\begin{tikzpicture}[x=1bp,y=-1bp,line cap=butt,line join=round,"
        r"every node/.style={inner sep=0pt,outer sep=0pt}]",
        rf"\useasboundingbox (0,0) rectangle ({wide},{high});",
    ]  # fmt: skip
    if figure.background and not transparent:
        out.append(rf"\fill[{_color(figure.background)}] (0,0) rectangle ({wide},{high});")
    for layer in figure.layers:
        out += _layer(layer)
    return "\n".join([*out, r"\end{tikzpicture}", r"\end{document}", ""])


def tex(text: str) -> str:
    """Return a text as LaTeX that prints it; what pdflatex cannot print is written as its code."""
    return "".join(map(_sign, unicodedata.normalize("NFC", text)))


def _sign(c: str) -> str:
    if c in _SIGNS:
        return _SIGNS[c]
    if " " <= c <= "~" or c in _LATIN:
        return c
    if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Mn", "Me"):
        return ""
    return rf"{{\tiny U+{ord(c):04X}}}"


def _layer(layer: Layer) -> list[str]:
    out = [f"% {_comment(layer.title or layer.id)}"]
    if layer.curves is not None and len(layer.curves):
        out += _curves(layer.curves)
    for box in layer.boxes:
        out += _box(box)
    if layer.glyphs is not None:
        out += _glyphs(layer.glyphs)
    for text in layer.texts:
        out += _text(text)
    return out


def _curves(curves: Curves) -> list[str]:
    points, heads = with_heads(curves)
    starts = curves.starts()
    out = []
    for i in range(len(curves)):
        pieces = points[starts[i] : starts[i + 1]].tolist()
        path = _point(pieces[0][0]) + "".join(
            f".. controls {_point(a)} and {_point(b)} .. {_point(end)}" for _, a, b, end in pieces
        )
        color, width = _color(curves.colors[curves.color[i]]), float(curves.width[i])
        pen = f"{color},line width={decimal(width)}bp"
        if curves.dashed[i]:
            steps = zip(cycle(("on", "off")), dashes(width, int(curves.dashed[i])), strict=False)
            pen += ",dash pattern=" + " ".join(f"{how} {decimal(n)}bp" for how, n in steps)
        out.append(rf"\draw[{pen}] {path};")
        if not math.isnan(float(heads[i, 0, 0])):
            corners = " -- ".join(map(_point, heads[i].tolist()))
            out.append(rf"\fill[{color}] {corners} -- cycle;")
    return out


def _box(box: Box) -> list[str]:
    pen = [f"rounded corners={decimal(box.radius)}bp"]
    if box.fill:
        pen.append(f"fill={_color(box.fill)}")
    if box.stroke and box.stroke_width:
        pen.append(f"draw={_color(box.stroke)},line width={decimal(box.stroke_width)}bp")
        if box.dashed:
            on, off = dashes(box.stroke_width)
            pen.append(f"dash pattern=on {decimal(on)}bp off {decimal(off)}bp")
    ends = f"{_point([box.x, box.y])} rectangle {_point([box.x + box.width, box.y + box.height])}"
    drawn = [rf"\path[{','.join(pen)}] {ends};"] if len(pen) > 1 else []
    return drawn + [line for text in box.texts for line in _text(text)]


def _glyphs(glyphs: Glyphs) -> list[str]:
    out = []
    for i, code in enumerate(glyphs.shape.tolist()):
        shape, size = Shape(code), float(glyphs.size[i])
        x, y, color = float(glyphs.x[i]), float(glyphs.y[i]), glyphs.colors[glyphs.color[i]]
        stroke = f"draw={_color(color)},line width={decimal(max(0.13 * size, 0.4))}bp"
        hollow = shape in (Shape.HOLLOW_DIAMOND, Shape.RING)
        pen = f"fill={_color(glyphs.paper)},{stroke}" if hollow else f"fill={_color(color)}"
        corners = [_point([x + dx, y + dy]) for dx, dy in outline(shape, size)]
        if shape in (Shape.DISC, Shape.RING):
            out.append(rf"\path[{pen}] {_point([x, y])} circle[radius={decimal(size / 2)}bp];")
        elif shape in (Shape.CROSS, Shape.SALTIRE):
            out.append(
                rf"\path[{stroke}] {corners[0]} -- {corners[1]} {corners[2]} -- {corners[3]};"
            )
        elif shape is Shape.CHECK:
            out.append(rf"\path[{stroke}] {' -- '.join(corners)};")
        else:
            out.append(rf"\path[{pen}] {' -- '.join(corners)} -- cycle;")
    return out


def _text(text: Text) -> list[str]:
    size = f"{{{decimal(text.size)}bp}}{{{decimal(1.2 * text.size)}bp}}"
    font = rf"\fontsize{size}\selectfont"
    font += r"\bfseries" if text.weight >= 600 else ""
    font += r"\itshape" if text.italic else ""
    look = f"anchor={_ANCHORS[text.anchor]},text={_color(text.color)}"
    if text.halo:
        look += f",fill={_color(text.halo)},inner sep=0.4bp"
    content = tex(text.text)
    place = _point([text.x, text.y])
    return [rf"\node[{look},font={font}] at {place} {{{content}}};"] if content else []


def _colors(figure: Figure) -> set[str]:
    found = {
        figure.background,
        *(t.color for t in figure.texts()),
        *(t.halo for t in figure.texts()),
    }
    for layer in figure.layers:
        found |= {color for box in layer.boxes for color in (box.fill, box.stroke)}
        found |= set(layer.curves.colors) if layer.curves is not None else set()
        found |= {*layer.glyphs.colors, layer.glyphs.paper} if layer.glyphs is not None else set()
    return found - {""}


def _color(color: str) -> str:
    return f"c{color[1:]}"


def _point(at: list[float]) -> str:
    return f"({decimal(at[0])},{decimal(at[1])})"


def _plain(text: str) -> str:
    """Return a text for the PDF's own record: ASCII without what ends a PDF string."""
    kept = text.replace("→", "->").encode("ascii", "replace").decode()
    return "".join(c for c in kept if c >= " " and c not in "()\\{}%#&$^_~")


def _comment(text: str) -> str:
    return " ".join(text.split())


class Tikz:
    """TikZ."""

    suffix = ".tex"
    title = "LaTeX drawing (TikZ)"
    can_read = False
    can_write = True
    draws = True

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write the document's figure; see `exchange.format.FileFormat`."""
        assert document.figure is not None, "TikZ is written from a figure"
        text = tikz_text(document.figure, transparent=options.transparent)
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: a drawing holds no graph."""
        raise UnreadableGraph(f"{path.name} is a drawing and cannot be read as a graph.")
