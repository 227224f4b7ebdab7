"""Hostile and damaged files: told in plain words, never a crash, a hang or a wrong number."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError, NewerFormat
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.vector import svg_text
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.rescue import rescue_project
from tests.project.mutants import mutate

MOST_SECONDS = 60
"""Processor time for all that is done with one file: linear in its size, never a hang."""
CAP = 1.5 * 2**30
"""Bytes that a process may take over what it had, whatever file it opens."""


def use(path: Path, small_circuit: Circuit, same_circuit, *, rescued: bool = False) -> None:
    """Do with a file whatever a user may do, and compare every number that comes out."""
    with ProjectFile.open(path) as project:
        for info in project.findings():
            found = project.read_finding(info.id)
            assert isinstance(found, Circuit)
            same_circuit(replace(found, labels=found.labels if any(found.labels) or not rescued
                                 else small_circuit.labels), small_circuit)  # fmt: skip
            drawing = project.drawing(info.id)
            drawing.history()
            for figure in (circuit_figure(found, dict(drawing.rows)),
                           link_figure(found, dict(drawing.rows))):  # fmt: skip
                assert "<script>alert" not in svg_text(figure, embed_font=False)
            drawing.label("token/embed/-1/6/8", "x")
            while drawing.undo():
                pass
            while drawing.redo():
                pass
            for checkpoint in drawing.checkpoints():
                drawing.restore(checkpoint.id)
        for original in project.originals():
            assert project.original(original.id) == b"abc" * 100
        project.save()


def survive(rich: Path, seed: int, small_circuit: Circuit, same_circuit) -> None:
    how = f"mutant {seed}, {mutate(rich, seed)}"
    start = time.process_time()
    before = rich.read_bytes()
    problems = check_project(rich)
    out = rich.with_name("rescued.circuitscope")
    refused: CircuitScopeError | None = None
    try:
        rescued = rescue_project(rich, out)
    except CircuitScopeError as error:
        refused = error
    if refused is not None:
        assert refused.kept, how
        assert problems, how
        assert not out.exists(), how
    else:
        assert check_project(out) == [], (how, rescued)
        assert problems or not rescued.lost, (how, rescued)
        use(out, small_circuit, same_circuit, rescued=True)
        out.unlink()
    assert rich.read_bytes() == before, how
    refused = None
    try:
        use(rich, small_circuit, same_circuit)
    except CircuitScopeError as error:
        refused = error
    if refused is not None:
        assert refused.kept, how
        assert problems or isinstance(refused, NewerFormat), (how, refused)
    assert time.process_time() - start < MOST_SECONDS, how
    assert [path.name for path in rich.parent.iterdir()] == [rich.name], how


@pytest.fixture
def rich(document: Path) -> Path:
    """Return a project with something in most tables."""
    with ProjectFile.open(document) as project:
        drawing = project.drawing("Dallas")
        drawing.group(["token/embed/-1/6/8"], "Texas")
        drawing.place({"token/embed/-1/2/5": (3.0, 4.0)})
        drawing.undo()
        drawing.add_checkpoint("kept")
        project.attach_original("a", b"abc" * 100, "x", drawing.circuit_id)
        project.add(project.circuit("Dallas"), "again")
        project.save()
    return document


def campaign(rich: Path, seeds: range, small_circuit: Circuit, same_circuit) -> None:
    whole = rich.read_bytes()
    for seed in seeds:
        rich.write_bytes(whole)
        survive(rich, seed, small_circuit, same_circuit)


def test_a_mutant_of_each_kind(rich: Path, small_circuit: Circuit, same_circuit) -> None:
    campaign(rich, range(21), small_circuit, same_circuit)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 500, 25))
def test_500_mutants(rich: Path, small_circuit: Circuit, same_circuit, start: int) -> None:
    campaign(rich, range(start, start + 25), small_circuit, same_circuit)


@pytest.mark.torture
@pytest.mark.parametrize("start", range(1000, 11_000, 100))
def test_10_000_mutants(rich: Path, small_circuit: Circuit, same_circuit, start: int) -> None:
    campaign(rich, range(start, start + 100), small_circuit, same_circuit)


BOMBS = """
import json, resource, sqlite3, sys
from circuitscope.core.errors import CircuitScopeError, NewerFormat
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
problems = check_project(sys.argv[1])
try:
    with ProjectFile.open(sys.argv[1]) as project:
        for info in project.findings():
            project.read_finding(info.id)
        for original in project.originals():
            project.original(original.id)
    refused = False
except CircuitScopeError:
    refused = True
print(json.dumps([bool(problems), refused, peak() - before]))
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="ru_maxrss has another unit there")
@pytest.mark.parametrize("mega", [30, 300])
@pytest.mark.parametrize("body", [b"[],", b"\x00"])
def test_memory_stays_below_the_cap(document: Path, mega: int, body: bytes) -> None:
    """A file of some kilobytes that unpacks to hundreds of megabytes, digests all right."""
    import sqlite3
    from contextlib import closing

    import zstandard

    from circuitscope.project.arrays import digest

    raw = b"[" + body * (mega * 2**20 // len(body)) + b"[]]"
    shape = json.dumps([len(raw)])
    data = zstandard.ZstdCompressor(level=1).compress(raw)
    with closing(sqlite3.connect(document, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE array SET dtype = 'uint8', shape = ?, codec = 'zstd', digest = ?, data = ?"
            " WHERE name = 'labels'",
            [shape, digest("labels", "uint8", shape, raw), data],
        )
    assert document.stat().st_size < 2**20
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(document)], capture_output=True, text=True, check=True
    )
    problems, refused, taken = json.loads(done.stdout)
    assert problems
    assert refused
    assert taken < CAP, f"{taken / 2**20:.0f} MiB"
