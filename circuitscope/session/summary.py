"""A circuit in a few numbers, for the command line and other programs."""

from typing import Any

import numpy as np

from circuitscope.core.circuit import Circuit


def summarise(circuit: Circuit, n_strongest: int = 8) -> dict[str, Any]:
    """Return tokens, sizes, roots, strongest nodes and scores as JSON values.

    Args:
        circuit: The evidence.
        n_strongest: How many nodes are listed, by influence.
    """
    order = np.argsort(-circuit.nodes.influence, kind="stable")[:n_strongest]
    roots = zip(circuit.roots, circuit.root_weights, strict=True)
    return {
        "prompt": circuit.prompt,
        "tokens": list(circuit.tokens),
        "n_nodes": len(circuit.nodes),
        "n_edges": len(circuit.edges),
        "roots": [{**_node(circuit, int(root)), "weight": float(weight)} for root, weight in roots],
        "strongest": [_node(circuit, int(index)) for index in order],
        "scores": circuit.provenance.scores,
        "self_check": circuit.provenance.model.get("self_check"),
        "remarks": list(circuit.provenance.remarks),
    }


def _node(circuit: Circuit, index: int) -> dict[str, Any]:
    node = circuit.node(index)
    return {"key": str(node.key), "label": node.label, "influence": node.influence}
