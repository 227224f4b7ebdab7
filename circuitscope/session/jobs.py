"""Jobs: slow work with progress, a state and an end, done one after another by the engine."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

from psygnal import Signal

from circuitscope.core.errors import CircuitScopeError, EngineDied
from circuitscope.engine.client import Engine
from circuitscope.engine.events import Advanced, Event, Failed, Finished, Noted, PhaseBegan, Stopped
from circuitscope.engine.requests import Request, Result
from circuitscope.session.logs import job_of_lines

log = logging.getLogger(__name__)

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
_POLL_SECONDS = 0.1


class Job:
    """One piece of slow work, as the jobs panel and the command line see it.

    Attributes:
        id: Counts up from 1 within a session.
        title: What it does, such as "Trace “the capital of …”".
        request: What the engine is asked.
        state: "queued", "running", "done", "failed" or "cancelled".
        phase: What it is doing now, or was doing when it ended.
        done: Steps finished in this phase.
        total: Steps of this phase in all, 0 where unknown.
        started: `time.monotonic()` when it began, 0 before.
        finished: `time.monotonic()` when it ended, 0 before.
        result: What came back (a `Result` of `engine.requests`); None before, and once the
            project holds it.
        result_id: Id of the circuit it added to the project, "" where it adds none.
        error: What to tell the user when it failed.
        log: Lines in order.
    """

    changed = Signal(object)
    """Emitted with the job after every change."""

    def __init__(self, number: int, title: str, request: Request) -> None:
        self.id = number
        self.title = title
        self.request = request
        self.state: JobState = "queued"
        self.phase = ""
        self.done = 0
        self.total = 0
        self.started = 0.0
        self.finished = 0.0
        self.result: Any = None
        self.result_id = ""
        self.error: CircuitScopeError | None = None
        self.log: list[str] = []
        self._phase_began = 0.0

    @property
    def is_over(self) -> bool:
        """Say whether it has ended, in whichever way."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def seconds(self) -> float:
        """Return how long it has been running, or ran."""
        if not self.started:
            return 0.0
        return (self.finished or time.monotonic()) - self.started

    @property
    def eta(self) -> float | None:
        """Return the seconds left in this phase at the speed so far; None where unknown."""
        if self.state != "running" or not self.total or not self.done:
            return None
        spent = time.monotonic() - self._phase_began
        return spent / self.done * max(0, self.total - self.done)

    def begin(self) -> None:
        """Note that work on it has begun."""
        self.state, self.started = "running", time.monotonic()
        self._phase_began = self.started
        self.changed.emit(self)

    def hear(self, event: Event) -> None:
        """Take over what the engine says about the work, short of its end."""
        match event:
            case PhaseBegan(_, name, total):
                self.phase, self.total, self.done = name, total, 0
                self._phase_began = time.monotonic()
                self.log.append(f"{name} ({total})" if total else name)
            case Advanced(_, done):
                self.done = done
            case Noted(_, text):
                self.log.append(text)
        self.changed.emit(self)

    def end(self, state: JobState, error: CircuitScopeError | None = None) -> None:
        """Note how it ended."""
        self.state, self.error, self.finished = state, error, time.monotonic()
        if error is not None:
            self.log.append(str(error))
        self.changed.emit(self)


Ending = Callable[[Job, Any], Iterator[None] | None]


def _no_ending(job: Job, result: Result) -> None:
    del job, result


def _not_started(error: OSError) -> EngineDied:
    return EngineDied(
        f"The engine process could not be started: {error.strerror or error}.",
        kept="The project and its drawings are unchanged.",
        hint="Close other programs and try again.",
    )


def _not_kept(job: Job) -> CircuitScopeError:
    return CircuitScopeError(
        f"CircuitScope made a mistake with the result of “{job.title}”.",
        kept="The project is as it was before.",
        hint="The log file has the details; please report it with them.",
    )


