"""The log file: standard library logging, rotating, every line with the job it belongs to."""

import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from circuitscope.core.places import state_home

_JOB: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="-")
_FORMAT = "%(asctime)s %(levelname)-7s job %(job)s %(name)s: %(message)s"
_MOST_BYTES = 1_000_000
_OLD_FILES = 3


def log_path() -> Path:
    """Return where the log file is."""
    return state_home() / "logs" / "circuitscope.log"


@contextmanager
def job_of_lines(job_id: int) -> Iterator[None]:
    """Name the job that lines logged in this block belong to."""
    token = _JOB.set(str(job_id))
    try:
        yield
    finally:
        _JOB.reset(token)


def start_logging(level: int = logging.INFO) -> Path | None:
    """Send the package's lines to the log file; other libraries' loggers are left alone.

    Returns:
        The file, or None where none can be written; the program goes on without.
    """
    stop_logging()
    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=_MOST_BYTES, backupCount=_OLD_FILES, encoding="utf-8", delay=True
        )
    except OSError:
        return None
    handler.setFormatter(logging.Formatter(_FORMAT, defaults={"job": "-"}))
    handler.addFilter(_name_job)
    package = logging.getLogger("circuitscope")
    package.addHandler(handler)
    package.setLevel(level)
    return path


def stop_logging() -> None:
    """Close the log file."""
    package = logging.getLogger("circuitscope")
    for handler in list(package.handlers):
        if isinstance(handler, RotatingFileHandler):
            package.removeHandler(handler)
            handler.close()


def _name_job(record: logging.LogRecord) -> bool:
    record.job = _JOB.get()
    return True
