"""A figure in points: what the screen, SVG, PDF and PNG all draw.

A figure is plain data: layers of curves, boxes, glyphs and text, drawn in this order inside a
layer. Curves and glyphs are structures of arrays, because a link graph has tens of thousands of
them; boxes and texts are few and are objects. x grows rightwards, y downwards, the origin is the
top left corner. Text stands on its baseline; its width is measured by `exchange.typeface`, so no
Qt is needed to lay out a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Anchor = Literal["start", "middle", "end"]
DASHES: Final = ((), (3.2, 2.2), (1.0, 1.8), (5.0, 1.8, 1.0, 1.8))
"""On and off of lines that are solid, dashed, dotted, dash-dotted, in multiples of their width."""


class Shape(IntEnum):
    """Name the outline of a glyph; what stands for what is in `exchange.theme.shape_of`."""

    SQUARE = 0
    DISC = 1
    TRIANGLE = 2
    DIAMOND = 3
    HOLLOW_DIAMOND = 4
    RING = 5
    CROSS = 6
    CHECK = 7
    SALTIRE = 8
    """A cross that stands on its feet."""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text.

    Attributes:
        x: Where the anchor stands; y: the baseline.
        size: Font size; weight: 400, 500, 600 or 700.
        halo: Colour drawn around the letters so that they read on top of lines, "" for none.
    """

    x: float
    y: float
    text: str
    size: float
    color: str
    weight: int = 400
    italic: bool = False
    anchor: Anchor = "start"
    halo: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rounded rectangle with the texts and badges that belong to it.

    Attributes:
        x: Left edge; y: top edge.
        id: Stable id of the thing shown, such as "n-feature-mlp_out-2-7-57"; "" where none.
        title: What a reader sees on pointing at it.
        dashed: Whether the outline is dashed (what was drawn by hand).
    """

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str
    stroke_width: float = 1.0
    radius: float = 6.0
    id: str = ""
    title: str = ""
    dashed: bool = False
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True, eq=False)
class Curves:
    """Chains of cubic curves with one pen each.

    Attributes:
        points: Control points x, y: start, two handles, end, float32 [m, 4, 2]; one row for each
            cubic piece.
        chain: Which curve each piece belongs to, int32 [m], ascending; a curve's pieces join.
        width: Line width of each curve, float32 [c].
        color: Index into `colors` of each curve, uint8 [c].
        dashed: Whether a curve is dashed, bool [c]; or its place in `DASHES`, uint8 [c].
        arrow: Length of the head at the end of each curve, 0 for none, float32 [c]. The head's
            tip is the curve's last point.
        colors: "#RRGGBB" by index.
        ids: One stable id a curve, or empty; titles: likewise.
    """

    points: NDArray[np.float32]
    chain: NDArray[np.int32]
    width: NDArray[np.float32]
    color: NDArray[np.uint8]
    dashed: NDArray[np.bool_] | NDArray[np.uint8]
    arrow: NDArray[np.float32]
    colors: tuple[str, ...]
    ids: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.width)

    def starts(self) -> NDArray[np.int64]:
        """Return the first piece of every curve and, last, the number of pieces, int64 [c + 1]."""
        return np.searchsorted(self.chain, np.arange(len(self) + 1))

    @staticmethod
    def lines(
        ends: Sequence[tuple[float, float, float, float]], color: str, width: float
    ) -> "Curves":
        """Make straight lines x0, y0, x1, y1 with one pen, such as hairlines."""
        at = np.array(ends, np.float32).reshape(-1, 2, 2)
        n = len(at)
        third = (at[:, 1:] - at[:, :1]) / 3
        points = np.concatenate([at[:, :1], at[:, :1] + third, at[:, 1:] - third, at[:, 1:]], 1)
        zeros = np.zeros(n)
        return Curves(
            points, np.arange(n, dtype=np.int32), np.full(n, width, np.float32),
            zeros.astype(np.uint8), zeros > 1, zeros.astype(np.float32), (color,),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Glyphs:
    """Small signs, one node each.

    Attributes:
        shape: `Shape` codes, uint8 [g].
        x: Centres, float32 [g]; y: likewise; size: height of the sign, float32 [g].
        color: Index into `colors` of each sign's fill (outline, for hollow signs), uint8 [g].
        colors: "#RRGGBB" by index.
        paper: Fill of hollow signs.
        ids: One stable id a sign, or empty; titles: likewise.
    """

    shape: NDArray[np.uint8]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    size: NDArray[np.float32]
    color: NDArray[np.uint8]
    colors: tuple[str, ...]
    paper: str = "#FFFFFF"
    ids: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Layer:
    """A named part of a figure; curves lie under boxes, boxes under glyphs, glyphs under texts."""

    id: str
    title: str = ""
    curves: Curves | None = None
    boxes: tuple[Box, ...] = ()
    glyphs: Glyphs | None = None
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True, eq=False)
class Figure:
    """Everything that is drawn, in points.

    Attributes:
        width: Page width; height: page height.
        layers: Drawn from first to last.
        background: "#RRGGBB", or "" for a transparent page.
        title: What the figure shows, for a file's title.
        description: The same in a sentence or two, for readers who cannot see it.
        metadata: Provenance as JSON values; every file format carries it.
        warnings: What the maker of the figure should know, such as text elided or edges left out.
    """

    width: float
    height: float
    layers: tuple[Layer, ...]
    background: str = "#FFFFFF"
    title: str = ""
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def texts(self) -> list[Text]:
        """Return every text of the figure, those inside boxes included."""
        found = [text for layer in self.layers for text in layer.texts]
        return found + [t for layer in self.layers for box in layer.boxes for t in box.texts]

    def smallest_text(self) -> float:
        """Return the smallest font size used, in points; infinity where there is no text."""
        return min((text.size for text in self.texts()), default=float("inf"))


def with_heads(curves: Curves) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shorten every curve that ends in an arrow, and return the arrow heads.

    Returns:
        Control points, float32 [m, 4, 2], whose last piece ends inside the head; and the three
        corners of each head, float32 [c, 3, 2], all NaN for curves without one.
    """
    points = curves.points.astype(np.float64)
    heads = np.full((len(curves), 3, 2), np.nan)
    last = curves.starts()[1:] - 1
    for i in np.flatnonzero(curves.arrow > 0):
        tip, length = points[last[i], 3].copy(), float(curves.arrow[i])
        towards = tip - points[last[i], 2]
        size = float(np.hypot(*towards))
        towards = towards / size if size > 1e-9 else np.array([0.0, -1.0])
        across = np.array([-towards[1], towards[0]]) * length * 0.42
        base = tip - towards * length
        heads[i] = tip, base + across, base - across
        points[last[i], 2:] -= towards * length * 0.8
    return points.astype(np.float32), heads.astype(np.float32)


