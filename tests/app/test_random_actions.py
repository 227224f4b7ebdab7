"""Whatever a user does in whatever order, nothing breaks and every edit undoes and redoes."""

import random

import pytest
from PySide6.QtWidgets import QApplication

from circuitscope.app.actions import ACTIONS
from circuitscope.app.commands import diagram, edits
from circuitscope.app.main_window import MainWindow
from circuitscope.session.session import Session

ASKING = {
    "file.new", "file.open", "file.import", "file.link", "file.log", "file.check", "file.compact",
    "file.save_as", "file.export", "file.close",
    "file.quit", "trace.new", "trace.model", "help.shortcuts", "help.about", "help.tour",
    "trace.again", "graph.label", "graph.suggest", "edit.delete_circuit", "edit.commands",
    "edit.preferences", "view.filter",
}  # fmt: skip
ELSEWHERE = {
    "project.new_drawing", "project.duplicate_drawing", "project.delete_drawing", "project.note",
}  # fmt: skip
"""Change the project or go on in another drawing, whose history is not the one counted here."""


def _run(window: MainWindow, monkeypatch: pytest.MonkeyPatch, steps: int, seed: int) -> None:
    chance = random.Random(seed)
    names = [action.id for action in ACTIONS if action.id not in ASKING | ELSEWHERE]

    def ask(*_: object) -> str:
        return chance.choice(["Texas", "say Austin", ""])

    for module in (edits, diagram):
        monkeypatch.setattr(module, "ask_name", ask)
    monkeypatch.setattr(diagram, "ask_note", lambda *_: chance.choice(["# Why\n*this*", ""]))
    session = window.session
    for _ in range(steps):
        if chance.random() < 0.4:
            chosen = chance.sample(range(len(session.circuit.nodes)), chance.randint(0, 4))
            session.select(chosen)
        window.desk.trigger(chance.choice(names))
        if chance.random() < 0.3:
            QApplication.processEvents()
    QApplication.processEvents()
    rows, n_done = dict(session.drawing.rows), _done(session)
    for _ in range(n_done):
        window.desk.trigger("edit.undo")
    assert not session.drawing.rows
    for _ in range(n_done):
        window.desk.trigger("edit.redo")
    assert dict(session.drawing.rows) == rows


def _done(session: Session) -> int:
    return sum(not entry.undone for entry in session.drawing.history())


def test_two_hundred_random_actions_break_nothing(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(drawn, monkeypatch, 200, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_thousand_random_actions_break_nothing(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    _run(drawn, monkeypatch, 2000, seed)
