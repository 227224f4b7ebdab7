"""An imported graph comes back byte for byte; an edit changes what was edited and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from circuitscope.core.progress import silent
from circuitscope.core.rows import RowKey
from circuitscope.engine.reading import read_graph_file
from circuitscope.exchange.format import Document, Imported, export, import_file
from circuitscope.session.session import Session
from circuitscope.session.work import add_imported, export_circuit, original_of

CITIES = "feature/mlp_transcoder/0/1/1"


@pytest.fixture
def rich(graph: dict[str, Any]) -> dict[str, Any]:
    """Return a graph with keys that nobody knows, at every level."""
    graph["future"] = {"deep": [1, {"x": None}]}
    graph["nodes"][2]["vis_link"] = "…"
    graph["links"][0]["note"] = "kept"
    graph["qParams"] |= {"clerps": [["2", "many"]], "gridsnap": True, "hiddenIds": ["x"]}
    return graph


def again(read: Imported, tmp_path: Path, **rows: Any) -> tuple[bytes, Imported]:
    path = tmp_path / "again.json"
    changed = {**read.rows, **{RowKey("", kind, CITIES): row for kind, row in rows.items()}}
    original = (tmp_path / "graph.json").read_bytes()
    export(Document(read.circuit, changed, original=original), path)
    return path.read_bytes(), import_file(path)


def test_unedited_graph_is_written_byte_for_byte(rich: dict[str, Any], write, tmp_path) -> None:
    content = json.dumps(rich, indent=3).encode() + b"\n  "
    assert again(import_file(write(content)), tmp_path)[0] == content


def test_one_rename_changes_one_label(rich: dict[str, Any], write, tmp_path: Path) -> None:
    read = import_file(write(rich))
    content, back = again(read, tmp_path, label={"text": "towns", "source": "person"})
    data = json.loads(content)
    ours = data.pop("circuitscope")
    assert ours["provenance"]["source_file"] == "graph.json"
    assert ours["digest"] == read.circuit.digest
    assert data["qParams"].pop("clerps") == [["2", "many"], ["0_1_1", "towns"]]
    rich["qParams"].pop("clerps")
    assert data == rich
    assert back.circuit.digest == read.circuit.digest
    assert back.rows[RowKey("", "label", CITIES)] == {"text": "towns", "source": "person"}


def test_rows_without_a_place_in_the_dialect_come_back(rich, write, tmp_path: Path) -> None:
    read = import_file(write(rich))
    content, back = again(read, tmp_path, hidden={}, pin={})
    assert back.rows[RowKey("", "hidden", CITIES)] == {}
    assert "0_1_1" in json.loads(content)["qParams"]["pinnedIds"]
    third = tmp_path / "third.json"
    export(Document(back.circuit, back.rows, original=content), third)
    assert third.read_bytes() == content


def test_an_original_of_another_circuit_is_not_used(graph, write, small_circuit, tmp_path) -> None:
    path = tmp_path / "x.json"
    export(Document(small_circuit, {}, original=write(graph).read_bytes()), path)
    assert import_file(path).circuit.digest == small_circuit.digest


def test_a_project_gives_an_imported_graph_back(rich, write, tmp_path: Path) -> None:
    source, out = write(rich), tmp_path / "out.json"
    session = Session()
    try:
        project = session.new_project()
        finding = add_imported(project, read_graph_file(source, silent()), source)
        drawing = project.drawing(finding)
        original = original_of(project, finding, out)
        export_circuit(project.circuit(finding), drawing.rows, out, original=original)
        assert out.read_bytes() == source.read_bytes()
        drawing.label(CITIES, "towns")
        session.export(out, finding)
        assert "towns" in out.read_text("utf-8")
        drawing.undo()
        session.export(out, finding)
        assert out.read_bytes() == source.read_bytes()
    finally:
        session.shut_down()


def test_saved_places_are_read_and_written_in_the_order_of_the_front_end(
    graph: dict[str, Any], write, tmp_path: Path
) -> None:
    graph["qParams"]["supernodes"] = [["say Austin", "1_57794_1", "1_57794_0"]]
    graph["qParams"]["pinnedIds"] = ["0_1_1", "4_99_1", "1_57794_1", "1_57794_0"]
    # Sorted characters of the feature numbers: the logit's none, "1670217704 1670217704", "2".
    graph["qParams"]["sg_pos"] = "100 0 500 500 1000 1000"
    read = import_file(write(graph))
    places = {key.id: row for key, row in read.rows.items() if key.kind == "place"}
    assert places == {
        "logit/logits/3/1/99": {"x": 90.0, "y": 0.0},
        "imported-001": {"x": 450.0, "y": 300.0},
        CITIES: {"x": 900.0, "y": 600.0},
    }
    path = tmp_path / "ours.json"
    export(Document(read.circuit, read.rows), path)
    data = json.loads(path.read_text("utf-8"))
    del data["circuitscope"]
    path.write_text(json.dumps(data), "utf-8")
    back = {key.id: row for key, row in import_file(path).rows.items() if key.kind == "place"}
    assert sorted((row["x"], row["y"]) for row in back.values()) == [
        (90.0, 0.0), (450.0, 300.0), (900.0, 600.0)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["1 2", "a b c d e f", "1 2 3 nan 5 6", "9e99 1 1 1 1 1"])
def test_places_that_do_not_fit_are_told_and_left_out(graph, write, text: str) -> None:
    graph["qParams"] |= {"supernodes": [], "pinnedIds": ["0_1_1", "4_99_1", "x"], "sg_pos": text}
    read = import_file(write(graph))
    assert not any(key.kind == "place" for key in read.rows)
    assert any("saved places" in remark for remark in read.circuit.provenance.remarks)