def dashes(width: float, kind: int = 1) -> tuple[float, ...]:
    """Return the on and off lengths of a line of a width, in points, so that both can be seen.

    Args:
        width: Of the line.
        kind: Its place in `DASHES`.
    """
    least = (2.0, 1.5) if kind == 1 else (0.9, 1.3)
    return tuple(max(n * width, least[at % 2]) for at, n in enumerate(DASHES[kind]))


def outline(shape: Shape, size: float) -> list[tuple[float, float]]:
    """Return the corners of a glyph around 0, 0; empty for round shapes.

    A cross or saltire is its two strokes, a check its one, as open polygons.
    """
    r = size / 2
    if shape is Shape.SQUARE:
        s = 0.88 * r
        return [(-s, -s), (s, -s), (s, s), (-s, s)]
    if shape is Shape.TRIANGLE:
        return [(0, -1.1 * r), (1.05 * r, 0.8 * r), (-1.05 * r, 0.8 * r)]
    if shape in (Shape.DIAMOND, Shape.HOLLOW_DIAMOND):
        return [(0, -1.12 * r), (1.12 * r, 0), (0, 1.12 * r), (-1.12 * r, 0)]
    if shape is Shape.CROSS:
        return [(-r, 0), (r, 0), (0, -r), (0, r)]
    if shape is Shape.SALTIRE:
        s = 0.75 * r
        return [(-s, -s), (s, s), (-s, s), (s, -s)]
    if shape is Shape.CHECK:
        return [(-0.8 * r, 0.05 * r), (-0.2 * r, 0.6 * r), (0.85 * r, -0.6 * r)]
    return []


def decimal(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
