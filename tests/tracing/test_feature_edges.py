"""Edges between features: with all kept the model, with a node's edges cut the node is gone."""

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.keys import NodeKind
from circuitscope.tracing import feature_edges
from circuitscope.tracing.feature_edges import FeatureEdgeBench
from circuitscope.tracing.node_bench import NodeBench

PROMPT = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = cs.LogitDifference("Austin", "Texas")


def opened(model, circuit, dictionaries, ablation="auto", corrupted=None):
    edges = FeatureEdgeBench(model, circuit, ablation, dictionaries)
    nodes = NodeBench(model, circuit, ablation, dictionaries)
    tasks = (one.open(PROMPT, corrupted, METRIC) for one in (edges, nodes))
    return edges, nodes, *tasks


@pytest.mark.parametrize("ablation", ["auto", "resample"])
def test_both_levels_agree_where_whole_nodes_go(atlas_circuit, ablation) -> None:
    model, dictionaries, circuit = atlas_circuit
    found = opened(model, circuit, dictionaries, ablation, OTHER)
    edges, nodes, edge_task, node_task = found
    source = circuit.edges.source[edges.edges]
    rng = np.random.default_rng(0)
    keep = np.ones((8, len(nodes.keys) + 1), bool)
    keep[1:, -1] = False
    keep[1] = False
    for row in range(2, 8):
        keep[row, :-1] = rng.random(len(nodes.keys)) < (0.98 if row < 6 else 0.5)
    gone = [{nodes.nodes[k] for k in np.flatnonzero(~row[:-1])} for row in keep]
    columns = np.array([[node not in off for node in source.tolist()] for off in gone])
    choices = np.column_stack([columns, keep[:, -1]])
    by_edges = np.array(edges.values(edge_task, choices))
    by_nodes = np.array(nodes.values(node_task, keep))
    logits = model.run(PROMPT).logits[-1]
    plain = logits[model.find_token("Austin")] - logits[model.find_token("Texas")]
    assert by_edges[0] == pytest.approx(float(plain), abs=1e-4)
    np.testing.assert_allclose(by_edges, by_nodes, atol=2e-4)
    assert np.ptp(by_edges) > 1


@pytest.fixture(scope="module")
def atlas_circuit():
    from circuitscope.core.shipped import shipped_path

    folder = shipped_path("projects", "atlas")
    model = cs.load_model(folder / "model", device="cpu")
    dictionaries = cs.load_dictionaries(folder / "dictionaries")
    circuit = cs.trace(model, PROMPT, "direct", dictionaries, METRIC, None, mlp="transcoder")
    return model, dictionaries, circuit


def test_one_edge_into_the_answer_is_what_the_last_norm_makes_of_it(atlas_circuit) -> None:
    model, dictionaries, circuit = atlas_circuit
    bench = FeatureEdgeBench(model, circuit, "auto", dictionaries)
    task = bench.open(PROMPT, None, METRIC)
    root = int(circuit.roots[0])
    into = np.flatnonzero(circuit.edges.target[bench.edges] == root)[:5]
    choices = np.ones((len(into) + 1, len(bench.edges) + 1), bool)
    for row, column in enumerate(into):
        choices[row + 1, column] = False
    values = np.array(bench.values(task, choices))
    words = [model.find_token("Austin"), model.find_token("Texas")]
    norm = model.family.norm(model.module, cs.Site.LN_FINAL, model.anatomy.n_layers)
    columns = model.family.unembed(model.module)[0].detach()[:, words]
    cache = model.run(PROMPT).cache
    final = cache.site(cs.Site.RESID_POST, model.anatomy.n_layers - 1)[-1]
    for row, column in enumerate(into):
        key = circuit.nodes.key(int(circuit.edges.source[bench.edges[column]]))
        if key.kind is not NodeKind.FEATURE:
            continue
        dictionary = next(
            one for one in dictionaries
            if one.card.feature_site is key.site and key.layer in one.card.layers
        )  # fmt: skip
        node = circuit.nodes.find(key)
        vector = dictionary.decoder_rows(torch.tensor([key.unit]))[0]
        left = final - float(circuit.nodes.activation[node]) * vector
        read = left / (left.square().mean() + norm.eps).sqrt() * norm.weight @ columns
        assert values[row + 1] == pytest.approx(float(read[0] - read[1]), abs=1e-3)


def test_measured_by_edges_with_a_report(atlas_circuit) -> None:
    model, dictionaries, _ = atlas_circuit
    circuit = cs.trace(model, PROMPT, "direct", dictionaries, METRIC, 40, mlp="transcoder")
    found = cs.measure(model, circuit, level="edge", points=4, dictionaries=dictionaries)
    scores = found.provenance.scores
    assert found.x_name == "edges"
    assert scores["size"] == found.x[-1] > 100
    assert "CPR" not in scores
    assert found.curves["faithfulness"][0] == pytest.approx(0, abs=1e-5)
    assert found.curves["faithfulness"][-1] == pytest.approx(scores["faithfulness"])
    assert found.curves["without them"][0] == pytest.approx(1, abs=1e-4)
    by_nodes = cs.measure(model, circuit, level="node", points=4, dictionaries=dictionaries)
    assert scores["ablated"] == pytest.approx(by_nodes.provenance.scores["ablated"], abs=1e-4)
    assert scores["whole"] == pytest.approx(by_nodes.provenance.scores["whole"], abs=1e-4)


def test_too_many_edges_are_refused_before_anything_runs(atlas_circuit, monkeypatch) -> None:
    model, dictionaries, circuit = atlas_circuit
    monkeypatch.setattr(feature_edges, "MOST_EDGES", 1000)
    with pytest.raises(cs.CircuitScopeError, match="at most 1000"):
        cs.measure(model, circuit, level="edge", dictionaries=dictionaries)


def test_what_has_no_such_edges_is_refused(run, model, dictionaries) -> None:
    features = run(targets=(METRIC,), units="features", mlp="secant")
    with pytest.raises(cs.CircuitScopeError, match="cannot carry their mean"):
        cs.measure(model, features, level="edge", ablation="mean", dictionaries=dictionaries)
    mixed = run(targets=(METRIC,), units="auto", mlp="transcoder")
    kinds = {NodeKind(int(kind)) for kind in mixed.nodes.kind}
    skips = run(targets=(METRIC,), units="features", mlp="transcoder")
    for circuit in [skips, *([mixed] if NodeKind.HEAD in kinds else [])]:
        with pytest.raises(cs.CircuitScopeError, match=r"[Ee]dges"):
            cs.measure(model, circuit, level="edge", dictionaries=dictionaries)
