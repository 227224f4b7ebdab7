"""Graph files as each program writes them, and ours against what Neuronpedia asks for."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.format import Document, Imported, export, import_file

DATA = Path(__file__).parents[1] / "data"
GRAPHS = sorted((DATA / "graphs").glob("*.json"))
SCHEMA = Draft7Validator(json.loads((DATA / "attribution_graph.schema.json").read_text("utf-8")))


def graph(name: str) -> Imported:
    return import_file(DATA / "graphs" / f"{name}.json")


def ids(read: Imported, kind: str) -> set[str]:
    return {key.id for key in read.rows if key.kind == kind}


def faults(path: Path) -> list[str]:
    data = json.loads(path.read_text("utf-8"))
    return [f"{'/'.join(map(str, e.path))}: {e.message}" for e in SCHEMA.iter_errors(data)]


def test_the_schema_finds_faults() -> None:
    Draft7Validator.check_schema(SCHEMA.schema)
    sound = json.loads(GRAPHS[0].read_text("utf-8"))
    wrong: list[tuple[str, Any]] = [("metadata", {}), ("nodes", [{}]), ("links", [{"source": 1}])]
    for key, value in wrong:
        assert not SCHEMA.is_valid({**copy.deepcopy(sound), key: value})


def test_our_files_are_what_neuronpedia_asks_for(
    dallas: tuple[Circuit, Rows], small_circuit: Circuit, tmp_path: Path
) -> None:
    for number, (circuit, rows) in enumerate((dallas, (small_circuit, {}))):
        path = tmp_path / f"{number}.json"
        export(Document(circuit, rows), path)
        assert faults(path) == []
        assert "circuitscope" in json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("source", GRAPHS, ids=lambda path: path.stem)
def test_an_edited_import_is_as_sound_as_it_came(source: Path, tmp_path: Path) -> None:
    read = import_file(source)
    again = tmp_path / "again.json"
    key = RowKey("", "pin", str(read.circuit.nodes.key(0)))
    export(Document(read.circuit, {**read.rows, key: {}}, original=source.read_bytes()), again)
    assert "circuitscope" in json.loads(again.read_text("utf-8"))
    assert faults(again) == [] or set(faults(again)) <= set(faults(source))
    fresh = tmp_path / "fresh.json"
    export(Document(read.circuit, read.rows), fresh)
    assert faults(fresh) == []


def test_circuit_tracer_shares_an_id_and_a_name() -> None:
    read = graph("circuit_tracer")
    assert read.circuit.provenance.remarks == (
        "1 id stood for two nodes and was told apart by type.",
        "2 links left an id shared by a feature and an error; they were matched by order.",
    )
    labels = [row["label"] for key, row in read.rows.items() if key.kind == "group" and row]
    assert labels == ["say Austin", "say Austin"], "two groups may have one name"
    assert ids(read, "label") == {
        "feature/mlp_transcoder/1/0/57794", "feature/mlp_transcoder/1/1/57794",
    }  # fmt: skip
    assert read.circuit.root_weights.tolist() == pytest.approx([0.412])


def test_neuronpedia_writes_lists_as_text() -> None:
    read = graph("neuronpedia")
    assert ids(read, "pin") == {"feature/mlp_transcoder/1/1/57794", "logit/logits/2/1/22605"}
    assert ids(read, "member") == {
        "feature/mlp_transcoder/1/1/57794", "feature/mlp_transcoder/0/1/7",
    }  # fmt: skip
    assert ids(read, "label") == {"feature/mlp_transcoder/1/1/57794"}
    assert read.rows[RowKey("", "view", "link_graph")] == {"node_threshold": 0.6}
    assert read.circuit.provenance.libraries["generator"].endswith("0.4.1")
    assert read.circuit.provenance.remarks == ()


def test_anthropic_pins_by_js_node_id_and_numbers_features_after_their_layer() -> None:
    read = graph("anthropic")
    assert ids(read, "pin") == {"feature/mlp_transcoder/1/1/214", "logit/logits/17/1/22605"}
    assert ids(read, "member") == {
        "feature/mlp_transcoder/1/1/214", "feature/mlp_transcoder/0/1/31",
    }  # fmt: skip
    texts = dict(zip(map(str, map(read.circuit.nodes.key, range(5))), read.circuit.labels,
                     strict=True))  # fmt: skip
    assert texts["feature/mlp_transcoder/1/1/214"] == "Texas"


def test_llamascopium_has_attention_features_and_numbers_for_layers() -> None:
    read = graph("llamascopium")
    names = {str(read.circuit.nodes.key(i)) for i in range(len(read.circuit.nodes))}
    assert {
        "feature/mlp_transcoder/0/1/40", "feature/attn_out/1/1/12", "error/attn_out/1/1/-1",
        "error/mlp_out/1/1/-1", "logit/logits/2/1/6722",
    } <= names  # fmt: skip
    assert read.circuit.nodes.of_kind(NodeKind.BIAS).sum() == 1
    assert ids(read, "pin") == {"feature/attn_out/1/1/12"}


@pytest.mark.parametrize("source", GRAPHS, ids=lambda path: path.stem)
def test_an_unedited_import_is_its_bytes(source: Path, tmp_path: Path) -> None:
    read = import_file(source)
    path = tmp_path / "again.json"
    export(Document(read.circuit, read.rows, original=source.read_bytes()), path)
    assert path.read_bytes() == source.read_bytes()
