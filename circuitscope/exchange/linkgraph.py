"""The link graph as a figure: layers by tokens, as the window shows it.

1. Rows and columns from `graph.layout`, scaled to the page.
2. The strongest edges by share of the target's input, weak ones first and pale, those between
   pinned or grouped nodes last and in full colour.
3. Nodes by kind and group; where something is pinned or grouped, all else fades.
4. Token strip, legend, title above, caption below.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import Rows
from circuitscope.exchange import caption, diagram
from circuitscope.exchange.badges import badge_glyphs, badge_legend
from circuitscope.exchange.figure import Box, Curves, Figure, Glyphs, Layer, Shape, Text
from circuitscope.exchange.legend import legend_layer
from circuitscope.exchange.theme import NAMED_SHAPES, Preset, Theme, color_of, shape_of
from circuitscope.exchange.typeface import (
    ELLIPSIS,
    cap_height,
    elide,
    printable,
    text_width,
)
from circuitscope.graph.evidence import Marks, marks_of, untested
from circuitscope.graph.groups import name_of
from circuitscope.graph.influence import signed_shares
from circuitscope.graph.layout import Band, Spacing, link_layout
from circuitscope.graph.looks import looks_of
from circuitscope.graph.view import View, find_node, rows_of, view_of

MOST_EDGES: Final = 2000
_PALE: Final = (0.14, 0.22, 0.34, 0.5)
"""How much of its colour an edge out of focus keeps, by rank of its share."""
_STRONG: Final = (0.3, 0.5, 0.75, 1.0)
"""The same where nothing is in focus."""
_TALLEST: Final = 0.62
_LONGEST_TOKEN: Final = 6
_BETWEEN_TOKENS: Final = 0.25
"""Lengths in the token strip, in heights of its type."""
_LOUD: Final = 0.05
"""Least share of the target's input that an edge in focus needs for its full colour."""


@dataclass(frozen=True, eq=False)
class Page:
    """A link graph laid out on a page: places in points, [n]."""

    circuit: Circuit
    view: View
    preset: Preset
    theme: Theme
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    rows: tuple[Band, ...]
    columns: tuple[Band, ...]
    pad: float
    size: float

    @property
    def focus(self) -> NDArray[np.bool_]:
        """Return the nodes that keep their colour, bool [n]."""
        return self.view.pinned & self.view.nodes


def link_figure(
    circuit: Circuit, rows: Rows, view: View | None, preset: Preset, theme: Theme
) -> Figure:
    """Draw the link graph; see `exchange.figures`."""
    view = view or view_of(circuit, rows)
    head, top = diagram.heading(circuit, preset, theme)
    page = lay_out(circuit, view, (preset, theme), top)
    curves, left_out = _edges(page)
    grid, row_texts = grid_of(page, top)
    strip, token_texts = token_strip(page, top)
    signs, bottom = legend_layer(circuit, rows, view, strip.y + strip.height, (preset, theme))
    tests, bottom = _tests(page, marks_of(circuit, rows), bottom)
    notes = caption.caption_of(circuit, view, caption.meaning_of_edges(circuit))
    if left_out:
        total = caption.grouped(left_out + MOST_EDGES)
        notes[0] += f" The strongest {caption.grouped(MOST_EDGES)} of {total} edges are drawn."
    foot, height = diagram.footer(notes, preset.width, bottom, preset, theme)
    return Figure(
        preset.width, max(height, preset.least_height),
        (
            Layer("grid", "Rows and columns", grid, (strip,)),
            Layer("edges", "Edges", curves),
            Layer("nodes", "Nodes", glyphs=_glyphs(page, rows), texts=root_label(page)),
            *tests, signs,
            Layer("text", "Title, rows, tokens and caption",
                  texts=(*head, *row_texts, *token_texts, *foot)),
        ),
        theme.background, diagram.title(circuit), " ".join(notes),
        caption.metadata_of(circuit, view, "link_graph"),
        (f"{caption.counted(left_out, 'weaker edge')} not drawn",) if left_out else (),
    )  # fmt: skip


