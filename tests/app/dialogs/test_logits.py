"""Logits by component in the window: read, pointed at, kept, opened again from the tree."""

from collections.abc import Callable
from pathlib import Path

from circuitscope.app.commands import evidence
from circuitscope.app.dialogs.logits import COMPONENTS, LogitsDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.session.evidence import inspections
from circuitscope.tracing import logit_parts


def test_logits_are_read_and_kept(
    window: MainWindow, tiny_llama: Path, finish_jobs: Callable
) -> None:
    session = window.session
    session.load_model(tiny_llama, device="cpu")
    finish_jobs(session)
    window.desk.trigger("trace.logits")
    dialog = window.findChild(LogitsDialog)
    assert not dialog.run_button.isEnabled()
    dialog.prompt.setText("the capital of the state containing Dallas is")
    dialog.against.setText("Texas")
    assert "word that answers" in dialog._told.text()
    dialog.answer.setText("Austin")
    dialog.run()
    finish_jobs(session)
    assert "add up to" in dialog._told.text()
    assert dialog.grid.ticks[1][-2:] == ("MLP", "other")
    dialog.map._point((1, 0))
    assert "Layer 0, component 0" in dialog._told.text()
    assert not dialog.map.grab().isNull()
    dialog.component.setCurrentIndex(dialog.component.findData("resid_post"))
    dialog.run()
    finish_jobs(session)
    assert "at the last word" in dialog._told.text()
    assert dialog.kept.count() == 2
    dialog.close()
    first = inspections(session)[-1]
    again = evidence.logits(window.desk, first.id)
    assert again.grid.provenance.settings["component"] == "parts"
    assert again.against.text() == "Texas"
    again.answer.setText("Nowhere")
    again.run()
    finish_jobs(session)
    assert "Nowhere" in again._told.text()
    again.close()


def test_the_dialog_offers_every_component() -> None:
    assert {name for name, _ in COMPONENTS} == set(logit_parts.COMPONENTS)
