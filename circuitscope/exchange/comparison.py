"""Two compared circuits as one link graph, and what is said of them in words and tables.

Each node and each edge is of one class, told by shape or dashes as well as by colour: both (disc,
solid), only the first (triangle, dashed), only the second (diamond, dotted), sign flipped
(saltire, dash-dotted). Which kind a node is of, its row and its name say.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import circuitscope
from circuitscope.core.circuit import Circuit
from circuitscope.core.transfer import Transfer
from circuitscope.exchange import diagram
from circuitscope.exchange.caption import counted, grouped, percent
from circuitscope.exchange.figure import Curves, Figure, Glyphs, Layer, Shape, Text
from circuitscope.exchange.legend import Entry, set_entries
from circuitscope.exchange.linkgraph import Page, grid_of, lay_out, root_label, token_strip
from circuitscope.exchange.theme import MINUS, PRESETS, PRINT, Preset, Theme, edge_width
from circuitscope.exchange.typeface import (
    cap_height,
    elide,
    line_height,
    printable,
    text_width,
    wrap,
)
from circuitscope.graph.compare import WHERES, Comparison, Where
from circuitscope.graph.groups import name_of
from circuitscope.graph.overlay import Overlay, overlay
from circuitscope.graph.prune import Reason
from circuitscope.graph.view import View

MOST_EDGES: Final = 300
"""Edges that are drawn, the strongest; more hide what they cross."""
SHAPES: Final = {
    "both": Shape.DISC, "a": Shape.TRIANGLE, "b": Shape.DIAMOND, "flipped": Shape.SALTIRE,
}  # fmt: skip
_ROOM_OF_A_NAME: Final = 75.0
"""Points of the page's width for each node that is named."""


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """Two circuits with all that is known of how they differ.

    Attributes:
        names: What both, and the noise floor where there is one, are called.
        labels: Name of each node of `found.nodes`, as a person reads it; may be empty.
        floor: The first circuit against the one that should do the same; None where none was named.
        transfer: What the model says; None where it was not asked.
    """

    a: Circuit
    b: Circuit
    names: tuple[str, ...]
    found: Comparison
    labels: tuple[str, ...] = ()
    floor: Comparison | None = None
    transfer: Transfer | None = None

    def label(self, node: int) -> str:
        """Return the name of a node of `found.nodes`; where nobody gave one, that of its kind."""
        if self.labels and self.labels[node]:
            return self.labels[node]
        pair = self.found.nodes[node]
        circuit, index = (self.a, pair.a) if pair.a >= 0 else (self.b, pair.b)
        return name_of(circuit, index)[0]

    def class_name(self, where: Where) -> str:
        """Return what a class is called."""
        return {
            "both": "both", "a": f"only {self.names[0]}", "b": f"only {self.names[1]}",
            "flipped": "sign flipped",
        }[where]  # fmt: skip


def class_colors(theme: Theme) -> tuple[str, ...]:
    """Return the colour of each class, in the order of `WHERES`."""
    return theme.secondary, theme.positive, theme.negative, theme.groups["rose"]


Say = Callable[[str], str]
"""Puts a sentence with gaps into the reader's language; the window gives its own."""


def headline(told: ComparisonReport, say: Say = str) -> list[str]:
    """Say what is carried over to the other prompt; empty where the model was not asked."""
    found = told.transfer
    if found is None:
        return []
    a, b, lines = *told.names[:2], []
    for row, column, circuit, own in ((1, 0, a, b), (0, 1, b, a)):
        x, y = found.kept[row, column], found.kept[row, row]
        if np.isnan(x):
            continue
        text = say("{0}’s circuit keeps {1} of {2} on {3}’s prompt.")
        if not np.isnan(y):
            text = say("{0}’s circuit keeps {1} of {2} on {3}’s prompt ({3}’s own circuit: {4}).")
        said = circuit, signed_percent(x), found.metrics[row], own, signed_percent(y)
        lines.append(text.format(*said))
    return lines


def noise(told: ComparisonReport, say: Say = str) -> list[str]:
    """Say how much is shared, beside what two circuits share that should be the same."""
    share = told.found.overlap()
    text = say("Shared: {0} of nodes, {1} of edges.")
    lines = [text.format(percent(share["nodes"]), percent(share["edges"]))]
    if told.floor is None:
        return [f"{lines[0]} {say('No noise floor was named.')}"]
    floor, names = told.floor.overlap(), told.names
    text = say("Noise floor, {0} against {1}: {2} of nodes, {3} of edges.").format(
        names[0], names[2], percent(floor["nodes"]), percent(floor["edges"])
    )
    lines = [f"{lines[0]} {text}"]
    found = told.transfer
    if found is not None and len(found.circuits) > 3 and not np.isnan(found.kept[1, 3]):
        kept = (signed_percent(found.kept[0, 3]), signed_percent(found.kept[1, 3]))
        text = say("{0}’s circuit keeps {1} on {2}’s prompt and {3} on {4}’s.")
        lines.append(text.format(names[2], kept[0], names[0], kept[1], names[1]))
    return lines


