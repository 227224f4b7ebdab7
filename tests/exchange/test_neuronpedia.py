"""Attribution-graph JSON: three dialects of ids and labels, broken files, our own round trip."""

import copy
import hashlib
import json
from typing import Any

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import Cancelled, UnreadableGraph
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.format import Document, WriteOptions, import_file
from circuitscope.exchange.formats.neuronpedia import Neuronpedia
from circuitscope.exchange.graph_nodes import cantor, uncantor
from circuitscope.graph.influence import influence


def index(circuit: Circuit, text: str) -> int:
    found = circuit.nodes.find(text)
    assert found is not None, text
    return found


def test_nodes_links_tokens_and_labels_arrive(graph: dict[str, Any], write) -> None:
    read = import_file(write(graph))
    circuit = read.circuit
    assert (read.name, circuit.tokens, circuit.token_ids) == (
        "dallas",
        ("<bos>", " Dallas"),
        (11, 12),
    )
    feature = index(circuit, "feature/mlp_transcoder/1/1/57794")
    assert circuit.nodes.activation[feature] == 1.25
    logit = index(circuit, "logit/logits/3/1/99")
    assert circuit.labels[logit] == " Austin"
    assert circuit.labels[index(circuit, "logit/logits/3/1/98")] == "\n"
    assert circuit.labels[index(circuit, "feature/mlp_transcoder/0/1/1")] == "cities"
    assert dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))[
        logit
    ] == pytest.approx(0.8)
    assert np.array_equal(circuit.nodes.influence, influence(circuit))
    assert circuit.provenance.model["name"] == "gemma-2-2b"
    assert circuit.provenance.libraries["generator"] == "circuit-tracer 0.4.1"
    assert read.digest == hashlib.sha256(json.dumps(graph).encode()).hexdigest()


def test_a_feature_and_an_error_that_share_an_id_stay_apart(graph: dict[str, Any], write) -> None:
    circuit = import_file(write(graph)).circuit
    feature = index(circuit, "feature/mlp_transcoder/0/1/1")
    error = index(circuit, "error/mlp_out/1/1/-1")
    assert [edge.source.index for edge in circuit.inputs(feature)] == [
        index(circuit, "token/embed/-1/1/12")
    ]
    assert circuit.inputs(error) == []
    assert sorted(edge.weight for edge in circuit.outputs(feature)) == [0.5, 1.0]
    assert [edge.weight for edge in circuit.outputs(error)] == [-0.25]
    assert any("stood for two nodes" in text for text in circuit.provenance.remarks)


def test_unknown_types_are_kept_and_named(graph: dict[str, Any], write) -> None:
    circuit = import_file(write(graph)).circuit
    assert circuit.nodes.of_kind(NodeKind.OPAQUE).sum() == 1
    assert "1 node of unknown type is kept without a change." in circuit.provenance.remarks


def test_pins_groups_and_missing_members(graph: dict[str, Any], write) -> None:
    read = import_file(write(graph))
    rows = read.rows_for("c1")
    pins = {key.id for key in rows if key.kind == "pin"}
    assert pins == {
        "feature/mlp_transcoder/0/1/1", "logit/logits/3/1/99", "feature/mlp_transcoder/1/1/57794",
    }  # fmt: skip
    groups = {key.id: row for key, row in rows.items() if key.kind == "group"}
    assert [row["label"] for row in groups.values()] == ["say Austin"]
    assert sum(key.kind == "member" for key in rows) == 2
    assert all(key.circuit_id == "c1" for key in rows)
    assert any("group member" in text for text in read.circuit.provenance.remarks)


