"""Places for the link graph: rows are layers, columns are tokens.

1. Every visible node belongs to a cell: a row (Embed, then attention and MLP of every layer, then
   Logits; only rows that occur) and a column (its token; nodes of no position stand in a gutter
   on the left, named "constants", or "all positions" where heads are summed over them).
2. A column is as wide as its fullest cell needs, and never narrower than its token's text.
3. Nodes stand at equal distance, right-aligned in their cell: logits by descending probability
   from left to right, all others with the strongest at the right edge, so that tightening the
   threshold removes nodes on the left and moves none of those that stay.

The layered layout of the circuit view is in `graph.layered`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, NodeTable
from circuitscope.core.keys import NodeKind

_ATTENTION_SITES: Final = (
    Site.RESID_PRE, Site.LN1_NORMALIZED, Site.ATTN_IN, Site.HEAD_Q, Site.HEAD_K, Site.HEAD_V,
    Site.PATTERN, Site.HEAD_Z, Site.ATTN_OUT, Site.RESID_MID,
)  # fmt: skip
_EMBED_ROW: Final = -1
_CHARACTER: Final = 6.6


@dataclass(frozen=True, slots=True)
class Spacing:
    """Say how far things stand apart, in layout units (points at zoom 1).

    Attributes:
        node: Centre to centre inside a cell.
        row: Centre to centre of two rows.
        padding: Free room at either side of a column's nodes and token text.
        margin: Free room above the top row and below the bottom row.
    """

    node: float = 16.0
    row: float = 48.0
    padding: float = 8.0
    margin: float = 24.0


@dataclass(frozen=True, slots=True)
class Band:
    """A row or a column: `start` to `stop` along its axis.

    Attributes:
        label: What it is called: "L0 attn", or the token's text.
        key: Position of a column's token (-1: the gutter); number of a row, -1 for Embed.
        start: Smaller coordinate; stop: larger coordinate.
    """

    label: str
    key: int
    start: float
    stop: float

    @property
    def centre(self) -> float:
        """Return the middle of the band."""
        return (self.start + self.stop) / 2


@dataclass(frozen=True, eq=False)
class LinkLayout:
    """Where everything of a link graph stands; x grows rightwards, y downwards.

    Attributes:
        x: Centre of each node, float32 [n], NaN where a node is not visible; y: likewise.
        row: Index into `rows` of each node, int16 [n], -1 where not visible.
        column: Index into `columns` of each node, int32 [n], -1 where not visible.
        rows: From bottom (Embed) to top (Logits).
        columns: From left to right; the gutter, when there is one, comes first.
        width: Extent of all columns; height: extent of all rows.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    row: NDArray[np.int16]
    column: NDArray[np.int32]
    rows: tuple[Band, ...]
    columns: tuple[Band, ...]
    width: float
    height: float
    spacing: Spacing


def row_numbers(nodes: NodeTable) -> NDArray[np.int64]:
    """Return in which row each node stands, from the bottom, int64 [n].

    -1 is Embed, 2 * layer attention, 2 * layer + 1 MLP; the largest number is Logits.
    """
    number = 2 * nodes.layer.astype(np.int64)
    attention = np.isin(nodes.site, [int(site) for site in _ATTENTION_SITES])
    number += ~(attention | nodes.of_kind(NodeKind.HEAD, NodeKind.SCORE))
    number[nodes.of_kind(NodeKind.TOKEN, NodeKind.POSITION)] = _EMBED_ROW
    number[number < _EMBED_ROW] = _EMBED_ROW
    logit = nodes.of_kind(NodeKind.LOGIT)
    top = int(number[~logit].max(initial=_EMBED_ROW)) + 2
    number[logit] = max(top, int(number[logit].max(initial=0)))
    return number


def row_label(number: int, *, is_top: bool = False) -> str:
    """Return what a row is called: "Embed", "L0 attn", "L0 mlp" or "Logits"."""
    if is_top:
        return "Logits"
    if number <= _EMBED_ROW:
        return "Embed"
    return f"L{number // 2} {'mlp' if number % 2 else 'attn'}"


