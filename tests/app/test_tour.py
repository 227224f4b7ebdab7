"""The tour is completed with real actions, can be left, and is remembered."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QFileDialog, QTreeWidget, QWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.dialogs.comparison import ComparisonDialog
from circuitscope.app.dialogs.export import ExportDialog
from circuitscope.app.dialogs.trial import TrialDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.tour import Ring, Tour, begin_tour
from circuitscope.app.tour_steps import ANSWER, steps


def click_ring(tour: Tour, qtbot: QtBot) -> None:
    """Click what the ring surrounds, as the eye is led."""
    tour.look()
    widget, part = steps()[tour.at].place(tour._window)
    assert tour._ring is not None
    assert tour._ring.geometry().contains(QPoint(
        widget.mapTo(widget.window(), part.center()).x(),
        widget.mapTo(widget.window(), part.center()).y(),
    ))  # fmt: skip
    target = widget.childAt(part.center()) or widget
    if isinstance(widget.parent(), QTreeWidget):
        target = widget
    qtbot.mouseClick(target, Qt.MouseButton.LeftButton, pos=target.mapFrom(widget, part.center()))


def test_six_real_actions_complete_the_tour(
    started: Application,
    window: MainWindow,
    qtbot: QtBot,
    finish_jobs: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tour = begin_tour(window)
    click_ring(tour, qtbot)
    qtbot.waitUntil(lambda: tour.at == 1)
    click_ring(tour, qtbot)
    qtbot.waitUntil(lambda: tour.at == 2)
    window.canvas().setFocus()
    qtbot.keyClick(window.canvas(), Qt.Key.Key_T)
    dialog = window.findChild(TrialDialog)
    finish_jobs(window.session)
    dialog.mode.setCurrentIndex(dialog.mode.findData("group"))
    tour.look()
    qtbot.mouseClick(dialog.try_button, Qt.MouseButton.LeftButton)
    finish_jobs(window.session)
    qtbot.waitUntil(lambda: tour.at == 3)
    told = max(dialog.found.shifts, key=lambda shift: shift.after)
    assert (told.text.strip(), told.after > 0.8) == (ANSWER, True)
    tour.look()
    assert tour._ring.parentWidget() is dialog
    dialog.close()
    qtbot.waitUntil(lambda: tour.at == 4)
    window.desk.trigger("verify.compare")
    comparison = window.findChild(ComparisonDialog)
    tour.look()
    assert tour._ring.parentWidget() is comparison
    qtbot.mouseClick(comparison.run_button, Qt.MouseButton.LeftButton)
    finish_jobs(window.session)
    assert "Dallas’s circuit keeps −" in comparison.headline.text()
    assert tour.at == 4
    comparison.close()
    qtbot.waitUntil(lambda: tour.at == 5)
    target = tmp_path / "dallas.svg"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    window.desk.trigger("file.export")
    export = window.findChild(ExportDialog)
    tour.look()
    assert tour._ring.parentWidget() is export
    qtbot.mouseClick(export.save_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: tour.at == 6)
    assert "Austin" in target.read_text("utf-8")
    assert started.session.preferences.now.learning.tour == "done"
    qtbot.mouseClick(tour.next_button, Qt.MouseButton.LeftButton)
    assert window.findChild(Tour) is None
    assert window.findChild(Ring) is None


def test_it_is_offered_once_left_with_a_key_and_begun_again_from_the_menu(
    started: Application, window: MainWindow, qtbot: QtBot, qapp: QApplication
) -> None:
    started.begin()
    tour = window.findChild(Tour)
    assert tour is not None
    assert QApplication.activeModalWidget() is None
    before: QWidget | None = qapp.focusWidget()
    tour.look()
    assert qapp.focusWidget() is before, "it must not take the focus"
    tour.leave_button.setFocus()
    qtbot.keyClick(tour.leave_button, Qt.Key.Key_Space)
    assert window.findChild(Tour) is None
    started.begin()
    assert window.findChild(Tour) is None
    window.desk.trigger("help.tour")
    assert window.findChild(Tour).at == 0


def test_every_step_can_be_skipped_and_a_change_of_colours_keeps_the_place(
    started: Application, window: MainWindow, qtbot: QtBot
) -> None:
    begin_tour(window).go_on()
    started.session.preferences.change("appearance", theme="dark")
    qtbot.waitUntil(lambda: started.window is not window)
    tour = started.window.findChild(Tour)
    assert tour.at == 1
    while tour.at < len(steps()):
        qtbot.mouseClick(tour.next_button, Qt.MouseButton.LeftButton)
    assert started.session.preferences.now.learning.tour == "done"
