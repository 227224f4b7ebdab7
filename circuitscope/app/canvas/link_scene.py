"""What the link graph shows, as plain arrays: places, glyphs, colours and edges.

Made anew whenever the circuit, the drawing or the thresholds change; painting and hit tests read
nothing else.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.app.theme import Palette
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import GROUP_COLORS, Row, RowKey
from circuitscope.exchange.theme import NAMED_SHAPES, shape_of
from circuitscope.graph.influence import signed_shares
from circuitscope.graph.layout import LinkLayout, link_layout
from circuitscope.graph.looks import Looks, looks_of
from circuitscope.graph.view import View
from circuitscope.session.showing import Focus

MOST_EDGES: Final = 20_000
"""Edges drawn at most, strongest first; the legend says how many there are."""


def glyphs(circuit: Circuit) -> NDArray[np.uint8]:
    """Return the `Shape` of every node, uint8 [n], the same that figures use."""
    pairs = circuit.nodes.kind.astype(np.int64) * 256 + circuit.nodes.site
    codes, place = np.unique(pairs, return_inverse=True)
    shapes = [shape_of(NodeKind(int(code) // 256), Site(int(code) % 256)) for code in codes]
    return np.array(shapes, np.uint8)[place]


@dataclass(frozen=True, eq=False)
class LinkScene:
    """The link graph of one circuit under one view.

    Attributes:
        shown: Indices of visible nodes, weakest first, int64 [v].
        places: Node centres in layout units, float64 [n, 2]; NaN where hidden.
        glyph: Shape of every node, uint8 [n].
        color: Colour of every node as an index into `colors`, uint8 [n].
        in_circuit: Nodes that are pinned or grouped, bool [n].
        edges: Visible edges, weakest first, int64 [e]; at most `MOST_EDGES`.
        n_edges: Visible edges before that limit.
        share: Signed share of its target's row of every edge, float32 [m].
        looks: Colours and shapes that the user gave.
    """

    circuit: Circuit
    view: View
    layout: LinkLayout
    shown: NDArray[np.int64]
    places: NDArray[np.float64]
    glyph: NDArray[np.uint8]
    color: NDArray[np.uint8]
    colors: tuple[str, ...]
    in_circuit: NDArray[np.bool_]
    edges: NDArray[np.int64]
    n_edges: int
    share: NDArray[np.float32]
    groups: dict[str, Row] = field(default_factory=dict)
    group_of: dict[int, str] = field(default_factory=dict)
    looks: Looks | None = None

    def ends(self, edges: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return where edges start and end in layout units, [e, 4]."""
        table = self.circuit.edges
        return np.hstack([self.places[table.source[edges]], self.places[table.target[edges]]])

    @cached_property
    def circuit_edges(self) -> NDArray[np.int64]:
        """Return the visible edges between nodes of the circuit, weakest first."""
        table = self.circuit.edges
        inside = (
            self.in_circuit[table.source[self.edges]] & self.in_circuit[table.target[self.edges]]
        )
        return self.edges[inside]

    def touching(self, node: int, most: int = 40) -> NDArray[np.int64]:
        """Return the visible edges at a node, weakest first, the strongest `most` of them."""
        table = self.circuit.edges
        here = (table.source[self.edges] == node) | (table.target[self.edges] == node)
        found: NDArray[np.int64] = self.edges[here][-most:]
        return found

    def nearest(self, x: float, y: float, scale: tuple[float, float], reach: float) -> int | None:
        """Return the visible node nearest to a point in layout units, within `reach` pixels."""
        if not len(self.shown):
            return None
        away = (self.places[self.shown] - (x, y)) * scale
        distance = np.hypot(away[:, 0], away[:, 1])
        best = int(np.argmin(distance))
        return int(self.shown[best]) if distance[best] <= reach else None

    def inside(self, low: tuple[float, float], high: tuple[float, float]) -> list[int]:
        """Return the visible nodes in a rectangle of layout units, weakest first."""
        places = self.places[self.shown]
        within = ((places >= low) & (places <= high)).all(axis=1)
        return [int(node) for node in self.shown[within]]

    def neighbour(self, node: int, right: int, down: int) -> int | None:
        """Return the nearest visible node in a direction, None at an end."""
        away = self.places[self.shown] - self.places[node]
        along, across = away @ (right, down), np.abs(away @ (down, right))
        ahead = (along > 1e-6) & (along >= across * 0.5)
        cost = np.where(ahead, along + 2 * across, np.inf)
        best = int(np.argmin(cost))
        return int(self.shown[best]) if np.isfinite(cost[best]) else None

    def edge_between(self, a: int, b: int) -> int | None:
        """Return the edge between two nodes, whichever way it runs."""
        table = self.circuit.edges
        for source, target in ((a, b), (b, a)):
            span = table.into(target)
            found = np.flatnonzero(table.source[span] == source)
            if len(found):
                return int(span.start + found[0])
        return None


