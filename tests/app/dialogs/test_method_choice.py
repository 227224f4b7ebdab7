"""The trace dialog offers the method and says what a trace will take."""

from collections.abc import Callable
from pathlib import Path

from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow


def test_an_attribution_graph_is_chosen_estimated_and_traced(
    window: MainWindow, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    window.desk.trigger("trace.new")
    dialog = window.findChild(TraceDialog)
    session = dialog._desk.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    dialog.prompt.field.setPlainText("the capital of the state containing Dallas is")
    qtbot.waitUntil(lambda: not dialog.prompt._wait.isActive())
    finish_jobs(session)
    dialog.method.setCurrentIndex(dialog.method.findData("attribution"))
    assert dialog.settings().method == "attribution"
    assert dialog.settings().conventions == "ours"
    qtbot.waitUntil(lambda: not dialog._pause.isActive())
    finish_jobs(session)
    assert "Needs about" in dialog._summary.text()
    assert "Takes about" in dialog._summary.text()
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    assert session.circuit.provenance.method == "attribution"