def signed_percent(share: float) -> str:
    """Write a share that may be below 0 or above 1: "−17 %", "125 %"."""
    if np.isnan(share):
        return "not run"
    value = round(100 * share)
    return f"{MINUS if value < 0 else ''}{abs(value)} %"


def overlay_figure(
    told: ComparisonReport,
    preset: Preset = PRESETS["screen"],
    theme: Theme = PRINT,
    shown: Collection[Where] = WHERES,
    *,
    bare: bool = False,
) -> Figure:
    """Draw both circuits over each other.

    Args:
        told: What is compared.
        preset: Sizes in points.
        theme: Colours.
        shown: Classes whose nodes and edges are drawn.
        bare: Leave title, legend and caption to whoever shows it.
    """
    laid = overlay(told.a, told.b, told.found)
    view = _view(laid, shown)
    head, top = ([], 2.4 * preset.label) if bare else _heading(told, preset, theme)
    page = lay_out(laid.circuit, view, (preset, theme), top)
    chosen, left_out = _strongest(laid, view)
    grid, row_texts = grid_of(page, top)
    strip, token_texts = token_strip(page, top)
    entries = [] if bare else _legend(told, theme)
    legend, bottom = set_entries(entries, strip.y + strip.height, (preset, theme))
    notes = _notes(told, left_out, shown)
    foot, height = diagram.footer([] if bare else notes, preset.width, bottom, preset, theme)
    names = _names(told, page, laid)
    return Figure(
        preset.width, max(height, preset.least_height),
        (
            Layer("grid", "Rows and columns", grid, (strip,)),
            Layer("edges", "Edges", _curves(page, laid, chosen, theme)),
            Layer("nodes", "Nodes", glyphs=_glyphs(told, page, laid), texts=names),
            *(() if bare else (legend,)),
            Layer("text", "Title, rows, tokens and caption",
                  texts=(*head, *row_texts, *token_texts, *foot)),
        ),
        theme.background, title(told), " ".join(notes), metadata_of(told),
        (f"{counted(left_out, 'weaker edge')} not drawn",) if left_out else (),
    )  # fmt: skip


def title(told: ComparisonReport) -> str:
    """Return what the figure is called."""
    return f"{told.names[0]} against {told.names[1]}"


def node_order(figure: Figure) -> list[int]:
    """Return the place in `Comparison.nodes` of every glyph of the layer "nodes"."""
    glyphs = next(layer.glyphs for layer in figure.layers if layer.id == "nodes")
    return [int(name.rpartition("-")[2]) for name in glyphs.ids] if glyphs is not None else []


def metadata_of(told: ComparisonReport) -> dict[str, Any]:
    """Return what every exported file carries of a comparison, as JSON values."""
    record: dict[str, Any] = {
        "application": "CircuitScope", "version": circuitscope.__version__,
        "figure": "comparison", "circuit": told.a.digest, "other": told.b.digest,
        "names": list(told.names), "counts": told.found.counts(), "overlap": told.found.overlap(),
    }  # fmt: skip
    if told.floor is not None:
        record["noise_floor"] = told.floor.overlap()
    if told.transfer is not None:
        kept = [[None if np.isnan(v) else round(float(v), 6) for v in row]
                for row in told.transfer.kept]  # fmt: skip
        record["transfer"] = {"circuits": list(told.transfer.circuits), "kept": kept}
    return record


def _view(laid: Overlay, shown: Collection[Where]) -> View:
    circuit = laid.circuit
    nodes = laid.of(*shown)
    edges = np.isin(laid.edges, [WHERES.index(where) for where in shown])
    # What a shown edge joins is shown too, and so is what is explained.
    for ends in (circuit.edges.source[edges], circuit.edges.target[edges], circuit.roots):
        nodes[ends] = True
    reasons = np.where(nodes, Reason.SHOWN, Reason.FILTER).astype(np.uint8)
    return View(nodes, edges, reasons, nodes & False)


def _strongest(laid: Overlay, view: View) -> tuple[NDArray[np.int64], int]:
    drawn = np.flatnonzero(view.edges)
    drawn = drawn[np.argsort(laid.share[drawn], kind="stable")]
    return drawn[-MOST_EDGES:], max(len(drawn) - MOST_EDGES, 0)


def _heading(told: ComparisonReport, preset: Preset, theme: Theme) -> tuple[list[Text], float]:
    room, size = preset.width - 2 * preset.margin, preset.title
    y = preset.margin * 0.5 + cap_height(size)
    texts = [
        Text(preset.margin, y, elide(printable(title(told)), room, size, 600), size, theme.ink, 600)
    ]
    lines = [line for text in (headline(told) or noise(told)[:1])
             for line in wrap(printable(text), room, preset.small)]  # fmt: skip
    y += 0.4 * size
    for line in lines:
        y += line_height(preset.small) * 1.1
        texts.append(Text(preset.margin, y, line, preset.small, theme.ink))
    return texts, y + 1.6 * size


