"""Two halves of the window: anything in either, selection and hover linked, a click takes over."""

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.main_window import MainWindow
from circuitscope.core.shipped import shipped_path
from circuitscope.project import verbs


@pytest.fixture
def halves(window: MainWindow, tmp_path: Path, qapp: QApplication) -> MainWindow:
    """Return the window on the atlas project, Dallas and Oakland beside each other."""
    target = tmp_path / "capitals.circuitscope"
    shutil.copy(shipped_path("projects", "atlas") / "capitals.circuitscope", target)
    window.open_path(target)
    window.resize(1440, 900)
    window.desk.trigger("window.split")
    window.split.show_beside(window.session.project.finding("Oakland").id)
    qapp.processEvents()
    return window


def name_of(window: MainWindow, circuit_id: str) -> str:
    return window.session.project.finding(circuit_id).name


def test_selection_and_hover_are_linked_by_identity(halves: MainWindow) -> None:
    session, side = halves.session, halves.split.side
    assert name_of(halves, side.document.active) == "Oakland"
    session.select([int(session.circuit.roots[0])])
    assert side.document.selection == (int(side.document.circuit.roots[0]),)
    key = session.circuit.nodes.key
    shared = next(
        n for n in halves.link_graph.scene.shown
        if side.document.circuit.nodes.find(key(int(n))) is not None
        and key(int(n)) != key(int(session.circuit.roots[0]))
    )  # fmt: skip
    session.select([int(shared)])
    there = side.document.selection
    assert [side.document.circuit.nodes.key(n) for n in there] == [key(int(shared))]
    halves.link_graph.hovered.emit(int(session.circuit.roots[0]))
    assert side.link_graph._hover == int(side.document.circuit.roots[0])
    halves.link_graph.hovered.emit(None)
    assert side.link_graph._hover is None
    # A feature of Texas is silent on Oakland: nothing is selected there.
    texas = next(
        n for n in range(len(session.circuit.nodes)) if session.label(n) == "Texas"
    )  # fmt: skip
    session.select([texas])
    assert side.document.selection == ()


def test_a_click_into_the_other_half_takes_over(halves: MainWindow, qtbot: QtBot) -> None:
    session, split = halves.session, halves.split
    side = split.side
    node = int(side.document.circuit.roots[0])
    at = side.link_graph._pixel(node).toPoint()
    right = side.geometry()
    QTest.mouseClick(side.link_graph, Qt.MouseButton.LeftButton, pos=at)
    qtbot.waitUntil(lambda: name_of(halves, session.active) == "Oakland")
    assert session.selection == (node,)
    assert split.indexOf(split.main) == 1
    qtbot.waitUntil(lambda: abs(split.main.geometry().x() - right.x()) < 4)
    assert name_of(halves, side.document.active) == "Dallas"
    assert side.document.selection == (int(side.document.circuit.roots[0]),)
    halves.desk.trigger("graph.pin")
    assert session.undo_text
    halves.desk.trigger("window.other_half")
    assert name_of(halves, session.active) == "Dallas"
    assert split.indexOf(split.main) == 0
    halves.session.save()


def test_each_half_keeps_where_the_user_looked(halves: MainWindow, qapp: QApplication) -> None:
    split = halves.split
    halves.link_graph.zoom(3.0)
    here = halves.link_graph.camera
    split.swap()
    qapp.processEvents()
    assert split.side.link_graph.camera.scale_x == pytest.approx(here.scale_x, rel=0.05)
    assert halves.link_graph.camera.scale_x < here.scale_x


def test_two_drawings_of_one_circuit_stand_beside_each_other(
    halves: MainWindow, qapp: QApplication
) -> None:
    session, side = halves.session, halves.split.side
    second = session.project.add_drawing(session.active, "Figure 2")
    qapp.processEvents()
    side.box.setCurrentIndex(side.box.findData(second))
    side.box.activated.emit(side.box.currentIndex())
    assert side.document.active_drawing == second
    node = int(session.circuit.roots[0])
    session.select([node])
    assert side.document.selection == (node,)
    side.show_view("circuit")
    qapp.processEvents()
    assert side.circuit_view.isVisible()
    assert side.grab().width() > 0
    session.save()


def test_what_is_deleted_or_closed_leaves_the_other_half(
    halves: MainWindow, qapp: QApplication
) -> None:
    session, split = halves.session, halves.split
    session.edit_project(verbs.delete_finding, split.side.document.active)
    qapp.processEvents()
    assert name_of(halves, split.side.document.active) == "Dallas"
    session.undo()
    halves.desk.trigger("window.split")
    assert split.side is None
    assert split.main.head.isHidden()
    halves.desk.trigger("window.split")
    session.save()
    halves.desk.trigger("file.close")
    qapp.processEvents()
    assert split.side is None


def test_a_menu_of_the_other_half_is_for_its_node(halves: MainWindow, qapp: QApplication) -> None:
    side = halves.split.side
    node = int(side.document.circuit.roots[0])
    side.document.select([node])
    side.link_graph.menu_wanted.emit(node, QPoint(10, 10))
    assert name_of(halves, halves.session.active) == "Oakland"
    assert halves.session.selection == (node,)
    QApplication.activePopupWidget().close()


def test_a_change_of_colours_keeps_both_halves(
    halves: MainWindow, started: Application, qtbot: QtBot
) -> None:
    started.session.preferences.change("appearance", theme="dark")
    qtbot.waitUntil(lambda: started.window is not halves)
    side = started.window.split.side
    assert side is not None
    assert name_of(started.window, side.document.active) == "Oakland"


def test_a_project_opens_again_as_it_was_split(halves: MainWindow, qapp: QApplication) -> None:
    session, split = halves.session, halves.split
    path = session.project.path
    split.side.show_view("circuit")
    split.swap()
    split.main.circuit_view.zoom(2.0)
    shown = split.kept()
    assert shown[1:] == ["link", "left"]
    looked = split.main.circuit_view.camera
    halves.desk.trigger("file.close")
    qapp.processEvents()
    assert not split.is_split
    halves.open_path(path)
    qapp.processEvents()
    assert split.kept() == shown
    assert name_of(halves, session.active) == "Oakland"
    assert split.main.shown() == "circuit"
    assert split.main.circuit_view.camera.scale_x == pytest.approx(looked.scale_x, rel=0.01)


def test_a_box_under_the_mouse_stands_out_in_both_halves(
    halves: MainWindow, qapp: QApplication
) -> None:
    split = halves.split
    for half in (split.main, split.side):
        half.show_view("circuit")
    qapp.processEvents()
    here, there = split.main.circuit_view, split.side.circuit_view
    root = int(halves.session.circuit.roots[0])
    box = next(at for at, one in enumerate(here.shown.boxes) if root in one.members)
    QTest.mouseMove(here, here.middle_of(box).toPoint())
    other = int(split.side.document.circuit.roots[0])
    assert other in there.shown.boxes[there._hover.box].members
    assert there._hover.lit(there.shown) is not None
    QTest.mouseMove(here, QPoint(2, here.height() - 3))
    assert there._hover.box is None
