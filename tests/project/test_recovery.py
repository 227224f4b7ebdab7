"""Kill a working process at random moments: nothing acknowledged is lost, no file is half."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuitscope.core.errors import ChangedOnDisk, ProjectError, ProjectLocked
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.recovery import discard, recover, recoverable

WORKER = """
import sys
from circuitscope.project.file import ProjectFile
project = ProjectFile.open(sys.argv[1])
drawing = project.drawing("Dallas")
circuit = project.circuit("Dallas")
step = len(drawing.history())
print("ready", step, flush=True)
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


def kill_after(document: Path, seconds: float) -> dict[str, list[int]]:
    """Let a worker work and kill it; returns the steps it acknowledged of each kind."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(document)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    first = worker.stdout.readline()
    assert first.startswith("ready"), first
    time.sleep(seconds)
    worker.send_signal(signal.SIGKILL)
    rest = worker.stdout.read()
    worker.wait()
    worker.stdout.close()
    done: dict[str, list[int]] = {"edit": [0], "saved": [0], "added": []}
    for line in (first + rest).splitlines(keepends=True):
        words = line.split()
        if line.endswith("\n") and len(words) == 2 and words[0] in done:
            done[words[0]].append(int(words[1]))
    return done


def check_after_kill(document: Path, seconds: float) -> None:
    with ProjectFile.open(document) as project:
        known = len(project.drawing("Dallas").history())
        copies = set(project.circuits())
    done = kill_after(document, seconds)
    assert check_project(document) == []
    with ProjectFile.open(document) as project:
        saved = len(project.drawing("Dallas").history())
        assert saved >= max(done["saved"][-1], known)
    found = recoverable()
    assert [path.name for path in document.parent.iterdir()] == [document.name]
    if not found:
        assert saved >= done["edit"][-1]
        return
    (left_over,) = found
    assert left_over.document == document
    with recover(left_over) as project:
        drawing = project.drawing("Dallas")
        line = drawing.history()
        assert len(line) >= done["edit"][-1]
        assert [entry.label for entry in line] == [
            f"Label token 6 “label {n + 1}”" for n in range(len(line))
        ]
        assert drawing.row("label", "token/embed/-1/6/8")["text"] == f"label {len(line)}"
        added = {f"copy {step}" for step in done["added"]}
        assert copies | added <= set(project.circuits())
        for circuit in project.circuits().values():
            assert len(circuit.nodes) == 9
        project.save()
        drawing.undo()
        drawing.redo()
        project.save()
    assert recoverable() == []


def test_kill_at_random_moments_loses_nothing(document: Path) -> None:
    rng = random.Random(1)
    for _ in range(6):
        check_after_kill(document, rng.uniform(0.0, 0.25))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_kill_at_many_moments_loses_nothing(document: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        check_after_kill(document, rng.uniform(0.0, 0.4))


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 200))
def test_kill_without_end_loses_nothing(document: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        check_after_kill(document, rng.uniform(0.0, 0.4))


def crash(project: ProjectFile) -> None:
    """End a project as a killed process does: locks go, the working copy stays."""
    project._copy.close()
    if project._lock is not None:
        project._lock.release()


@pytest.fixture
def crashed(document: Path) -> Iterator[Path]:
    """Return a document whose program crashed with two unsaved edits."""
    project = ProjectFile.open(document)
    project.drawing("Dallas").pin("token/embed/-1/6/8")
    project.save()
    project.drawing("Dallas").hide("token/embed/-1/6/8")
    project.drawing("Dallas").label("token/embed/-1/2/5", "capital")
    crash(project)
    yield document
    for left_over in recoverable():
        discard(left_over)


def test_left_over_says_what_it_holds(crashed: Path) -> None:
    (left_over,) = recoverable()
    assert left_over.document == crashed
    assert left_over.unsaved == 2
    assert left_over.last_edits == ("Label token 2 “capital”", "Hide token 6", "Pin token 6")
    assert left_over.when.endswith("+00:00")


def test_recovered_project_goes_on(crashed: Path) -> None:
    (left_over,) = recoverable()
    with recover(left_over) as project:
        assert project.is_modified
        assert project.path == crashed
        assert recoverable() == []
        with pytest.raises(ProjectLocked):
            ProjectFile.open(crashed)
        with pytest.raises(ProjectLocked):
            recover(left_over)
        with pytest.raises(ProjectLocked):
            discard(left_over)
        assert project.undo_text("Dallas") == "Label token 2 “capital”"
        project.save()
        assert not project.is_modified
    with ProjectFile.open(crashed) as project:
        assert len(project.drawing("Dallas").history()) == 3
    with pytest.raises(ProjectError, match="not there any more"):
        recover(left_over)


def test_second_crash_loses_nothing_either(crashed: Path) -> None:
    project = recover(recoverable()[0])
    project.drawing("Dallas").pin("token/embed/-1/2/5")
    crash(project)
    (left_over,) = recoverable()
    assert left_over.unsaved == 3
    assert left_over.last_edits[0] == "Pin token 2"


def test_discard_is_for_good(crashed: Path) -> None:
    discard(recoverable()[0])
    assert recoverable() == []
    with ProjectFile.open(crashed) as project:
        assert len(project.drawing("Dallas").history()) == 1


def test_document_open_elsewhere_blocks_recovery_without_loss(crashed: Path) -> None:
    (left_over,) = recoverable()
    with ProjectFile.open(crashed), pytest.raises(ProjectLocked):
        recover(left_over)
    assert recoverable() == [left_over]


def test_document_changed_after_the_crash_is_not_overwritten(crashed: Path) -> None:
    (left_over,) = recoverable()
    with ProjectFile.open(crashed) as project:
        project.drawing("Dallas").pin("token/embed/-1/2/5")
        project.drawing("Dallas").pin("feature/mlp_out/0/7/214")
        project.drawing("Dallas").pin("feature/mlp_out/1/7/88")
        project.save()
    with recover(left_over) as project:
        with pytest.raises(ChangedOnDisk):
            project.save()
        assert project.is_modified


def test_crash_between_save_and_its_record_is_no_foreign_change(
    document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectFile.open(document)
    drawing = project.drawing("Dallas")
    drawing.pin("token/embed/-1/6/8")
    with monkeypatch.context() as patch:
        patch.setattr(type(project._copy), "write_record", lambda *_: None)
        project.save()
    drawing.hide("token/embed/-1/6/8")
    crash(project)
    (left_over,) = recoverable()
    assert left_over.unsaved == 1
    with recover(left_over) as again:
        again.save()


def test_session_without_changes_is_cleared_away(document: Path) -> None:
    project = ProjectFile.open(document)
    folder = project.working_copy.parent
    crash(project)
    assert folder.exists()
    assert recoverable() == []
    assert not folder.exists()


def test_running_session_is_not_offered(project: ProjectFile) -> None:
    project.drawing("Dallas").pin("token/embed/-1/6/8")
    assert recoverable() == []
    assert project.working_copy.exists()


def test_untitled_project_is_recovered(small_circuit, tmp_path: Path) -> None:
    project = ProjectFile.create()
    project.add(small_circuit, "Dallas")
    crash(project)
    (left_over,) = recoverable()
    assert left_over.document is None
    with recover(left_over) as again:
        assert again.path is None
        again.save_as(tmp_path / "now.circuitscope")


def test_session_that_cannot_be_read_is_left_alone(crashed: Path) -> None:
    (left_over,) = recoverable()
    (left_over.folder / "work.db").write_bytes(b"not a database" * 999)
    assert recoverable() == []
    with pytest.raises(ProjectError):
        recover(left_over)
    assert left_over.folder.exists()
    shutil.rmtree(left_over.folder)


def test_half_made_session_is_cleared_away(state_home: Path) -> None:
    (state_home / "sessions" / "abc").mkdir(parents=True)
    (state_home / "sessions" / "def.lock").write_bytes(b"")
    assert recoverable() == []
    assert not list((state_home / "sessions").iterdir())
