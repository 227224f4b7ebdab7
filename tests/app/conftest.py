"""A real window on a real session, the engine in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.application import Application
from circuitscope.app.commands import files
from circuitscope.app.main_window import MainWindow
from circuitscope.core.circuit import Circuit
from circuitscope.engine.client import InProcessEngine
from circuitscope.session.session import Session


@pytest.fixture(autouse=True)
def no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that would wait for an answer to "Save changes?"."""

    def ask(_desk: object) -> str:
        raise AssertionError("the window asked whether to save")

    monkeypatch.setattr(files, "ask_to_save", ask)


@pytest.fixture
def started(qapp: QApplication) -> Iterator[Application]:
    """Return the running application with nothing open."""
    qapp.setStyle("Fusion")
    application = Application(qapp, Session(InProcessEngine()))
    application.window.show()
    qapp.processEvents()
    yield application
    application.finish()
    while (modal := qapp.activeModalWidget()) is not None:
        modal.close()
        modal.hide()
    for widget in qapp.topLevelWidgets():
        widget.hide()
        widget.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qapp.processEvents()


@pytest.fixture
def window(started: Application) -> MainWindow:
    """Return the window on the start page."""
    return started.window


@pytest.fixture
def drawn(
    window: MainWindow, small_circuit: Circuit, tmp_path: Path, qapp: QApplication
) -> MainWindow:
    """Return the window on a saved project that holds the small circuit."""
    session = window.session
    project = session.new_project(tmp_path / "dallas.circuitscope")
    session.activate(project.add_finding(small_circuit, "Dallas"))
    session.set_view(node_threshold=1.0, edge_threshold=1.0)
    session.save()
    qapp.processEvents()
    return window


@pytest.fixture
def finish_jobs(qtbot: QtBot) -> Callable[[Session], None]:
    """Wait until every job of a session is over."""

    def wait(session: Session) -> None:
        qtbot.waitUntil(lambda: all(job.is_over for job in session.jobs.jobs), timeout=20_000)
        qtbot.wait(1)

    return wait


@pytest.fixture
def opened(qapp: QApplication) -> Callable[[str], QWidget]:
    """Find the visible dialog of a name."""

    def find(name: str) -> QWidget:
        found = [w for w in qapp.topLevelWidgets() if w.objectName() == name and w.isVisible()]
        assert found, f"no {name} is open"
        return found[-1]

    return find


@pytest.fixture
def tiny_othello(tmp_path: Path) -> Path:
    """Return a folder with an untrained model that reads games of Othello."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from circuitscope.examples.othello_model import build_tokenizer

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=61, n_positions=60, n_embd=16, n_layer=1, n_head=2, bos_token_id=None,
        eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"