def test_saved_views_as_text_are_read_like_lists(graph: dict[str, Any], write) -> None:
    as_lists = import_file(write(graph)).rows
    graph["qParams"]["pinnedIds"] = ",".join(graph["qParams"]["pinnedIds"])
    graph["qParams"]["supernodes"] = json.dumps(graph["qParams"]["supernodes"])
    assert import_file(write(graph)).rows == as_lists


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1670217704", {"feature/mlp_transcoder/1/1/57794", "feature/mlp_transcoder/1/0/57794"}),
        ("1_1670217704_0", {"feature/mlp_transcoder/1/0/57794"}),
        ("1_57794_1", {"feature/mlp_transcoder/1/1/57794"}),
        ("🤖1_57794", {"feature/mlp_transcoder/1/1/57794", "feature/mlp_transcoder/1/0/57794"}),
        ("🤖1670217704", {"feature/mlp_transcoder/1/1/57794", "feature/mlp_transcoder/1/0/57794"}),
    ],
)
def test_labels_in_every_dialect(
    graph: dict[str, Any], write, name: str, expected: set[str]
) -> None:
    graph["qParams"]["clerps"] = [[name, "say Austin"]]
    rows = import_file(write(graph)).rows
    labels = {key.id: row for key, row in rows.items() if key.kind == "label" and row}
    assert set(labels) == expected
    assert all(row == {"text": "say Austin", "source": "imported"} for row in labels.values())


def test_what_cannot_be_used_is_counted_and_the_rest_arrives(graph: dict[str, Any], write) -> None:
    graph["links"] += [
        {"source": "gone", "target": "4_99_1", "weight": 1.0},
        {"source": "E_11_0", "target": "gone too", "weight": 1.0},
        {"source": "E_11_0", "target": "4_99_1", "weight": float("nan")},
        {"source": "E_11_0", "target": "4_99_1", "weight": None},
        {"source": "E_11_0", "target": "4_99_1", "weight": 10**400},
        {"source": "4_99_1", "target": "4_99_1", "weight": 1.0},
        "no link",
    ]  # fmt: skip
    graph["nodes"] += [graph["nodes"][0], 7]
    circuit = import_file(write(graph)).circuit
    assert len(circuit.edges) == 8
    assert set(circuit.provenance.remarks) >= {
        "2 links pointed to missing nodes and were left out.",
        "3 links had no finite weight and were left out.",
        "1 link from a node to itself was left out.",
        "1 link could not be read and was left out.",
        "1 node repeated an id and was left out.",
        "1 node could not be read and was left out.",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"nodes": [],\n "links": [}', "line 2, column 12"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8"),
        (b"", "line 1, column 1"),
        (b"[1, 2]", "holds a list"),
        (b"3.5", "holds a number"),
        (b'{"examples_quantiles": []}', "the details of one feature"),
        (b'{"architectures": ["GPT2LMHeadModel"]}', "configuration of a model"),
        (b'{"nodes": [], "links": {}}', "no list of links"),
        (b'{"nodes": [], "links": []}', "holds no nodes"),
        (b"[" * 200_000, "graph"),
    ],
)
def test_files_that_are_no_graph_are_refused_in_plain_words(
    write, content: bytes, says: str
) -> None:
    with pytest.raises(UnreadableGraph) as caught:
        import_file(write(content))
    assert says in caught.value.message
    assert caught.value.kept
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UnreadableGraph, match=r"gone\.json"):
        import_file(tmp_path / "gone.json")


def test_hostile_values_never_crash(graph: dict[str, Any], write) -> None:
    odd: list[Any] = [None, True, -1, 1e300, 10**40, "", "x" * 3000, [], {}, "\ud800", "NaN"]
    for field in ("node_id", "layer", "ctx_idx", "feature", "feature_type", "clerp", "activation",
                  "jsNodeId", "token_prob"):  # fmt: skip
        for value in odd:
            data = copy.deepcopy(graph)
            for node in data["nodes"]:
                node[field] = value
            circuit = import_file(write(data)).circuit
            assert np.isfinite(circuit.nodes.activation).all()
            assert circuit.digest
    for field in ("metadata", "qParams"):
        for value in odd:
            import_file(write({**graph, field: value}))
            for inner in graph[field]:
                import_file(write({**graph, field: {**graph[field], inner: value}}))


def test_an_import_can_be_cancelled(graph: dict[str, Any], write) -> None:
    class Impatient:
        def phase(self, name: str, total: int = 0) -> None:
            if name == "Links":
                raise Cancelled

        def advance(self, steps: int = 1) -> None: ...
        def partial(self, result: Any) -> None: ...
        def note(self, text: str) -> None: ...

    with pytest.raises(Cancelled):
        import_file(write(graph), Impatient())


