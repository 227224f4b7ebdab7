"""The window beside a real engine process: it outlives a kill, and takes the engine with it."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.panels.jobs import JobRow
from circuitscope.core.errors import EngineDied
from circuitscope.core.shipped import shipped_path
from circuitscope.engine.client import ProcessEngine
from circuitscope.engine.language import LanguageChoice
from circuitscope.engine.requests import Ping
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId
from circuitscope.session import feature_jobs
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session

SHARED = Path("/dev/shm")


@pytest.fixture
def started(qapp: QApplication) -> Iterator[Application]:
    application = Application(qapp, Session(ProcessEngine()))
    application.window.show()
    qapp.processEvents()
    yield application
    application.finish()
    for widget in qapp.topLevelWidgets():
        widget.hide()
        widget.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    if SHARED.is_dir():
        assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_the_window_lives_on_when_the_engine_is_killed(started: Application, qtbot: QtBot) -> None:
    session, window = started.session, started.window
    job = session.jobs.add("Count", Ping(steps=10_000, pause=0.01))
    qtbot.waitUntil(lambda: job.done > 3, timeout=60_000)
    assert isinstance(session.engine, ProcessEngine)
    pid = session.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: job.is_over, timeout=20_000)
    assert job.state == "failed"
    assert isinstance(job.error, EngineDied)
    assert "during “Counting”" in job.error.message
    row = next(row for row in window.findChildren(JobRow) if row.job is job)
    qtbot.waitUntil(lambda: job.error.message in row._error.text(), timeout=5_000)
    assert gone(pid)
    assert window.isVisible()
    session.new_project()
    assert session.project is not None, "the window still works"
    following = session.jobs.add("Count", Ping(n_values=9))
    qtbot.waitUntil(lambda: following.is_over, timeout=60_000)
    assert following.state == "done"
    assert following.result.pid != pid


def test_a_stuck_engine_is_ended_while_the_window_goes_on(
    started: Application, qtbot: QtBot
) -> None:
    session = started.session
    job: Job = session.jobs.add("Count", Ping(steps=1, deaf_seconds=60.0))
    qtbot.waitUntil(lambda: job.phase == "Counting", timeout=60_000)
    qtbot.wait(50)
    session.jobs.cancel(job)
    before = time.monotonic()
    qtbot.waitUntil(lambda: job.is_over, timeout=20_000)
    assert job.state == "cancelled"
    assert 2.5 < time.monotonic() - before < 6


def test_closing_the_window_ends_the_engine(qapp: QApplication, qtbot: QtBot) -> None:
    application = Application(qapp, Session(ProcessEngine()))
    application.window.show()
    application.session.warm_up()
    engine = application.session.engine
    assert isinstance(engine, ProcessEngine)
    pid = engine.pid
    assert pid is not None
    assert psutil.pid_exists(pid)
    application.window.close()
    application.finish()
    assert engine.pid is None
    assert gone(pid)
    application.window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.mark.slow
def test_a_collection_stopped_in_the_engine_goes_on_there(
    started: Application, qtbot: QtBot, tmp_path: Path
) -> None:
    session = started.session
    atlas = shipped_path("projects", "atlas")
    folder = str(tmp_path / "dictionaries")
    shutil.copytree(atlas / "dictionaries" / "mlp_transcoder_0", Path(folder) / "mlp_transcoder_0")
    session.load_model(atlas / "model", device="cpu")

    def collect() -> Job:
        return feature_jobs.collect(session, [folder], "atlas:16384", folder)

    job = collect()
    qtbot.waitUntil(lambda: job.done >= 1 or job.is_over, timeout=120_000)
    assert job.state == "running"
    assert job.total == 4
    session.jobs.cancel(job)
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.state == "cancelled"
    assert list(Path(folder).glob("*.partial"))
    again = collect()
    qtbot.waitUntil(lambda: again.is_over, timeout=120_000)
    assert again.state == "done", again.error
    assert any(line.startswith("Goes on after") for line in again.log)
    assert again.result.n_sequences == 16_384
    with EvidenceFile(folder) as file:
        (place,) = file.cards
        feature = FeatureId(*place, int(DictionaryEvidence(file, *place).alive()[0]))
    labelled = feature_jobs.label(session, folder, [folder], only=[feature])
    choice = LanguageChoice("http://127.0.0.1:9/v1", "nobody")
    explained = feature_jobs.explain(session, choice, folder, [feature])
    qtbot.waitUntil(lambda: explained.is_over, timeout=120_000)
    assert labelled.state == "done", labelled.error
    assert explained.state == "failed"
    assert "gave no answer" in explained.error.message
