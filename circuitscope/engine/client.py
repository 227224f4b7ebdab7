"""The engine as its users see it: submit one request, hear events, cancel.

`ProcessEngine` keeps the model in a spawned process that may be killed, run out of memory or
hang without harm to the caller; `InProcessEngine` answers the same requests here, for the command
line, the API and tests. Neither uses threads: events are delivered inside `poll`.
"""

import logging
import multiprocessing
import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.shared_memory import SharedMemory
from typing import Protocol

from circuitscope.core.errors import EngineDied
from circuitscope.engine.answers import Holdings
from circuitscope.engine.arrays import Parcel, pack, sweep, unpack
from circuitscope.engine.events import Advanced, Event, Failed, Finished, PhaseBegan, Stopped
from circuitscope.engine.requests import Limits, Request
from circuitscope.engine.worker import Order, Reporter, perform, serve

log = logging.getLogger(__name__)

_MESSAGES_PER_POLL = 200
_PATIENCE = 3.0
_ENDS = (Finished, Failed, Stopped)


def _nobody(event: Event) -> None:
    del event


class Engine(Protocol):
    """Answer one request at a time.

    Attributes:
        listener: Hears every event, inside `poll`.
        limits: How much of the machine the next request may take.
    """

    listener: Callable[[Event], None]
    limits: Limits

    @property
    def busy(self) -> bool:
        """Say whether a request is being worked on."""

    def start(self) -> None:
        """Get ready, so that the first request is answered sooner; returns at once."""

    def warm(self) -> None:
        """Start and import what models need, in the background; returns at once."""

    def submit(self, request: Request) -> int:
        """Begin a request and return its id; only when not busy."""

    def cancel(self) -> None:
        """Ask the request at work to stop; it ends with `Stopped`."""

    def poll(self, timeout: float = 0.0) -> None:
        """Deliver what has happened; wait up to `timeout` seconds for something to happen."""

    def close(self) -> None:
        """Free the model and end."""


class InProcessEngine:
    """Answer requests in this process; `poll` returns when the request is answered."""

    def __init__(self) -> None:
        self.listener: Callable[[Event], None] = _nobody
        self.limits = Limits()
        self._holdings = Holdings()
        self._next_id = 1
        self._request: Request | None = None
        self._cancelled = False

    @property
    def busy(self) -> bool:
        """Say whether a request is being worked on."""
        return self._request is not None

    def start(self) -> None:
        """Do nothing: this process is running already."""

    def warm(self) -> None:
        """Do nothing: this process imports torch when it is needed."""

    def submit(self, request: Request) -> int:
        """Keep a request for the next `poll`."""
        assert self._request is None, "the engine answers one request at a time"
        self._request, self._cancelled = request, False
        self._next_id += 1
        return self._next_id - 1

    def cancel(self) -> None:
        """Stop at the next progress call; meant to be called by the listener."""
        self._cancelled = True

    def poll(self, timeout: float = 0.0) -> None:
        """Answer the request that was submitted."""
        del timeout
        if self._request is None:
            return
        request_id = self._next_id - 1
        progress = Reporter(request_id, self.listener, lambda: self._cancelled)
        try:
            event = perform(request_id, self._request, self._holdings, progress, self.limits)
        finally:
            self._request = None
        self.listener(event)

    def close(self) -> None:
        """Free the model."""
        self._request = None
        self._holdings.free()


