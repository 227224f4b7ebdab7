"""A circuit as a graph of networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitscope.core.circuit import Circuit

if TYPE_CHECKING:
    import networkx


def as_networkx(circuit: Circuit) -> networkx.MultiDiGraph:
    """Return a graph: nodes by key text, one edge for every edge of the circuit."""
    import networkx

    graph = networkx.MultiDiGraph(
        prompt=circuit.prompt, tokens=circuit.tokens, provenance=circuit.provenance.to_json()
    )
    names = [str(circuit.nodes.key(index)) for index in range(len(circuit.nodes))]
    for index, name in enumerate(names):
        node = circuit.node(index)
        key = node.key
        graph.add_node(
            name, kind=key.kind.text, site=key.site.text, layer=key.layer, position=key.position,
            unit=key.unit, token=node.token, label=node.label, activation=node.activation,
            influence=node.influence,
        )  # fmt: skip
    for index in range(len(circuit.edges)):
        edge = circuit.edge(index)
        source, target = names[edge.source.index], names[edge.target.index]
        graph.add_edge(source, target, weight=edge.weight, route=edge.route.name.lower())
    return graph
