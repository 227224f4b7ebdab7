"""Kill a process at random moments: nothing acknowledged is lost, no file is half.

What it does when it dies: edit, trace in (add results), save, bring an old file up to date, or
recover what an earlier death left behind. Each line it printed was a promise.
"""

import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from circuitscope.project import schema
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.opening import check_header
from circuitscope.project.recovery import recover, recoverable
from tests.project.next_version import STEPS, VERSION

ROOT = Path(__file__).parents[2]
KEY = "token/embed/-1/6/8"
WORKER = """
import sys
from circuitscope.project.file import ProjectFile
from circuitscope.project.recovery import recover, recoverable
document, task = sys.argv[1:]
if task in ("migrate", "recover"):
    from tests.project.next_version import pretend
    pretend()
print("begin 0", flush=True)
found = recoverable() if task == "recover" else []
project = recover(found[0]) if found else ProjectFile.open(document)
drawing = project.drawing("Dallas")
circuit = project.circuit("Dallas")
step = len(drawing.history())
print("ready", step, flush=True)
if task == "migrate":
    project.save()
    print("saved", step, flush=True)
while True:
    step += 1
    drawing.label("token/embed/-1/6/8", f"label {step}")
    print("edit", step, flush=True)
    if step % 7 == 0:
        project.save()
        print("saved", step, flush=True)
    if step % 11 == 0:
        project.add(circuit, f"copy {step}")
        print("added", step, flush=True)
"""
Promises = dict[str, list[int]]


def kill_after(document: Path, task: str, seconds: float) -> Promises:
    """Let a worker work and kill it; returns the steps it acknowledged of each kind."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(document), task],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert worker.stdout is not None
    first = worker.stdout.readline()
    assert first.startswith("begin"), first
    time.sleep(seconds)
    worker.send_signal(signal.SIGKILL)
    rest = worker.stdout.read()
    worker.wait()
    worker.stdout.close()
    done: Promises = defaultdict(list)
    for line in (first + rest).splitlines(keepends=True):
        words = line.split()
        if line.endswith("\n") and len(words) == 2:
            done[words[0]].append(int(words[1]))
    return done


class Life:
    """What has been promised over several deaths, and the check that it is kept."""

    def __init__(self, document: Path) -> None:
        self.document = document
        self.edits = self.saved = 0
        self.added: set[str] = set()

    def die(self, task: str, seconds: float) -> None:
        """Let a worker die at its task and check the document; the left-over stays."""
        before = self.document.read_bytes()
        done = kill_after(self.document, task, seconds)
        self.edits = max(self.edits, *done["edit"], 0)
        self.saved = max(self.saved, *done["saved"], 0)
        self.added |= {f"copy {step}" for step in done["added"]}
        if task == "migrate" and not done["saved"]:
            is_old = self.document.read_bytes() == before
            assert is_old == (check_header(self.document) < VERSION)
        assert check_project(self.document) == []
        with ProjectFile.open(self.document, read_only=True) as project:
            assert len(project.drawing("Dallas").history()) >= self.saved

    def resume(self) -> None:
        """Recover what is left over and check every promise."""
        found = recoverable()
        backup = self.document.with_name(f"{self.document.name}.bak-v{VERSION - 1}")
        assert set(self.document.parent.iterdir()) <= {self.document, backup}
        if not found:
            with ProjectFile.open(self.document) as project:
                assert len(project.drawing("Dallas").history()) >= self.edits
            return
        (left_over,) = found
        assert left_over.document == self.document
        with recover(left_over) as project:
            self.check(project)
            project.save()
            project.drawing("Dallas").undo()
            project.drawing("Dallas").redo()
            project.save()
        assert recoverable() == []
        self.saved = self.edits = max(self.saved, self.edits)

    def check(self, project: ProjectFile) -> None:
        """Compare a project with what was promised."""
        drawing = project.drawing("Dallas")
        line = drawing.history()
        assert len(line) >= self.edits
        assert [entry.label for entry in line] == [
            f"Label token 6 “label {n + 1}”" for n in range(len(line))
        ]
        if line:
            assert drawing.row("label", KEY)["text"] == f"label {len(line)}"
        assert self.added <= set(project.circuits())
        for circuit in project.circuits().values():
            assert len(circuit.nodes) == 9


def round_of(document: Path, seed: int) -> None:
    """Die twice and be recovered; which deaths depends on the seed."""
    rng = random.Random(seed)
    life = Life(document)
    life.die(rng.choice(["work", "work", "migrate"]) if seed % 2 else "work", rng.uniform(0, 0.4))
    if seed % 3 == 0:
        life.die("recover", rng.uniform(0, 0.3))
    life.resume()


def kills_of(seed: int) -> int:
    """Return how often a round kills."""
    return 2 if seed % 3 == 0 else 1


@pytest.fixture(autouse=True)
def next_version(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process, which recovers, one file format further than the document."""
    monkeypatch.setattr(schema, "STEPS", STEPS)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", VERSION)


def campaign(document: Path, seeds: range) -> None:
    whole = document.read_bytes()
    for seed in seeds:
        for path in document.parent.iterdir():
            path.unlink()
        document.write_bytes(whole)
        round_of(document, seed)


def test_kill_at_random_moments_loses_nothing(document: Path) -> None:
    campaign(document, range(1, 5))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 75, 15))
def test_100_kills_lose_nothing(document: Path, start: int) -> None:
    assert sum(kills_of(seed) for seed in range(75)) == 100
    campaign(document, range(start, start + 15))


@pytest.mark.torture
@pytest.mark.parametrize("start", range(1000, 1375, 25))
def test_500_kills_lose_nothing(document: Path, start: int) -> None:
    assert sum(kills_of(seed) for seed in range(1000, 1375)) == 500
    campaign(document, range(start, start + 25))
