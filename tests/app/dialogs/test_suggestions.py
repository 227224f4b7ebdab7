"""Suggested groups are previewed, taken one by one, and marked until they are named."""

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication

from circuitscope.app.dialogs import suggestions
from circuitscope.app.main_window import MainWindow
from circuitscope.exchange.figures import circuit_figure
from circuitscope.graph.suggest import Suggestion
from circuitscope.project import verbs


def test_a_suggestion_is_seen_taken_marked_and_named(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch, qapp: QApplication, opened
) -> None:
    session = drawn.session
    found = [Suggestion((3, 4), 0.9, "Texas"), Suggestion((1, 2), 0.7)]
    monkeypatch.setattr(suggestions, "suggest_groups", lambda *_: list(found))
    drawn.desk.trigger("graph.suggest")
    dialog = opened("SuggestionsDialog")
    assert session.selection == (3, 4)
    dialog.take()
    ((name, row),) = session.drawing.of_kind("group").items()
    assert (row["label"], row["source"]) == ("Texas", "machine")
    assert session.selection == (1, 2)
    dialog.name.setText("mine")
    dialog.take()
    rows = {row["label"]: row for row in session.drawing.of_kind("group").values()}
    assert "source" not in rows["mine"]
    assert not dialog.take_button.isEnabled()
    words = [
        text.text for text in circuit_figure(session.circuit, dict(session.drawing.rows)).texts()
    ]
    assert sum(word.startswith("suggested") for word in words) == 1
    session.edit(verbs.rename_group, name, "state")
    words = [
        text.text for text in circuit_figure(session.circuit, dict(session.drawing.rows)).texts()
    ]
    assert not any(word.startswith("suggested") for word in words)
    session.undo()
    session.undo()
    session.undo()
    assert not session.drawing.of_kind("group")


def test_where_nothing_is_alike_the_dialog_says_what_to_do(
    drawn: MainWindow, monkeypatch: pytest.MonkeyPatch, opened
) -> None:
    hidden = np.zeros(len(drawn.session.circuit.nodes), bool)
    monkeypatch.setattr(
        suggestions, "suggest_groups", lambda circuit, _shown, grouped: (
            suggestions_of(circuit, hidden, grouped)
        )
    )  # fmt: skip
    drawn.desk.trigger("graph.suggest")
    dialog = opened("SuggestionsDialog")
    assert not dialog.take_button.isEnabled()
    assert "G" in dialog._told.text()


suggestions_of = suggestions.suggest_groups
