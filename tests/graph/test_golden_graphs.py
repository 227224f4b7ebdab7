"""Influence, pruning and scores against circuit-tracer 0.4.1's own numbers."""

from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.graph.influence import influence, scores
from circuitscope.graph.prune import Reason, prune

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "attribution"
GRAPHS = sorted(GOLDEN.glob("*/graph_*.npz"))


def circuit_of(path: Path) -> tuple[Circuit, dict[str, np.ndarray]]:
    with np.load(path) as file:
        golden = {name: file[name] for name in file.files}
    kind_code, layer, position, unit = golden["nodes"].T
    kinds = np.array([NodeKind.FEATURE, NodeKind.ERROR, NodeKind.TOKEN, NodeKind.LOGIT])[kind_code]
    sites = np.array([Site.MLP_TRANSCODER, Site.MLP_OUT, Site.EMBED, Site.LOGITS])[kind_code]
    layer = np.where(kinds == NodeKind.TOKEN, -1, layer)
    n = len(kinds)
    nodes = NodeTable(kinds, sites, layer, position, unit, np.zeros(n), np.zeros(n))
    target, source = np.nonzero(golden["adjacency"])
    weight = golden["adjacency"][target, source]
    roots = np.flatnonzero(kinds == NodeKind.LOGIT)
    zeros = np.zeros(n, np.float32)
    circuit = Circuit(
        tuple(str(token) for token in golden["input_tokens"]), tuple(golden["input_tokens"]),
        nodes, EdgeTable(source, target, weight, np.full(len(weight), Route.DIRECT)),
        roots, golden["logit_probabilities"], zeros, zeros, zeros, zeros > 1, Provenance("golden"),
    )  # fmt: skip
    return circuit, golden


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_influence_masks_and_scores_equal_the_reference(path: Path) -> None:
    circuit, golden = circuit_of(path)
    assert np.abs(influence(circuit) - golden["node_influence"]).max() < 2e-6
    pruned = prune(circuit, 0.8, 0.98)
    n = len(circuit.nodes)
    edge_mask = np.unpackbits(golden["edge_mask_packed"])[: n * n].reshape(n, n).astype(bool)
    mine = np.zeros((n, n), bool)
    mine[circuit.edges.target[pruned.edge_mask], circuit.edges.source[pruned.edge_mask]] = True
    assert np.array_equal(pruned.node_mask, golden["node_mask"])
    assert np.array_equal(mine, edge_mask)
    assert np.abs(pruned.cumulative - golden["cumulative_scores"])[pruned.node_mask].max() < 1e-4
    found = scores(circuit)
    assert found["replacement"] == pytest.approx(float(golden["replacement_score"]), abs=1e-6)
    assert found["completeness"] == pytest.approx(float(golden["completeness_score"]), abs=1e-6)


def test_every_hidden_node_has_a_reason_and_the_counts_add_up() -> None:
    circuit, _ = circuit_of(GRAPHS[0])
    pruned = prune(circuit, 0.5, 0.9)
    assert sum(pruned.counts().values()) == int((~pruned.node_mask).sum()) > 0
    assert Reason.SHOWN not in pruned.counts()
    assert (pruned.reasons[pruned.node_mask] == Reason.SHOWN).all()


def test_kept_nodes_stay_whatever_their_influence() -> None:
    circuit, _ = circuit_of(GRAPHS[0])
    weakest = int(
        np.argmin(np.where(circuit.nodes.of_kind(NodeKind.FEATURE), influence(circuit), 9))
    )
    keep = np.zeros(len(circuit.nodes), bool)
    keep[weakest] = True
    assert not prune(circuit, 0.5).node_mask[weakest]
    assert prune(circuit, 0.5, keep=keep).node_mask[weakest]
