"""Colours and shapes by hand and by rule: what goes before what, and what files may hold."""

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import RowKey, Rows
from circuitscope.graph.groups import fold
from circuitscope.graph.looks import looks_of
from circuitscope.graph.query import Matcher, parse_query

FEATURE = "feature/mlp_out/1/7/88"


def rule(name: str, index: int, query: str, color: str = "", shape: str = "") -> Rows:
    row = {"query": query, "color": color, "shape": shape, "index": index}
    return {RowKey("c", "look_rule", name): row}


def test_by_hand_goes_before_rules_and_the_first_rule_counts(small_circuit: Circuit) -> None:
    rows = rule("b", 1, "kind:feature", "violet", "square") | rule("a", 2, "layer:1", "amber")
    rows[RowKey("c", "look", FEATURE)] = {"color": "rose", "shape": ""}
    looks, nodes = looks_of(small_circuit, rows), small_circuit.nodes
    by_hand = nodes.find(FEATURE)
    assert (looks.color(by_hand), looks.shape(by_hand)) == ("rose", "")
    features = Matcher(small_circuit, {}).find(parse_query("kind:feature"))
    others = [i for i in np.flatnonzero(features).tolist() if i != by_hand]
    assert others
    assert {(looks.color(i), looks.shape(i)) for i in others} == {("violet", "square")}
    tokens = Matcher(small_circuit, {}).find(parse_query("kind:token"))
    assert all(looks.color(int(i)) == "" for i in np.flatnonzero(tokens))
    assert [look.title for look in looks.among(features)] == ["by hand", "kind:feature"]


def test_rules_that_cannot_be_read_and_unknown_names_change_nothing(small_circuit: Circuit) -> None:
    rows = rule("a", 0, 'layer:"', "violet") | rule("b", 1, "kind:feature", "no such", "blob")
    rows[RowKey("c", "look", "feature/mlp_out/9/9/9")] = {"color": "rose", "shape": "ring"}
    looks = looks_of(small_circuit, rows)
    assert (looks.of == -1).all() or not any(map(looks.color, range(len(small_circuit.nodes))))
    assert not looks.among(np.ones(len(small_circuit.nodes), bool))


def test_a_sign_is_that_of_the_edges_into_what_is_explained(small_circuit: Circuit) -> None:
    circuit = small_circuit
    matcher = Matcher(circuit, {})
    adds, takes = (np.flatnonzero(matcher.find(parse_query(f"sign:{s}"))) for s in "+-")
    assert len(adds)
    assert not set(adds) & set(takes)
    total = dict.fromkeys(range(len(circuit.nodes)), 0.0)
    for root, weight in zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True):
        for edge in circuit.inputs(root):
            total[edge.source.index] += weight * edge.weight
    assert set(adds.tolist()) == {i for i, value in total.items() if value > 0}
    assert set(takes.tolist()) == {i for i, value in total.items() if value < 0}
    assert str(parse_query("sign:-")) == str(parse_query(str(parse_query("sign:-"))))


def test_boxes_of_single_nodes_have_the_look_and_groups_keep_theirs(small_circuit: Circuit) -> None:
    rows = rule("a", 0, "kind:feature", "violet", "ring")
    rows[RowKey("c", "pin", FEATURE)] = {}
    rows[RowKey("c", "group", "g")] = {"label": "g", "color": "teal"}
    rows[RowKey("c", "member", "feature/mlp_out/0/7/214")] = {"group": "g"}
    boxes = {box.id: box for box in fold(small_circuit, rows, np.ones(9, bool)).boxes}
    assert (boxes[FEATURE].color, boxes[FEATURE].shape) == ("violet", "ring")
    assert (boxes["g"].color, boxes["g"].shape) == ("teal", "")
