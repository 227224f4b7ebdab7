"""The engine process, for real: spawned, asked, cancelled, killed; nothing may be left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.errors import EngineDied
from circuitscope.engine.arrays import segment_name
from circuitscope.engine.client import InProcessEngine, ProcessEngine
from circuitscope.engine.events import Advanced, Event, Failed, Finished, PhaseBegan, Stopped
from circuitscope.engine.requests import InspectModel, ModelChoice, Ping, Pong, PreviewPrompt

SHARED = Path("/dev/shm")
ENDS = (Finished, Failed, Stopped)


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


class Listener:
    """Collect events of an engine, for as long as a test wants."""

    def __init__(self, engine: ProcessEngine | InProcessEngine) -> None:
        self.events: list[Event] = []
        self.engine = engine
        engine.listener = self.events.append

    def until(self, found: Callable[[Event], bool], seconds: float = 20.0) -> Event:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for event in self.events:
                if found(event):
                    return event
            self.engine.poll(0.05)
        raise AssertionError(f"nothing such in {seconds} s: {self.events}")

    def end(self, request_id: int, seconds: float = 20.0) -> Event:
        return self.until(lambda e: isinstance(e, ENDS) and e.request_id == request_id, seconds)


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    engine = ProcessEngine(patience=1.0)
    yield engine
    engine.close()
    if SHARED.is_dir():
        left = [path.name for path in SHARED.glob(f"cs{os.getpid():x}_*")]
        assert not left, f"shared memory was left behind: {left}"


def test_answers_and_reports_progress_without_torch(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    event = hear.end(engine.submit(Ping(steps=5, pause=0.06, n_values=1000)))
    assert isinstance(event, Finished)
    assert isinstance(event.result, Pong)
    assert event.result.pid == engine.pid != os.getpid()
    assert not event.result.has_torch
    np.testing.assert_array_equal(event.result.values, np.arange(1000))
    assert not event.result.values.flags.writeable
    assert isinstance(hear.events[0], PhaseBegan)
    assert hear.events[0].total == 5
    assert any(isinstance(event, Advanced) for event in hear.events)


def test_many_requests_leave_nothing_behind(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    own_files = 0
    for number in range(200):
        event = hear.end(engine.submit(Ping(n_values=20_000 + number)))
        assert isinstance(event, Finished)
        assert len(event.result.values) == 20_000 + number  # type: ignore[union-attr]
        own_files = own_files or _open_files()
    assert _open_files() <= own_files
    if SHARED.is_dir():
        assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))


def test_cancel_answers_within_a_second(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    number = engine.submit(Ping(steps=10_000, pause=0.01))
    hear.until(lambda event: isinstance(event, Advanced))
    pid, before = engine.pid, time.monotonic()
    engine.cancel()
    assert isinstance(hear.end(number), Stopped)
    assert time.monotonic() - before < 1.0
    assert isinstance(hear.end(engine.submit(Ping())), Finished)
    assert engine.pid == pid, "a willing process is not replaced"


def test_process_that_does_not_hear_is_replaced(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    number = engine.submit(Ping(steps=1, deaf_seconds=60.0))
    hear.until(lambda event: isinstance(event, PhaseBegan))
    pid = engine.pid
    time.sleep(0.1)
    engine.cancel()
    assert isinstance(hear.end(number, 5.0), Stopped)
    event = hear.end(engine.submit(Ping()))
    assert isinstance(event, Finished)
    assert event.result.pid != pid  # type: ignore[union-attr]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_killed_process_becomes_a_readable_failure_and_the_next_request_works(
    engine: ProcessEngine,
) -> None:
    hear = Listener(engine)
    number = engine.submit(Ping(steps=10_000, pause=0.01))
    hear.until(lambda event: isinstance(event, Advanced) and event.done > 5)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    event = hear.end(number)
    assert isinstance(event, Failed)
    assert isinstance(event.error, EngineDied)
    assert "during “Counting”" in event.error.message
    assert "of 10000" in event.error.message
    assert event.error.kept
    assert event.error.hint
    assert isinstance(hear.end(engine.submit(Ping(n_values=10))), Finished)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs to see shared memory as files")
def test_answer_of_a_process_killed_before_it_was_heard_is_swept(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    engine.submit(Ping(n_values=100_000))
    deadline = time.monotonic() + 20
    while not list(SHARED.glob(f"cs{os.getpid():x}_*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    time.sleep(0.1)
    for _ in range(20):
        engine.poll(0.05)
    assert any(isinstance(event, ENDS) for event in hear.events)
    assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs to see shared memory as files")
def test_segment_that_was_never_announced_is_swept(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    number = engine.submit(Ping(steps=10_000, pause=0.01))
    hear.until(lambda event: isinstance(event, Advanced))
    segment = SharedMemory(segment_name(engine._prefix, 0), create=True, size=64)
    segment.close()
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert isinstance(hear.end(number), Failed)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_process_killed_while_idle_is_replaced_silently(engine: ProcessEngine) -> None:
    hear = Listener(engine)
    assert isinstance(hear.end(engine.submit(Ping())), Finished)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert isinstance(hear.end(engine.submit(Ping())), Finished)
    assert not any(isinstance(event, Failed) for event in hear.events)


_PARENT = """
import sys, time
from circuitscope.engine.client import ProcessEngine
from circuitscope.engine.requests import Ping

