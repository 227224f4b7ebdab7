"""Files of older versions open for ever; the file on disk changes by saving only, and is kept."""

import shutil
from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import DamagedProject
from circuitscope.project import schema, verbs
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.opening import check_header
from tests.project.next_version import STEPS, VERSION

OLD = sorted((Path(__file__).parents[1] / "data" / "projects").glob("*.circuitscope"))
CITY = "token/embed/-1/6/8"


def write_sample(path: Path, circuit: Circuit) -> None:
    """Write what README.md beside the kept files describes."""
    with ProjectFile.create(path) as project:
        project.add(circuit, "Dallas")
        gone = project.add(circuit, "Oakland")
        drawing = project.drawing("Dallas")
        drawing.group([CITY], "Texas")
        drawing.label("token/embed/-1/2/5", "capital")
        drawing.pin(CITY)
        drawing.undo()
        drawing.add_checkpoint("kept")
        project.contents.commit(verbs.delete_finding(project, gone))
        project.contents.commit(verbs.project_note(project, "Read *me*"))
        project.attach_original("a.json", b"{}", "json", project.finding("Dallas").id)
        project.save()


def look(project: ProjectFile, circuit: Circuit, same_circuit) -> None:
    assert list(project.circuits()) == ["Dallas"]
    same_circuit(project.circuit("Dallas"), circuit)
    drawing = project.drawing("Dallas")
    assert [row["label"] for row in drawing.of_kind("group").values()] == ["Texas"]
    assert drawing.row("label", "token/embed/-1/2/5")["text"] == "capital"
    assert drawing.row("pin", CITY) is None
    assert (drawing.undo_text, drawing.redo_text) == ("Label token 2 “capital”", "Pin token 6")
    assert [entry.name for entry in drawing.checkpoints()] == ["kept"]
    assert project.contents.row("text", "project")["text"] == "Read *me*"
    assert [project.original(entry.id) for entry in project.originals()] == [b"{}"]


def test_there_is_a_file_of_every_version() -> None:
    assert [path.stem for path in OLD] == [f"v{n}" for n in range(1, schema.SCHEMA_VERSION + 1)]
    assert [check_header(path) for path in OLD] == list(range(1, schema.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("kept", OLD, ids=lambda path: path.stem)
def test_old_files_open_are_edited_and_saved(
    tmp_path: Path, kept: Path, small_circuit: Circuit, same_circuit
) -> None:
    path = tmp_path / "old.circuitscope"
    shutil.copyfile(kept, path)
    assert check_project(path) == []
    with ProjectFile.open(path, read_only=True) as project:
        look(project, small_circuit, same_circuit)
    with ProjectFile.open(path) as project:
        look(project, small_circuit, same_circuit)
        project.drawing("Dallas").redo()
        assert path.read_bytes() == kept.read_bytes()
        project.save()
    with ProjectFile.open(path) as project:
        assert project.format_version == schema.SCHEMA_VERSION
        assert project.drawing("Dallas").row("pin", CITY) == {}
    assert check_project(path) == []


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the program is one file format further."""
    monkeypatch.setattr(schema, "STEPS", STEPS)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", VERSION)


@pytest.mark.parametrize("kept", OLD, ids=lambda path: path.stem)
def test_the_next_migration_changes_the_copy_and_keeps_the_old_file(
    tmp_path: Path, kept: Path, small_circuit: Circuit, same_circuit, next_version: None
) -> None:
    path = tmp_path / "old.circuitscope"
    shutil.copyfile(kept, path)
    assert check_project(path) == []
    with ProjectFile.open(path, read_only=True) as project:
        assert project.format_version == schema.SCHEMA_VERSION
        look(project, small_circuit, same_circuit)
    with ProjectFile.open(path) as project:
        look(project, small_circuit, same_circuit)
        assert path.read_bytes() == kept.read_bytes()
        project.save()
        project.drawing("Dallas").redo()
        project.save()
    assert check_header(path) == schema.SCHEMA_VERSION
    assert check_project(path) == []
    backup = path.with_name(f"old.circuitscope.bak-{kept.stem}")
    assert backup.read_bytes() == kept.read_bytes()
    assert sorted(path.parent.iterdir()) == [path, backup]


def test_an_old_file_may_not_have_a_newer_ones_tables(
    tmp_path: Path, tamper, next_version: None
) -> None:
    path = tmp_path / "old.circuitscope"
    shutil.copyfile(OLD[0], path)
    tamper(path, "CREATE TABLE trial (id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT")
    with pytest.raises(DamagedProject, match="table trial"):
        ProjectFile.open(path)
