"""The model dialog: what is inside each folder of the cache, and loading one of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QLabel, QPushButton

from circuitscope.app.dialogs.model import ModelDialog, facts
from circuitscope.app.main_window import MainWindow
from circuitscope.core.model_check import SelfCheck
from circuitscope.session.jobs import Job
from tests.conformance.variants import make_folder
from tests.models.test_guessed import OPT


def _cached(home: Path, name: str, model: Path) -> Path:
    place = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / "0a1b2c"
    shutil.copytree(model, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0a1b2c")
    return snapshot


@pytest.fixture
def cache(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "hf"
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    _cached(home, "someone/tiny-llama", tiny_llama)
    (_cached(home, "someone/half", tiny_llama) / "model.safetensors").unlink()
    (home / "hub" / "models--someone--transcoders" / "snapshots" / "1").mkdir(parents=True)
    return home / "hub"


@pytest.fixture
def dialog(cache: Path, window: MainWindow, finish_jobs: Callable) -> ModelDialog:
    window.desk.trigger("trace.model")
    finish_jobs(window.session)
    return window.findChild(ModelDialog)


def choose(dialog: ModelDialog, text: str, finish: Callable) -> None:
    rows = [at for at in range(dialog.list.count()) if text in dialog.list.item(at).text()]
    dialog.list.setCurrentRow(rows[0])
    finish(dialog._desk.session)


def test_the_cache_is_listed_and_headers_tell_what_is_inside(
    dialog: ModelDialog, cache: Path, finish_jobs: Callable
) -> None:
    texts = [dialog.list.item(at).text() for at in range(dialog.list.count())]
    assert any(text.startswith("someone/tiny-llama") for text in texts)
    assert not any("transcoders" in text for text in texts), "what has no config is no model"
    choose(dialog, "tiny-llama", finish_jobs)
    assert dialog.found is not None
    told = dict(facts(dialog.found))
    assert told["Family"] == "LlamaForCausalLM"
    assert told["Layers"] == "2"
    assert told["Heads"] == "4 (2 for keys and values)"
    assert told["Width (d_model)"] == "16"
    assert told["On disk"].startswith("float32 · 1 file, ")
    assert told["Context length"] == "32 tokens"
    assert "Needs about" in dialog._room.text()
    before = dialog._room.text()
    dialog.dtype.setCurrentIndex(dialog.dtype.findData("bfloat16"))
    assert dialog._room.text() != before
    assert dialog.device.findData("cpu") > 0
    assert "1 model" not in dialog._cache_told.text()


def test_loading_follows_the_choices_and_closes_the_dialog(
    dialog: ModelDialog, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    choose(dialog, "tiny-llama", finish_jobs)
    dialog.device.setCurrentIndex(dialog.device.findData("cpu"))
    dialog.dtype.setCurrentIndex(dialog.dtype.findData("bfloat16"))
    closed: list[int] = []
    dialog.finished.connect(closed.append)
    dialog.load_button.click()
    finish_jobs(session)
    assert closed == [ModelDialog.DialogCode.Accepted.value]
    assert session.model.state == "ready"
    assert (session.model.device, session.model.dtype) == ("cpu", "bfloat16")
    assert session.model.anatomy.name == "someone/tiny-llama"
    status = dialog._desk.window.statusBar()
    status.refresh()
    assert "Self-check passed: its parts give back the whole to " in status._engine.toolTip()


def test_a_model_that_is_not_read_right_says_so_and_stays(
    dialog: ModelDialog, finish_jobs: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = SelfCheck(0.5, 1e-7, 1e-7, 1e-6, 1e-6)
    monkeypatch.setattr("circuitscope.models.loading.check_loaded", lambda model: bad)
    session = dialog._desk.session
    choose(dialog, "tiny-llama", finish_jobs)
    dialog.load()
    finish_jobs(session)
    assert session.model.state == "ready"
    assert dialog.result() == 0, "still open"
    told_by_box = [label.text() for label in dialog.error.findChildren(QLabel)]
    assert any("the logits by 0.5" in text for text in told_by_box)
    told = dict(facts(dialog.found) + dialog._checked())
    assert "cannot be traced" in told["Self-check"]


def test_half_a_model_shows_the_line_to_copy(dialog: ModelDialog, finish_jobs: Callable) -> None:
    choose(dialog, "half", finish_jobs)
    assert not dialog.load_button.isEnabled()
    assert dialog.error.commands == ["hf download someone/half --revision 0a1b2c"]
    next(b for b in dialog.error.findChildren(QPushButton) if b.text() == "Copy").click()
    assert QApplication.clipboard().text() == dialog.error.commands[0]
    choose(dialog, "tiny-llama", finish_jobs)
    assert dialog.error.isHidden()
    assert dialog.load_button.isEnabled()


def test_loading_can_be_stopped_and_the_dialog_stays(
    dialog: ModelDialog, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    choose(dialog, "tiny-llama", finish_jobs)

    def stop(job: Job) -> None:
        if job.phase.startswith("Loading weights") and "Cancelling …" not in job.log:
            dialog._cancel.click()

    dialog.load()
    session.jobs.jobs[-1].changed.connect(stop)
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "cancelled"
    assert not dialog.isHidden()
    assert dialog.load_button.isEnabled()
    assert session.model.state == "none"


def test_weights_that_do_not_fit_their_config_are_told_after_loading(
    dialog: ModelDialog, tiny_llama: Path, tmp_path: Path, finish_jobs: Callable
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "odd"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    dialog.look_at(folder)
    finish_jobs(dialog._desk.session)
    dialog.load()
    finish_jobs(dialog._desk.session)
    assert "cannot be loaded" in dialog.error.accessibleName()
    assert not dialog.isHidden()


def test_a_class_that_is_not_known_is_said_before_and_after_loading(
    dialog: ModelDialog, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = dialog._desk.session
    folder = make_folder(tmp_path / "my-opt", "OPTForCausalLM", OPT)
    dialog.look_at(folder)
    finish_jobs(session)
    assert dialog.list.currentRow() == -1, "it is none of those listed"
    assert "cannot be traced" in dict(facts(dialog.found))["Family"]
    dialog.load()
    finish_jobs(session)
    assert session.model.state == "ready"
    told = " ".join(label.text() for label in dialog.error.findChildren(QLabel))
    assert "cannot be traced. The arithmetic of its class is not known." in told
    assert "runs, generates" in told
    assert dialog._cancel.text() == "Close"