def link_layout(
    circuit: Circuit,
    visible: NDArray[np.bool_],
    *,
    spacing: Spacing | None = None,
    token_widths: NDArray[np.float64] | None = None,
) -> LinkLayout:
    """Place the visible nodes of a circuit by layer and token.

    Args:
        circuit: The evidence.
        visible: Nodes to place, bool [n]; constants get places where this mask includes them.
        spacing: Distances; the window's own where left out.
        token_widths: Width of each token's text in layout units, [n_tokens]; estimated from the
            number of characters where left out.

    Returns:
        Places and bands; the same input gives the same bytes. No two nodes are closer than
        `spacing.node` in x within one row, or `spacing.row` in y between rows.
    """
    space = spacing or Spacing()
    nodes, n = circuit.nodes, len(circuit.nodes)
    shown = np.flatnonzero(visible)
    numbers = row_numbers(nodes)
    present, row_of = np.unique(numbers[shown], return_inverse=True)
    position = np.maximum(nodes.position[shown], -1)
    first = int(position[position >= 0].min(initial=len(circuit.tokens)))
    last = max(int(position.max(initial=-1)) + 1, len(circuit.tokens))
    has_gutter = bool((position < 0).any())
    keys = ([-1] if has_gutter else []) + list(range(first, last))
    column_of = np.where(position < 0, 0, position - first + has_gutter).astype(np.int64)

    cell = row_of * len(keys) + column_of
    fill = np.bincount(cell, minlength=len(present) * len(keys)).reshape(len(present), len(keys))
    columns = _columns(circuit, keys, fill.max(axis=0, initial=0), space, token_widths)
    top_is_logits = bool(nodes.of_kind(NodeKind.LOGIT)[shown].any())
    rows = _rows(present, space, top_is_logits)

    order = np.lexsort((*_rank(circuit, shown), cell))
    ordered = cell[order]
    starts = np.flatnonzero(np.r_[True, np.diff(ordered) != 0]) if len(order) else ordered
    size = np.diff(np.r_[starts, len(order)])
    from_right = np.empty(len(shown), np.int64)
    from_right[order] = np.repeat(starts + size - 1, size) - np.arange(len(order))

    right = np.array([band.stop for band in columns]) - space.padding - space.node / 2
    x, y = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    row, column = np.full(n, -1, np.int16), np.full(n, -1, np.int32)
    if len(shown):
        x[shown] = right[column_of] - from_right * space.node
        y[shown] = np.array([band.centre for band in rows])[row_of]
    row[shown], column[shown] = row_of, column_of
    width = columns[-1].stop if columns else 0.0
    height = rows[0].stop + space.margin if rows else 0.0
    return LinkLayout(x, y, row, column, rows, columns, width, height, space)


def _rank(circuit: Circuit, shown: NDArray[np.int64]) -> tuple[NDArray, ...]:
    nodes = circuit.nodes
    strength = nodes.influence.astype(np.float64)
    logit = nodes.of_kind(NodeKind.LOGIT)
    probability = np.zeros(len(nodes))
    probability[circuit.roots] = circuit.root_weights
    strength[logit] = -probability[logit]
    return (shown, np.nan_to_num(strength, nan=0.0)[shown])


def _columns(
    circuit: Circuit,
    keys: list[int],
    fullest: NDArray[np.int64],
    space: Spacing,
    token_widths: NDArray[np.float64] | None,
) -> tuple[Band, ...]:
    labels = [
        _gutter(circuit) if key < 0 else circuit.tokens[key] if key < len(circuit.tokens) else ""
        for key in keys
    ]
    texts = np.array([max(len(label), 1) * _CHARACTER for label in labels])
    if token_widths is not None:
        known = [i for i, key in enumerate(keys) if 0 <= key < len(token_widths)]
        texts[known] = np.asarray(token_widths)[[keys[i] for i in known]]
    widths = np.maximum(fullest * space.node, texts) + 2 * space.padding
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    return tuple(
        Band(label, key, float(edges[i]), float(edges[i + 1]))
        for i, (key, label) in enumerate(zip(keys, labels, strict=True))
    )


def _gutter(circuit: Circuit) -> str:
    """Name the column of nodes that have no position: constants, or heads at all positions."""
    without = circuit.nodes.position < 0
    constant = circuit.nodes.of_kind(NodeKind.BIAS, NodeKind.POSITION)
    return "constants" if (constant | ~without).all() else "all positions"


def _rows(present: NDArray[np.int64], space: Spacing, top_is_logits: bool) -> tuple[Band, ...]:
    rows = []
    for i, number in enumerate(present):
        is_top = top_is_logits and i == len(present) - 1
        start = space.margin + (len(present) - 1 - i) * space.row
        label = row_label(int(number), is_top=is_top)
        rows.append(Band(label, int(number), start, start + space.row))
    return tuple(rows)
