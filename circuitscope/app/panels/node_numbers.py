"""The numbers of a node, as the inspector lists them for each kind of circuit."""

import numpy as np

from circuitscope.app.naming import root_share
from circuitscope.app.words import percent, plain, signed, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.session.session import Session


def node_cells(
    session: Session, circuit: Circuit, node: int, share: float | None
) -> list[tuple[str, str, str]]:
    """Return a node's numbers: name, value, and the entry of `meanings` that explains it.

    Args:
        session: What is open.
        circuit: The circuit.
        node: One of its nodes.
        share: Of the feature's largest activation on a corpus, None where that is not known.
    """
    nodes = circuit.nodes
    kind = NodeKind(int(nodes.kind[node]))
    is_root = node in circuit.roots.tolist()
    if is_relevance(circuit):
        return _relevance_cells(circuit, node, is_root=is_root)
    if is_flow(circuit):
        return _flow_cells(circuit, node, is_root=is_root)
    name = "logit" if kind is NodeKind.LOGIT else "activation"
    held = float(nodes.activation[node])
    cells = [(tr(name), plain(held), name)]
    if share is not None:
        cells.append((tr("share of max"), percent(share), "share of max"))
    if is_root:
        if share_text := root_share(circuit, node):
            cells.append((tr("probability"), share_text, "probability"))
        return cells
    whole = float(circuit.root_weights.sum()) or 1.0
    influence = plain(float(nodes.influence[node]) / whole)
    cells.append((tr("influence (unsigned)"), influence, "influence"))
    target, weight, of_row = _contribution(circuit, node)
    where = session.label(target) if target >= 0 else ""
    caption = tr("direct to {0}").format(where) if where else tr("direct to target")
    if not where:
        return [*cells, (caption, "–", "direct")]
    share_text = percent(of_row, 1)
    return [*cells, (caption, signed(weight), "direct"),
            (tr("share of that row"), share_text, "share of row")]  # fmt: skip


def _flow_cells(circuit: Circuit, node: int, *, is_root: bool) -> list[tuple[str, str, str]]:
    """Return the numbers of a node of a circuit of information flow."""
    if is_root:
        share = root_share(circuit, node)
        return [(tr("probability"), share, "probability")] if share else []
    held = float(circuit.nodes.activation[node])
    return [(tr("importance"), percent(held, 1), "importance")]


def _relevance_cells(circuit: Circuit, node: int, *, is_root: bool) -> list[tuple[str, str, str]]:
    """Return the numbers of a node of a circuit of relevances."""
    held = float(circuit.nodes.activation[node])
    if is_root:
        return [(tr("metric"), plain(held), "metric")]
    metric = abs(float(circuit.preactivation[circuit.roots[0]])) or 1.0
    return [
        (tr("relevance"), signed(held), "relevance"),
        (tr("of the whole"), percent(held / metric, 1), "of the whole"),
    ]


def _contribution(circuit: Circuit, node: int) -> tuple[int, float, float]:
    """Return the strongest direct edge into a root: target, weight and share of its row."""
    out = circuit.edges.out_of(node)
    out = out[np.isin(circuit.edges.target[out], circuit.roots)]
    if not len(out):
        return -1, 0.0, 0.0
    weights = dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))
    edges = [circuit.edge(int(i)) for i in out]
    best = max(edges, key=lambda e: (weights[int(circuit.edges.target[e.index])], abs(e.weight)))
    return int(circuit.edges.target[best.index]), best.weight, best.share
