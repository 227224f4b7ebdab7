"""Collecting in the window: estimate, progress, stop, and feature pages that show it at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.collect import CollectDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.feature_page import FeatureBox
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries import corpus as corpora
from circuitscope.engine import worker
from circuitscope.evidence.file import EvidenceFile
from circuitscope.session import feature_work
from circuitscope.session.session import Session

ATLAS = shipped_path("projects", "atlas")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of one bundled dictionary without evidence, beside a corpus."""
    place = tmp_path / "dictionaries"
    shutil.copytree(ATLAS / "dictionaries" / "mlp_transcoder_0", place / "mlp_transcoder_0")
    texts = [
        {"words": f"the capital of the state containing {city} is {capital}"}
        for city, capital in (("Dallas", "Austin"), ("Oakland", "Sacramento")) for _ in range(60)
    ]  # fmt: skip
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    return place


@pytest.fixture
def dialog(
    window: MainWindow, folder: Path, finish_jobs: Callable[[Session], None]
) -> CollectDialog:
    session = window.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    session.load_model(ATLAS / "model", device="cpu")
    finish_jobs(session)
    window.desk.trigger("trace.collect")
    made = window.findChild(CollectDialog)
    finish_jobs(session)
    for row in made.dictionaries._rows.values():
        row.setChecked(False)
    made.dictionaries.look_at(folder)
    finish_jobs(session)
    assert made.dictionaries.chosen() == (str(folder),)
    return made


def told(dialog: CollectDialog) -> str:
    return dialog._told.text()


def test_what_is_missing_is_said(dialog: CollectDialog, tmp_path: Path) -> None:
    assert not dialog.run_button.isEnabled()
    assert "corpus" in told(dialog)
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    assert dialog.run_button.isEnabled()


def test_a_corpus_that_cannot_be_read_is_explained(
    dialog: CollectDialog, window: MainWindow, tmp_path: Path,
    finish_jobs: Callable[[Session], None],
) -> None:  # fmt: skip
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    dialog.estimate()
    finish_jobs(window.session)
    assert "--field" in told(dialog)
    assert dialog.found is None


def test_time_and_size_are_told_before_and_pages_show_it_after(
    dialog: CollectDialog, window: MainWindow, tmp_path: Path, folder: Path, qtbot: QtBot,
    finish_jobs: Callable[[Session], None],
) -> None:  # fmt: skip
    session = window.session
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    dialog.field.setText("words")
    dialog.estimate()
    finish_jobs(session)
    found = dialog.found
    assert found is not None
    assert found.is_exact
    assert found.n_tokens == 120 * 10
    assert str(folder / "evidence.sqlite") in told(dialog)
    assert "tokens" in told(dialog)
    assert "MB" in told(dialog) or "kB" in told(dialog)
    dialog.run()
    assert dialog.run_button.text() == "Stop"
    finish_jobs(session)
    assert dialog.job.state == "done", dialog.job.error
    assert "Collected" in told(dialog)
    with EvidenceFile(folder) as file:
        assert file.meta["n_tokens"] == 120 * 9  # BOS is not counted
        assert file.all_labels(), "labels were asked for"
    # The circuit's own dictionaries lie elsewhere; those of the new folder come first now.
    circuit = session.circuit
    nodes = [
        n for n in range(len(circuit.nodes))
        if circuit.nodes.key(n).site.text == "mlp_transcoder" and circuit.nodes.key(n).layer == 0
    ]  # fmt: skip
    shown = next(n for n in nodes if (p := feature_work.page(session, n)) and p.examples)
    session.select([shown])
    qtbot.waitUntil(lambda: window.findChild(FeatureBox) is not None)
    texts = [label.text() for label in window.findChild(FeatureBox).findChildren(QLabel)]
    assert any("1\N{NARROW NO-BREAK SPACE}080 tokens" in text for text in texts)
    assert any("texts.jsonl" in text for text in texts)


def test_a_stopped_collection_goes_on_and_ends_with_the_same_bytes(
    dialog: CollectDialog, window: MainWindow, tmp_path: Path, folder: Path,
    finish_jobs: Callable[[Session], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(corpora, "CHUNK_TOKENS", 200)
    monkeypatch.setattr(worker, "_REPORT_EVERY", 0.0)
    monkeypatch.setattr(worker, "_LISTEN_EVERY", 0.0)
    session = window.session
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    dialog.field.setText("words")
    dialog.label_after.setChecked(False)
    dialog.run()
    finish_jobs(session)
    whole = (folder / "evidence.sqlite").read_bytes()
    (folder / "evidence.sqlite").unlink()
    dialog.run()
    stopped = []

    def stop(job: object) -> None:
        if dialog.job.phase == "Collecting evidence" and dialog.job.done >= 2 and not stopped:
            stopped.append(dialog.job.done)
            dialog.run()

    dialog.job.changed.connect(stop)
    finish_jobs(session)
    assert stopped
    assert dialog.job.state == "cancelled"
    assert "kept" in told(dialog)
    assert not (folder / "evidence.sqlite").exists()
    dialog.estimate()
    finish_jobs(session)
    assert dialog.found.n_done > 0
    dialog.run()
    finish_jobs(session)
    assert (folder / "evidence.sqlite").read_bytes() == whole
    assert not list(folder.glob("*.partial"))


def test_a_budget_shortens_the_work(
    dialog: CollectDialog, window: MainWindow, tmp_path: Path, folder: Path,
    finish_jobs: Callable[[Session], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(corpora, "CHUNK_TOKENS", 200)
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    dialog.field.setText("words")
    dialog.budget.setValue(400)
    dialog.estimate()
    finish_jobs(window.session)
    assert dialog.found.n_tokens == pytest.approx(1200, rel=0.3)
    assert "400 tokens" in told(dialog)
    dialog.run()
    finish_jobs(window.session)
    assert not dialog.job.result.is_whole
    assert dialog.job.result.n_tokens < 700
    assert "goes on" in told(dialog)


def test_closing_the_dialog_leaves_the_job_running(
    dialog: CollectDialog, window: MainWindow, tmp_path: Path, folder: Path,
    finish_jobs: Callable[[Session], None],
) -> None:  # fmt: skip
    dialog.corpus.setText(str(tmp_path / "texts.jsonl"))
    dialog.field.setText("words")
    dialog.run()
    job = dialog.job
    dialog.reject()
    finish_jobs(window.session)
    assert job.state == "done"
    assert (folder / "evidence.sqlite").is_file()
