import subprocess
import sys
from pathlib import Path

import pytest

from circuitscope.core.errors import ProjectLocked
from circuitscope.project.file import ProjectFile
from circuitscope.project.lock import try_lock


def test_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x" / "a.lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.release()
    first.release()
    assert not path.exists()
    second = try_lock(path)
    assert second is not None
    second.release()


def test_project_open_in_another_process_is_refused_until_it_dies(document: Path) -> None:
    script = f"""
import sys
from circuitscope.project.file import ProjectFile
project = ProjectFile.open({str(document)!r})
print("open", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other.stdin, other.stdout:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ProjectLocked):
            ProjectFile.open(document)
        with ProjectFile.open(document, read_only=True) as reader:
            assert reader.findings()
        other.kill()
        other.wait()
    with ProjectFile.open(document) as project:
        project.save()
    from circuitscope.project.recovery import recoverable

    assert recoverable() == []