class ProcessEngine:
    """Answer requests in a spawned process that is started, watched and replaced here.

    Args:
        patience: Seconds a cancelled request has to stop before its process is ended.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self.listener: Callable[[Event], None] = _nobody
        self.limits = Limits()
        self._patience = patience
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._prefix = ""
        self._segments = 0
        self._sent: SharedMemory | None = None
        self._next_id = 1
        self._current = 0
        self._cancelled_at = 0.0
        self._phase = PhaseBegan(0, "", 0)
        self._done = 0

    @property
    def busy(self) -> bool:
        """Say whether a request is being worked on."""
        return self._current > 0

    @property
    def pid(self) -> int | None:
        """Return the id of the process, None where there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process where it is not running; returns at once."""
        self._start(warm=False)

    def warm(self) -> None:
        """Start a process that imports torch before it is asked to; returns at once."""
        self._start(warm=True)

    def _start(self, *, warm: bool) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._prefix = f"cs{os.getpid():x}_{secrets.token_hex(3)}_"
        self._segments = 0
        process = context.Process(
            target=serve,
            args=(theirs, self._prefix, warm),
            name="circuitscope-engine",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours

    def submit(self, request: Request) -> int:
        """Begin a request, in a new process where the last one has ended."""
        assert not self.busy, "the engine answers one request at a time"
        if self._process is not None and not self._process.is_alive():
            self._forget()
        self.start()
        assert self._pipe is not None
        parcel, self._sent = pack(request, f"{self._prefix}q{self._next_id:x}")
        order = Order(self._next_id, parcel, self.limits)
        self._next_id += 1
        self._current, self._cancelled_at = order.request_id, 0.0
        self._phase, self._done = PhaseBegan(0, "", 0), 0
        try:
            self._pipe.send(order)
        except OSError:
            log.info("the engine process ended while idle; starting another")
            self._forget()
            return self.submit(request)
        return order.request_id

    def cancel(self) -> None:
        """Ask the request at work to stop; its process is ended when it does not in time."""
        if not self.busy or self._pipe is None or self._cancelled_at:
            return
        self._cancelled_at = time.monotonic()
        try:
            self._pipe.send(Order(self._current))
        except OSError:
            log.debug("the engine process ended before it could be cancelled")

    def poll(self, timeout: float = 0.0) -> None:
        """Deliver what the process has sent, and notice when it has ended or does not listen."""
        for _ in range(_MESSAGES_PER_POLL):
            if self._pipe is None:  # never started, or a listener closed the engine
                return
            try:
                event = self._pipe.recv() if self._pipe.poll(timeout) else None
            except (EOFError, OSError):
                self._mourn()
                return
            if event is None:
                break
            timeout = 0.0
            self._hear(event)
        waited = time.monotonic() - self._cancelled_at
        if self.busy and self._cancelled_at and waited > self._patience:
            log.warning("the engine did not stop in %.1f s; its process is ended", self._patience)
            request_id = self._current
            self._forget()
            self.listener(Stopped(request_id))

    def close(self) -> None:
        """End the process; a request at work is dropped."""
        if self._process is None or self._pipe is None:
            return
        if not self.busy and self._process.is_alive():
            try:
                self._pipe.send(None)
            except OSError:
                log.debug("the engine process had already ended")
            self._process.join(1.0)
        self._forget()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Finished) and isinstance(event.result, Parcel):
            if event.result.segment:
                self._segments += 1
            event = Finished(event.request_id, unpack(event.result))
        if event.request_id != self._current:
            return
        if isinstance(event, PhaseBegan):
            self._phase, self._done = event, 0
        elif isinstance(event, Advanced):
            self._done = event.done
        elif isinstance(event, _ENDS):
            self._current = 0
            self._let_go()
        self.listener(event)

    def _let_go(self) -> None:
        """Close the segment of the request, and remove it where the process did not take it."""
        sent, self._sent = self._sent, None
        if sent is not None:
            sent.close()
            with suppress(FileNotFoundError):
                sent.unlink()

    def _mourn(self) -> None:
        """Turn the end of the process into the end of its request."""
        assert self._process is not None
        self._process.join(2.0)
        code, request_id = self._process.exitcode, self._current
        was_cancelled = bool(self._cancelled_at)
        self._forget()
        if not request_id:
            log.warning("the engine process ended while idle (exit code %s)", code)
        elif was_cancelled:
            self.listener(Stopped(request_id))
        else:
            self.listener(Failed(request_id, self._obituary(code)))

    def _obituary(self, code: int | None) -> EngineDied:
        where = f"during “{self._phase.name}”" if self._phase.name else "before its work began"
        if self._phase.total:
            where += f", at {self._done} of {self._phase.total}"
        if code is not None and code < 0:
            try:
                how = f"was ended by the system ({signal.Signals(-code).name})"
            except ValueError:
                how = f"was ended by the system (signal {-code})"
        else:
            how = f"ended by itself (exit code {code})"
        killed = code == -9
        return EngineDied(
            f"The engine process {how} {where}."
            + (" This is what happens when memory runs out." if killed else ""),
            kept="The project and its drawings are unchanged; the engine starts again by itself.",
            hint="Ask for fewer nodes or a shorter prompt, or close other programs."
            if killed
            else "Try again; the log file has what is known.",
        )

    def _forget(self) -> None:
        """End the process if need be, and remove everything it leaves."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        self._current = 0
        self._let_go()
        if process is None or pipe is None:
            return
        if process.is_alive():
            process.kill()
        process.join(5.0)
        self._drain(pipe)
        pipe.close()
        process.close()
        swept = sweep(self._prefix, self._segments)
        if swept:
            log.info("removed %d shared-memory segments of an ended engine process", swept)

    def _drain(self, pipe: Connection) -> None:
        """Free the segments of answers that nobody will hear."""
        try:
            while pipe.poll():
                event = pipe.recv()
                if isinstance(event, Finished) and isinstance(event.result, Parcel):
                    if event.result.segment:
                        self._segments += 1
                    unpack(event.result)
        except (EOFError, OSError):
            return
