"""The diagram as a user lays it out: align, frames, notes, sketches, nested groups."""

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.commands import diagram as commands
from circuitscope.app.commands import edits
from circuitscope.app.main_window import MainWindow
from circuitscope.project import verbs

CITY, CAPITAL = "token/embed/-1/6/8", "token/embed/-1/2/5"


@pytest.fixture
def view(drawn: MainWindow, qapp: QApplication) -> CircuitView:
    drawn.show_view("circuit")
    drawn.session.edit(verbs.pin, [str(drawn.session.circuit.nodes.key(i)) for i in range(5)])
    qapp.processEvents()
    return drawn.circuit_view


def rects(view: CircuitView) -> np.ndarray:
    return np.array([thing.rect.getRect() for thing in view.selected() if thing.has_place])


def thing(view: CircuitView, name: str):
    return next(one for one in view.shown.things if one.id == name)


def pixel(view: CircuitView, x: float, y: float) -> QPoint:
    return QPointF(*view._camera.to_pixels(np.array([[x, y]]))[0]).toPoint()


def drag(view: CircuitView, x: float, y: float, by: tuple[int, int]):
    start = pixel(view, x, y)
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    for step in (0.3, 0.7, 1.0):
        at = QPointF(start) + QPointF(*by) * step
        event_at = at.toPoint()
        QTest.mouseMove(view, event_at)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(*by))


@pytest.mark.parametrize(("edge", "axis", "share"), [
    ("left", 0, 0), ("centre", 0, 0.5), ("right", 0, 1), ("top", 1, 0), ("middle", 1, 0.5),
    ("bottom", 1, 1),
])  # fmt: skip
def test_align_is_one_edit(
    drawn: MainWindow, view: CircuitView, edge: str, axis: int, share: float
) -> None:
    session = drawn.session
    session.select(range(5))
    before = rects(view)
    drawn.desk.trigger(f"diagram.align_{edge}")
    after = rects(view)
    assert np.ptp(after[:, axis] + share * after[:, axis + 2]) == pytest.approx(0, abs=0.01)
    assert session.undo_text == f"Align {edge}"
    session.undo()
    np.testing.assert_allclose(rects(view), before, atol=0.01)


def test_distribute_makes_gaps_equal(drawn: MainWindow, view: CircuitView) -> None:
    drawn.session.select(range(5))
    drawn.desk.trigger("diagram.distribute_down")
    after = rects(view)
    after = after[np.argsort(after[:, 1])]
    gaps = after[1:, 1] - after[:-1, 1] - after[:-1, 3]
    assert np.ptp(gaps) == pytest.approx(0, abs=0.02)
    assert drawn.session.undo_text == "Distribute vertically"


