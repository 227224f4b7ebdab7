"""A large diagram is made between events: what was there stands until the new one is done."""

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from circuitscope.app.canvas import diagram_things
from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.theme import LIGHT
from circuitscope.core.circuit import Circuit
from circuitscope.project import verbs
from circuitscope.session.session import Session

pytestmark = pytest.mark.qt
KEYS = ("feature/mlp_out/0/7/214", "feature/mlp_out/1/7/88", "token/embed/-1/6/8")


@pytest.fixture
def session(small_circuit: Circuit):
    session = Session()
    project = session.new_project()
    session.activate(project.add_finding(small_circuit, "Dallas"))
    yield session
    session.shut_down()


@pytest.fixture
def view(qtbot: QtBot, session: Session, monkeypatch: pytest.MonkeyPatch) -> CircuitView:
    monkeypatch.setattr(diagram_things, "AT_ONCE", 1)
    view = CircuitView(session, LIGHT)
    view.resize(900, 560)
    qtbot.addWidget(view)
    view.show()
    qtbot.waitExposed(view)
    return view


def drag(view: CircuitView, by: QPoint) -> None:
    start = view.middle_of(0).toPoint()
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(view, start + by / 2)
    QTest.mouseMove(view, start + by)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + by)


def test_the_old_diagram_stands_until_the_new_one_is_made(
    view: CircuitView, session: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = view.figure
    session.edit(verbs.pin, KEYS)
    assert not view.is_complete
    assert view.figure is first
    qtbot.waitUntil(lambda: view.is_complete)
    in_steps = view.places()
    assert set(in_steps) == set(KEYS)
    monkeypatch.setattr(diagram_things, "AT_ONCE", 60)
    view.refresh()
    assert view.is_complete
    assert view.places() == in_steps


def test_an_edit_before_the_diagram_is_made_starts_it_anew(
    view: CircuitView, session: Session, qtbot: QtBot
) -> None:
    session.edit(verbs.pin, KEYS)
    session.edit(verbs.unpin, KEYS[:1])
    qtbot.waitUntil(lambda: view.is_complete)
    assert set(view.places()) == set(KEYS[1:])


def test_what_was_let_go_is_found_and_moved_on_before_the_diagram_is_made(
    view: CircuitView, session: Session, qtbot: QtBot
) -> None:
    session.edit(verbs.pin, KEYS)
    before = np.array([*view.places().values()])
    drag(view, QPoint(60, 0))
    assert not view.is_complete
    start = view.middle_of(0).toPoint() + QPoint(60, 0)
    assert view.thing_at(start) is view.shown.things[0]
    drag_from = start
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=drag_from)
    QTest.mouseMove(view, drag_from + QPoint(20, 0))
    QTest.mouseMove(view, drag_from + QPoint(40, 0))
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=drag_from + QPoint(40, 0))
    after = np.array([*view.places().values()])
    shift = (after - before) - (after - before)[1]
    assert shift[0, 0] * view.camera.scale_x == pytest.approx(100, abs=1)
    np.testing.assert_allclose(shift[1:], 0, atol=0.01)
    session.undo()
    session.undo()
    np.testing.assert_allclose([*view.places().values()], before, atol=0.01)


def test_places_asked_for_before_the_diagram_is_made_are_the_new_ones(
    view: CircuitView, session: Session
) -> None:
    session.edit(verbs.pin, KEYS)
    before = view.places()
    drag(view, QPoint(60, 0))
    assert not view.is_complete
    after = view.places()
    assert view.is_complete
    first, second = view.shown.things[0].id, view.shown.things[1].id
    moved = (after[first][0] - after[second][0]) - (before[first][0] - before[second][0])
    assert moved * view.camera.scale_x == pytest.approx(60, abs=1)