def _tests(page: Page, marks: Marks, bottom: float) -> tuple[list[Layer], float]:
    """Return the badges beside tested nodes, their legend, and where it ends."""
    if not marks.runs:
        return [], bottom
    off = 0.6 * page.size
    places = [
        (float(page.x[node]) + off, float(page.y[node]) - off, run)
        for node, run in marks.nodes.items() if page.view.nodes[node]
    ] + [
        (float(page.x[[a, b]].mean()), float(page.y[[a, b]].mean()), run)
        for (a, b), run in marks.edges.items() if page.view.nodes[[a, b]].all()
    ]  # fmt: skip
    style = (page.preset, page.theme)
    missing = int(untested(page.circuit, marks, page.view.nodes).sum())
    legend, end = badge_legend(marks, missing, page.preset.margin, bottom, style)
    glyphs = badge_glyphs(places, max(0.8 * page.size, 4.0), page.theme)
    found = [] if glyphs is None else [Layer("badges", "Tests on the model", glyphs=glyphs)]
    return found + ([] if legend is None else [legend]), end


def lay_out(circuit: Circuit, view: View, style: tuple[Preset, Theme], top: float) -> Page:
    """Lay a link graph out on a page, its rows beginning at `top`."""
    preset, theme = style
    widths = np.array([text_width(printable(t), preset.small, 600) for t in circuit.tokens])
    space = Spacing(0.95 * preset.label, 3.0 * preset.label, 0.5 * preset.label, 1.0 * preset.label)
    layout = link_layout(circuit, view.nodes, spacing=space, token_widths=widths)
    labels = [text_width(band.label, preset.small) for band in layout.rows]
    left = preset.margin + max(labels, default=0.0) + 1.2 * preset.small
    across = (preset.width - preset.margin - left) / max(layout.width, 1.0)
    room = _TALLEST * max(preset.width, 1.6 * preset.least_height)
    down = min(1.0, room / max(layout.height, 1.0))

    def moved(band: Band, scale: float, start: float) -> Band:
        return Band(band.label, band.key, start + scale * band.start, start + scale * band.stop)

    size = min(0.72 * preset.label, 0.86 * space.node * across, 0.72 * space.row * down)
    return Page(
        circuit, view, preset, theme,
        left + across * layout.x.astype(np.float64), top + down * layout.y.astype(np.float64),
        tuple(moved(band, down, top) for band in layout.rows),
        tuple(moved(band, across, left) for band in layout.columns),
        space.padding * across, size,
    )  # fmt: skip


