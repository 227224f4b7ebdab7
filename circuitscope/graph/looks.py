"""Colours and shapes that users give to nodes: by hand, or by rules in the words of the search.

What is given by hand goes before rules, and of rules the first that a node meets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import QueryError
from circuitscope.core.rows import GROUP_COLORS, LOOK_SHAPES, Row, Rows
from circuitscope.graph.query import Matcher, parse_query
from circuitscope.graph.view import find_node, rows_of

BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Look:
    """One way nodes look, as a legend names it.

    Attributes:
        title: The rule, or `BY_HAND`.
        color: Of `GROUP_COLORS`, "" keeps the node's own; shape: of `LOOK_SHAPES`, likewise.
    """

    title: str
    color: str
    shape: str


@dataclass(frozen=True, eq=False)
class Looks:
    """How the nodes of a circuit look, where a user says so.

    Attributes:
        kinds: The looks that some node has.
        of: Index into `kinds` of every node, int32 [n]; -1 where nobody said anything.
    """

    kinds: tuple[Look, ...]
    of: NDArray[np.int32]

    def color(self, node: int) -> str:
        """Return the name of a node's colour, "" where it keeps its own."""
        return self.kinds[self.of[node]].color if self.of[node] >= 0 else ""

    def shape(self, node: int) -> str:
        """Return the name of a node's shape, "" where it keeps its own."""
        return self.kinds[self.of[node]].shape if self.of[node] >= 0 else ""

    def among(self, nodes: NDArray[np.bool_]) -> tuple[Look, ...]:
        """Return the looks that some of these nodes have, bool [n], in order."""
        present = set(self.of[nodes].tolist())
        return tuple(look for at, look in enumerate(self.kinds) if at in present)


def rules_of(rows: Rows) -> list[tuple[str, Row]]:
    """Return id and fields of the rules, in the order in which they are asked."""
    return sorted(rows_of(rows, "look_rule"), key=lambda pair: (pair[1].get("index", 0), pair[0]))


def looks_of(circuit: Circuit, rows: Rows) -> Looks:
    """Work out how nodes look; rules that cannot be read, and unknown names, change nothing."""
    kinds: list[Look] = []
    of = np.full(len(circuit.nodes), -1, np.int32)
    by_hand: dict[Look, int] = {}
    for name, row in rows_of(rows, "look"):
        index, look = find_node(circuit, name), _look(BY_HAND, row)
        if index is None or look is None:
            continue
        if look not in by_hand:
            by_hand[look] = len(kinds)
            kinds.append(look)
        of[index] = by_hand[look]
    rules = rules_of(rows)
    matcher = Matcher(circuit, rows) if rules else None
    for _, row in rules:
        look = _look(str(row.get("query", "")), row)
        if look is None or matcher is None:
            continue
        try:
            met = matcher.find(parse_query(look.title))
        except QueryError:
            continue
        of[met & (of < 0)] = len(kinds)
        kinds.append(look)
    return Looks(tuple(kinds), of)


def _look(title: str, row: Row) -> Look | None:
    color, shape = str(row.get("color", "")), str(row.get("shape", ""))
    color = color if color in GROUP_COLORS else ""
    shape = shape if shape in LOOK_SHAPES else ""
    return Look(title, color, shape) if color or shape else None
