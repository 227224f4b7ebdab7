"""What a drawing shows of a circuit: thresholds, toggles, pins and hidden nodes in one mask.

The window, the exporters and the command line all ask here, so that a figure shows what the
screen shows. Nothing is deleted: every node that is not shown has a reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError, QueryError
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import VIEW_DEFAULTS, Row, Rows
from circuitscope.graph.influence import CONSTANTS
from circuitscope.graph.prune import Reason, prune

NODE_THRESHOLD: Final[float] = VIEW_DEFAULTS["node_threshold"]
EDGE_THRESHOLD: Final[float] = VIEW_DEFAULTS["edge_threshold"]


@dataclass(frozen=True, eq=False)
class View:
    """What is shown, and why the rest is not.

    Attributes:
        nodes: Nodes shown, bool [n]; edges: edges shown, bool [m].
        reasons: `Reason` code of each node, uint8 [n].
        pinned: Nodes the user pinned or grouped, bool [n].
        node_threshold: Fraction of influence that the nodes hold together; edge_threshold
            likewise for edge scores.
        filter: Query that the shown nodes meet, "" for none.
    """

    nodes: NDArray[np.bool_]
    edges: NDArray[np.bool_]
    reasons: NDArray[np.uint8]
    pinned: NDArray[np.bool_]
    node_threshold: float = NODE_THRESHOLD
    edge_threshold: float = EDGE_THRESHOLD
    show_errors: bool = True
    show_biases: bool = False
    filter: str = ""

    def counts(self) -> dict[Reason, int]:
        """Return how many nodes each reason hides; their sum is all that is hidden."""
        codes, numbers = np.unique(self.reasons[~self.nodes], return_counts=True)
        return {Reason(int(code)): int(n) for code, n in zip(codes, numbers, strict=True)}


def rows_of(rows: Rows, kind: str) -> Iterator[tuple[str, Row]]:
    """Yield id and fields of the present rows of a kind, in the order of their ids."""
    found = [(key.id, row) for key, row in rows.items() if key.kind == kind and row is not None]
    return iter(sorted(found, key=lambda pair: pair[0]))


def nodes_named(circuit: Circuit, rows: Rows, *kinds: str) -> NDArray[np.bool_]:
    """Return which nodes have a row of one of these kinds, bool [n]; foreign ids are skipped."""
    mask = np.zeros(len(circuit.nodes), np.bool_)
    for kind in kinds:
        for name, _ in rows_of(rows, kind):
            index = find_node(circuit, name)
            if index is not None:
                mask[index] = True
    return mask


def find_node(circuit: Circuit, name: str) -> int | None:
    """Return the index of a node by key text; None where the text or the node is unknown."""
    try:
        return circuit.nodes.find(name)
    except CircuitScopeError:
        return None


def view_of(circuit: Circuit, rows: Rows, name: str = "link_graph") -> View:
    """Work out what a drawing shows.

    Args:
        circuit: The evidence.
        rows: The drawing's rows; `view`, `pin`, `member` and `hidden` are read.
        name: Which view's thresholds: "link_graph" or "circuit".

    Returns:
        Masks with reasons. Pinned and grouped nodes stay whatever their influence; nodes hidden
        by hand never do.
    """
    settings: Row = dict(rows_of(rows, "view")).get(name, {})
    node_threshold = float(settings.get("node_threshold", NODE_THRESHOLD))
    edge_threshold = float(settings.get("edge_threshold", EDGE_THRESHOLD))
    show_errors = bool(settings.get("show_errors", True))
    show_biases = bool(settings.get("show_biases", False))

    pinned = nodes_named(circuit, rows, "pin", "member")
    pruned = prune(circuit, node_threshold, edge_threshold, keep=pinned)
    shown, reasons = pruned.node_mask.copy(), pruned.reasons.copy()
    edges = pruned.edge_mask.copy()
    if show_biases:
        edges |= _edges_of_constants(circuit, shown)
        constants = np.zeros(len(shown), np.bool_)
        constants[circuit.edges.source[edges]] = True
        constants &= circuit.nodes.of_kind(*CONSTANTS)
        shown |= constants
        reasons[constants] = Reason.SHOWN
    if not show_errors:
        errors = circuit.nodes.of_kind(NodeKind.ERROR) & shown & ~pinned
        shown &= ~errors
        reasons[errors] = Reason.ERROR
    by_hand = nodes_named(circuit, rows, "hidden") & shown
    shown &= ~by_hand
    reasons[by_hand] = Reason.BY_HAND
    query = str(settings.get("filter", ""))
    if query:
        left_out = shown & ~_asked_for(circuit, rows, query)
        shown &= ~left_out
        reasons[left_out] = Reason.FILTER
    edges &= shown[circuit.edges.source] & shown[circuit.edges.target]
    return View(
        shown, edges, reasons, pinned & shown, node_threshold, edge_threshold, show_errors,
        show_biases, query,
    )  # fmt: skip


def _asked_for(circuit: Circuit, rows: Rows, query: str) -> NDArray[np.bool_]:
    """Return which nodes a filter asks for, bool [n]; the roots always, and all if unreadable."""
    from circuitscope.graph.query import Matcher, parse_query  # it asks this module for rows

    try:
        found = Matcher(circuit, rows).find(parse_query(query))
    except QueryError:
        return np.ones(len(circuit.nodes), np.bool_)
    found[circuit.roots] = True
    return found


def _edges_of_constants(circuit: Circuit, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    constant = circuit.nodes.of_kind(*CONSTANTS)
    return constant[circuit.edges.source] & shown[circuit.edges.target]