def test_a_frame_takes_its_contents_along(
    drawn: MainWindow, view: CircuitView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    session.select([0])
    held = thing(view, str(session.circuit.nodes.key(0)))
    monkeypatch.setattr(commands, "ask_name", lambda *_: "Prompt")
    drawn.desk.trigger("diagram.frame")
    (name,) = session.drawing.of_kind("frame")
    session.select([])
    view.fit()
    other = next(
        one for one in view.shown.things if one.kind == "box" and not thing(view, name).holds(one)
    )
    frame = thing(view, name).face
    before, box, still = (frame.x, frame.y), thing(view, held.id).face, other.face
    drag(view, frame.x + 6, frame.y + 6, (40, 10))
    moved = thing(view, name).face.x - thing(view, other.id).face.x
    assert moved > before[0] - still.x + 20
    assert thing(view, held.id).face.x - thing(view, name).face.x == pytest.approx(
        box.x - before[0], abs=0.01
    )
    assert session.undo_text == "Move 1 item"


def test_a_frame_is_resized_by_its_corner(
    drawn: MainWindow, view: CircuitView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    session.select([0])
    monkeypatch.setattr(commands, "ask_name", lambda *_: "Prompt")
    drawn.desk.trigger("diagram.frame")
    (name,) = session.drawing.of_kind("frame")
    session.select([])
    view.fit()
    before, boxes = (
        thing(view, name).rect,
        {t.id: t.rect for t in view.shown.things if t.kind == "box"},
    )
    corner, scale = before.bottomRight(), view.camera.scale_x
    drag(view, corner.x() - 1, corner.y() - 1, (50, 30))
    after = thing(view, name).rect
    assert after.width() - before.width() == pytest.approx(50 / scale, abs=1.5)
    assert after.height() - before.height() == pytest.approx(30 / scale, abs=1.5)
    moved = after.topLeft() - before.topLeft()
    for box in (t for t in view.shown.things if t.kind == "box"):
        assert box.rect.topLeft() - boxes[box.id].topLeft() == moved
    assert session.undo_text == "Change frame “Prompt”"
    assert session.drawing.row("frame", name)["title"] == "Prompt"
    session.undo()
    assert thing(view, name).rect.width() == pytest.approx(before.width(), abs=0.01)


def test_notes_are_bound_to_what_is_selected_edited_and_erased(
    drawn: MainWindow, view: CircuitView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    circuit = session.circuit
    edge = circuit.inputs(4)[0]
    session.select([edge.source.index, 4])
    monkeypatch.setattr(commands, "ask_note", lambda *_: "# Why\n*this*")
    drawn.desk.trigger("diagram.note")
    ((name, row),) = session.drawing.of_kind("note").items()
    assert row["about"] == f"{edge.source.key} -> {circuit.nodes.key(4)}"
    assert any(layer.id == "leaders" for layer in view.figure.layers)
    monkeypatch.setattr(commands, "ask_note", lambda *_: "other")
    face = thing(view, name).face
    view.fit()
    at = pixel(view, face.x + face.width - 4, face.y + face.height - 4)
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=at)
    assert view.selected_items() == (name,)
    QTest.mouseDClick(view, Qt.MouseButton.LeftButton, pos=at)
    assert session.drawing.row("note", name)["text"] == "other"
    drawn.desk.trigger("diagram.erase")
    assert not session.drawing.of_kind("note")
    session.undo()
    assert session.drawing.row("note", name)["text"] == "other"


def test_sketches_are_drawn_between_boxes_and_go_together(
    drawn: MainWindow, view: CircuitView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    monkeypatch.setattr(commands, "ask_name", lambda *_: "syntax")
    drawn.desk.trigger("diagram.sketch_node")
    (name,) = session.drawing.of_kind("sketch_node")
    view._choose([thing(view, name), thing(view, str(session.circuit.nodes.key(0)))])
    drawn.desk.trigger("diagram.sketch_edge")
    ((_, row),) = session.drawing.of_kind("sketch_edge").items()
    assert name in (row["source"], row["target"])
    view._choose([thing(view, name)])
    drawn.desk.trigger("diagram.erase")
    assert not session.drawing.of_kind("sketch_edge")
    assert not session.drawing.of_kind("sketch_node")


def test_selecting_whole_groups_nests_them_and_their_title_folds_them(
    drawn: MainWindow, view: CircuitView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    keys = [str(session.circuit.nodes.key(i)) for i in range(5)]
    session.edit(verbs.group, keys[:2], "inner", group_id="inner")
    session.select([0, 1, 2])
    monkeypatch.setattr(edits, "ask_name", lambda *_: "outer")
    drawn.desk.trigger("graph.group")
    assert session.drawing.row("group", "inner")["label"] == "inner"
    outer = session.drawing.row("group", "inner")["parent"]
    boxes = {one.id for one in view.shown.things if one.kind == "box"}
    assert outer in boxes
    assert "inner" not in boxes
    drawn.desk.trigger("graph.open_group")
    assert "inner" in {one.id for one in view.shown.things if one.kind == "box"}
    session.select([0])
    drawn.desk.trigger("graph.open_group")
    assert keys[0] in {one.id for one in view.shown.things if one.kind == "box"}
    titles = [one for one in view.shown.things if one.kind == "open"]
    for one in titles:
        assert one.id in (f"open {outer}", "open inner")
    session.edit(verbs.open_group, outer, False)
    assert outer in {one.id for one in view.shown.things if one.kind == "box"}


def test_a_frame_around_a_member_of_an_unfolded_group_leaves_its_title_free(
    drawn: MainWindow, view: CircuitView, qapp: QApplication
) -> None:
    keys = [str(drawn.session.circuit.nodes.key(i)) for i in range(2)]
    drawn.session.edit(verbs.group, keys, "both")
    (group,) = drawn.session.drawing.of_kind("group")
    drawn.session.edit(verbs.open_group, group, open=True)
    drawn.session.select([0])
    opened = thing(view, f"open {group}").rect
    x, y, width, height = view.frame_around_selection()
    assert x < opened.left()
    assert y < opened.top() - 20
    assert x + width > opened.right()
    assert y + height > opened.bottom()
