"""What happens where a file cannot be written.

Tests may run as root, whom permissions do not bind. Failures therefore come from real places (a
file in a folder's place, /proc, a limit on file sizes, a process without root's right to
override permissions) and, for the last steps of a save, from one patched system call.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from circuitscope.core.errors import ProjectError
from circuitscope.project.file import ProjectFile
from circuitscope.project.opening import check_header
from circuitscope.project.recovery import recover, recoverable

CITY = "token/embed/-1/6/8"


def cannot_save(project: ProjectFile, path: Path | None = None) -> ProjectError:
    """Return the error of a save that must fail, having checked that nothing is lost."""
    with pytest.raises(ProjectError) as error:
        project.save_as(path, overwrite=True) if path else project.save()
    assert "working copy" in error.value.kept
    assert error.value.hint
    assert project.is_modified
    assert project.drawing("Dallas").row("pin", CITY) == {}
    return error.value


@pytest.fixture
def edited(project: ProjectFile) -> ProjectFile:
    project.drawing("Dallas").pin(CITY)
    return project


def test_folder_removed_meanwhile(edited: ProjectFile, document: Path) -> None:
    document.unlink()
    document.parent.rmdir()
    assert "is not there" in cannot_save(edited).message
    document.parent.mkdir()
    edited.save()
    assert check_header(document) == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder no one can write, /proc")
def test_folder_nobody_can_write(edited: ProjectFile, document: Path) -> None:
    before = document.read_bytes()
    cannot_save(edited, Path("/proc/x.circuitscope"))
    assert edited.path == document
    assert document.read_bytes() == before
    edited.save()


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere"
)
def test_read_only_folder_opens_and_is_edited_but_not_saved(document: Path) -> None:
    """Root obeys permissions once it gives up the right to override them."""
    script = f"""
from circuitscope.core.errors import ProjectError
from circuitscope.project.file import ProjectFile
with ProjectFile.open({str(document)!r}) as project:
    project.drawing("Dallas").pin({CITY!r})
    try:
        project.save()
        raise SystemExit("saved into a read-only folder")
    except ProjectError as error:
        assert "cannot be written" in error.message, error
        assert "working copy" in error.kept, error
    assert project.is_modified
"""
    rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    command = [*(rights if os.geteuid() == 0 else []), sys.executable, "-c", script]
    before = document.read_bytes()
    document.parent.chmod(0o555)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        document.parent.chmod(0o755)
    assert done.returncode == 0, done.stderr + done.stdout
    assert document.read_bytes() == before
    assert [item.name for item in document.parent.iterdir()] == [document.name]


@pytest.mark.parametrize("call", ["replace", "chmod"])
def test_system_refuses_at_the_last_step(
    edited: ProjectFile, document: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = document.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        assert "Read-only file system" in cannot_save(edited).message
    assert document.read_bytes() == before
    assert [item.name for item in document.parent.iterdir()] == [document.name]
    edited.save()


def test_disk_full_while_saving(document: Path) -> None:
    """A limit on the size of files is the nearest thing to a full disk that needs no root."""
    size = document.stat().st_size
    script = f"""
import resource, sys
from pathlib import Path
from circuitscope.core.errors import ProjectError
from circuitscope.project.file import ProjectFile
project = ProjectFile.open({str(document)!r})
project.drawing("Dallas").pin({CITY!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, resource.RLIM_INFINITY))
try:
    project.save()
    sys.exit("saved on a full disk")
except ProjectError as error:
    assert "working copy" in error.kept, error
    assert project.is_modified
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert [p.name for p in Path({str(document.parent)!r}).iterdir()] == [{document.name!r}]
project.save()
project.close()
"""
    before = document.read_bytes()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert document.read_bytes() != before
    with ProjectFile.open(document) as project:
        assert project.drawing("Dallas").row("pin", CITY) == {}


def test_disk_full_while_editing_keeps_every_acknowledged_edit(document: Path) -> None:
    """The working copy cannot grow: the edit that fails changes nothing, those before it stay."""
    script = f"""
import os, resource, sys
from circuitscope.core.errors import ProjectError
from circuitscope.project.file import ProjectFile
project = ProjectFile.open({str(document)!r})
drawing = project.drawing("Dallas")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
done, refused = 0, None
while refused is None and done < 2000:
    try:
        drawing.label({CITY!r}, f"label {{done}} " + "x" * 5000)
        done += 1
    except ProjectError as error:
        refused = error
assert refused is not None and 0 < done, done
assert refused.kept and refused.hint, refused
assert drawing.row("label", {CITY!r})["text"].startswith(f"label {{done - 1}} ")
assert len(drawing.history()) == done
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
drawing.pin({CITY!r})
print(done, flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr + ended.stdout
    (left_over,) = recoverable()
    with recover(left_over) as project:
        assert len(project.drawing("Dallas").history()) == int(ended.stdout) + 1
        assert project.drawing("Dallas").row("pin", CITY) == {}


def test_disk_full_while_opening_leaves_nothing(document: Path, state_home: Path) -> None:
    size = document.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(ProjectError):
            ProjectFile.open(document)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with ProjectFile.open(document) as project:
        assert project.findings()


def test_state_folder_that_cannot_be_used(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "state"
    home.mkdir()
    (home / "locks").write_text("a file in a folder's place")
    monkeypatch.setenv("CIRCUITSCOPE_HOME", str(home))
    with pytest.raises(ProjectError, match="locks"):
        ProjectFile.open(document)
    (home / "locks").unlink()
    (home / "sessions").write_text("a file in a folder's place")
    with pytest.raises(ProjectError, match="working copies"):
        ProjectFile.open(document)
