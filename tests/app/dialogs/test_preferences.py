"""Preferences act at once, are kept in the file, and can all be put back."""

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.commands.files import save_unasked
from circuitscope.app.dialogs.preferences import PreferencesDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.theme import TEXT_PX, style_sheet
from circuitscope.engine.requests import Limits
from circuitscope.project import verbs
from circuitscope.session.preferences import PreferenceFile


def choose(box: object, data: object) -> None:
    box.setCurrentIndex(box.findData(data))


def dialog_of(started: Application) -> PreferencesDialog:
    (dialog,) = started.window.findChildren(PreferencesDialog)
    assert dialog.isVisible()
    return dialog


def test_colours_and_text_size_change_the_window_while_the_dialog_stays(
    started: Application, drawn: MainWindow, qapp: QApplication, qtbot: QtBot
) -> None:
    drawn.desk.trigger("edit.preferences")
    choose(dialog_of(started).theme, "dark")
    qtbot.waitUntil(lambda: started.window.palette_.dark)
    choose(dialog_of(started).text_scale, 1.5)
    qtbot.waitUntil(lambda: qapp.font().pixelSize() == round(1.5 * TEXT_PX))
    assert started.window.session.circuit is not None
    assert started.window.link_graph.font().pixelSize() == round(1.5 * TEXT_PX)
    assert PreferenceFile().now.appearance.text_scale == 1.5
    dialog_of(started).restore.click()
    qtbot.waitUntil(lambda: qapp.font().pixelSize() == TEXT_PX)
    assert not started.window.palette_.dark
    assert dialog_of(started).text_scale.currentData() == 1.0
    dialog_of(started).accept()


def test_all_text_of_the_style_sheet_grows_and_hairlines_do_not(started: Application) -> None:
    plain, large = style_sheet(started.palette), style_sheet(started.palette, 2.0)
    assert "font-size: 13px" in plain
    assert "font-size: 26.0px" in large
    assert "font-size: 13px" not in large
    assert "height: 1px" in large


def test_what_the_engine_may_take_goes_with_the_next_request(
    started: Application, window: MainWindow
) -> None:
    window.desk.trigger("edit.preferences")
    dialog = dialog_of(started)
    choose(dialog.threads, 2)
    choose(dialog.memory, 0.5)
    assert window.session.engine.limits == Limits(2, 0.5)
    dialog.accept()


def test_the_authors_name_is_in_exported_figures_only_when_given(
    started: Application, drawn: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    drawn.session.export(tmp_path / "before.svg")
    drawn.desk.trigger("edit.preferences")
    dialog = dialog_of(started)
    dialog.author.setFocus()
    qtbot.keyClicks(dialog.author, "Ada Lovelace")
    qtbot.keyClick(dialog.author, Qt.Key.Key_Tab)
    dialog.author.editingFinished.emit()
    drawn.session.export(tmp_path / "after.svg")
    assert "Lovelace" not in (tmp_path / "before.svg").read_text("utf-8")
    assert "Ada Lovelace" in (tmp_path / "after.svg").read_text("utf-8")
    dialog.accept()


def test_saving_unasked_saves_what_has_a_file_and_nothing_else(
    started: Application, drawn: MainWindow
) -> None:
    drawn.session.edit(verbs.pin, str(drawn.session.circuit.nodes.key(3)))
    started.session.preferences.change("projects", save_every=5)
    assert started._saver.isActive()
    started._saver.timeout.emit()
    assert not drawn.session.is_modified
    drawn.session.new_project()
    save_unasked(drawn.desk)
    assert drawn.session.project.path is None
    started.session.preferences.change("projects", save_every=0)
    assert not started._saver.isActive()