def make_scene(
    circuit: Circuit,
    view: View,
    rows: dict[RowKey, Row],
    palette: Palette,
    token_widths: NDArray[np.float64] | None = None,
    focus: Focus | None = None,
) -> LinkScene:
    """Work out what the link graph shows.

    Args:
        circuit: The evidence.
        view: What is shown.
        rows: The drawing's rows; groups, members and pins decide what is in the circuit.
        palette: Colours.
        token_widths: Width of each token's text in layout units, [n_tokens].
        focus: Outside it nodes are grey and edges are left out.
    """
    layout = link_layout(circuit, view.nodes, token_widths=token_widths)
    places = np.stack([layout.x, layout.y], axis=1).astype(np.float64)
    shown = np.flatnonzero(view.nodes)
    shown = shown[np.argsort(circuit.nodes.influence[shown], kind="stable")]
    share = signed_shares(circuit).astype(np.float32)
    edges = np.flatnonzero(view.edges if focus is None else view.edges & focus.edges)
    edges = edges[np.argsort(np.abs(share[edges]), kind="stable")]
    groups, group_of, pinned = _membership(circuit, rows)
    in_circuit = np.zeros(len(circuit.nodes), np.bool_)
    in_circuit[[*group_of, *pinned]] = True
    in_circuit[circuit.roots] = in_circuit.any()
    if focus is not None:
        in_circuit &= focus.nodes
        in_circuit |= focus.nodes if focus.is_path else False
    color, colors = _colors(circuit, shown, palette, in_circuit, groups, group_of)
    looks = looks_of(circuit, rows)
    glyph = glyphs(circuit)
    for node in np.flatnonzero(looks.of >= 0).tolist():
        if name := looks.color(node):
            color[node] = len(colors) - len(GROUP_COLORS) + GROUP_COLORS.index(name)
        if name := looks.shape(node):
            glyph[node] = NAMED_SHAPES[name]
    if focus is not None:
        color[~focus.nodes] = 0
        color[focus.nodes & (color == 0)] = 1
    return LinkScene(
        circuit, view, layout, shown, places, glyph, color, colors, in_circuit,
        edges[-MOST_EDGES:], len(edges), share, groups, group_of, looks,
    )  # fmt: skip


def _membership(
    circuit: Circuit, rows: dict[RowKey, Row]
) -> tuple[dict[str, Row], dict[int, str], list[int]]:
    groups: dict[str, Row] = {}
    group_of: dict[int, str] = {}
    pinned: list[int] = []
    for key, row in rows.items():
        if key.kind == "group":
            groups[key.id] = row
        elif key.kind in ("member", "pin"):
            node = circuit.nodes.find(key.id)
            if node is None:
                continue
            if key.kind == "member":
                group_of[node] = str(row.get("group", ""))
            else:
                pinned.append(node)
    return groups, group_of, pinned


def _colors(
    circuit: Circuit,
    shown: NDArray[np.int64],
    palette: Palette,
    in_circuit: NDArray[np.bool_],
    groups: dict[str, Row],
    group_of: dict[int, str],
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Give the circuit its colours and everything else a grey that steps back."""
    fixed = (palette.faint, palette.feature, palette.token, palette.logit, palette.accent)
    colors = (*fixed, *(palette.group(name) for name in GROUP_COLORS))
    color = np.zeros(len(circuit.nodes), np.uint8)
    if not in_circuit.any():
        # Nothing is chosen yet: the strongest third of what is shown stands out instead.
        color[shown[len(shown) * 2 // 3 :]] = 1
        color[circuit.nodes.of_kind(NodeKind.TOKEN)] = 1
    color[in_circuit] = 1
    tokens = circuit.nodes.of_kind(NodeKind.TOKEN, NodeKind.POSITION)
    color[in_circuit & tokens] = 2
    color[circuit.roots] = 3
    for node, group in group_of.items():
        name = str(groups.get(group, {}).get("color", ""))
        if name in GROUP_COLORS and not tokens[node] and node not in circuit.roots:
            color[node] = len(fixed) + GROUP_COLORS.index(name)
    plain_pin = in_circuit & ~tokens & (color == 1)
    color[plain_pin] = 4
    return color, colors
