"""circuit-tracer's .pt graphs: read with nothing run; hostile ones are refused."""

import os
import pickle  # noqa: TID251 - to write what must be refused
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from circuitscope.core.errors import CircuitScopeError, UnreadableGraph, UnsafeFile
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.engine.client import InProcessEngine
from circuitscope.engine.reading import read_graph_file
from circuitscope.engine.tracer_graph import read_tracer_graph
from circuitscope.session.session import Session


class LogitTarget(NamedTuple):
    token_str: str
    vocab_idx: int


class UnifiedConfig:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a graph of 2 layers, 2 tokens, 2 features and 2 logits, as circuit-tracer keeps it."""
    for parent in ("circuit_tracer", "circuit_tracer.attribution", "circuit_tracer.utils"):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    for name, kind in (("circuit_tracer.attribution.targets", LogitTarget),
                       ("circuit_tracer.utils.tl_nnsight_mapping", UnifiedConfig)):  # fmt: skip
        module = ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
        kind.__module__ = name
    # Nodes: 2 features, 4 errors, 2 tokens, 2 logits.
    matrix = torch.zeros(10, 10)
    matrix[0, 7] = 2.0  # token 1 -> feature 0
    matrix[1, 0] = 1.0  # feature 0 -> feature 1
    matrix[8, 1] = 3.0  # feature 1 -> logit 0
    matrix[8, 5] = -0.5  # error of layer 1, position 1 -> logit 0
    matrix[9, 6] = 0.25  # token 0 -> logit 1
    return {
        "input_string": "<bos> Dallas", "adjacency_matrix": matrix,
        "cfg": UnifiedConfig(n_layers=2, model_name="gemma-2-2b", dtype=torch.bfloat16),
        "active_features": torch.tensor([[0, 1, 7], [0, 0, 5], [1, 1, 57794]]),
        "logit_targets": [LogitTarget(" Austin", 99), LogitTarget(" Texas", 98)],
        "logit_probabilities": torch.tensor([0.75, 0.125]), "vocab_size": 256,
        "input_tokens": torch.tensor([2, 12]), "selected_features": torch.tensor([0, 2]),
        "activation_values": torch.tensor([2.5, 1.25]), "scan_name": "gemma",
    }  # fmt: skip


def kept(data: Any, tmp_path: Path) -> Path:
    path = tmp_path / "dallas.pt"
    torch.save(data, path)
    return path


def test_features_errors_tokens_and_logits_arrive(
    tracer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tracer, tmp_path)
    for name in [name for name in sys.modules if name.startswith("circuit_tracer")]:
        monkeypatch.delitem(sys.modules, name)
    read = read_tracer_graph(path, silent())
    circuit = read.circuit
    assert [str(circuit.nodes.key(i)) for i in range(2)] == [
        "feature/mlp_transcoder/0/1/7", "feature/mlp_transcoder/1/1/57794",
    ]  # fmt: skip
    assert circuit.nodes.activation[:2].tolist() == [2.5, 1.25]
    assert circuit.nodes.of_kind(NodeKind.ERROR).sum() == 4
    weights = {
        (str(edge.source.key), str(edge.target.key)): edge.weight
        for edge in map(circuit.edge, range(len(circuit.edges)))
    }
    assert weights == {
        ("token/embed/-1/1/12", "feature/mlp_transcoder/0/1/7"): 2.0,
        ("feature/mlp_transcoder/0/1/7", "feature/mlp_transcoder/1/1/57794"): 1.0,
        ("feature/mlp_transcoder/1/1/57794", "logit/logits/2/1/99"): 3.0,
        ("error/mlp_out/1/1/-1", "logit/logits/2/1/99"): -0.5,
        ("token/embed/-1/0/2", "logit/logits/2/1/98"): 0.25,
    }
    assert circuit.root_weights.tolist() == [0.75, 0.125]
    assert [circuit.labels[int(root)] for root in circuit.roots] == [" Austin", " Texas"]
    assert circuit.provenance.model["name"] == "gemma-2-2b"
    assert circuit.provenance.source_file == "dallas.pt"


def test_older_files_hold_ids_of_logits(tracer: dict[str, Any], tmp_path: Path) -> None:
    tracer["logit_targets"] = torch.tensor([99, 98])
    tracer["scan"] = tracer.pop("scan_name")
    circuit = read_tracer_graph(kept(tracer, tmp_path), silent()).circuit
    assert [circuit.labels[int(root)] for root in circuit.roots] == ["99", "98"]


def test_a_session_imports_one_and_keeps_its_bytes(tracer: dict[str, Any], tmp_path: Path) -> None:
    path = kept(tracer, tmp_path)
    session = Session(InProcessEngine())
    try:
        job = session.import_file(path)
        session.jobs.wait(job)
        assert job.state == "done", job.error
        assert session.project is not None
        (original,) = session.project.originals()
        assert session.project.original(original.id) == path.read_bytes()
    finally:
        session.shut_down()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["zip", "bare"])
def test_code_in_a_file_is_refused_and_never_run(
    tracer: dict[str, Any], tmp_path: Path, form: str
) -> None:
    mark = tmp_path / "it ran"
    tracer["scan_name"] = Bomb(mark)
    path = kept(tracer, tmp_path)
    if form == "bare":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(UnsafeFile, match=r"can run code") as caught:
        read_graph_file(path, silent())
    assert "create_graph_files" in caught.value.hint
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("adjacency_matrix", torch.zeros(9, 9)), ("adjacency_matrix", torch.zeros(10, 4)),
        ("adjacency_matrix", "none"), ("input_tokens", torch.zeros(0)),
        ("selected_features", torch.tensor([0, 70])), ("activation_values", torch.zeros(1)),
        ("logit_targets", [1, 2]), ("logit_probabilities", torch.zeros(3)),
        ("active_features", torch.zeros(3, 2)),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_told(
    tracer: dict[str, Any], tmp_path: Path, key: str, value: Any
) -> None:
    tracer[key] = value
    with pytest.raises(UnreadableGraph) as caught:
        read_tracer_graph(kept(tracer, tmp_path), silent())
    assert caught.value.kept
    assert caught.value.hint


def test_other_files_are_no_graphs(tracer: dict[str, Any], tmp_path: Path) -> None:
    path = kept(tracer, tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"hello", b""):
        path.write_bytes(content)
        with pytest.raises(CircuitScopeError):
            read_tracer_graph(path, silent())
    with pytest.raises(UnreadableGraph, match="something else"):
        read_tracer_graph(kept({"weight": torch.zeros(2)}, tmp_path), silent())
    with pytest.raises(UnreadableGraph):
        read_tracer_graph(tmp_path / "gone.pt", silent())
