"""Comparing in the window: overlay, classes, table, transfer, noise floor, kept, exported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from circuitscope.app.dialogs.comparison import ComparisonDialog
from circuitscope.app.dialogs.measure import MeasureDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.project_tree import ProjectTree
from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.comparison import node_order
from circuitscope.session import comparing
from circuitscope.session.measuring import start_measuring


@pytest.fixture
def atlas(window: MainWindow, tmp_path: Path, qapp: QApplication) -> MainWindow:
    """Return the window on a copy of the bundled atlas project."""
    target = tmp_path / "capitals.circuitscope"
    shutil.copy(shipped_path("projects", "atlas") / "capitals.circuitscope", target)
    window.open_path(target)
    qapp.processEvents()
    return window


def visible(window: MainWindow, kind: type) -> list:
    return [one for one in window.findChildren(kind) if one.isVisible()]


def test_dallas_against_oakland_in_five_clicks(
    atlas: MainWindow, finish_jobs: Callable, tmp_path: Path, qapp: QApplication
) -> None:
    session = atlas.session
    atlas.desk.trigger("verify.compare")  # 1
    (dialog,) = visible(atlas, ComparisonDialog)
    finish_jobs(session)
    assert dialog.windowTitle().startswith("Dallas against Oakland")
    assert not dialog.headline.isVisible()
    assert "Shared: 35 % of nodes" in dialog.noise.text()
    dialog.run_button.click()  # 2
    finish_jobs(session)
    assert dialog.headline.text().startswith("Dallas’s circuit keeps −")
    assert "Oakland’s own circuit" in dialog.headline.text()
    dialog.classes.buttons["both"].click()  # 3
    shown = {dialog.report.found.nodes[node].where for node in node_order(dialog.overlay.figure)}
    assert {"a", "b"} <= shown
    table = dialog.tables.tables["node"]
    assert {row.text(1) for row in table.rows()} == {"only Dallas", "only Oakland"}
    row = next(row for row in table.rows() if row.text(1) == "only Oakland")
    table.opened.emit(row.thing)  # 4
    assert session.project.finding(session.active).name == "Oakland"
    assert dialog.overlay.selected() == row.thing
    middle = dialog.overlay.ground().center()
    assert dialog.overlay.node_at(middle) == row.thing[0]
    dialog.keep_button.click()  # 5
    kept = comparing.comparisons(session)
    assert [info.name for info in kept] == ["Dallas against Oakland 2", "Dallas against Oakland"]
    for suffix in (".svg", ".pdf", ".png", ".csv", ".md"):
        dialog.export_to(str(tmp_path / f"out{suffix}"))
        assert (tmp_path / f"out{suffix}").stat().st_size > 1_000
    assert "only Oakland" in (tmp_path / "out.csv").read_text()
    assert "Dallas’s circuit keeps −" in (tmp_path / "out.md").read_text()
    assert "Not drawn: both." in (tmp_path / "out.svg").read_text()


def test_a_comparison_survives_save_and_opens_from_the_tree(
    atlas: MainWindow, finish_jobs: Callable, qapp: QApplication
) -> None:
    session = atlas.session
    atlas.desk.trigger("verify.compare")
    (dialog,) = visible(atlas, ComparisonDialog)
    finish_jobs(session)
    dialog.share.setCurrentIndex(dialog.share.findData(0.95))
    dialog.share.activated.emit(dialog.share.currentIndex())
    dialog.run_button.click()
    finish_jobs(session)
    said = dialog.headline.text()
    dialog.keep_button.click()
    assert not dialog.keep_button.isEnabled()
    dialog.keep_button.click()  # nothing new to keep
    assert len(comparing.comparisons(session)) == 2, "the example's own, and this one"
    dialog.close()
    session.save()
    path = session.project.path
    atlas.desk.trigger("file.close")
    atlas.open_path(path)
    qapp.processEvents()
    tree = atlas.findChild(ProjectTree)
    tree.rebuild()
    item = next(item for item in tree._items() if item.text(0) == "Dallas against Oakland 2")
    tree.setCurrentItem(item)
    at = tree.visualItemRect(item).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=at)
    (again,) = visible(atlas, ComparisonDialog)
    assert again.headline.text() == said
    assert again.chosen.node_threshold == 0.95
    assert again.keep_button.text() == "Kept"
    assert again.report.transfer.similar
    again.close()
    finish_jobs(session)


def test_one_click_traces_a_noise_floor(atlas: MainWindow, finish_jobs: Callable) -> None:
    session = atlas.session
    atlas.desk.trigger("verify.compare")
    (dialog,) = visible(atlas, ComparisonDialog)
    finish_jobs(session)
    active = session.active
    dialog.floor.setCurrentIndex(dialog.floor.findData("trace again"))
    dialog.floor.activated.emit(dialog.floor.currentIndex())
    finish_jobs(session)
    assert session.active == active
    floor = session.project.finding(dialog.chosen.floor)
    assert floor.name == "Dallas, budget 457"
    assert floor.n_nodes < 0.7 * session.project.finding(active).n_nodes
    assert dialog.report.floor.overlap()["nodes"] > 2 * dialog.report.found.overlap()["nodes"]
    assert "Noise floor, Dallas against Dallas, budget 457" in dialog.noise.text()
    dialog.run_button.click()
    finish_jobs(session)
    assert dialog.report.transfer.circuits[3] == floor.name
    assert dialog.report.transfer.kept[0, 3] > 0.7
    dialog.floor.setCurrentIndex(0)
    dialog.floor.activated.emit(0)
    assert len(dialog.report.transfer.circuits) == 3


def test_without_a_model_the_overlap_is_told(
    drawn: MainWindow, finish_jobs: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = drawn.session
    assert not drawn.desk.actions["verify.compare"].isEnabled()
    from circuitscope.app.dialogs import model_choice

    monkeypatch.setattr(model_choice, "bundled_models", list)
    session.project.add_finding(session.circuit, "Again")
    drawn.desk.trigger("verify.compare")
    (dialog,) = visible(drawn, ComparisonDialog)
    assert "No model is loaded" in dialog._told.text()
    assert not dialog.run_button.isEnabled()
    assert "Shared: 100 % of nodes, 100 % of edges" in dialog.noise.text()
    drawn.desk.trigger("file.close") if not session.is_modified else session.close()


def test_a_circuit_of_another_project_is_brought(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch, qapp: QApplication
) -> None:
    from circuitscope.app.dialogs import comparison

    path = shipped_path("projects", "atlas") / "capitals.circuitscope"
    monkeypatch.setattr(comparison.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(comparison.QInputDialog, "getItem", lambda *_: ("Oakland", True))
    drawn.session.project.add_finding(drawn.session.circuit, "Again")
    drawn.desk.trigger("verify.compare")
    (dialog,) = visible(drawn, ComparisonDialog)
    dialog.second.setCurrentIndex(dialog.second.findData("another project"))
    dialog.second.activated.emit(dialog.second.currentIndex())
    assert dialog.report.names[1] == "Oakland (capitals)"
    assert dialog.second.currentText() == "Oakland (capitals)"
    drawn.session.save()


def test_a_node_under_the_mouse_is_told_and_chosen(
    atlas: MainWindow, finish_jobs: Callable, qapp: QApplication
) -> None:
    atlas.desk.trigger("verify.compare")
    (dialog,) = visible(atlas, ComparisonDialog)
    finish_jobs(atlas.session)
    view = dialog.overlay
    qapp.processEvents()
    node = next(n for n, p in enumerate(dialog.report.found.nodes) if p.where == "a")
    at = view._pixel(node)
    QTest.mouseMove(view, at.toPoint())
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=at.toPoint())
    assert node in view.selected()
    assert "only Dallas" in view._told(node)
    assert view.grab().width() > 0
    before = view.camera
    view.zoom(2.0, QPointF(100, 100))
    assert view.camera.scale_x == pytest.approx(2 * before.scale_x)
    view.fit()


def test_a_kept_measurement_opens_from_the_tree(
    atlas: MainWindow, finish_jobs: Callable, qapp: QApplication
) -> None:
    session = atlas.session
    session.load_model(shipped_path("projects", "atlas") / "model", device="cpu")
    finish_jobs(session)
    start_measuring(session, level="node", points=2)
    finish_jobs(session)
    qapp.processEvents()
    session.activate(session.project.finding("Oakland").id)
    qapp.processEvents()
    tree = atlas.findChild(ProjectTree)
    tree.rebuild()
    item = next(item for item in tree._items() if item.text(0) == "Dallas, measured")
    at = tree.visualItemRect(item).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=at)
    (dialog,) = visible(atlas, MeasureDialog)
    assert dialog.found is not None
    assert session.project.finding(session.active).name == "Dallas"
    dialog.close()
    session.save()


def test_a_right_click_compares_with_what_was_on_screen(
    atlas: MainWindow, finish_jobs: Callable, qapp: QApplication
) -> None:
    tree = atlas.findChild(ProjectTree)
    tree.rebuild()
    item = next(item for item in tree._items() if item.text(0) == "Oakland")
    tree.setCurrentItem(item)  # as the press of a right click does
    qapp.processEvents()
    tree.rebuild()
    item = next(item for item in tree._items() if item.text(0) == "Oakland")
    menu = tree.menu_of(item)
    next(entry for entry in menu.actions() if entry.text() == "Compare with…").trigger()
    (dialog,) = visible(atlas, ComparisonDialog)
    assert dialog.report.names[:2] == ("Dallas", "Oakland")
    finish_jobs(atlas.session)
    menu.close()
