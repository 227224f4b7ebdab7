"""Contextual decomposition in the window: means from a file of prompts, circuits by heads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitscope.app.dialogs.agreement import AgreementDialog
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.settings import TraceSettings
from circuitscope.core.target_text import parse_target
from circuitscope.session.decomposing import kept_means

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture
def loaded(window: MainWindow, tiny_gpt2: Path, finish_jobs: Callable) -> MainWindow:
    window.session.load_model(tiny_gpt2)
    finish_jobs(window.session)
    return window


def test_means_are_measured_kept_and_used(
    loaded: MainWindow, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = loaded.session
    dialog = TraceDialog(loaded.desk)
    assert not dialog.means.isVisibleTo(dialog)
    dialog.method.setCurrentIndex(dialog.method.findData("contextual"))
    assert dialog.means.isVisibleTo(dialog)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", "utf-8")
    dialog.means.measure(empty)
    assert "no prompts" in dialog.means._told.text()
    file = tmp_path / "states.txt"
    file.write_text("the capital of Texas\n\nMary gave the book to John\n", "utf-8")
    dialog.means.measure(file)
    finish_jobs(session)
    (info,) = kept_means(session)
    assert info.name == "states"
    assert dialog.means.chosen().n_prompts == 2
    dialog.prompt.field.setPlainText(PROMPT)
    dialog._advanced.fields["weights"].setCurrentText("raw")
    settings = dialog.settings()
    assert settings.means is dialog.means.chosen()
    assert settings.weights == "raw"
    dialog.trace()
    finish_jobs(session)
    record = session.circuit.provenance.settings
    assert record["means"] == {"name": "states", "n_prompts": 2}
    assert record["weights"] == "raw"
    assert all(session.circuit.labels)


def test_means_of_another_preparation_are_refused(
    loaded: MainWindow, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = loaded.session
    dialog = TraceDialog(loaded.desk)
    dialog.method.setCurrentIndex(dialog.method.findData("contextual"))
    file = tmp_path / "few.txt"
    file.write_text("the capital\n", "utf-8")
    dialog.means.measure(file)
    finish_jobs(session)
    dialog.prompt.field.setPlainText("the capital")
    box = dialog._advanced.fields["weights"]
    box.setCurrentIndex(box.findText("folded"))
    dialog.trace()
    finish_jobs(session)
    failed = [job for job in session.jobs.jobs if job.error is not None]
    assert "raw weights, but folded" in failed[-1].error.message


def test_two_circuits_are_compared_by_heads(loaded: MainWindow, finish_jobs: Callable) -> None:
    session = loaded.session
    targets = (parse_target("logit:Austin"),)
    session.trace(TraceSettings(PROMPT, targets=targets, units="neurons", max_nodes=64), "first")
    finish_jobs(session)
    loaded.desk.trigger("trace.heads")
    dialog = loaded.findChild(AgreementDialog)
    assert dialog.other.count() == 1
    dialog.compare()
    finish_jobs(session)
    found = dialog.found
    assert len(found.heads) == 8
    assert dialog.table.topLevelItemCount() == 8
    names = [info.name for info in session.project.findings()]
    assert names == ["first", "first (heads)"]
    dialog.close()
    loaded.desk.trigger("trace.heads")
    again = [d for d in loaded.findChildren(AgreementDialog) if d.isVisible()][-1]
    finish_jobs(session)
    assert again.other.currentText() == "first (heads)"
    assert [row.relevance for row in again.found.heads] == [row.relevance for row in found.heads]
    again.close()
    session.activate(session.project.finding("first (heads)").id)
    loaded.refresh()
    action = loaded.desk.actions["trace.heads"]
    assert not action.isEnabled()
    assert "direct contributions" in action.toolTip()