class JobQueue:
    """Run jobs one after another on one engine.

    Attributes:
        jobs: Every job of the session, oldest first.

    Args:
        engine: Who does the work.
    """

    added = Signal(object)
    """Emitted with a job when it joins the queue."""

    def __init__(self, engine: Engine) -> None:
        self.jobs: list[Job] = []
        self._engine = engine
        self._waiting: deque[Job] = deque()
        self._endings: dict[int, Ending] = {}
        self._running: Job | None = None
        self._storing: tuple[Job, Iterator[None]] | None = None
        engine.listener = self._hear

    @property
    def running(self) -> Job | None:
        """Return the job at work."""
        return self._running

    def add(self, title: str, request: Request, ending: Ending = _no_ending) -> Job:
        """Queue a request.

        Args:
            title: What the jobs panel shows.
            request: What to ask the engine.
            ending: Called with the job and the result before the job counts as done; a
                `CircuitScopeError` raised there fails the job. One that yields goes on at the
                next poll, so that storing much does not hold up the window.
        """
        job = Job(len(self.jobs) + 1, title, request)
        self.jobs.append(job)
        self._endings[job.id] = ending
        self._waiting.append(job)
        self.added.emit(job)
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job; a queued one at once, a running one at its next progress call."""
        if job is self._running:
            job.log.append("Cancelling …")
            job.changed.emit(job)
            self._engine.cancel()
        elif job in self._waiting:
            self._waiting.remove(job)
            self._endings.pop(job.id)
            job.end("cancelled")

    def poll(self, timeout: float = 0.0) -> None:
        """Start what is queued and hear the engine; the window calls it every 30 ms.

        Args:
            timeout: Seconds to wait for news.
        """
        if self._storing is not None:
            with job_of_lines(self._storing[0].id):
                self._store(*self._storing)
            return
        self._start_next()
        self._engine.poll(timeout)
        self._start_next()

    def wait(self, job: Job) -> Job:
        """Return when a job is over; for the command line and tests."""
        while not job.is_over:
            self.poll(_POLL_SECONDS)
        return job

    def _start_next(self) -> None:
        if self._running or self._storing or self._engine.busy or not self._waiting:
            return
        job = self._running = self._waiting.popleft()
        with job_of_lines(job.id):
            log.info("starts: %s", job.title)
            job.begin()
            try:
                self._engine.submit(job.request)
            except OSError as error:
                self._running = None
                self._end(job, "failed", _not_started(error))

    def _hear(self, event: Event) -> None:
        if self._running is not None:
            with job_of_lines(self._running.id):
                self._take(self._running, event)

    def _take(self, job: Job, event: Event) -> None:
        match event:
            case Finished(_, result):
                self._running = None
                self._finish(job, result)
            case Failed(_, error, report):
                self._running = None
                if report:
                    log.error("an unexpected error\n%s", report)
                self._end(job, "failed", error)
            case Stopped():
                self._running = None
                self._end(job, "cancelled")
            case _:
                job.hear(event)

    def _finish(self, job: Job, result: Result) -> None:
        job.result = result
        ending = self._endings[job.id]

        def steps() -> Iterator[None]:
            yield from ending(job, result) or ()

        self._store(job, steps())

    def _store(self, job: Job, steps: Iterator[None]) -> None:
        """Take one step of a job's ending; after the last the job is over."""
        self._storing = None
        try:
            next(steps)
        except StopIteration:
            self._end(job, "done")
        except CircuitScopeError as error:
            self._end(job, "failed", error)
        except BaseException:
            self._end(job, "failed", _not_kept(job))
            raise
        else:
            self._storing = job, steps

    def _end(self, job: Job, state: JobState, error: CircuitScopeError | None = None) -> None:
        self._endings.pop(job.id, None)
        said = f": {error.message}" if error is not None else ""
        log.info("%s after %.1f s%s", state, job.seconds, said)
        job.end(state, error)
