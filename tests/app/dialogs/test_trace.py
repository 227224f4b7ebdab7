"""The main flow: prompt, Generate, click a word, contrast, Trace; on a tiny real model."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from circuitscope.app.commands import contents
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.core.shipped import shipped_path
from circuitscope.core.target_text import parse_target
from tests.conformance.variants import make_folder
from tests.models.test_guessed import OPT


@pytest.fixture
def dialog(window: MainWindow, qtbot: QtBot) -> TraceDialog:
    window.desk.trigger("trace.new")
    return window.findChild(TraceDialog)


def _type(dialog: TraceDialog, text: str, qtbot: QtBot, finish: Callable) -> None:
    dialog.prompt.field.setPlainText(text)
    qtbot.waitUntil(lambda: not dialog.prompt._wait.isActive())
    finish(dialog._desk.session)


def test_without_a_model_the_dialog_says_what_is_missing(dialog: TraceDialog) -> None:
    if dialog._desk.session.model.state == "none":
        assert not dialog.trace_button.isEnabled()
        assert "model" in dialog.reason()


def test_prompt_generate_click_contrast_trace(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    _type(dialog, "the capital of the state containing Dallas is", qtbot, finish_jobs)
    assert dialog.prompt._told.text() == "9 tokens"
    dialog.prompt.generate()
    finish_jobs(session)
    found = dialog.prompt.answer.generation
    assert found is not None
    assert len(found.steps) == 12
    runner_up = found.steps[0].runner_up
    assert dialog.prompt.answer.contrast.currentData() == runner_up.token_id
    assert dialog.settings().prompt == "the capital of the state containing Dallas is"
    dialog.prompt.answer.choose(2)
    settings = dialog.settings()
    assert settings.prompt == found.prompt_ids(2)
    word = found.steps[2]
    assert settings.targets == (LogitDifference(word.token_id, word.runner_up.token_id),)
    dialog.prompt.answer.contrast.setCurrentIndex(dialog.prompt.answer.contrast.count() - 1)
    assert dialog.settings().targets == (Logit(word.token_id),)
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    circuit = session.circuit
    assert circuit.token_ids == found.prompt_ids(2)
    assert float(circuit.conservation.max()) < 1e-4


def test_an_unknown_word_is_flagged_with_its_neighbours(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    dialog._desk.session.load_model(tiny_llama)
    finish_jobs(dialog._desk.session)
    _type(dialog, "the capital of Dalas", qtbot, finish_jobs)
    assert "Dalas" in dialog.prompt.error.accessibleName()
    assert "Dallas" in dialog.prompt.error.accessibleName()
    assert dialog.prompt.field.property("look") == "bad"
    _type(dialog, "the capital of Dallas", qtbot, finish_jobs)
    assert dialog.prompt.field.property("look") == ""


def test_changing_the_prompt_forgets_the_word_chosen(
    dialog: TraceDialog, tiny_gpt2: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_gpt2)
    finish_jobs(session)
    _type(dialog, "the capital", qtbot, finish_jobs)
    dialog.prompt.generate()
    finish_jobs(session)
    assert dialog.prompt.answer.step == 0
    _type(dialog, "the capital of", qtbot, finish_jobs)
    assert dialog.prompt.answer.step == -1
    assert dialog.settings().targets == (Logit(),)


def test_a_model_that_cannot_be_traced_says_why(
    dialog: TraceDialog, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(make_folder(tmp_path / "my-opt", "OPTForCausalLM", OPT), device="cpu")
    finish_jobs(session)
    assert not dialog.trace_button.isEnabled()
    assert "The arithmetic of its class is not known." in dialog.trace_button.toolTip()


def test_a_folder_that_is_no_model_is_told_in_the_dialog(
    dialog: TraceDialog, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tmp_path)
    finish_jobs(session)
    assert session.model.state == "failed"
    assert session.model.error.message in dialog.model._state.text()
    assert not dialog.trace_button.isEnabled()


def test_a_folder_without_dictionaries_cannot_be_chosen(
    dialog: TraceDialog, tiny_llama: Path, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    (tmp_path / "empty").mkdir()
    dialog.dictionaries.look_at(tmp_path / "empty")
    finish_jobs(session)
    row = dialog.dictionaries._rows[str(tmp_path / "empty")]
    assert not row.isEnabled()
    assert dialog.dictionaries.chosen() == ()


def test_advanced_settings_fold(dialog: TraceDialog) -> None:
    assert dialog._advanced.isHidden()
    dialog._more.setChecked(True)
    assert not dialog._advanced.isHidden()
    assert dialog._advanced.values()["batch_size"] is None
    dialog._advanced.fields["batch_size"].setValue(64)
    assert dialog.settings().batch_size == 64


def test_illegal_moves_are_refused_with_the_legal_ones_before_the_model_is_asked(
    dialog: TraceDialog, tiny_othello: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, prompt = dialog._desk.session, dialog.prompt
    session.load_model(tiny_othello, device="cpu")
    finish_jobs(session)
    assert prompt.field.placeholderText() == "F5 D6 C3 D3"
    for text, said in (("F5 A1", "White may play F4, D6, F6."), ("F5 Z9", "'Z9'")):
        n_jobs = len(session.jobs.jobs)
        _type(dialog, text, qtbot, finish_jobs)
        assert said in prompt.error.accessibleName()
        assert not prompt.generate_button.isEnabled()
        assert not dialog.trace_button.isEnabled()
        assert dialog.reason() in prompt.error.accessibleName()
        assert len(session.jobs.jobs) == n_jobs
    _type(dialog, "f5 d6", qtbot, finish_jobs)
    assert prompt._told.text() == "2 tokens"
    assert prompt.error.isHidden()
    assert prompt.generate_button.isEnabled()
    assert dialog.trace_button.isEnabled()


def test_other_models_take_any_words(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    dialog._desk.session.load_model(tiny_llama, device="cpu")
    finish_jobs(dialog._desk.session)
    assert dialog._desk.examples.refusal(dialog._desk.session.model.anatomy, "F5 A1") is None
    assert "Dallas" in dialog.prompt.field.placeholderText()


def test_the_memory_a_trace_needs_is_said_before_it_starts(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    dialog._desk.session.load_model(tiny_llama, device="cpu")
    finish_jobs(dialog._desk.session)
    _type(dialog, "the capital of Texas", qtbot, finish_jobs)
    qtbot.waitUntil(lambda: "Needs about" in dialog._summary.text(), timeout=20_000)
    first = dialog._summary.text()
    assert "are free" in first
    dialog._form.fields["max_nodes"].setValue(16)
    assert "Needs about" not in dialog._summary.text(), "another budget, another answer"
    qtbot.waitUntil(lambda: "Needs about" in dialog._summary.text(), timeout=20_000)
    sizes = [text.split("Needs about ")[1] for text in (first, dialog._summary.text())]
    assert sizes[0].split(";")[0] != sizes[1].split(";")[0]


def test_contextual_decomposition_is_offered_and_runs(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_llama)
    finish_jobs(session)
    _type(dialog, "the capital of state", qtbot, finish_jobs)
    place = dialog.method.findData("contextual")
    assert place > 0
    dialog.method.setCurrentIndex(place)
    assert dialog.settings().method == "contextual"
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    assert session.circuit.provenance.method == "contextual"
    assert "faithfulness" in session.circuit.provenance.scores


def test_targets_of_every_kind_are_typed_kept_and_removed(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, box = dialog._desk.session, dialog.targets
    session.load_model(tiny_llama, device="cpu")
    finish_jobs(session)
    _type(dialog, "the capital of the state containing Dallas is", qtbot, finish_jobs)
    assert dialog.settings().targets == (Logit(),)
    typed = [
        "logit:Austin", "difference:Austin,Texas", "direction:Austin + Dallas - Texas",
        "score:1.0:8<-4",
    ]  # fmt: skip
    for text in typed:
        box.field.setText(text)
        qtbot.keyClick(box.field, Qt.Key.Key_Return)
    assert dialog.settings().targets == tuple(parse_target(text) for text in typed)
    box.field.setText("Austin")
    qtbot.keyClick(box.field, Qt.Key.Key_Return)
    assert "not a target" in box._told.text()
    assert box.field.text() == "Austin", "what was typed stays to be mended"
    (chip,) = [b for b in box._chips.findChildren(QPushButton) if b.text() == f"{typed[1]}  ×"]
    assert chip.accessibleName() == f"Remove the target {typed[1]}"
    chip.click()
    assert dialog.settings().targets == tuple(parse_target(t) for t in typed if t != typed[1])
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    circuit = session.circuit
    assert len(circuit.roots) == 3
    assert len(circuit.provenance.settings["targets"][1]["vector"]) == 16


def test_a_chosen_word_can_be_kept_beside_others(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_llama, device="cpu")
    finish_jobs(session)
    _type(dialog, "the capital of", qtbot, finish_jobs)
    dialog.prompt.generate()
    finish_jobs(session)
    (word,) = dialog.settings().targets
    dialog.targets.keep_button.click()
    dialog.targets.field.setText("logit:top")
    dialog.targets.add()
    assert dialog.settings().targets == (word, Logit())
    assert dialog.prompt.name() in dialog._summary.text()


def test_further_prompts_are_traced_as_one_job(
    dialog: TraceDialog, tiny_llama: Path, tmp_path: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    session.load_model(tiny_llama, device="cpu")
    finish_jobs(session)
    _type(dialog, "the capital of Dallas is", qtbot, finish_jobs)
    dialog.further.read(tmp_path / "missing.txt")
    assert "cannot be read" in dialog.further._told.text()
    (tmp_path / "more.txt").write_text("the capital of Texas is\n\nthe capital of state is\n")
    dialog.further.read(tmp_path / "more.txt")
    assert "2 further prompts" in dialog.further._told.text()
    dialog.further.share.setValue(0.6)
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    kept = session.circuit.provenance.settings
    assert len(kept["prompts"]) == 3


def test_tracing_again_names_the_word_that_is_explained(
    window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    bundled = shipped_path("projects", "atlas", "capitals.circuitscope")
    window.open_path(shutil.copy(bundled, tmp_path))
    dialog = contents.trace_again(window.desk)
    assert dialog.prompt.targets() == (Logit("Austin"),)
    assert dialog.prompt.name() == "Austin"
