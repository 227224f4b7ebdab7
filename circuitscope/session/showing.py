"""What is shown of a circuit and how its nodes are called: pure functions over circuit and rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import QueryError
from circuitscope.core.rows import Row, RowKey
from circuitscope.graph.prune import Pruned, cumulative
from circuitscope.graph.query import Matcher, parse_query
from circuitscope.graph.view import EDGE_THRESHOLD, NODE_THRESHOLD, View
from circuitscope.project.wording import describe

SHOWN_BY = frozenset(["view", "pin", "member", "hidden"])
"""Kinds of rows that decide what is shown."""


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What the active circuit's view shows; the fields of its `view` row."""

    node_threshold: float = NODE_THRESHOLD
    edge_threshold: float = EDGE_THRESHOLD
    show_errors: bool = True
    show_biases: bool = False
    filter: str = ""


@dataclass(frozen=True, eq=False)
class Focus:
    """Nodes and edges that the canvas is restricted to until the user leaves.

    Attributes:
        title: What they are, such as "what feeds Texas".
        nodes: Bool [n].
        edges: Bool [m].
        is_path: Whether they are paths, which are drawn as strongly as a circuit.
    """

    title: str
    nodes: NDArray[np.bool_]
    edges: NDArray[np.bool_]
    is_path: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A node found by a search.

    Attributes:
        index: The node.
        label: What it is called.
        hidden: Whether the view hides it at present.
    """

    index: int
    label: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Nodes that match a text.

    Attributes:
        matches: Strongest first.
        n_hidden: How many of them the view hides at present.
        problem: What of the text was not understood, and what could be; "" where all was.
    """

    matches: tuple[Match, ...] = field(default=())
    n_hidden: int = 0
    problem: str = ""


def view_settings(rows: Mapping[RowKey, Row], circuit_id: str, name: str) -> ViewSettings:
    """Read the settings of a view; what its row leaves out has its default."""
    row = rows.get(RowKey(circuit_id, "view", name), {})
    known = ViewSettings.__dataclass_fields__
    return ViewSettings(**{key: value for key, value in row.items() if key in known})


def as_pruned(circuit: Circuit, view: View) -> Pruned:
    """Return a view's masks with the cumulative influence of every node."""
    influence = circuit.nodes.influence.astype(np.float64)
    return Pruned(view.nodes, view.edges, view.reasons, cumulative(influence))


def label_of(circuit: Circuit, rows: Mapping[RowKey, Row], circuit_id: str, index: int) -> str:
    """Return the user's label of a node, else its automatic one, else a name made of its key."""
    key = circuit.nodes.key(index)
    row = rows.get(RowKey(circuit_id, "label", str(key)))
    return (row and str(row["text"])) or circuit.labels[index] or describe(key)


def search(
    circuit: Circuit,
    rows: Mapping[RowKey, Row],
    circuit_id: str,
    shown: NDArray[np.bool_],
    text: str,
) -> SearchResult:
    """Find nodes by a query of `graph.query`, such as "layer:4 kind:feature mine texas".

    Args:
        circuit: The evidence.
        rows: Its drawing's rows.
        circuit_id: Whose rows they are.
        shown: Nodes that the view shows, bool [n].
        text: What to look for; empty finds nothing.
    """
    try:
        query = parse_query(text)
    except QueryError as error:
        return SearchResult(problem=str(error))
    if not query.terms:
        return SearchResult()
    met = Matcher(circuit, rows).find(query)
    strongest = np.argsort(-circuit.nodes.influence, kind="stable")
    found = tuple(
        Match(int(index), label_of(circuit, rows, circuit_id, int(index)), not shown[index])
        for index in strongest[met[strongest]]
    )
    return SearchResult(found, sum(match.hidden for match in found))