def _edges(page: Page) -> tuple[Curves, int]:
    """Return the edges to draw, weak first, and how many are left out."""
    circuit, edges = page.circuit, page.circuit.edges
    size = np.abs(signed_shares(circuit))
    shown = np.flatnonzero(page.view.edges)
    focused = page.focus[edges.source[shown]] & page.focus[edges.target[shown]]
    order = np.lexsort((shown, size[shown], focused))
    chosen, focused = shown[order][-MOST_EDGES:], focused[order][-MOST_EDGES:]
    n = len(chosen)
    source, target = edges.source[chosen], edges.target[chosen]
    start = np.stack([page.x[source], page.y[source]], axis=1)
    end = np.stack([page.x[target], page.y[target]], axis=1)
    bend = np.where(focused, 0.5, 1 / 3)
    handle = (end - start) * bend[:, None]
    handle[focused, 0] = 0.0
    points = np.stack([start, start + handle, end - handle, end], axis=1)
    points[:, 1:3, 0] -= _bow(start, end, focused, page)[:, None]

    share = size[chosen]
    strongest = page.preset.line * (0.55 if focused.any() else 0.4)
    width = np.round(strongest * np.clip(np.sqrt(share), 0.2, 1.0) * 8) / 8
    loud = focused & (share >= _LOUD)
    width = np.where(loud, np.maximum(width, 0.28 * page.preset.line), width * 0.7)
    theme = page.theme
    signs = caption.edge_inks(circuit, theme)
    pale = _PALE if focused.any() else _STRONG
    colors = (
        *signs,
        *(theme.wash(hue, keep) for keep in pale for hue in signs),
    )  # fmt: skip
    rank = np.argsort(np.argsort(share, kind="stable"), kind="stable")
    bin_of = np.minimum(rank * len(pale) // max(n, 1), len(pale) - 1)
    bin_of = np.where(focused, len(pale) - 1, bin_of)
    negative = edges.weight[chosen] < 0
    color = np.where(loud, 0, 2 + 2 * bin_of) + negative
    curves = Curves(
        points.astype(np.float32), np.arange(n, dtype=np.int32), width.astype(np.float32),
        color.astype(np.uint8), negative, np.zeros(n, np.float32), colors,
    )  # fmt: skip
    return curves, len(shown) - n


def _bow(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    focused: NDArray[np.bool_],
    page: Page,
) -> NDArray[np.float64]:
    """Return how far to the left an upright edge swings around the nodes between its ends, [m]."""
    apart = np.abs(end - start)
    row = page.rows[0].stop - page.rows[0].start if page.rows else 1.0
    upright = focused & (apart[:, 0] < page.size) & (apart[:, 1] > 1.5 * row)
    return np.where(upright, np.minimum(0.16 * apart[:, 1], 3.0 * page.size), 0.0)


def node_colors(circuit: Circuit, rows: Rows, theme: Theme) -> list[str]:
    """Return the colour of every node in focus: its group's hue, or its kind's own."""
    groups = dict(rows_of(rows, "group"))
    colors = [
        color_of(NodeKind(int(kind)), Site(int(site)), theme)
        for kind, site in zip(circuit.nodes.kind, circuit.nodes.site, strict=True)
    ]
    for name, row in rows_of(rows, "member"):
        index, group = find_node(circuit, name), groups.get(str(row.get("group")))
        if index is not None and group is not None:
            colors[index] = theme.hue(str(group.get("color", "")))
    looks = looks_of(circuit, rows)
    for index in np.flatnonzero(looks.of >= 0).tolist():
        if name := looks.color(index):
            colors[index] = theme.hue(name)
    return colors


def _glyphs(page: Page, rows: Rows) -> Glyphs:
    circuit, theme, nodes = page.circuit, page.theme, page.circuit.nodes
    colors, looks = node_colors(circuit, rows, theme), looks_of(circuit, rows)
    if page.focus.any():
        dim = {Shape.TRIANGLE: theme.wash(theme.attention, 0.6)}
        for i in np.flatnonzero(page.view.nodes & ~page.focus & (looks.of < 0)):
            shape = shape_of(NodeKind(int(nodes.kind[i])), Site(int(nodes.site[i])))
            colors[i] = dim.get(shape, theme.faint)
    order = np.flatnonzero(page.view.nodes)
    order = order[np.argsort(page.focus[order], kind="stable")]
    palette = tuple(dict.fromkeys(colors[i] for i in order))
    index = {color: i for i, color in enumerate(palette)}
    labels = {name: str(row.get("text", "")) for name, row in rows_of(rows, "label")}
    keys = [nodes.key(int(i)) for i in order]
    return Glyphs(
        np.array([
            NAMED_SHAPES.get(looks.shape(i), shape_of(key.kind, key.site))
            for i, key in zip(order.tolist(), keys, strict=True)
        ], np.uint8),
        page.x[order].astype(np.float32), page.y[order].astype(np.float32),
        np.full(len(order), page.size, np.float32),
        np.array([index[colors[i]] for i in order], np.uint8), palette, theme.background,
        tuple(diagram.element_id("n", str(key)) for key in keys),
        tuple(
            f"{printable(name_of(circuit, int(i), labels)[0])} · {key}"
            for i, key in zip(order, keys, strict=True)
        ),
    )  # fmt: skip


def grid_of(page: Page, top: float) -> tuple[Curves, list[Text]]:
    """Return the lines of rows and columns, and what the rows are called."""
    preset, theme = page.preset, page.theme
    if not page.rows or not page.columns:
        return Curves.lines([], theme.grid, preset.hairline), []
    left, right = page.columns[0].start, page.columns[-1].stop
    low = page.rows[0].stop
    lines = [(left, band.centre, right, band.centre) for band in page.rows]
    lines += [(band.stop, top, band.stop, low) for band in page.columns[:-1]]
    spacing = page.rows[0].stop - page.rows[0].start
    every = max(1, int(np.ceil(1.3 * preset.small / spacing)))
    texts = [
        Text(left - 0.8 * preset.small, band.centre + cap_height(preset.small) / 2, band.label,
             preset.small, theme.secondary, anchor="end")
        for i, band in enumerate(page.rows)
        if i % every == 0 or i == len(page.rows) - 1
    ]  # fmt: skip
    return Curves.lines(lines, theme.grid, preset.hairline), texts


def token_strip(page: Page, top: float) -> tuple[Box, list[Text]]:
    """Return the strip below the rows, and the tokens in it."""
    preset, theme = page.preset, page.theme
    low = page.rows[0].stop if page.rows else top
    left = page.columns[0].start if page.columns else preset.margin
    right = page.columns[-1].stop if page.columns else preset.width - preset.margin
    height = 2.3 * preset.small
    strip = Box(
        left, low, right - left, height, theme.wash(theme.hairline, 0.4), theme.hairline,
        preset.hairline, 0.4 * preset.label,
    )  # fmt: skip
    in_focus = set(page.circuit.nodes.position[page.focus].tolist())
    y = low + height / 2 + cap_height(preset.small) / 2
    texts: list[Text] = []
    taken: list[tuple[float, float]] = []
    # What is drawn in full colour is named first, over columns of its neighbours where need be.
    for band in sorted(page.columns, key=lambda band: band.key < 0 or band.key not in in_focus):
        is_drawn = band.key >= 0 and band.key in in_focus
        weight, color = (600, theme.ink) if is_drawn else (400, theme.secondary)
        wide = band.stop - band.start
        before = bisect_left(taken, (band.stop, 0.0))
        free = taken[before - 1][1] if before else left
        room = wide - min(0.6 * page.pad, 2.0)
        reach = max(room, _LONGEST_TOKEN * preset.small) if is_drawn else room
        end = band.stop - 0.5
        room = min(reach, end - free - _BETWEEN_TOKENS * preset.small * bool(taken))
        label = elide(printable(band.label), max(room, 0.0), preset.small, weight)
        if label in ("", ELLIPSIS):
            continue
        size = text_width(label, preset.small, weight)
        end -= max(min(page.pad, (wide - size) / 2) - 0.5, 0.0)
        insort(taken, (end - size, end))
        texts.append(Text(end, y, label, preset.small, color, weight, anchor="end"))
    return strip, texts


def root_label(page: Page) -> tuple[Text, ...]:
    """Name the main root above its glyph, kept inside the page."""
    root = caption.main_root(page.circuit)
    if root is None or not page.view.nodes[root]:
        return ()
    preset = page.preset
    weight = page.circuit.probability(root) or 0.0
    text = printable(name_of(page.circuit, root)[0])
    text += f" {caption.percent(weight)}" if 0 < weight <= 1 else ""
    room = preset.width - 2 * preset.margin
    text = elide(text, room, preset.small, 600)
    half = text_width(text, preset.small, 600) / 2
    x = min(max(float(page.x[root]), preset.margin + half), preset.width - preset.margin - half)
    y = float(page.y[root]) - 0.75 * page.size - 0.35 * preset.small
    return (Text(x, y, text, preset.small, page.theme.ink, 600, anchor="middle"),)
