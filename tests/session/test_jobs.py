"""The queue: order, progress, endings, cancelling."""

from collections.abc import Iterator
from typing import Any

import pytest

from circuitscope.core.errors import CircuitScopeError, ProjectError
from circuitscope.engine.client import InProcessEngine, ProcessEngine
from circuitscope.engine.requests import Ping
from circuitscope.session.jobs import Job, JobQueue


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(InProcessEngine())


def test_jobs_run_in_turn_and_tell_each_change(queue: JobQueue) -> None:
    states: list[tuple[int, str]] = []
    jobs = [queue.add(f"Count {n}", Ping(steps=2, pause=0.001)) for n in (1, 2)]
    for job in jobs:
        job.changed.connect(lambda job: states.append((job.id, job.state)))
    queue.wait(jobs[1])
    assert [job.state for job in jobs] == ["done", "done"]
    ids = [number for number, _ in states]
    assert ids == sorted(ids)
    assert states[0] == (1, "running")
    assert states[-1] == (2, "done")
    assert jobs[0].phase == "Counting"
    assert jobs[0].seconds > 0
    assert queue.running is None


def test_ending_runs_before_the_job_counts_as_done(queue: JobQueue) -> None:
    seen: list[str] = []

    def ending(job: Job, result: Any) -> None:
        seen.append(job.state)
        job.result_id = f"{len(result.values)} numbers"

    job = queue.wait(queue.add("Count", Ping(n_values=3), ending))
    assert seen == ["running"]
    assert job.result_id == "3 numbers"


def test_error_of_an_ending_fails_the_job(queue: JobQueue) -> None:
    def ending(job: Job, result: Any) -> None:
        raise ProjectError("The disk is full.", kept="Nothing is lost.")

    job = queue.wait(queue.add("Count", Ping(), ending))
    assert job.state == "failed"
    assert isinstance(job.error, ProjectError)
    assert "The disk is full." in job.log[-1]


def test_an_ending_in_steps_takes_one_step_a_poll_and_holds_back_the_next_job(
    queue: JobQueue,
) -> None:
    steps: list[int] = []

    def ending(job: Job, result: Any) -> Iterator[None]:
        for number in range(3):
            steps.append(number)
            yield

    first, second = queue.add("One", Ping(), ending), queue.add("Two", Ping())
    while not steps:
        queue.poll()
    seen = []
    while not first.is_over:
        seen.append((len(steps), second.state))
        queue.poll()
    assert seen == [(1, "queued"), (2, "queued"), (3, "queued")]
    assert first.state == "done"
    assert queue.wait(second).state == "done"


def test_an_error_in_a_later_step_of_an_ending_fails_the_job(queue: JobQueue) -> None:
    def ending(job: Job, result: Any) -> Iterator[None]:
        yield
        raise ProjectError("The disk is full.", kept="Nothing is lost.")

    job = queue.wait(queue.add("Count", Ping(), ending))
    assert job.state == "failed"
    assert isinstance(job.error, ProjectError)


def test_waiting_job_is_cancelled_at_once(queue: JobQueue) -> None:
    first, second = queue.add("One", Ping()), queue.add("Two", Ping())
    queue.cancel(second)
    assert second.state == "cancelled"
    queue.wait(first)
    queue.poll()
    assert (first.state, second.state) == ("done", "cancelled")


def test_running_job_is_cancelled_by_whoever_hears_it(queue: JobQueue) -> None:
    job = queue.add("Count", Ping(steps=1000, pause=0.01))

    def stop(job: Job) -> None:
        if job.state == "running" and job.done > 3 and "Cancelling …" not in job.log:
            queue.cancel(job)

    job.changed.connect(stop)
    queue.wait(job)
    assert job.state == "cancelled"
    assert 3 < job.done < 1000
    assert job.error is None


def test_time_left_is_told_while_it_is_known(queue: JobQueue) -> None:
    left: list[float | None] = []
    job = queue.add("Count", Ping(steps=30, pause=0.01))
    job.changed.connect(lambda job: left.append(job.eta))
    assert job.eta is None
    queue.wait(job)
    known = [seconds for seconds in left if seconds is not None]
    assert known
    assert 0 <= known[-1] <= known[0] < 5
    assert job.eta is None


def test_mistake_of_ours_fails_the_job_and_goes_to_the_log(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    job = queue.wait(queue.add("Count", Ping(steps=1, pause=-1.0)))
    assert job.state == "failed"
    assert isinstance(job.error, CircuitScopeError)
    assert "Traceback" in caplog.text
    assert "Traceback" not in str(job.error)


def test_queue_works_over_a_process_too() -> None:
    engine = ProcessEngine()
    queue = JobQueue(engine)
    job = queue.wait(queue.add("Count", Ping(steps=10, pause=0.02, n_values=5)))
    engine.close()
    assert job.state == "done"
    assert job.total == 10
    assert len(job.result.values) == 5
