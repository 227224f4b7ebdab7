"""The two canvases over a real session and a real project, driven with the mouse."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest

from circuitscope.app.canvas import diagram_things
from circuitscope.app.canvas.camera import Camera
from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.canvas.legend import legend_entries, legend_rows
from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.theme import LIGHT
from circuitscope.app.words import percent
from circuitscope.core.binding import Binding
from circuitscope.core.circuit import Circuit
from circuitscope.exchange import drawn_links
from circuitscope.graph.influence import scores
from circuitscope.project import verbs
from circuitscope.session.session import Session

pytestmark = pytest.mark.qt


@pytest.fixture
def session(small_circuit: Circuit):
    session = Session()
    project = session.new_project()
    session.activate(project.add_finding(small_circuit, "Dallas"))
    yield session
    session.shut_down()


def show(qtbot, view):
    view.resize(900, 560)
    qtbot.addWidget(view)
    view.show()
    qtbot.waitExposed(view)
    return view


@pytest.fixture
def graph(qtbot, session):
    return show(qtbot, LinkGraphView(session, LIGHT))


@pytest.fixture
def diagram(qtbot, session):
    return show(qtbot, CircuitView(session, LIGHT))


def pixel_of(view: LinkGraphView, node: int) -> QPoint:
    return QPointF(*view.camera.to_pixels(view.scene.places[node][None])[0]).toPoint()


def test_zooming_keeps_the_point_under_the_cursor() -> None:
    camera, at = Camera(2.0, 3.0, 10, 20), QPointF(123, 45)
    before = camera.to_units(at)
    assert camera.zoomed(1.7, at).to_units(at) == pytest.approx(before)


def test_a_click_selects_the_nearest_node_and_shift_adds(graph, session) -> None:
    QTest.mouseClick(graph, Qt.MouseButton.LeftButton, pos=pixel_of(graph, 3) + QPoint(5, 4))
    assert session.selection == (3,)
    shift = Qt.KeyboardModifier.ShiftModifier
    QTest.mouseClick(graph, Qt.MouseButton.LeftButton, shift, pixel_of(graph, 4))
    assert session.selection == (3, 4)


def test_a_frame_selects_what_it_encloses(graph, session) -> None:
    corner = QPoint(graph.width() - 4, 4)
    QTest.mousePress(graph, Qt.MouseButton.LeftButton, pos=corner)
    QTest.mouseMove(graph, QPoint(80, graph.height() - 60))
    QTest.mouseRelease(graph, Qt.MouseButton.LeftButton, pos=QPoint(80, graph.height() - 60))
    assert set(session.selection) == set(graph.scene.shown.tolist())


def test_a_drag_that_starts_beside_a_node_draws_a_frame(graph, session) -> None:
    start, end = pixel_of(graph, 3) - QPoint(18, 18), pixel_of(graph, 4) + QPoint(18, 18)
    start, end = (QPoint(min(start.x(), end.x()), max(start.y(), end.y()) + 18),
                  QPoint(max(start.x(), end.x()), min(start.y(), end.y()) - 30))  # fmt: skip
    QTest.mousePress(graph, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(graph, end)
    QTest.mouseRelease(graph, Qt.MouseButton.LeftButton, pos=end)
    assert {3, 4} <= set(session.selection)


def test_a_click_beside_a_node_selects_it(graph, session) -> None:
    QTest.mouseClick(graph, Qt.MouseButton.LeftButton, pos=pixel_of(graph, 4) + QPoint(14, 10))
    assert session.selection == (4,)


def test_the_legend_tells_shapes_signs_and_what_is_held_fixed(graph, session) -> None:
    texts = [entry.text for entry in legend_entries(graph.scene)]
    assert texts[:2] == ["token, logit", "MLP feature"]
    fixed = "attention patterns and norms held fixed"
    assert texts[-4:] == ["+ adds", "− takes away", fixed, "constant not shown"]
    session.set_view(show_errors=False, show_biases=True)
    error = scores(session.circuit)["error_share"]
    words = [entry.text for entry in legend_entries(graph.scene)]
    assert words[-1] == f"unexplained not shown ({percent(error)})"


def test_the_legend_takes_another_row_where_there_is_little_room(graph) -> None:
    entries = legend_entries(graph.scene)
    rows = legend_rows(entries, graph.font(), 260)
    assert len(rows) > 1
    assert [entry for row in rows for _, entry in row] == entries
    assert all(row[0][0] == 0 for row in rows)


def test_a_grouped_root_keeps_its_name(graph, session) -> None:
    root = int(session.circuit.roots[0])
    before = graph._names[root]
    session.edit(verbs.group, [str(session.circuit.nodes.key(root))], "the answer")
    assert graph._names[root] == before


def test_ctrl_click_asks_to_pin(graph, qtbot) -> None:
    with qtbot.waitSignal(graph.pin_wanted) as asked:
        control = Qt.KeyboardModifier.ControlModifier
        QTest.mouseClick(graph, Qt.MouseButton.LeftButton, control, pixel_of(graph, 4))
    assert asked.args == [4]


def test_arrow_keys_walk_the_graph(graph, session) -> None:
    session.select([3])
    QTest.keyClick(graph, Qt.Key.Key_Up)
    assert session.selection == (4,)


def test_a_click_on_a_token_selects_its_column(graph, session) -> None:
    scene = graph.scene
    column = scene.layout.columns[int(scene.layout.column[1])]
    x = (column.start + column.stop) / 2 * graph.camera.scale_x + graph.camera.offset_x
    QTest.mouseClick(graph, Qt.MouseButton.LeftButton, pos=QPoint(int(x), graph.height() - 20))
    assert session.selection == (1,)


def test_thresholds_change_what_is_shown(graph, session) -> None:
    session.set_view(node_threshold=1.0, edge_threshold=1.0)
    every = len(graph.scene.shown)
    session.set_view(node_threshold=0.3)
    assert len(graph.scene.shown) < every


def test_groups_and_pins_take_colour_and_the_rest_fades(graph, session) -> None:
    session.edit(verbs.group, ["feature/mlp_out/0/7/214", "feature/mlp_out/1/7/88"], "Texas")
    scene = graph.scene
    assert scene.color[3] == scene.color[4] != 0
    assert scene.color[2] == 0
    assert scene.in_circuit[[3, 4, 7]].all()


def test_edges_are_drawn_in_full_once_the_camera_rests(graph, qtbot) -> None:
    graph.zoom(1.5)
    qtbot.waitUntil(lambda: graph._edges.is_complete, timeout=3000)
    picture = graph.grab().toImage()
    assert len({picture.pixel(x, y) for x in range(0, 900, 3) for y in range(0, 560, 3)}) > 5


def test_a_drag_on_the_ground_selects_the_boxes_it_touches(diagram, session) -> None:
    session.edit(verbs.pin, ["feature/mlp_out/1/7/88", "token/embed/-1/6/8"])
    end = QPoint(diagram.width() - 2, diagram.height() - 2)
    QTest.mousePress(diagram, Qt.MouseButton.LeftButton, pos=QPoint(2, 2))
    QTest.mouseMove(diagram, end)
    diagram.grab()
    QTest.mouseRelease(diagram, Qt.MouseButton.LeftButton, pos=end)
    assert set(session.selection) == {i for thing in diagram.shown.things for i in thing.members}
    QTest.mouseClick(diagram, Qt.MouseButton.LeftButton, pos=QPoint(2, 2))
    assert session.selection == ()


def test_dragging_a_box_is_one_edit_and_undo_brings_it_back(diagram, session) -> None:
    session.edit(verbs.pin, ["feature/mlp_out/1/7/88", "token/embed/-1/6/8"])
    before = list(diagram.places().values())
    face = diagram.shown.things[0].face
    start = QPointF(*diagram._camera.to_pixels(np.array([[face.x + 9, face.y + 9]]))[0]).toPoint()
    QTest.mousePress(diagram, Qt.MouseButton.LeftButton, pos=start)
    for step in range(1, 6):
        QTest.mouseMove(diagram, start + QPoint(12 * step, 0))
    QTest.mouseRelease(diagram, Qt.MouseButton.LeftButton, pos=start + QPoint(60, 0))
    apart = diagram.shown.things[0].face.x - diagram.shown.things[1].face.x
    assert apart > before[0][0] - before[1][0] + 20
    assert session.undo_text.startswith("Move")
    session.undo()
    assert list(diagram.places().values()) == before


def test_what_is_dragged_shows_where_it_is_before_it_is_let_go(diagram, session) -> None:
    session.edit(verbs.pin, ["feature/mlp_out/1/7/88", "token/embed/-1/6/8"])
    diagram.grab()
    start = diagram.middle_of(0).toPoint()
    QTest.mousePress(diagram, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(diagram, start + QPoint(80, 0))
    picture = diagram.grab().toImage()
    moved = picture.pixelColor(start + QPoint(80 + 12, -12))
    assert moved.name().upper() != LIGHT.panel.upper()
    assert not session.undo_text.startswith("Move")
    QTest.mouseRelease(diagram, Qt.MouseButton.LeftButton, pos=start + QPoint(80, 0))
    assert session.undo_text.startswith("Move")


def test_a_box_that_only_a_weak_edge_reaches_is_dragged_like_any_other(
    diagram, session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With no edge strong enough by itself, every edge drawn is some box's strongest one.
    monkeypatch.setattr(drawn_links, "LEAST_SHARE", 2.0)
    keys = session.circuit.nodes
    session.edit(verbs.pin, [str(keys.key(i)) for i in range(len(keys))])
    assert diagram.shown.links
    start = diagram.middle_of(0).toPoint()
    QTest.mousePress(diagram, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(diagram, start + QPoint(80, 0))
    QTest.mouseRelease(diagram, Qt.MouseButton.LeftButton, pos=start + QPoint(80, 0))
    assert session.undo_text.startswith("Move")


def test_too_many_boxes_are_said_and_grouping_is_offered(
    diagram, session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagram_things, "MOST_BOXES", 2)
    session.edit(verbs.pin, [
        "feature/mlp_out/0/7/214", "feature/mlp_out/1/7/88", "token/embed/-1/6/8"
    ])  # fmt: skip
    assert diagram.figure is None
    assert diagram._offer.isVisible()
    assert "3 boxes are more than can be laid out" in diagram._why_empty()
    monkeypatch.setattr(diagram_things, "MOST_BOXES", 3)
    QTest.mouseClick(diagram._offer, Qt.MouseButton.LeftButton)
    assert not diagram._offer.isVisible()
    assert {box.label for box in diagram.shown.boxes} == {"layer 0", "layer 1", "tokens"}


def test_the_place_looked_at_comes_back_with_its_circuit(graph, session, small_circuit) -> None:
    first = session.active
    second = session.project.add_finding(replace(small_circuit, labels=()), "again")
    graph.zoom(2.0)
    kept = graph.camera
    session.activate(second)
    assert graph.camera != kept
    session.activate(first)
    for name in ("scale_x", "scale_y", "offset_x", "offset_y"):
        assert getattr(graph.camera, name) == pytest.approx(getattr(kept, name))


def test_both_canvases_live_without_a_circuit(qtbot) -> None:
    session = Session()
    for kind in (LinkGraphView, CircuitView):
        view = show(qtbot, kind(session, LIGHT))
        assert not view.grab().isNull()
        view.fit()
    session.shut_down()


def test_a_note_is_dragged_over_the_figure_with_its_line(diagram, session) -> None:
    key = "feature/mlp_out/1/7/88"
    session.edit(verbs.pin, [key, "token/embed/-1/6/8"])
    about = Binding((key,))
    session.edit(verbs.note, "beside it", (-260.0, 60.0), 120.0, "slip", about=about)
    diagram.grab()
    figure, before = diagram.figure, diagram.places()
    note = next(thing for thing in diagram.shown.things if thing.id == "slip")
    middle = note.rect.center()
    start = QPoint(*diagram.camera.to_pixels(np.array([[middle.x(), middle.y()]]))[0].astype(int))
    QTest.mousePress(diagram, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(diagram, start + QPoint(40, 160))
    picture = diagram.grab().toImage()
    leader = next(layer for layer in figure.layers if layer.id == "leaders").curves
    x, y = leader.points[0].mean(axis=0)
    old = QPoint(*diagram.camera.to_pixels(np.array([[x, y]]))[0].round().astype(int))
    assert picture.pixelColor(old).name().upper() == LIGHT.panel.upper()
    assert diagram.figure is figure
    QTest.mouseRelease(diagram, Qt.MouseButton.LeftButton, pos=start + QPoint(40, 160))
    after = diagram.places()
    shift = np.subtract(after["slip"], before["slip"]) - np.subtract(after[key], before[key])
    np.testing.assert_allclose(shift * diagram.camera.scale_x, (40, 160), atol=1.5)
    assert session.undo_text == "Move 1 item"
