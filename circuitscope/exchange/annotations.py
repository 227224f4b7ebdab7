"""What a person adds to a diagram: nodes and edges drawn by hand, notes and frames.

None of it is evidence, and none of it looks so: what is drawn by hand is grey and dashed and
says "by hand", notes are slips of paper, frames lie behind everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.binding import Binding
from circuitscope.core.nesting import inside, parents_of
from circuitscope.core.rows import Row, Rows
from circuitscope.exchange.figure import Box, Curves, Layer, Text
from circuitscope.exchange.markdown import set_markdown
from circuitscope.exchange.routing import Link, route
from circuitscope.exchange.theme import PRESETS, Preset, Theme
from circuitscope.exchange.typeface import cap_height, elide, printable, text_width
from circuitscope.graph.groups import Subgraph
from circuitscope.graph.view import rows_of

BY_HAND: Final = "Dashed grey boxes and lines were drawn by hand: no evidence."
_WIDTH: Final = 200.0
Kind = Literal["sketch_node", "note", "frame"]
Rect = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True, slots=True)
class Item:
    """A node drawn by hand, or a note, before it has its place on the page.

    Attributes:
        id: Of its row; place: x and y as the user put it; face: what it looks like, at 0, 0.
    """

    kind: Kind
    id: str
    place: tuple[float, float]
    face: Box


def items_of(rows: Rows, preset: Preset, theme: Theme) -> list[Item]:
    """Return what stands among the boxes: nodes drawn by hand, then notes, by id."""
    scale = preset.label / PRESETS["screen"].label
    found = [
        Item("sketch_node", name, (float(row["x"]), float(row["y"])),
             _sketch(name, row, preset, theme))
        for name, row in rows_of(rows, "sketch_node")
    ]  # fmt: skip
    found += [
        Item("note", name, (float(row.get("x", 0)), float(row.get("y", 0))),
             _note(name, row, scale, (preset, theme)))
        for name, row in rows_of(rows, "note")
    ]  # fmt: skip
    return found


def _sketch(name: str, row: Row, preset: Preset, theme: Theme) -> Box:
    label = elide(printable(str(row.get("label", ""))) or "?", 14 * preset.label, preset.label, 600)
    width = max(text_width(label, preset.label, 600), 4.2 * preset.label) + 1.4 * preset.label
    first = 0.68 * preset.label + cap_height(preset.label)
    second = first + 0.92 * preset.label + 0.4 * preset.small
    texts = (
        Text(width / 2, first, label, preset.label, theme.secondary, 600, italic=True,
             anchor="middle"),
        Text(width / 2, second, "by hand", preset.small, theme.secondary, anchor="middle"),
    )  # fmt: skip
    return Box(
        0.0, 0.0, width, second + 0.8 * preset.small, theme.background, theme.secondary,
        preset.hairline, 0.5 * preset.label, f"k-{name}", f"{label}: drawn by hand, no evidence",
        dashed=True, texts=texts,
    )  # fmt: skip


def _note(name: str, row: Row, scale: float, style: tuple[Preset, Theme]) -> Box:
    preset, theme = style
    pad = 0.8 * preset.small
    width = max(float(row.get("width", _WIDTH)) * scale, 8 * preset.small)
    size = preset.small if preset.name != "screen" else 12.0
    runs, height = set_markdown(str(row["text"]), width - 2 * pad, size, theme.ink)
    texts = tuple(replace(run, x=run.x + pad, y=run.y + 0.5 * pad) for run in runs)
    paper = theme.wash(theme.groups["amber"], 0.14)
    edge = theme.wash(theme.groups["amber"], 0.5)
    return Box(
        0.0, 0.0, width, max(height, size) + 1.7 * pad, paper, edge, 0.6 * preset.hairline, 2.0,
        f"t-{name}", "Note", texts=texts,
    )  # fmt: skip


@dataclass(frozen=True)
class Page:
    """How places that the user gave came onto the page.

    Attributes:
        places: Given places of boxes and items, NaN where there is none, [n, 2]; corners and
            sizes: on the page, [n, 2].
        scale: Page points for one given point.
    """

    places: NDArray[np.float64]
    corners: NDArray[np.float64]
    sizes: NDArray[np.float64]
    scale: float
    pad: float

    def rect(self, row: Row) -> Rect | None:
        """Return where a frame lies; around its contents where the page set these anew."""
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        given = ~np.isnan(self.places[:, 0]) if len(self.places) else np.zeros(0, bool)
        shift = self.corners[given] - self.places[given] * self.scale
        if not given.any():
            return x * self.scale, y * self.scale, width * self.scale, height * self.scale
        if np.ptp(shift, axis=0).max() < 0.01:
            left, top = np.array([x, y]) * self.scale + shift[0]
            return float(left), float(top), width * self.scale, height * self.scale
        middle = self.places + self.sizes / (2 * self.scale)
        within = (middle >= (x, y)).all(axis=1) & (middle <= (x + width, y + height)).all(axis=1)
        if not within.any():
            return None
        return around(self.corners[within], self.sizes[within], self.pad)


def frames_of(rows: Rows, page: Page, preset: Preset, theme: Theme) -> list[Box]:
    """Return the frames at their places on the page, the largest first, by row id else."""
    found = []
    for name, row in rows_of(rows, "frame"):
        rect = page.rect(row)
        if rect is not None:
            title = printable(str(row.get("title", "")))
            found.append(_frame(rect, f"f-{name}", title, (preset, theme), theme.secondary))
    return sorted(found, key=lambda box: -box.width * box.height)


def around(corners: NDArray[np.float64], sizes: NDArray[np.float64], pad: float) -> Rect:
    """Return the rectangle around some boxes, with room for a title above."""
    low, high = corners.min(axis=0) - pad, (corners + sizes).max(axis=0) + pad
    low = low - (0.0, pad)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _frame(rect: Rect, name: str, title: str, style: tuple[Preset, Theme], color: str) -> Box:
    preset, theme = style
    x, y, width, height = rect
    text = elide(title, max(width - 1.2 * preset.label, 1.0), preset.small, 600)
    texts = (
        Text(x + 0.6 * preset.label, y + 0.5 * preset.label + cap_height(preset.small), text,
             preset.small, color, 600),
    ) if text else ()  # fmt: skip
    return Box(
        x, y, width, height, theme.wash(color, 0.06), theme.wash(color, 0.35),
        0.7 * preset.hairline, 0.5 * preset.label, name, title, texts=texts,
    )  # fmt: skip


def open_groups(
    subgraph: Subgraph, rows: Rows, corners: NDArray[np.float64], sizes: NDArray[np.float64],
    style: tuple[Preset, Theme], keys: Mapping[int, str],
) -> list[Box]:  # fmt: skip
    """Return a frame around the boxes of every open group, the outer ones first.

    A frame that would also surround a stranger is not drawn: members keep their group's colour.

    Args:
        subgraph: What is drawn.
        rows: The drawing.
        corners: Places of the boxes, [k, 2].
        sizes: Their sizes, [k, 2].
        style: Sizes and colours.
        keys: Key text of every node that is drawn.
    """
    preset, theme = style
    groups = dict(rows_of(rows, "group"))
    parents = parents_of(groups)
    member = {name: str(row.get("group", "")) for name, row in rows_of(rows, "member")}
    inner = [
        member.get(keys[int(box.members[0])], "") if not box.is_group else parents.get(box.id, "")
        for box in subgraph.boxes
    ]
    found = []
    for name, row in groups.items():
        within = inside(name, parents)
        mine = np.array([group in within for group in inner], bool)
        if not row.get("open") or not mine.any():
            continue
        deep = sum(1 for other in within if groups[other].get("open"))
        x, y, width, height = around(corners[mine], sizes[mine], 0.7 * deep * preset.label)
        low, high = corners[~mine], corners[~mine] + sizes[~mine]
        strangers = (low < (x + width, y + height)).all(axis=1) & (high > (x, y)).all(axis=1)
        if not strangers.any():
            hue = theme.hue(str(row.get("color", "")))
            title = printable(str(row.get("label", ""))) or "group"
            found.append(_frame((x, y, width, height), f"o-{name}", title, style, hue))
    return sorted(found, key=lambda box: -box.width * box.height)


@dataclass(frozen=True, slots=True)
class ByHand:
    """What lines drawn by hand are made from: they follow what is dragged.

    Attributes:
        rows: The drawing.
        ends: Number of the box that stands for a node key, group id or row id.
        rects: x, y, width, height of these boxes, [k, 4].
    """

    rows: Rows
    ends: Mapping[str, int]
    rects: NDArray[np.float64]
    preset: Preset
    theme: Theme

    def lines(self, shift: NDArray[np.float64] | float = 0.0) -> tuple[Layer, Layer]:
        """Return leaders of notes, and sketched edges with their labels.

        Args:
            shift: How far each box is from its place, [k, 2].
        """
        rects = self.rects.copy()
        rects[:, :2] += shift
        places = [tuple(rect) for rect in rects.tolist()]
        leading = leaders(self.rows, self.ends, places, self.preset, self.theme)
        curves, labels = sketched_edges(self.rows, self.ends, places, self.preset, self.theme)
        return (
            Layer("leaders", "What notes are about", curves=leading),
            Layer("sketches", "Drawn by hand", curves, tuple(labels)),
        )


def sketched_edges(
    rows: Rows, ends: Mapping[str, int], rects: Sequence[Rect], preset: Preset, theme: Theme
) -> tuple[Curves | None, list[Box]]:
    """Route the edges drawn by hand; return them and their labels.

    Args:
        rows: The drawing.
        ends: Number of the box that stands for a key or id.
        rects: Places of these boxes.
        preset: Sizes.
        theme: Colours.
    """
    drawn = [
        (name, row, ends[str(row["source"])], ends[str(row["target"])])
        for name, row in rows_of(rows, "sketch_edge")
        if str(row["source"]) in ends and str(row["target"]) in ends
    ]
    drawn = [one for one in drawn if one[2] != one[3]]
    if not drawn:
        return None, []
    routes = route(rects, [Link(a, b, 0.0) for _, _, a, b in drawn], 0.9 * preset.label)
    n = len(drawn)
    curves = Curves(
        np.concatenate(routes).astype(np.float32),
        np.repeat(np.arange(n), [len(r) for r in routes]).astype(np.int32),
        np.full(n, 1.2 * preset.hairline, np.float32), np.zeros(n, np.uint8), np.ones(n, bool),
        np.full(n, 0.55 * preset.label, np.float32), (theme.secondary,),
        tuple(f"s-{name}" for name, *_ in drawn),
        tuple("Drawn by hand, no evidence" for _ in drawn),
    )  # fmt: skip
    labels = []
    for (_, row, *_), pieces in zip(drawn, routes, strict=True):
        text = printable(str(row.get("label", "")))
        if text:
            middle = pieces[len(pieces) // 2]
            x, y = np.array([0.125, 0.375, 0.375, 0.125]) @ middle
            labels.append(_plate(float(x), float(y), text, preset, theme))
    return curves, labels


def _plate(x: float, y: float, text: str, preset: Preset, theme: Theme) -> Box:
    size = preset.small
    width, height = text_width(text, size, italic=True) + 0.7 * size, 1.25 * size
    line = Text(x, y + cap_height(size) / 2, text, size, theme.secondary, italic=True,
                anchor="middle")  # fmt: skip
    return Box(x - width / 2, y - height / 2, width, height, theme.background, "", 0.0, 0.35 * size,
               texts=(line,))  # fmt: skip


def leaders(
    rows: Rows, ends: Mapping[str, int], rects: Sequence[Rect], preset: Preset, theme: Theme
) -> Curves | None:
    """Return a thin line from every note to what it is bound to, where that is drawn."""
    lines = []
    for name, row in rows_of(rows, "note"):
        about = [ends[end] for end in Binding.parse(str(row.get("about", ""))).ends if end in ends]
        if not about or name not in ends:
            continue
        middle = np.mean([_middle(rects[i]) for i in about], axis=0)
        start = _towards(rects[ends[name]], middle)
        end = middle if len(about) > 1 else _towards(rects[about[0]], _middle(rects[ends[name]]))
        lines.append((*start, *end))
    return (
        Curves.lines(lines, theme.wash(theme.groups["amber"], 0.7), preset.hairline)
        if lines
        else None
    )


def _middle(rect: Rect) -> NDArray[np.float64]:
    return np.array([rect[0] + rect[2] / 2, rect[1] + rect[3] / 2])


def _towards(rect: Rect, point: NDArray[np.float64]) -> tuple[float, float]:
    """Return the place on the border of a rectangle on the way from its middle to a point."""
    middle = _middle(rect)
    step = point - middle
    half = np.array([rect[2] / 2, rect[3] / 2])
    reach = np.min(half / np.maximum(np.abs(step), 1e-9))
    x, y = middle + step * min(float(reach), 1.0)
    return float(x), float(y)
