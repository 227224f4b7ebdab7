"""Focus, paths and filters on the link graph, and the sliders that choose nodes and edges."""

import numpy as np
import pytest
from PySide6.QtCore import QRect

from circuitscope.app.commands import views
from circuitscope.graph.prune import Reason
from circuitscope.project import verbs
from circuitscope.session.session import Session

pytestmark = pytest.mark.qt


def test_focus_leaves_what_feeds_the_selection_and_escape_leaves_it(drawn) -> None:
    session, graph = drawn.session, drawn.link_graph
    session.select([4])
    before = len(graph.scene.edges)
    drawn.desk.trigger("view.focus_inputs")
    focus = session.focus
    assert focus.nodes[4]
    assert not focus.nodes[int(session.circuit.roots[0])]
    assert len(graph.scene.edges) == int((focus.edges & session.shown().edges).sum()) < before
    assert (graph.scene.color[~focus.nodes] == 0).all()
    assert "Esc leaves" in graph._legend[-1].text
    drawn.desk.trigger("edit.select_none")
    assert session.focus is None
    assert session.selection == (4,)
    assert len(graph.scene.edges) == before
    drawn.desk.trigger("edit.select_none")
    assert session.selection == ()


def test_focus_on_both_is_inputs_and_outputs_together(drawn) -> None:
    session = drawn.session
    session.select([4])
    masks = []
    for name in ("inputs", "outputs", "both"):
        drawn.desk.trigger(f"view.focus_{name}")
        masks.append(session.focus.nodes)
    assert (masks[2] == masks[0] | masks[1]).all()


def test_paths_between_two_nodes_are_shown_and_named(drawn) -> None:
    session = drawn.session
    root, token = int(session.circuit.roots[0]), 1
    session.select([root, token])
    drawn.desk.trigger("view.paths")
    focus = session.focus
    assert focus.is_path
    assert focus.nodes[[root, token]].all()
    said = drawn.statusBar().currentMessage()
    assert "%" in said
    assert said.endswith(session.label(root))
    assert session.label(token) in said


def test_nodes_without_a_path_are_said_to_have_none(drawn) -> None:
    session = drawn.session
    session.set_view(filter="kind:token")
    session.select([0, 1])
    drawn.desk.trigger("view.paths")
    assert session.focus is None
    assert "No path" in drawn.statusBar().currentMessage()


def test_a_filter_leaves_what_it_asks_for_counts_the_rest_and_is_undone(
    drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    monkeypatch.setattr(views, "ask_name", lambda *_: "kind:feature layer:0")
    before = int(session.shown().nodes.sum())
    drawn.desk.trigger("view.filter")
    view, nodes = session.shown(), session.circuit.nodes
    kept = np.flatnonzero(view.nodes)
    roots = set(session.circuit.roots.tolist())
    assert all(nodes.layer[n] == 0 or n in roots for n in kept)
    assert view.counts()[Reason.FILTER] == before - len(kept)
    assert "Filter" in session.undo_text
    drawn.desk.trigger("view.no_filter")
    assert int(session.shown().nodes.sum()) == before
    session.undo()
    assert int(session.shown().nodes.sum()) == len(kept)


def test_a_filter_by_verification_follows_the_drawing(drawn) -> None:
    session = drawn.session
    session.set_view(filter="mine")
    assert set(np.flatnonzero(session.shown().nodes)) == set(session.circuit.roots.tolist())
    session.edit(verbs.label, str(session.circuit.nodes.key(4)), "Texas")
    assert session.shown().nodes[4]


def test_a_filter_that_cannot_be_read_shows_everything(drawn) -> None:
    session: Session = drawn.session
    before = int(session.shown().nodes.sum())
    session.set_view(filter="layer:x")
    assert int(session.shown().nodes.sum()) == before


def test_the_edge_slider_changes_edges_live_and_undoes_as_one(drawn, qapp) -> None:
    session, slider = drawn.session, drawn.toolbar.edge_threshold
    every = int(session.shown().edges.sum())
    for value in (90, 60, 40):
        slider.slider.setValue(value)
    qapp.processEvents()
    shown = int(session.shown().edges.sum())
    assert shown < every
    assert slider._numbers.text() == f"{shown} of {len(session.circuit.edges)}"
    session.undo()
    assert int(session.shown().edges.sum()) == every


def test_a_path_stands_out_in_the_circuit_view_as_well(drawn, qapp) -> None:
    session, view = drawn.session, drawn.circuit_view
    circuit = session.circuit
    keys = [str(circuit.nodes.key(n)) for n in range(len(circuit.nodes))]
    root, token = int(circuit.roots[0]), 1
    off = next(n for n in range(len(keys)) if n not in (root, token))
    session.edit(verbs.pin, [key for n, key in enumerate(keys) if n != off])
    drawn.show_view("circuit")
    qapp.processEvents()

    def contrast(node: int) -> int:
        """How far the strongest ink in a node's box is from the page."""
        number = next(i for i, box in enumerate(view.shown.boxes) if box.members.tolist() == [node])
        face = view.shown.faces[number]
        corner = view.camera.to_pixels(np.array([[face.x, face.y]]))[0]
        size = np.array([face.width, face.height]) * view.camera.scale_x
        image = view.grab(QRect(*corner.astype(int), *size.astype(int))).toImage()
        greys = [
            image.pixelColor(x, y).lightness()
            for x in range(image.width()) for y in range(image.height())
        ]  # fmt: skip
        return max(greys) - min(greys)

    inside = {n: contrast(n) for n in range(len(keys)) if n != off}
    session.select([root, token])
    drawn.desk.trigger("view.paths")
    focus = session.focus
    assert drawn.shown_view() == "circuit"
    session.select([])
    for node, before in inside.items():
        if focus.nodes[node]:
            assert contrast(node) > 0.8 * before, node
        else:
            assert contrast(node) < 0.6 * before, node
    assert not all(focus.nodes[n] for n in inside)
    session.set_focus(None)
    assert contrast(next(n for n in inside if not focus.nodes[n])) > 100
