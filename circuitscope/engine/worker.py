"""The engine process: take one request, report progress, honour cancel, answer, wait for the next.

Nothing here imports torch; `engine.answers` does so inside the functions that need it, so that
the process starts in a fraction of a second; asked to be warm, it imports torch in the background
and answers what needs none of it meanwhile.
"""

import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from circuitscope.core.errors import Cancelled, CircuitScopeError, ModelError, OutOfMemory
from circuitscope.engine.answers import Holdings, answer
from circuitscope.engine.arrays import Parcel, pack, segment_name, unpack
from circuitscope.engine.events import Advanced, Event, Failed, Finished, Noted, PhaseBegan, Stopped
from circuitscope.engine.requests import UNLIMITED, Limits, Request

log = logging.getLogger(__name__)

_REPORT_EVERY = 0.05
_LISTEN_EVERY = 0.02
_ENGINE_PACKAGES = ("torch", "transformers", "safetensors", "tokenizers", "psutil")


@dataclass(frozen=True, slots=True)
class Order:
    """What the client tells the process: work on a request, or stop working on it.

    Attributes:
        request: The work, packed; None cancels the request of this id.
        limits: How much of the machine it may take.
    """

    request_id: int
    request: Parcel | None = None
    limits: Limits = UNLIMITED


class Reporter:
    """The `Progress` of one request: sends events, not too many, and hears cancel.

    Args:
        request_id: Whose progress.
        send: Where events go.
        stopped: Whether the user asked to stop; called often, must be quick.
    """

    def __init__(
        self, request_id: int, send: Callable[[Event], None], stopped: Callable[[], bool]
    ) -> None:
        self._id = request_id
        self._send = send
        self._stopped = stopped
        self._done = 0
        self._reported = 0.0
        self._listened = 0.0
        self.phase_name = ""

    def phase(self, name: str, total: int = 0) -> None:
        """Begin a named phase of `total` steps (0: unknown)."""
        self._done, self._reported, self.phase_name = 0, time.monotonic(), name
        self._send(PhaseBegan(self._id, name, total))
        self._listen(time.monotonic())

    def advance(self, steps: int = 1) -> None:
        """Count finished steps of the current phase."""
        self._done += steps
        now = time.monotonic()
        if now - self._reported >= _REPORT_EVERY:
            self._reported = now
            self._send(Advanced(self._id, self._done))
        if now - self._listened >= _LISTEN_EVERY:
            self._listen(now)

    def partial(self, result: Any) -> None:
        """Hear an unfinished result; only the end result travels."""
        self.advance(0)

    def note(self, text: str) -> None:
        """Add a line to the job's log."""
        self._send(Noted(self._id, text))
        self._listen(time.monotonic())

    def _listen(self, now: float) -> None:
        self._listened = now
        if self._stopped():
            raise Cancelled


def perform(
    request_id: int,
    request: Request,
    holdings: Holdings,
    progress: Reporter,
    limits: Limits = UNLIMITED,
) -> Event:
    """Answer a request; whatever goes wrong becomes an event that a user can read."""
    try:
        return Finished(request_id, answer(request, holdings, progress, limits))
    except Cancelled:
        return Stopped(request_id)
    except CircuitScopeError as error:
        return Failed(request_id, error)
    except MemoryError:
        return Failed(request_id, _no_memory(progress), traceback.format_exc())
    except ModuleNotFoundError as error:
        return Failed(request_id, _missing_package(error, progress), traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the process
        return Failed(request_id, _own_mistake(error, progress), traceback.format_exc())


def missing_engine(package: str = "torch") -> ModelError:
    """Return what to tell a user whose installation has no engine."""
    return ModelError(
        f"Models need the package {package}, which is not installed.",
        kept="Projects open, edit and export without it.",
        hint='Install it with: pip install "circuitscope[engine]"',
    )


def _no_memory(progress: Reporter) -> OutOfMemory:
    return OutOfMemory(
        f"Memory ran out {_during(progress)}.",
        kept="The project is unchanged.",
        hint="Ask for fewer nodes or a shorter prompt, or close other programs.",
    )


def _own_mistake(error: Exception, progress: Reporter) -> CircuitScopeError:
    said = " ".join(str(error).split())[:200]
    return CircuitScopeError(
        f"CircuitScope made a mistake {_during(progress)} "
        f"({type(error).__name__}{f': {said}' if said else ''}).",
        kept="The project is unchanged.",
        hint="The log file has the details; please report it with them.",
    )


def _missing_package(error: ModuleNotFoundError, progress: Reporter) -> CircuitScopeError:
    package = (error.name or "").partition(".")[0]
    if package in _ENGINE_PACKAGES:
        return missing_engine(package)
    return CircuitScopeError(
        f"A part of CircuitScope is missing {_during(progress)}: {error.name}.",
        kept="The project is unchanged.",
        hint="Install CircuitScope again.",
    )


def _during(progress: Reporter) -> str:
    return f"during “{progress.phase_name}”" if progress.phase_name else "before the work began"


def serve(pipe: Connection, prefix: str, warm: bool = False) -> None:
    """Work on orders until the client hangs up; the target of the spawned process.

    Args:
        pipe: Carries `Order`s in and events out; None in asks to end.
        prefix: Names the shared-memory segments made here.
        warm: Whether to import torch at once, in the background, for the first request.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    try:
        server = _Server(pipe, prefix)
        if warm:
            server.warm()
        server.run()
    except (EOFError, OSError):
        log.debug("the client hung up")


class _Server:
    def __init__(self, pipe: Connection, prefix: str) -> None:
        self._pipe = pipe
        self._prefix = prefix
        self._sent = 0
        self._open: list[SharedMemory] = []
        self._holdings = Holdings()

    def warm(self) -> None:
        self._holdings.warm()

    def run(self) -> None:
        while (order := self._pipe.recv()) is not None:
            self._let_go()
            if order.request is None:
                continue
            number = order.request_id
            progress = Reporter(number, self._pipe.send, partial(self._cancelled, number))
            request: Request = unpack(order.request)
            ended = perform(number, request, self._holdings, progress, order.limits)
            self._send(ended)
        self._let_go()

    def _send(self, outcome: Event) -> None:
        if isinstance(outcome, Finished):
            parcel = self._share(outcome.result)
            outcome = Finished(outcome.request_id, parcel)  # type: ignore[arg-type] # packed
        self._pipe.send(outcome)

    def _share(self, result: Any) -> Parcel:
        parcel, segment = pack(result, segment_name(self._prefix, self._sent))
        if segment is not None:
            self._sent += 1
            self._open.append(segment)
        return parcel

    def _let_go(self) -> None:
        """Close segments of answers that have arrived, as the next order shows."""
        for segment in self._open:
            segment.close()
        self._open.clear()

    def _cancelled(self, request_id: int) -> bool:
        while self._pipe.poll():
            order = self._pipe.recv()
            if order is None:
                raise EOFError
            if order.request_id == request_id:
                return True
        return False


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(0)
