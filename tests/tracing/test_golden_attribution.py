"""Method attribution under circuit-tracer's conventions against its own numbers, end to end.

Golden graphs: tests/data/golden/attribution (circuit-tracer 0.4.1, float32).
"""

import json
from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from tests.tracing.golden_table import measured

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "attribution"
CASES = ["llama_relu", "llama_clt_jumprelu", "gpt2_relu"]
KINDS = {"FEATURE": 0, "ERROR": 1, "TOKEN": 2, "LOGIT": 3}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    folder = GOLDEN / request.param
    model = cs.load_model(folder / "model", device="cpu")
    return folder, model, cs.load_dictionaries(folder / "transcoders_circuit_tracer")


def traced(case, graph: str):
    folder, model, dictionaries = case
    golden = np.load(folder / f"graph_{graph}.npz")
    meta = json.loads((folder / "meta.json").read_text())
    prompt = meta["graphs"][graph]["prompt_ids"]
    settings = {"max_nodes": None, "batch_size": 64}
    targets: list[object] = ["logit:top"]
    if graph == "p2_limited":
        settings = {"max_nodes": 60, "batch_size": 8, "update_interval": 2}
    if graph == "p3_targets":
        targets = [cs.Logit(int(token)) for token in golden["logit_token_ids"]]
    circuit = cs.trace(
        model, prompt, method="attribution", dictionaries=dictionaries, targets=targets,
        conventions="circuit-tracer", **settings,
    )  # fmt: skip
    return circuit, golden


def order_of(circuit, golden) -> np.ndarray:
    """Return the circuit's node for each golden node."""
    n_layers = max(golden["nodes"][:, 1])
    mine = {}
    for index in range(len(circuit.nodes)):
        key = circuit.nodes.key(index)
        kind = KINDS[key.kind.name]
        unit = -1 if kind == 1 else key.unit
        layer = -1 if kind == 2 else key.layer
        place = (kind, layer, key.position, unit)
        assert place not in mine
        mine[place] = index
    found = []
    for kind, layer, position, unit in golden["nodes"].tolist():
        layer = -1 if kind == 2 else n_layers if kind == 3 else layer
        position = len(golden["input_tokens"]) - 1 if kind == 3 else position
        found.append(mine[kind, layer, position, -1 if kind == 1 else unit])
    assert len(set(found)) == len(circuit.nodes)
    return np.array(found)


@pytest.mark.parametrize("graph", ["p0", "p1", "p2_limited", "p3_targets"])
def test_nodes_edges_masks_and_scores_equal_the_reference(case, graph):
    circuit, golden = traced(case, graph)
    assert list(circuit.token_ids) == golden["input_tokens"].tolist()
    order = order_of(circuit, golden)
    n = len(order)
    dense = np.zeros((n, n), np.float64)
    dense[circuit.edges.target, circuit.edges.source] = circuit.edges.weight
    mine, wanted = dense[np.ix_(order, order)], golden["adjacency"].astype(np.float64)
    largest = np.abs(wanted).max(1, keepdims=True)
    name = case[0].name
    measured(name, "edges", float((np.abs(mine - wanted) / np.maximum(largest, 1e-30)).max()), 2e-5)

    active = golden["active_features"][golden["selected_features"]]
    features = golden["nodes"][:, 0] == 0
    assert np.array_equal(golden["nodes"][features][:, [1, 2, 3]], active)
    value = golden["activation_values"][golden["selected_features"]]
    held = circuit.nodes.activation[order[features]]
    measured(name, "values", float((np.abs(held - value) / (0.1 + np.abs(value))).max()), 2e-5)
    roots = circuit.nodes.unit[circuit.roots]
    assert roots.tolist() == golden["logit_token_ids"].tolist()
    chances = golden["logit_probabilities"]
    measured(name, "chance", float((np.abs(circuit.root_weights - chances) / chances).max()), 1e-5)
    flow = np.abs(circuit.nodes.influence[order] - golden["node_influence"])
    measured(name, "flow", float(flow.max()), 1e-5)
    pruned = cs.prune(circuit)
    differing = int((pruned.node_mask[order] != golden["node_mask"]).sum())
    masked = np.zeros((n, n), bool)
    kept = pruned.edge_mask
    masked[circuit.edges.target[kept], circuit.edges.source[kept]] = True
    edge_mask = np.unpackbits(golden["edge_mask_packed"])[: n * n].reshape(n, n).astype(bool)
    differing += int((masked[np.ix_(order, order)] != edge_mask).sum())
    measured(name, "masks", differing, 0)
    scores = cs.scores(circuit)
    for short, key in (("replace", "replacement"), ("complete", "completeness")):
        measured(name, short, abs(scores[key] - float(golden[f"{key}_score"])), 1e-6)
    measured(name, "rows", float(circuit.conservation.max()), 2e-6)
