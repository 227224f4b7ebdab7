"""A second start hands its file to the first window; real processes, offscreen."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtNetwork import QLocalSocket
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app import handover
from circuitscope.app.application import Application
from circuitscope.app.handover import Listener, hand_over, socket_name
from circuitscope.app.main_window import MainWindow
from circuitscope.core.shipped import shipped_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the processes are watched by signals")
ENDS_WITHIN = 60.0


@pytest.fixture
def projects(tmp_path: Path) -> list[Path]:
    """Return copies of a project under three names."""
    bundled = shipped_path("projects", "atlas", "capitals.circuitscope")
    names = [tmp_path / f"{name}.circuitscope" for name in ("one", "two", "three")]
    for name in names:
        shutil.copy(bundled, name)
    return names


@pytest.fixture
def start(state_home: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program as a user does; what still runs at the end is ended."""
    begun: list[subprocess.Popen[bytes]] = []
    environment = dict(os.environ, DISPLAY=":99", QT_QPA_PLATFORM="offscreen",
                       CIRCUITSCOPE_HOME=str(state_home))  # fmt: skip

    def begin(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "circuitscope", *map(str, arguments)]
        begun.append(subprocess.Popen(command, env=environment))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.wait()


def last_opened(home: Path) -> str:
    try:
        kept = json.loads((home / "preferences.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return next(iter(kept.get("recent", {}).get("projects", [])), "")


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + ENDS_WITHIN
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_second_start_hands_over_and_a_dead_window_is_replaced(
    start: Callable[..., subprocess.Popen[bytes]], projects: list[Path], state_home: Path
) -> None:
    one, two, three = projects
    first = start(one)
    wait_until(lambda: last_opened(state_home) == str(one))
    second = start(two)
    assert second.wait(ENDS_WITHIN) == 0
    wait_until(lambda: last_opened(state_home) == str(two))
    assert first.poll() is None

    apart = start("--new-window", three)
    wait_until(lambda: last_opened(state_home) == str(three))
    assert apart.poll() is None

    first.send_signal(signal.SIGKILL)
    first.wait()
    replaced = start(one)
    wait_until(lambda: last_opened(state_home) == str(one))
    assert replaced.poll() is None
    assert start(two).wait(ENDS_WITHIN) == 0
    wait_until(lambda: last_opened(state_home) == str(two))
    assert replaced.poll() is None


def test_the_window_opens_what_it_is_handed_after_an_open_question(
    started: Application, drawn: MainWindow, projects: list[Path], opened, qtbot: QtBot
) -> None:
    drawn.desk.trigger("help.about")
    dialog = QApplication.activeModalWidget()
    started.come_forward(str(projects[0]))
    assert drawn.session.project.path.name == "dallas.circuitscope"
    dialog.accept()
    qtbot.waitUntil(lambda: drawn.session.project.path == projects[0])


def test_words_that_are_none_of_ours_are_not_heard(qtbot: QtBot) -> None:
    listener = Listener()
    assert listener.listen(socket_name())
    heard: list[str] = []
    listener.wanted.connect(heard.append)
    for line in (b"\xff\xfe\n", b"[1]\n", b'{"open": 3}\n', b"x" * 100_000, b'{"open": "/a"}\n'):
        socket = QLocalSocket()
        socket.connectToServer(socket_name())
        assert socket.waitForConnected(1000)
        socket.write(line)
        socket.flush()
        qtbot.waitUntil(lambda socket=socket: (
            socket.state() is QLocalSocket.LocalSocketState.UnconnectedState
        ))  # fmt: skip
    assert heard == ["/a"]
    listener.close()


def test_another_users_socket_is_neither_used_nor_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    foreign = tmp_path / "socket"
    foreign.touch()
    monkeypatch.setattr(handover, "_place_of", lambda _name: str(foreign))
    monkeypatch.setattr(handover, "_user", lambda: foreign.lstat().st_uid + 1)
    listener = hand_over("/some/file")
    assert listener is not None
    assert not listener._server.isListening()
    assert foreign.exists()
