"""The window: pages, title, panels, saving on close, reopening, dropping files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, Qt, QUrl
from PySide6.QtWidgets import QApplication, QDockWidget, QFileDialog
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.commands import files
from circuitscope.app.commands.files import ask_to_save
from circuitscope.app.main_window import MainWindow
from circuitscope.app.start_page import thumbnail_path
from circuitscope.core.circuit import Circuit
from circuitscope.core.shipped import shipped_path
from circuitscope.project import verbs


def test_the_start_page_shows_until_a_project_is_open(window: MainWindow) -> None:
    assert window._center.currentIndex() == 0
    assert window.toolbar.isHidden()
    assert all(not dock.isVisible() for dock in window.findChildren(QDockWidget))
    window.desk.trigger("file.new")
    QApplication.processEvents()
    assert window._center.currentIndex() == 1
    assert window.toolbar.isVisible()
    shown = {dock.objectName() for dock in window.findChildren(QDockWidget) if dock.isVisible()}
    assert shown == {"project", "inspector", "jobs", "tests", "history"}


def test_the_title_names_the_file_and_marks_changes(drawn: MainWindow, qapp: QApplication) -> None:
    assert drawn.windowTitle().startswith("dallas.circuitscope[*]")
    assert not drawn.isWindowModified()
    drawn.session.edit(verbs.pin, str(drawn.session.circuit.nodes.key(3)))
    qapp.processEvents()
    assert drawn.isWindowModified()
    drawn.desk.trigger("file.save")
    qapp.processEvents()
    assert not drawn.isWindowModified()


@pytest.mark.parametrize(("answer", "closes", "saved"), [
    ("save", True, True), ("discard", True, False), ("cancel", False, False),
])  # fmt: skip
def test_closing_asks_about_unsaved_changes(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch, answer: str, closes: bool, saved: bool
) -> None:
    monkeypatch.setattr(files, "ask_to_save", lambda _desk: answer)
    drawn.session.edit(verbs.pin, str(drawn.session.circuit.nodes.key(3)))
    assert drawn.close() is closes
    assert drawn.session.is_modified is not saved


def test_the_save_question_returns_what_was_pressed(drawn: MainWindow, qtbot: QtBot) -> None:
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QPushButton

    from circuitscope.app.dialogs.errors import MessageDialog

    def press() -> None:
        dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, MessageDialog))
        next(b for b in dialog.findChildren(QPushButton) if b.text() == "Discard changes").click()

    QTimer.singleShot(50, press)
    assert ask_to_save(drawn.desk) == "discard"


def test_an_untitled_project_is_saved_under_a_name_asked_for(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "new"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    window.desk.trigger("file.new")
    window.desk.trigger("file.save")
    assert (tmp_path / "new.circuitscope").is_file()


def test_close_and_reopen_shows_the_same_drawing(
    drawn: MainWindow, tmp_path: Path, qapp: QApplication
) -> None:
    session = drawn.session
    key = str(session.circuit.nodes.key(3))
    session.edit(verbs.group, [key], "Texas")
    session.edit(verbs.label, key, "Texas")
    before = drawn.link_graph.scene.places.copy()
    rows = dict(session.drawing.rows)
    drawn.desk.trigger("file.save")
    drawn.desk.trigger("file.close")
    qapp.processEvents()
    assert drawn._center.currentIndex() == 0
    drawn.open_path(tmp_path / "dallas.circuitscope")
    qapp.processEvents()
    assert dict(session.drawing.rows) == rows
    assert np.array_equal(drawn.link_graph.scene.places, before, equal_nan=True)
    assert session.undo_text.startswith("Label")


def test_reopening_returns_to_the_circuit_and_the_view(
    drawn: MainWindow, small_circuit: Circuit, tmp_path: Path, qapp: QApplication
) -> None:
    session = drawn.session
    session.activate(second := session.project.add_finding(small_circuit, "again"))
    drawn.show_view("circuit")
    drawn.desk.trigger("file.save")
    drawn.desk.trigger("file.close")
    drawn.show_view("link")
    qapp.processEvents()
    assert thumbnail_path(tmp_path / "dallas.circuitscope").is_file()
    drawn.open_path(tmp_path / "dallas.circuitscope")
    assert session.active == second
    assert drawn.shown_view() == "circuit"


def test_a_dropped_graph_is_imported(
    window: MainWindow, tmp_path: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    graph = {
        "metadata": {"slug": "dallas", "scan": "x", "prompt_tokens": ["a", "b"], "prompt": "a b"},
        "qParams": {},
        "nodes": [
            {"node_id": "E_5_0", "feature": 0, "layer": "E", "ctx_idx": 0, "feature_type":
             "embedding", "jsNodeId": "E_5-0", "clerp": "a"},
            {"node_id": "1_9_1", "feature": 9, "layer": "1", "ctx_idx": 1, "feature_type":
             "cross layer transcoder", "jsNodeId": "1_9-1", "clerp": "b"},
        ],
        "links": [{"source": "E_5_0", "target": "1_9_1", "weight": 1.5}],
    }  # fmt: skip
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    window.drop(data)
    qtbot.waitUntil(lambda: bool(window.session.jobs.jobs))
    finish_jobs(window.session)
    (job,) = window.session.jobs.jobs
    assert job.state == "done", job.error
    assert len(window.session.circuit.nodes) == 2


def test_layout_is_kept_and_reset(
    started: Application, drawn: MainWindow, qapp: QApplication
) -> None:
    dock = drawn.findChild(QDockWidget, "history")
    dock.close()
    drawn.keep_layout()
    other = MainWindow(started.session, started.palette)
    other.show()
    qapp.processEvents()
    assert not other.findChild(QDockWidget, "history").isVisible()
    other.reset_layout()
    qapp.processEvents()
    assert other.findChild(QDockWidget, "history").isVisible()
    other.hide()
    other.deleteLater()


def test_choosing_a_theme_dresses_a_new_window(
    started: Application, drawn: MainWindow, qtbot: QtBot
) -> None:
    started.session.preferences.change("appearance", theme="dark")
    qtbot.waitUntil(lambda: started.window is not drawn)
    assert started.window.palette_.dark
    assert started.window.session.circuit is not None
    started.session.preferences.change("appearance", theme="light")
    qtbot.waitUntil(lambda: not started.window.palette_.dark)


def test_closing_keeps_a_picture_for_the_start_page(drawn: MainWindow) -> None:
    assert drawn.close()
    assert thumbnail_path(drawn.session.project.path).is_file()


def test_the_window_closes_without_leaving_listeners(
    started: Application, small_circuit, qapp: QApplication
) -> None:
    signals = [started.session.selection_changed, started.session.model_changed,
               started.session.active_changed, started.session.jobs.added]  # fmt: skip
    before = [len(signal) for signal in signals]
    other = MainWindow(started.session, started.palette)
    assert [len(signal) for signal in signals] != before
    other.deleteLater()
    qapp.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    qapp.processEvents()
    assert [len(signal) for signal in signals] == before


def test_search_lists_matches_and_enter_goes_there(
    drawn: MainWindow, qtbot: QtBot, qapp: QApplication
) -> None:
    from PySide6.QtCore import Qt

    drawn.search.setText("Waco")
    rows = drawn.search.results.chosen
    assert rows.count() == 1
    qtbot.keyClick(drawn.search, Qt.Key.Key_Return)
    assert drawn.session.selection == (4,)
    assert drawn.search.results.isHidden()


def test_next_and_previous_go_round_the_matches(drawn: MainWindow, qtbot: QtBot) -> None:
    drawn.search.setText("kind:feature -layer:1")
    qtbot.keyClick(drawn.search, Qt.Key.Key_Return)
    seen = [drawn.session.selection]
    for action in ("edit.find_next", "edit.find_next", "edit.find_previous"):
        drawn.desk.trigger(action)
        seen.append(drawn.session.selection)
    assert seen == [(3,), (2,), (3,), (2,)]
    assert "Match 2 of 2" in drawn.statusBar().currentMessage()


def test_search_says_what_it_did_not_understand(drawn: MainWindow) -> None:
    drawn.search.setText("layer:high")
    assert drawn.search.results.chosen.count() == 0
    assert "neither a number nor a range" in drawn.search.results._note.text()
    drawn.search.setText("layer:0 kind:feature")
    drawn.search.select_all()
    assert set(drawn.session.selection) == {2, 3}


def test_search_reveals_what_the_threshold_hides(drawn: MainWindow, qapp: QApplication) -> None:
    session = drawn.session
    session.set_view(node_threshold=0.05)
    drawn.search.setText("Waco")
    assert "1 hidden" in drawn.search.results._note.text()
    drawn.search.reveal_all()
    assert session.pruned().node_mask[4]


def test_the_status_line_counts_and_explains(drawn: MainWindow, qapp: QApplication) -> None:
    drawn.session.set_view(node_threshold=0.3)
    qapp.processEvents()
    status = drawn.statusBar()
    hidden = int((~drawn.session.shown().nodes).sum())
    assert f"{hidden} hidden" in status._shown.text()
    popup = status.show_reasons()
    from PySide6.QtWidgets import QPushButton

    next(b for b in popup.findChildren(QPushButton) if b.text() == "Show more").click()
    assert drawn.session.view().node_threshold > 0.3


def test_keys_stay_in_the_list_of_hidden_nodes(drawn: MainWindow, qtbot: QtBot) -> None:
    drawn.session.set_view(node_threshold=0.3)
    drawn.canvas().setFocus()
    popup = drawn.statusBar().show_reasons()
    assert QApplication.focusWidget() is popup
    qtbot.keyClick(popup, Qt.Key.Key_Escape)
    assert not popup.isVisible()


def test_a_file_changed_by_another_program_is_not_overwritten_unasked(
    drawn: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qapp: QApplication
) -> None:
    path = tmp_path / "dallas.circuitscope"
    drawn.session.edit(verbs.pin, str(drawn.session.circuit.nodes.key(3)))
    path.write_bytes(path.read_bytes() + b"\0" * 4096)
    asked = []
    monkeypatch.setattr(files, "_answer", lambda dialog, _choices: asked.append(dialog) or "cancel")
    drawn.desk.trigger("file.save")
    assert asked
    assert drawn.session.is_modified
    monkeypatch.setattr(files, "_answer", lambda *_: "overwrite")
    drawn.desk.trigger("file.save")
    assert not drawn.session.is_modified


def test_everything_that_takes_the_focus_has_a_name(drawn: MainWindow, qapp: QApplication) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QAbstractButton, QScrollArea, QWidget

    drawn.session.select([3])
    qapp.processEvents()
    silent = []
    for widget in drawn.findChildren(QWidget):
        takes_focus = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible()
        if not takes_focus or isinstance(widget, QScrollArea):
            continue
        text = widget.text() if isinstance(widget, QAbstractButton) else ""
        if not (widget.accessibleName() or text or widget.objectName().startswith("qt_")):
            silent.append(repr(widget))
    assert silent == []


def test_panels_are_as_wide_when_a_project_is_opened_again(
    drawn: MainWindow, qapp: QApplication
) -> None:
    drawn.resize(1440, 900)
    qapp.processEvents()
    names = "jobs", "tests", "history", "inspector", "project"
    docks = [drawn.findChild(QDockWidget, name) for name in names]
    before = [dock.width() for dock in docks]
    path = drawn.session.project.path
    drawn.session.close()
    qapp.processEvents()
    drawn.open_path(path)
    qapp.processEvents()
    assert [dock.width() for dock in docks] == before


@pytest.mark.parametrize("width", [960, 1100, 1280, 1440, 1920])
def test_the_search_field_never_falls_off_the_toolbar(
    drawn: MainWindow, qapp: QApplication, width: int
) -> None:
    drawn.resize(width, 700)
    qapp.processEvents()
    search = drawn.search
    right = search.mapTo(drawn, search.rect().topRight()).x()
    assert search.isVisible()
    assert right < width
    assert search.visibleRegion().boundingRect().size() == search.size()


def test_a_wide_window_shows_the_whole_toolbar_from_the_start(
    window: MainWindow, qapp: QApplication, tmp_path: Path
) -> None:
    target = tmp_path / "capitals.circuitscope"
    shutil.copy(shipped_path("projects", "atlas") / "capitals.circuitscope", target)
    window.resize(1440, 900)
    window.open_path(target)
    window.show()
    qapp.processEvents()
    search, bar = window.search, window.toolbar
    assert bar.widgetForAction(bar.actions()[0]).isVisible()
    assert all(action.isVisible() for action in bar.actions())
    assert search.mapTo(window, search.rect().topRight()).x() > 1440 - 40
