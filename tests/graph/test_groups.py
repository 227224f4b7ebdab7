"""Folding groups and what a view shows."""

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import RowKey, Rows
from circuitscope.graph.groups import fold, fold_nodes, unfold
from circuitscope.graph.prune import Reason
from circuitscope.graph.view import view_of


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
