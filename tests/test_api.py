"""The Python API as notebooks use it."""

from pathlib import Path

import pytest

import circuitscope as cs
from circuitscope.core.circuit import Circuit

PROMPT = "the capital of state containing Dallas is"


def test_every_name_of_the_api_exists() -> None:
    from circuitscope import api

    assert set(dir(cs)) == set(api.__all__)
    for name in api.__all__:
        assert getattr(cs, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        cs.no_such_name  # noqa: B018


def test_model_to_circuit_to_project_to_figure(tiny_gpt2: Path, tmp_path: Path) -> None:
    model = cs.load_model(tiny_gpt2, device="cpu")
    circuit = cs.trace(model, PROMPT, targets=["logit:Austin"], max_nodes=60)
    assert cs.NodeKind(int(circuit.nodes.kind[circuit.roots[0]])).name == "LOGIT"
    assert float(circuit.conservation.max()) <= 1e-4
    assert {"replacement", "completeness", "error_share"} <= set(cs.scores(circuit))
    kept = cs.prune(circuit, 0.5, 0.9)
    assert 0 < kept.node_mask.sum() < len(circuit.nodes)

    path = tmp_path / "first.circuitscope"
    with cs.new_project(path) as project:
        project.add(circuit, name="first")
        project.drawing("first").pin(str(circuit.nodes.key(int(circuit.roots[0]))))
        project.save()
    with cs.open_project(path) as project:
        assert list(project.circuits()) == ["first"]
        assert project.circuits()["first"].digest == circuit.digest
        cs.export(project, tmp_path / "project.svg", circuit="first")
    cs.export(circuit, tmp_path / "alone.svg", what="link")
    for name in ("project.svg", "alone.svg"):
        assert "<svg" in (tmp_path / name).read_text("utf-8")


def test_ids_and_other_targets(tiny_llama: Path) -> None:
    model = cs.load_model(tiny_llama, device="cpu")
    ids = model.prompt(PROMPT).token_ids
    difference = cs.LogitDifference("Austin", "Sacramento")
    by_ids = cs.trace(model, list(ids), targets=[difference], max_nodes=30, logit_mass=0.5)
    by_text = cs.trace(model, PROMPT, targets=[difference], max_nodes=30)
    assert by_ids.digest == by_text.digest
    assert cs.inspect_model(tiny_llama).anatomy == model.anatomy
    with pytest.raises(cs.CircuitScopeError, match="circuit-tracer"):
        cs.trace(model, PROMPT, conventions="circuit-tracer")


def test_edges_are_verified_in_the_model_and_circuits_grow(tiny_llama: Path) -> None:
    model = cs.load_model(tiny_llama, device="cpu")
    circuit = cs.trace(model, PROMPT, targets=["logit:Austin"], max_nodes=12)
    run = cs.verify(model, circuit)
    assert len(run.measured) > 0
    assert abs(run.measured - run.predicted).max() < 1e-3 * abs(run.predicted).max()
    whole = cs.trace(model, PROMPT, targets=["logit:Austin"], max_nodes=None)
    left_out = next(
        str(whole.nodes.key(index)) for index in range(len(whole.nodes))
        if whole.expanded[index] and circuit.nodes.find(whole.nodes.key(index)) is None
    )  # fmt: skip
    grown = cs.grow(circuit, model, left_out)
    assert grown.nodes.find(left_out) is not None
    assert grown.provenance.parent == circuit.digest


def test_networkx_holds_every_node_and_edge(small_circuit: Circuit) -> None:
    graph = cs.to_networkx(small_circuit)
    assert graph.number_of_nodes() == 9
    assert graph.number_of_edges() == 10
    name = "feature/mlp_out/1/7/88"
    assert graph.nodes[name]["label"] == "on is → Austin, Waco"
    weights = sorted(data["weight"] for _, _, data in graph.in_edges(name, data=True))
    assert weights == pytest.approx([0.1, 0.4, 1.0])
    assert graph.graph["prompt"] == small_circuit.prompt


def test_export_of_an_empty_project_says_so(tmp_path: Path) -> None:
    with cs.new_project() as project, pytest.raises(cs.CircuitScopeError, match="no circuit"):
        cs.export(project, tmp_path / "figure.svg")
