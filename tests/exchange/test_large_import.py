"""A large graph is read in little memory, in another process, and can be stopped."""

import hashlib
from pathlib import Path

import pytest

from circuitscope.session.session import Session
from tests.bench.importing import measure, write_graph

pytestmark = pytest.mark.slow
MOST = 100e6


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.json"
    write_graph(path, 400_000)
    return path


def test_memory_is_bounded(large: Path) -> None:
    _, memory, n_edges, size = measure(large)
    assert n_edges == 400_000
    assert size == large.stat().st_size > 30e6
    assert memory < MOST, f"{memory / 1e6:.0f} MB; as one tree it takes {6 * size / 1e6:.0f} MB"


def test_engine_process_reads_it_and_the_project_keeps_its_bytes(large: Path) -> None:
    session = Session()
    try:
        project = session.new_project()
        job = session.import_file(large)
        shares = []
        while not job.is_over:
            session.engine.poll(0.02)
            session.poll()
            shares.append((job.phase, job.done))
        assert job.state == "done", job.error
        assert len({share for share in shares if share[0] == "Reading large.json"}) > 3
        assert len(project.circuit(job.result_id).edges) == 400_000
        (original,) = project.originals()
        kept = hashlib.sha256(project.original(original.id))
        assert kept.hexdigest() == hashlib.sha256(large.read_bytes()).hexdigest()
    finally:
        session.shut_down()


def test_stopping_leaves_the_project_as_it_was(large: Path) -> None:
    session = Session()
    try:
        project = session.new_project()
        job = session.import_file(large)
        while job.done == 0 and not job.is_over:
            session.poll()
        session.jobs.cancel(job)
        session.jobs.wait(job)
        assert job.state == "cancelled"
        assert project.findings() == []
        assert project.originals() == []
    finally:
        session.shut_down()
