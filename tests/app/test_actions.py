"""The table of actions is complete and consistent, and the actions do what they say."""

from collections import Counter
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.actions import ACTIONS, MENUS, SUBMENUS, by_id, refresh_actions, walk_menus
from circuitscope.app.commands import edits
from circuitscope.app.main_window import MainWindow
from circuitscope.core.shipped import shipped_path


def test_every_action_has_a_name_of_its_own_a_text_and_a_help_line() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    for action in ACTIONS:
        assert action.text, action.id
        assert action.help.endswith("."), action.id
        assert "." in action.id


def test_every_action_is_in_exactly_one_menu() -> None:
    listed = Counter(action_id for _, action_id in walk_menus())
    assert set(listed) == {action.id for action in ACTIONS}
    assert set(listed.values()) == {1}
    entries = {entry for _, menu in MENUS for entry in menu}
    assert entries >= SUBMENUS


def test_no_shortcut_is_used_twice() -> None:
    keys = Counter(QKeySequence(key).toString() for action in ACTIONS for key in action.keys)
    assert "" not in keys
    assert {key for key, n in keys.items() if n > 1} == set()


def test_single_letters_work_on_the_canvas_only() -> None:
    for action in ACTIONS:
        if any(len(key) == 1 for key in action.keys):
            assert action.on == "canvas", action.id


def test_every_icon_that_an_action_names_is_bundled() -> None:
    for action in ACTIONS:
        if action.picture:
            assert shipped_path("resources", "icons", f"{action.picture}.svg").is_file(), action.id


def test_a_disabled_action_says_why(window: MainWindow) -> None:
    refresh_actions(window.desk)
    for action in ACTIONS:
        made = window.desk.actions[action.id]
        reason = action.needs(window.session)
        assert made.isEnabled() == (not reason), action.id
        if reason:
            assert reason in made.toolTip()
    assert "project" in window.desk.actions["graph.pin"].toolTip()


def test_pin_label_hide_group_and_undo_through_the_actions(
    drawn: MainWindow, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, desk = drawn.session, drawn.desk
    drawing = session.drawing
    assert drawing is not None
    key = str(session.circuit.nodes.key(3))
    session.select([3, 4])
    qapp.processEvents()
    desk.trigger("graph.pin")
    assert key in drawing.of_kind("pin")
    monkeypatch.setattr(edits, "ask_name", lambda *_: "Texas")
    desk.trigger("graph.group")
    (group,) = drawing.of_kind("group").values()
    assert group["label"] == "Texas"
    assert len(drawing.of_kind("member")) == 2
    desk.trigger("graph.hide")
    assert key in drawing.of_kind("hidden")
    qapp.processEvents()
    assert desk.actions["edit.undo"].text() == "Undo hide 2 nodes"
    for _ in range(3):
        desk.trigger("edit.undo")
    assert not drawing.of_kind("pin")
    assert not drawing.of_kind("group")
    for _ in range(3):
        desk.trigger("edit.redo")
    assert key in drawing.of_kind("hidden")
    desk.trigger("graph.show_all")
    assert not drawing.of_kind("hidden")


def test_pinning_again_unpins(drawn: MainWindow, qapp: QApplication) -> None:
    drawn.session.select([3])
    qapp.processEvents()
    drawn.desk.trigger("graph.pin")
    drawn.desk.trigger("graph.pin")
    assert not drawn.session.drawing.of_kind("pin")


def test_same_feature_and_same_layer_are_selected(drawn: MainWindow) -> None:
    drawn.session.select([3])
    drawn.desk.trigger("edit.same_feature")
    assert drawn.session.selection == (3,)
    drawn.desk.trigger("edit.same_layer")
    assert set(drawn.session.selection) == {2, 3, 5}
    drawn.session.select([7])
    drawn.desk.trigger("edit.same_layer")
    assert set(drawn.session.selection) == {7, 8}


def test_walking_follows_the_strongest_edge(drawn: MainWindow, qapp: QApplication) -> None:
    drawn.session.select([3])
    qapp.processEvents()
    drawn.desk.trigger("graph.strongest_input")
    assert drawn.session.selection == (2,)
    qapp.processEvents()
    drawn.desk.trigger("graph.strongest_output")
    assert drawn.session.selection == (3,)


def test_letters_on_the_canvas_act_and_in_a_field_are_typed(
    drawn: MainWindow, qtbot: QtBot, qapp: QApplication
) -> None:
    drawn.activateWindow()
    drawn.session.select([3])
    qapp.processEvents()
    canvas = drawn.canvas()
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_P)
    pins = drawn.session.drawing.of_kind("pin")
    assert len(pins) == 1
    drawn.search.setFocus()
    qtbot.keyClicks(drawn.search, "ph")
    assert drawn.search.text() == "ph"
    assert drawn.session.drawing.of_kind("pin") == pins


def test_thresholds_tighten_and_loosen_within_bounds(drawn: MainWindow, qapp: QApplication) -> None:
    for _ in range(40):
        drawn.desk.trigger("view.tighten")
    assert drawn.session.view().node_threshold == pytest.approx(0.05)
    for _ in range(40):
        drawn.desk.trigger("view.loosen")
    assert drawn.session.view().node_threshold == pytest.approx(1.0)


def test_an_error_of_an_action_is_told_in_a_dialog(
    drawn: MainWindow, tmp_path: Path, opened, qapp: QApplication
) -> None:
    bad = tmp_path / "bad.circuitscope"
    bad.write_bytes(b"not a project at all")
    drawn.open_path(bad)
    dialog = opened("ErrorDialog")
    assert drawn.session.project.path.name == "dallas.circuitscope"
    dialog.accept()


def test_switches_show_their_state(drawn: MainWindow, qapp: QApplication) -> None:
    action = drawn.desk.actions[by_id("view.errors").id]
    assert action.isChecked()
    drawn.desk.trigger("view.errors")
    assert not action.isChecked()
    assert not drawn.session.view().show_errors


def test_pin_says_unpin_where_everything_selected_is_pinned(drawn: MainWindow) -> None:
    drawn.session.select([3])
    drawn.desk.trigger("graph.pin")
    assert drawn.desk.actions["graph.pin"].text() == "Unpin"
    drawn.session.select([3, 4])
    drawn.refresh()
    assert drawn.desk.actions["graph.pin"].text() == "Pin"


def test_the_minimap_is_ticked_while_it_is_shown(drawn: MainWindow) -> None:
    action = drawn.desk.actions["view.minimap"]
    for shown in (True, False, True):
        drawn.desk.trigger("view.minimap")
        assert drawn.link_graph.minimap.isHidden() is not shown
        assert action.isChecked() is shown
