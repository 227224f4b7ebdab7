"""A circuit and its drawing as plain tables, which graph formats write in their own words.

Everything is in the tables: what a figure leaves out has `shown` false. Numbers are the evidence's
own; places are the user's, else those of the link graph.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit, Route
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import Row, Rows
from circuitscope.exchange.caption import metadata_of
from circuitscope.exchange.theme import PRINT, color_of
from circuitscope.graph.groups import name_of
from circuitscope.graph.influence import row_shares
from circuitscope.graph.layout import link_layout
from circuitscope.graph.view import find_node, rows_of, view_of

NODE_FIELDS: Final[dict[str, type]] = {
    "id": str, "label": str, "label_source": str, "kind": str, "site": str, "layer": int,
    "position": int, "unit": int, "token": str, "activation": float, "influence": float,
    "preactivation": float, "unexplained": float, "root_weight": float, "shown": bool,
    "pinned": bool, "group": str, "group_label": str, "x": float, "y": float, "color": str,
}  # fmt: skip
EDGE_FIELDS: Final[dict[str, type]] = {
    "source": str, "target": str, "weight": float, "share": float, "route": str, "shown": bool,
}  # fmt: skip
GROUP_FIELDS: Final[dict[str, type]] = {"id": str, "label": str, "color": str}
NOTES: Final[dict[str, str]] = {
    "label_source": "person, imported, machine or automatic",
    "activation": "what the node holds in this run",
    "influence": "share of the explanation that passes through it",
    "preactivation": "what the explained node read, before its nonlinearity",
    "unexplained": "contribution of sources that are no nodes of this circuit",
    "root_weight": "weight of an explained node, empty elsewhere",
    "weight": "signed contribution to the target's pre-activation",
    "share": "weight over the sum of absolute weights into the target",
    "shown": "whether the drawing shows it",
}


@dataclass(frozen=True, eq=False)
class GraphTable:
    """Nodes, edges and groups.

    Attributes:
        nodes: One dict a node with the keys of `NODE_FIELDS`, in the circuit's order.
        shown: Which edges the drawing shows, bool [m]; shares: signed share of the target's
            input, float64 [m].
        groups: One dict a group with the keys of `GROUP_FIELDS`.
        metadata: What every exported file says of where it comes from.
    """

    circuit: Circuit
    nodes: list[dict[str, Any]]
    shown: NDArray[np.bool_]
    shares: NDArray[np.float64]
    groups: list[dict[str, str]]
    metadata: dict[str, Any]

    @property
    def provenance(self) -> str:
        """Return the metadata as JSON in ASCII, on one line."""
        return json.dumps(self.metadata, sort_keys=True)

    def edges(self, *, only_shown: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield index and fields of the edges, with the keys of `EDGE_FIELDS`."""
        edges = self.circuit.edges
        routes = {int(route): route.name.lower() for route in Route}
        chosen = np.flatnonzero(self.shown) if only_shown else np.arange(len(edges))
        columns = (edges.source, edges.target, edges.weight, self.shares, edges.route, self.shown)
        rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
        for index, (source, target, weight, share, route, shown) in zip(
            chosen.tolist(), rows, strict=True
        ):
            yield index, {
                "source": self.nodes[source]["id"], "target": self.nodes[target]["id"],
                "weight": weight, "share": share, "route": routes[route], "shown": shown,
            }  # fmt: skip


def graph_table(circuit: Circuit, rows: Rows) -> GraphTable:
    """Work out the tables of a circuit and its drawing."""
    view = view_of(circuit, rows)
    everything = np.ones(len(circuit.nodes), np.bool_)
    layout = link_layout(circuit, everything)
    groups = dict(rows_of(rows, "group"))
    member = _members(circuit, rows, groups)
    places = _places(circuit, rows)
    labels = {name: str(row.get("text", "")) for name, row in rows_of(rows, "label")}
    sources = {name: str(row.get("source", "person")) for name, row in rows_of(rows, "label")}
    weights = dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))
    nodes = []
    for index in range(len(circuit.nodes)):
        node = circuit.node(index)
        key, name = node.key, str(node.key)
        label, source = name_of(circuit, index, labels)
        group = member.get(index, "")
        x, y = places.get(index, (float(layout.x[index]), float(layout.y[index])))
        hue = PRINT.hue(str(groups[group].get("color", ""))) if group else ""
        nodes.append({
            "id": name, "label": label, "label_source": sources.get(name, source),
            "kind": key.kind.text, "site": key.site.text, "layer": key.layer,
            "position": key.position, "unit": key.unit, "token": node.token,
            "activation": node.activation, "influence": node.influence,
            "preactivation": float(circuit.preactivation[index]),
            "unexplained": float(circuit.unexplained[index]), "root_weight": weights.get(index),
            "shown": bool(view.nodes[index]), "pinned": bool(view.pinned[index]), "group": group,
            "group_label": str(groups[group].get("label", "")) if group else "", "x": x, "y": y,
            "color": hue or color_of(NodeKind(key.kind), key.site, PRINT),
        })  # fmt: skip
    edges = circuit.edges
    shares = np.sign(edges.weight) * row_shares(edges.target, edges.weight, len(nodes))
    listed = [
        {"id": name, "label": str(row.get("label", "")), "color": str(row.get("color", ""))}
        for name, row in groups.items()
    ]
    return GraphTable(
        circuit, nodes, view.edges, shares, listed, metadata_of(circuit, view, "graph"),
    )  # fmt: skip


def _members(circuit: Circuit, rows: Rows, groups: dict[str, Row]) -> dict[int, str]:
    found = {}
    for name, row in rows_of(rows, "member"):
        index, group = find_node(circuit, name), str(row.get("group", ""))
        if index is not None and group in groups:
            found[index] = group
    return found


def _places(circuit: Circuit, rows: Rows) -> dict[int, tuple[float, float]]:
    found = {}
    for name, row in rows_of(rows, "place"):
        index = find_node(circuit, name)
        if index is not None:
            found[index] = float(row["x"]), float(row["y"])
    return found


def number(value: float) -> str:
    """Return a float32 as the shortest decimal that reads back the same."""
    return f"{value:.9g}"
