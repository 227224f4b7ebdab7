"""The legend of the link graph: kinds by shape, signs by colour and dash, groups by hue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import Rows
from circuitscope.exchange.caption import edge_inks, holds_fixed
from circuitscope.exchange.figure import Curves, Glyphs, Layer, Shape, Text
from circuitscope.exchange.theme import MINUS, NAMED_SHAPES, Preset, Theme, color_of, shape_of
from circuitscope.exchange.typeface import cap_height, elide, line_height, printable, text_width
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.graph.looks import looks_of
from circuitscope.graph.view import View, find_node, rows_of

_NAMES: Final = {
    NodeKind.TOKEN: "token", NodeKind.LOGIT: "logit", NodeKind.ERROR: "unexplained",
    NodeKind.HEAD: "attention head", NodeKind.NEURON: "neuron", NodeKind.BIAS: "constant",
    NodeKind.POSITION: "position", NodeKind.SCORE: "attention score", NodeKind.OPAQUE: "other",
}  # fmt: skip
_MOST_GROUPS: Final = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of a legend: a sign, or a line where it has no shape, and its words.

    Without a colour the words stand alone.

    Attributes:
        dashed: Place of its line in `figure.DASHES`.
    """

    text: str
    color: str
    shape: Shape | None = None
    dashed: int = 0


def legend_layer(
    circuit: Circuit, rows: Rows, view: View, top: float, style: tuple[Preset, Theme]
) -> tuple[Layer, float]:
    """Set a circuit's legend in lines below `top`; return it and where it ends."""
    return set_entries(_entries(circuit, rows, view, style[1]), top, style)


def set_entries(
    entries: Sequence[Entry], top: float, style: tuple[Preset, Theme]
) -> tuple[Layer, float]:
    """Set pieces of a legend in lines below `top`; return it and where it ends."""
    preset, theme = style
    size, step = preset.small, 1.5 * line_height(preset.small)
    sign, gap = 1.25 * size, 1.6 * size
    x, y = preset.margin, top + 2.2 * size
    texts, marks, strokes = [], [], []
    for entry in entries:
        length = 0.0 if not entry.text or entry.color == "" else sign * 1.5
        room = preset.width - 2 * preset.margin - length
        label = elide(entry.text, room, size)
        width = length + text_width(label, size)
        if x + width > preset.width - preset.margin and x > preset.margin:
            x, y = preset.margin, y + step
        middle = y - cap_height(size) / 2
        if entry.shape is not None:
            marks.append((entry, x + sign / 2, middle))
        elif entry.color:
            strokes.append((entry, (x, middle, x + sign * 1.2, middle)))
        texts.append(Text(x + length, y, label, size, theme.secondary))
        x += width + gap
    return (
        Layer("legend", "Legend", _strokes(strokes, preset), (), _marks(marks, size, theme),
              tuple(texts)),
        y + 0.4 * size,
    )  # fmt: skip


def _entries(circuit: Circuit, rows: Rows, view: View, theme: Theme) -> list[Entry]:
    nodes = circuit.nodes
    pairs = sorted({(int(k), int(s)) for k, s in
                    zip(nodes.kind[view.nodes], nodes.site[view.nodes], strict=True)})  # fmt: skip
    found: dict[str, Entry] = {}
    for kind, site in ((NodeKind(k), Site(s)) for k, s in pairs):
        shape = shape_of(kind, site)
        name = _NAMES.get(kind, "attention feature" if shape is Shape.TRIANGLE else "MLP feature")
        found.setdefault(name, Entry(name, color_of(kind, site, theme), shape))
    entries = list(found.values())
    signs, words = edge_inks(circuit, theme), ("+ adds to the target", "takes away")
    if is_relevance(circuit):
        words = ("+ relevant along all paths", "relevant against")
    if is_flow(circuit):
        entries.append(Entry("part of what the target reads", signs[0]))
    else:
        entries.append(Entry(words[0], signs[0]))
        entries.append(Entry(f"{MINUS} {words[1]}", signs[1], dashed=1))
    in_use = {
        row.get("group") for name, row in rows_of(rows, "member")
        if (index := find_node(circuit, name)) is not None and view.nodes[index]
    }  # fmt: skip
    groups = [(name, row) for name, row in rows_of(rows, "group") if name in in_use]
    entries += [
        Entry(printable(str(row.get("label", ""))) or "group",
               theme.hue(str(row.get("color", ""))), Shape.DISC)
        for _, row in groups[:_MOST_GROUPS]
    ]  # fmt: skip
    if len(groups) > _MOST_GROUPS:
        entries.append(Entry(f"and {len(groups) - _MOST_GROUPS} more groups", ""))
    entries += [
        Entry(look.title, theme.hue(look.color) if look.color else theme.secondary,
               NAMED_SHAPES.get(look.shape, Shape.DISC))
        for look in looks_of(circuit, rows).among(view.nodes)[:_MOST_GROUPS]
    ]  # fmt: skip
    if holds_fixed(circuit):
        entries.append(Entry("attention patterns and norms held fixed", ""))
    return entries


def _marks(marks: list[tuple[Entry, float, float]], size: float, theme: Theme) -> Glyphs | None:
    if not marks:
        return None
    return Glyphs(
        np.array([int(entry.shape or 0) for entry, _, _ in marks], np.uint8),
        np.array([x for _, x, _ in marks], np.float32),
        np.array([y for _, _, y in marks], np.float32),
        np.full(len(marks), 0.95 * size, np.float32),
        np.arange(len(marks)).astype(np.uint8),
        tuple(entry.color for entry, _, _ in marks), theme.background,
    )  # fmt: skip


def _strokes(
    strokes: list[tuple[Entry, tuple[float, float, float, float]]], preset: Preset
) -> Curves:
    lines = Curves.lines([ends for _, ends in strokes], "", 0.45 * preset.line)
    return Curves(
        lines.points, lines.chain, lines.width, np.arange(len(strokes)).astype(np.uint8),
        np.array([entry.dashed for entry, _ in strokes], np.uint8), lines.arrow,
        tuple(entry.color for entry, _ in strokes),
    )  # fmt: skip