def _legend(told: ComparisonReport, theme: Theme) -> list[Entry]:
    counts, colors = told.found.counts(), class_colors(theme)
    nodes = [
        Entry(f"{told.class_name(where)}: {counted(counts['nodes'][where], 'node')}", color,
              SHAPES[where])
        for where, color in zip(WHERES, colors, strict=True)
        if where != "flipped" or counts["nodes"][where]
    ]  # fmt: skip
    edges = [
        Entry(f"{told.class_name(where)}: {counted(counts['edges'][where], 'edge')}", color,
              dashed=at)
        for at, (where, color) in enumerate(zip(WHERES, colors, strict=True))
    ]  # fmt: skip
    return nodes + edges


def _notes(told: ComparisonReport, left_out: int, shown: Collection[Where]) -> list[str]:
    first = "Nodes and edges are the same where kind, layer, feature and paired token agree."
    first += " Edge width: share of the target’s input."
    if left_out:
        total = grouped(left_out + MOST_EDGES)
        first += f" The strongest {MOST_EDGES} of {total} edges are drawn."
    if missing := [told.class_name(where) for where in WHERES if where not in shown]:
        first += f" Not drawn: {', '.join(missing)}."
    measured = [] if told.transfer is None else [
        "Transfer: the circuit alone, everything else of its kinds replaced, on a scale from "
        "everything replaced (0 %) to the whole model (100 %); not clipped."
    ]  # fmt: skip
    return [printable(text) for text in (first, *noise(told), *measured)]


def _curves(page: Page, laid: Overlay, chosen: NDArray[np.int64], theme: Theme) -> Curves:
    table = laid.circuit.edges
    source, target = table.source[chosen], table.target[chosen]
    start = np.stack([page.x[source], page.y[source]], axis=1)
    end = np.stack([page.x[target], page.y[target]], axis=1)
    handle = (end - start) * 0.5
    handle[:, 0] = 0.0
    points = np.stack([start, start + handle, end - handle, end], axis=1)
    where, n = laid.edges[chosen], len(chosen)
    width = np.array([edge_width(share, 0.6 * page.preset.line) for share in laid.share[chosen]])
    width = np.maximum(width, 0.16 * page.preset.line)
    pale = laid.share[chosen] < np.quantile(laid.share[chosen], 0.6) if n else where > 9
    colors = class_colors(theme)
    both = (*colors, *(theme.wash(color, 0.55) for color in colors))
    return Curves(
        points.astype(np.float32), np.arange(n, dtype=np.int32), width.astype(np.float32),
        (where + 4 * pale).astype(np.uint8), where, np.zeros(n, np.float32), both,
    )  # fmt: skip


def _glyphs(told: ComparisonReport, page: Page, laid: Overlay) -> Glyphs:
    drawn = np.flatnonzero(page.view.nodes)
    # Common ground lies below what tells the two apart; strong nodes above weak ones.
    drawn = drawn[np.lexsort((-drawn, laid.nodes[drawn] > 0))]
    shapes = [SHAPES[WHERES[code]] for code in laid.nodes[drawn]]
    return Glyphs(
        np.array(shapes, np.uint8), page.x[drawn].astype(np.float32),
        page.y[drawn].astype(np.float32), np.full(len(drawn), page.size, np.float32),
        laid.nodes[drawn], class_colors(page.theme), page.theme.background,
        tuple(f"c-{node}" for node in drawn.tolist()),
        tuple(
            f"{printable(told.label(node))} · {told.class_name(told.found.nodes[node].where)} · "
            f"{told.found.nodes[node].key}"
            for node in drawn.tolist()
        ),
    )  # fmt: skip


def _names(told: ComparisonReport, page: Page, laid: Overlay) -> tuple[Text, ...]:
    """Name the root, and the strongest nodes that only one circuit has, where there is room."""
    root = root_label(page)
    preset, theme = page.preset, page.theme
    taken = [_room(text) for text in root]
    texts = list(root)
    for node, pair in enumerate(told.found.nodes):
        if len(texts) > preset.width / _ROOM_OF_A_NAME:
            break
        if pair.where not in ("a", "b") or not page.view.nodes[node] or not told.labels[node:]:
            continue
        # An automatic label begins with the token it was seen on, which the column says.
        name = printable(told.labels[node].rpartition(" → ")[2])
        name = elide(name, 0.2 * preset.width, preset.small, 600)
        x, y = float(page.x[node]), float(page.y[node]) - 0.75 * page.size - 0.2 * preset.small
        half = text_width(name, preset.small, 600) / 2
        x = min(max(x, page.columns[0].start + half), preset.width - preset.margin - half)
        text = Text(x, y, name, preset.small, theme.ink, 600, anchor="middle",
                    halo=theme.background)  # fmt: skip
        room = _room(text)
        if name and not any(_meet(room, other) for other in taken):
            taken.append(room)
            texts.append(text)
    return tuple(texts)


def _room(text: Text) -> tuple[float, float, float, float]:
    half = text_width(text.text, text.size, text.weight) / 2 + 2
    return text.x - half, text.y - text.size, text.x + half, text.y + 0.3 * text.size


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
