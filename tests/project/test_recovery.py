"""What a crash leaves behind, and what recovery does with it; test_kill.py does the crashing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuitscope.core.errors import ChangedOnDisk, ProjectError, ProjectLocked
from circuitscope.project.file import ProjectFile
from circuitscope.project.recovery import discard, recover, recoverable


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


@pytest.mark.parametrize("edits", [1, 2])
def test_another_windows_save_is_not_taken_for_this_ones(crashed: Path, edits: int) -> None:
    """As many changes as the crashed session made: counts cannot tell whose they were."""
    with ProjectFile.open(crashed) as project:
        for key in ("token/embed/-1/2/5", "feature/mlp_out/0/7/214")[:edits]:
            project.drawing("Dallas").pin(key)
        project.save()
    (left_over,) = recoverable()
    assert left_over.unsaved == 2
    with recover(left_over) as project:
        assert project.is_modified
        with pytest.raises(ChangedOnDisk):
            project.save()
        project.save_as(crashed.with_name("mine.circuitscope"))
    with ProjectFile.open(crashed) as project:
        assert project.drawing("Dallas").row("pin", "token/embed/-1/2/5") == {}


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
    (state_home / "sessions" / "ghi").mkdir()
    (state_home / "sessions" / "ghi" / "work.db").write_bytes(b"half")
    (state_home / "sessions" / "def.lock").write_bytes(b"")
    assert recoverable() == []
    assert not list((state_home / "sessions").iterdir())