def test_graphs_without_logits_explain_their_ends(graph: dict[str, Any], write) -> None:
    graph["nodes"] = [n for n in graph["nodes"] if n["feature_type"] != "logit"]
    circuit = import_file(write(graph)).circuit
    assert {str(circuit.nodes.key(int(i))) for i in circuit.roots} == {
        "feature/mlp_transcoder/1/1/57794", "feature/mlp_transcoder/1/0/57794",
    }  # fmt: skip
    assert circuit.root_weights.sum() == pytest.approx(1)


def test_cantor_pairs_are_exact_beyond_floating_point() -> None:
    assert cantor(1, 57794) == 1670217704
    for layer, feature in ((0, 0), (25, 16383), (61, 2_000_000_011), (3, 10**12 + 7)):
        assert uncantor(cantor(layer, feature)) == (layer, feature)


def test_our_own_file_comes_back_exactly(dallas: tuple[Circuit, Rows], tmp_path) -> None:
    circuit, rows = dallas
    path = tmp_path / "out.json"
    Neuronpedia().write(Document(circuit, rows, name="Dallas"), path, WriteOptions())
    back = Neuronpedia().read(path, silent())
    assert back.circuit.digest == circuit.digest
    assert back.circuit.labels == circuit.labels
    assert back.circuit.provenance == circuit.provenance
    assert np.array_equal(back.circuit.nodes.influence, circuit.nodes.influence)
    assert back.rows_for("c") == rows


def test_what_others_read_of_our_file_holds_together(
    dallas: tuple[Circuit, Rows], tmp_path
) -> None:
    circuit, rows = dallas
    rows = {**rows, RowKey("c", "group", "second"): {"label": "Texas", "color": "rose"}}
    spare = next(str(circuit.nodes.key(i)) for i in range(len(circuit.nodes))
                 if RowKey("c", "member", str(circuit.nodes.key(i))) not in rows)  # fmt: skip
    rows[RowKey("c", "member", spare)] = {"group": "second"}
    path = tmp_path / "out.json"
    Neuronpedia().write(Document(circuit, rows), path, WriteOptions())
    data = json.loads(path.read_text())
    ids = [node["node_id"] for node in data["nodes"]]
    assert len(set(ids)) == len(ids) == len(circuit.nodes)
    assert {end for link in data["links"] for end in (link["source"], link["target"])} <= set(ids)
    labels = [group[0] for group in data["qParams"]["supernodes"]]
    assert len(set(labels)) == len(labels)
    assert "Texas (2)" in labels
    required = {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"}
    assert all(required <= set(node) for node in data["nodes"])
    del data["circuitscope"]
    path.write_text(json.dumps(data))
    foreign = import_file(path)
    assert len(foreign.circuit.nodes) == len(circuit.nodes)
    assert len(foreign.circuit.edges) == len(circuit.edges)
    assert foreign.circuit.nodes.of_kind(NodeKind.LOGIT).sum() == 4


def test_a_view_that_another_program_changed_wins_over_ours(
    dallas: tuple[Circuit, Rows], tmp_path
) -> None:
    path = tmp_path / "out.json"
    Neuronpedia().write(Document(*dallas), path, WriteOptions())
    data = json.loads(path.read_text())
    data["qParams"]["pinnedIds"] = data["qParams"]["pinnedIds"][:1]
    path.write_text(json.dumps(data))
    assert sum(key.kind == "pin" for key in import_file(path).rows) == 1


def test_a_large_graph_is_read_in_seconds(write) -> None:
    n = 3000
    nodes = [
        {"node_id": f"1_{i}_1", "feature_type": "cross layer transcoder", "layer": "1",
         "ctx_idx": 1, "feature": None, "jsNodeId": f"1_{i}-0", "clerp": ""}
        for i in range(n)
    ]  # fmt: skip
    nodes.append({"node_id": "3_5_1", "feature_type": "logit", "layer": "3", "ctx_idx": 1,
                  "feature": 5, "jsNodeId": "L_5-1", "clerp": 'Output "a" (p=1.0)'})  # fmt: skip
    links = [{"source": f"1_{i % n}_1", "target": "3_5_1", "weight": 0.5} for i in range(60_000)]
    read = import_file(write({"nodes": nodes, "links": links}))
    assert len(read.circuit.edges) == 60_000
    assert NodeKey.parse("logit/logits/2/1/5") == read.circuit.nodes.key(n)
