from typing import Any
from urllib.parse import urlencode

import pytest

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import silent
from circuitscope.core.rows import RowKey
from circuitscope.engine.reading import read_graph_file
from circuitscope.exchange.format import import_file
from circuitscope.exchange.links import rows_of_link
from circuitscope.project.file import ProjectFile
from circuitscope.session.work import add_imported, take_link

CITIES, AUSTIN = "feature/mlp_transcoder/0/1/1", "logit/logits/3/1/99"
SAY = "feature/mlp_transcoder/1/1/57794"


def link(**fields: str) -> str:
    return f"https://www.neuronpedia.org/gemma-2-2b/graph?slug=dallas&{urlencode(fields)}"


def test_pins_groups_and_labels_of_a_link(graph: dict[str, Any], write) -> None:
    path = write(graph)
    read = import_file(path)
    address = link(
        pinnedIds="0_1_1,4_99_1,gone", supernodes='[["towns","0_1_1"]]',
        clerps='[["1670217704","say Austin"]]', pruningThreshold="0.5",
    )  # fmt: skip
    rows, remarks = rows_of_link(f"  {address}\n", read.circuit, path.read_bytes())
    assert {key.id for key in rows if key.kind == "pin"} == {CITIES, AUSTIN}
    assert rows[RowKey("", "member", CITIES)] is not None
    assert rows[RowKey("", "label", SAY)] == {"text": "say Austin", "source": "imported"}
    assert rows[RowKey("", "view", "link_graph")] == {"node_threshold": 0.5}
    assert remarks == ("1 pin named missing nodes and was left out.",)


@pytest.mark.parametrize("text", ["", "hello", "https://neuronpedia.org/x", "http://[", "?a=b"])
def test_what_is_no_such_link_is_told(graph, write, text: str) -> None:
    path = write(graph)
    read = import_file(path)
    with pytest.raises(UnreadableGraph, match="names no pins"):
        rows_of_link(text, read.circuit, path.read_bytes())


def test_link_of_another_graph_is_told(graph, write) -> None:
    path = write(graph)
    read = import_file(path)
    with pytest.raises(UnreadableGraph, match="None of the nodes"):
        rows_of_link(link(pinnedIds="9_9_9"), read.circuit, path.read_bytes())


def test_link_is_one_edit_of_the_drawing(graph, write, small_circuit) -> None:
    path = write(graph)
    with ProjectFile.create() as project:
        finding = add_imported(project, read_graph_file(path, silent()), path)
        drawing = project.drawing(finding)
        before = dict(drawing.rows)
        take_link(project, finding, link(pinnedIds="0_1_1"))
        assert set(drawing.of_kind("pin")) == {CITIES}
        assert drawing.undo_text == "Take the view of a link"
        drawing.undo()
        assert dict(drawing.rows) == before
        with pytest.raises(UnreadableGraph, match="imported from its files"):
            take_link(project, project.add(small_circuit), link(pinnedIds="0_1_1"))