if __name__ == "__main__":
    engine = ProcessEngine()
    engine.submit(Ping(steps=1, deaf_seconds=120.0))
    print(engine.pid, flush=True)
    time.sleep(120)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs to see processes as files")
def test_death_of_the_parent_ends_the_engine(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        time.sleep(0.8)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5.0
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid), "the engine outlives the window"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_close_while_working_ends_the_process(engine: ProcessEngine) -> None:
    Listener(engine)
    engine.submit(Ping(steps=10_000, pause=0.01))
    before = time.monotonic()
    engine.close()
    assert time.monotonic() - before < 2.0
    assert engine.pid is None
    assert not engine.busy


def test_in_process_engine_answers_alike() -> None:
    engine = InProcessEngine()
    hear = Listener(engine)
    event = hear.end(engine.submit(Ping(steps=3, n_values=4)))
    assert isinstance(event, Finished)
    assert event.result.pid == os.getpid()  # type: ignore[union-attr]
    assert not engine.busy


def test_in_process_engine_stops_when_its_listener_says_so() -> None:
    engine = InProcessEngine()
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        engine.cancel()

    engine.listener = listen
    engine.submit(Ping(steps=100, pause=0.03))
    engine.poll()
    assert isinstance(events[-1], Stopped)


def test_mistake_of_ours_is_told_without_traceback(tmp_path: Path) -> None:
    engine = InProcessEngine()
    hear = Listener(engine)
    event = hear.end(engine.submit(Ping(steps=1, pause=-1.0)))
    assert isinstance(event, Failed)
    assert "during “Counting”" in event.error.message
    assert "Traceback" not in str(event.error)
    assert "Traceback" in event.report


def test_error_of_the_users_world_comes_back_whole(engine: ProcessEngine, tmp_path: Path) -> None:
    hear = Listener(engine)
    event = hear.end(engine.submit(InspectModel(str(tmp_path / "nowhere"))), 60.0)
    assert isinstance(event, Failed)
    assert "nowhere" in event.error.message
    assert event.report == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot stop a process for a while")
def test_a_large_request_does_not_wait_for_a_process_that_is_still_starting(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    engine.start()
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    prompt = "a long prompt, pasted " * 20_000

    def give_up(*_: object) -> None:
        raise AssertionError("submit waits for the process")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        number = engine.submit(PreviewPrompt(ModelChoice(str(tmp_path)), prompt))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.kill(engine.pid, signal.SIGCONT)
    event = Listener(engine).end(number, 60.0)
    assert isinstance(event, Failed)
    assert str(tmp_path) in event.error.message
