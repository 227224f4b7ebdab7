"""The log file names the job of each line and leaves other libraries alone."""

import logging
from pathlib import Path

import pytest

from circuitscope.engine.client import InProcessEngine
from circuitscope.engine.requests import Ping
from circuitscope.session.jobs import JobQueue
from circuitscope.session.logs import log_path, start_logging, stop_logging


def test_lines_carry_their_job(state_home: Path) -> None:
    path = start_logging()
    try:
        queue = JobQueue(InProcessEngine())
        queue.wait(queue.add("Count to nothing", Ping()))
        queue.wait(queue.add("Fail", Ping(steps=1, pause=-1.0)))
        logging.getLogger("somebody.else").error("not ours")
    finally:
        stop_logging()
    assert path == log_path()
    assert path.is_relative_to(state_home)
    text = path.read_text("utf-8")
    assert "job 1" in text
    assert "Count to nothing" in text
    assert "job 2" in text
    assert "Traceback" in text
    assert "not ours" not in text


def test_program_goes_on_where_no_log_can_be_written(
    state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state_home / "logs").write_text("a file in the way")
    assert start_logging() is None
    stop_logging()
