"""The start page opens examples and recent projects."""

import json
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app import start_page
from circuitscope.app.main_window import MainWindow
from circuitscope.app.start_page import ExampleCard, RecentRow, examples


def test_every_bundled_project_has_a_card_that_opens_it(window: MainWindow, qtbot: QtBot) -> None:
    cards = window.findChildren(ExampleCard)
    assert len(cards) == len(examples())
    for card in cards:
        qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
        assert window.session.project is not None
        assert window.session.circuit is not None
        assert not window.session.is_modified
        window.desk.trigger("file.close")
        QApplication.processEvents()


def test_recent_projects_are_listed_and_open(
    drawn: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    drawn.session.set_view(show_errors=False)
    drawn.desk.trigger("file.save")
    drawn.desk.trigger("file.close")
    QApplication.processEvents()
    (row,) = drawn.findChildren(RecentRow)
    qtbot.mouseClick(row, Qt.MouseButton.LeftButton)
    assert drawn.session.project.path == tmp_path / "dallas.circuitscope"


def test_each_example_has_its_own_cards_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for example, project in (("atlas", "capitals"), ("othello", "game")):
        folder = tmp_path / "projects" / example
        folder.mkdir(parents=True)
        (folder / f"{project}.circuitscope").touch()
        (folder / f"{project}.png").touch()
        card = {"title": f"The {project}", "line": f"A line about {example}."}
        (folder / "cards.json").write_text(json.dumps({f"{project}.circuitscope": card}))
    (tmp_path / "projects" / "othello" / "more.circuitscope").touch()
    monkeypatch.setattr(start_page, "shipped_path", tmp_path.joinpath)
    found = examples()
    assert [example.title for example in found] == ["The capitals", "The game", "more"]
    assert found[1].line == "A line about othello."
    assert found[1].picture == tmp_path / "projects" / "othello" / "game.png"
    assert found[2].picture is None
