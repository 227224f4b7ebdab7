"""Folding groups and what a view shows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitscope.core.circuit import Circuit, EdgeTable
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import RowKey, Rows
from circuitscope.graph.groups import fold, fold_nodes, unfold
from circuitscope.graph.prune import Reason
from circuitscope.graph.view import view_of
from tests.graph.test_layout import random_circuit


@pytest.fixture
def rows(small_circuit: Circuit) -> Rows:
    keys = [str(small_circuit.nodes.key(i)) for i in range(9)]
    made: Rows = {RowKey("c", "group", "g"): {"label": "Texas", "color": "teal", "open": False}}
    made |= {RowKey("c", "member", keys[i]): {"group": "g"} for i in (3, 4)}
    made |= {RowKey("c", "pin", keys[i]): {} for i in (1, 2, 7)}
    made[RowKey("c", "label", keys[2])] = {"text": "state", "source": "person"}
    made[RowKey("c", "place", "g")] = {"x": 10, "y": 20}
    return made


def everything(circuit: Circuit) -> np.ndarray:
    return np.ones(len(circuit.nodes), bool)


def test_a_group_is_one_box_with_its_edges_summed(small_circuit: Circuit, rows: Rows) -> None:
    graph = fold(small_circuit, rows, everything(small_circuit))
    names = [box.label for box in graph.boxes]
    assert names == ["Dallas", "state", "Texas", "Austin"]
    group = graph.boxes[2]
    assert (group.is_group, list(group.members), group.layers) == (True, [3, 4], (0, 1))
    assert group.place == (10.0, 20.0)
    found = {
        (names[s], names[t]): (w, share, n)
        for s, t, w, share, n in zip(
            graph.source, graph.target, graph.weight, graph.share, graph.count, strict=True
        )
    }
    assert found["Texas", "Austin"] == (4.0, 1.0, 2)
    # inputs of the group from outside: 1.5, -0.25, 0.4 and 0.1; the 1.0 within does not count
    assert found["state", "Texas"][:2] == (1.5, pytest.approx(1.5 / 2.25))
    assert found["Dallas", "state"][1] == pytest.approx(0.8)


def test_shares_of_single_nodes_equal_those_of_the_circuit(small_circuit: Circuit) -> None:
    graph = fold_nodes(small_circuit, {}, everything(small_circuit))
    for i in range(len(small_circuit.edges)):
        edge = small_circuit.edge(i)
        at = [
            k for k in range(len(graph.share))
            if graph.boxes[graph.source[k]].members[0] == edge.source.index
            and graph.boxes[graph.target[k]].members[0] == edge.target.index
        ]  # fmt: skip
        assert graph.share[at[0]] == pytest.approx(edge.share, rel=1e-6)


def test_unfolding_gives_the_members_their_own_edges(small_circuit: Circuit, rows: Rows) -> None:
    graph = unfold(small_circuit, rows, everything(small_circuit), "g")
    assert graph.find("g") is None
    members = [box for box in graph.boxes if box.color == "teal"]
    assert len(members) == 2
    assert graph.weight.sum() == pytest.approx(2.0 + 1.5 + 1.0 + 3.0 + 1.0)
    rows[RowKey("c", "group", "g")] = {"label": "Texas", "color": "teal", "open": True}
    assert len(fold(small_circuit, rows, everything(small_circuit)).boxes) == len(graph.boxes)


def test_invisible_and_foreign_members_stay_outside(small_circuit: Circuit, rows: Rows) -> None:
    visible = everything(small_circuit)
    visible[3] = False
    rows[RowKey("c", "member", "feature/mlp_out/9/9/9")] = {"group": "g"}
    rows[RowKey("c", "pin", "no key at all")] = {}
    rows[RowKey("c", "group", "empty")] = {"label": "empty"}
    graph = fold(small_circuit, rows, visible)
    assert list(graph.boxes[graph.find("g") or 0].members) == [4]
    assert graph.find("empty") is None


def test_an_empty_drawing_folds_to_nothing(small_circuit: Circuit) -> None:
    graph = fold(small_circuit, {}, everything(small_circuit))
    assert graph.boxes == ()
    assert len(graph.weight) == 0


def test_a_view_gives_every_hidden_node_a_reason(small_circuit: Circuit, rows: Rows) -> None:
    key = str(small_circuit.nodes.key(2))
    rows[RowKey("c", "hidden", key)] = {}
    rows[RowKey("c", "view", "link_graph")] = {"node_threshold": 1.0, "show_errors": False}
    view = view_of(small_circuit, rows)
    assert view.reasons[2] == Reason.BY_HAND
    error = int(np.flatnonzero(small_circuit.nodes.of_kind(NodeKind.ERROR))[0])
    assert view.reasons[error] == Reason.ERROR
    assert sum(view.counts().values()) == int((~view.nodes).sum())
    assert not view.edges[small_circuit.edges.source == 2].any()
    assert Reason.SHOWN not in view.counts()


def test_constants_are_shown_when_asked_for(small_circuit: Circuit) -> None:
    bias = small_circuit.nodes.of_kind(NodeKind.BIAS)
    hidden = view_of(small_circuit, {})
    assert not hidden.nodes[bias].any()
    rows: Rows = {RowKey("c", "view", "link_graph"): {"show_biases": True, "node_threshold": 1.0}}
    shown = view_of(small_circuit, rows)
    assert shown.nodes[bias].all()
    assert shown.edges[bias[small_circuit.edges.source]].all()


NODES, MOST_GROUPS = 24, 6


def linked_circuit(seed: int) -> Circuit:
    rng = np.random.default_rng(seed)
    bare = random_circuit(NODES, seed)
    source, target = np.triu_indices(NODES, 1)
    some = rng.random(len(source)) < 0.3
    source, target = source[some], target[some]
    order = np.argsort(target, kind="stable")
    weight = rng.normal(size=len(order)).astype(np.float32)
    edges = EdgeTable(
        source[order].astype(np.int32), target[order].astype(np.int32), weight,
        np.zeros(len(order), np.uint8),
    )  # fmt: skip
    return replace(bare, edges=edges)


nestings = st.lists(
    st.tuples(st.integers(-1, MOST_GROUPS - 1), st.booleans()), min_size=1, max_size=MOST_GROUPS
)
memberships = st.lists(st.integers(-2, MOST_GROUPS - 1), min_size=NODES, max_size=NODES)


@settings(max_examples=60, deadline=None)
@given(nestings, memberships, st.integers(0, 2**32 - 1))
def test_sums_are_conserved_at_any_nesting_open_or_closed(
    nesting: list[tuple[int, bool]], membership: list[int], seed: int
) -> None:
    circuit = linked_circuit(seed)
    rows: Rows = {}
    for number, (parent, is_open) in enumerate(nesting):
        row = {"label": f"group {number}", "open": is_open}
        if parent >= 0:
            row["parent"] = f"g{parent}"  # rings and parents that are not there included
        rows[RowKey("c", "group", f"g{number}")] = row
    for node, group in enumerate(membership):
        key = str(circuit.nodes.key(node))
        if group >= 0:
            rows[RowKey("c", "member", key)] = {"group": f"g{group}"}
        elif group == -1:
            rows[RowKey("c", "pin", key)] = {}
    graph = fold(circuit, rows, everything(circuit))
    covered = [int(i) for box in graph.boxes for i in box.members]
    assert len(covered) == len(set(covered))
    drawn = {i for i, group in enumerate(membership) if -1 <= group < len(nesting)}
    assert set(covered) == drawn
    box_of = {int(i): number for number, box in enumerate(graph.boxes) for i in box.members}
    sums: dict[tuple[int, int], float] = {}
    for edge in range(len(circuit.edges)):
        ends = int(circuit.edges.source[edge]), int(circuit.edges.target[edge])
        pair = box_of.get(ends[0]), box_of.get(ends[1])
        if None not in pair and pair[0] != pair[1]:
            sums[pair] = sums.get(pair, 0.0) + float(circuit.edges.weight[edge])
    found = dict(zip(zip(graph.source.tolist(), graph.target.tolist(), strict=True),
                     graph.weight.tolist(), strict=True))  # fmt: skip
    assert found == pytest.approx(sums, abs=1e-4)


def test_the_outermost_closed_group_stands_for_all_in_it(small_circuit: Circuit) -> None:
    keys = [str(small_circuit.nodes.key(i)) for i in range(9)]
    rows: Rows = {
        RowKey("c", "group", "in"): {"label": "inner", "open": False, "parent": "out"},
        RowKey("c", "group", "out"): {"label": "outer", "color": "violet", "open": False},
        RowKey("c", "member", keys[3]): {"group": "in"},
        RowKey("c", "member", keys[4]): {"group": "out"},
    }
    (box,) = fold(small_circuit, rows, everything(small_circuit)).boxes
    assert (box.id, list(box.members), box.color) == ("out", [3, 4], "violet")
    rows[RowKey("c", "group", "out")] = {"label": "outer", "open": True}
    names = {box.id for box in fold(small_circuit, rows, everything(small_circuit)).boxes}
    assert names == {"in", keys[4]}
