import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import (
    CircuitScopeError,
    DamagedProject,
    NewerFormat,
    NotAProject,
    ProjectError,
)
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile

Tamper = Callable[..., None]


def refused(path: Path, kind: type[CircuitScopeError]) -> str:
    """Return the message with which a file is refused; it and its folder stay as they were."""
    before, listing = path.read_bytes(), sorted(path.parent.iterdir())
    with pytest.raises(kind) as error:
        ProjectFile.open(path)
    assert error.type is kind
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == listing
    assert error.value.kept
    assert error.value.hint
    assert check_project(path)
    return error.value.message


def test_empty_file(document: Path) -> None:
    document.write_bytes(b"")
    assert "is empty" in refused(document, NotAProject)


@pytest.mark.parametrize("size", [1, 15, 99, 100, 5000, 1_000_000])
def test_random_bytes(document: Path, size: int) -> None:
    document.write_bytes(random.Random(size).randbytes(size))
    assert "not a CircuitScope project" in refused(document, NotAProject)


def test_json_and_other_databases(document: Path) -> None:
    document.write_text('{"nodes": []}')
    refused(document, NotAProject)
    document.unlink()
    with closing(sqlite3.connect(document)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
        connection.commit()
    assert "another program's database" in refused(document, NotAProject)


def test_truncated_anywhere(document: Path) -> None:
    whole = document.read_bytes()
    for size in range(4096, len(whole), 4096 * 7):
        document.write_bytes(whole[: size - 5])
        assert "it ends after" in refused(document, DamagedProject)


def test_wrong_application_id(document: Path, tamper: Tamper) -> None:
    tamper(document, "PRAGMA application_id = 7")
    refused(document, NotAProject)


def test_newer_version_is_refused_for_writing(document: Path, tamper: Tamper) -> None:
    tamper(document, "PRAGMA user_version = 9", "CREATE TABLE future (x INTEGER) STRICT")
    assert "file format 9; this program writes 1" in refused_newer(document)
    with ProjectFile.open(document, read_only=True) as project:
        assert project.format_version == 9
        assert len(project.circuits()["Dallas"].nodes) == 9


def refused_newer(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(NewerFormat) as error:
        ProjectFile.open(path)
    assert path.read_bytes() == before
    return error.value.message


@pytest.mark.parametrize("reader", ["2", "x", "", "-1", "9" * 5000])
def test_newer_version_that_we_cannot_read(document: Path, tamper: Tamper, reader: str) -> None:
    tamper(
        document,
        "PRAGMA user_version = 9",
        f"UPDATE meta SET value = '{reader}' WHERE key = 'min_reader'",
    )
    with pytest.raises(NewerFormat):
        ProjectFile.open(document, read_only=True)


PLANTED = [
    "CREATE TRIGGER evil AFTER INSERT ON edit BEGIN DELETE FROM finding; END",
    "CREATE VIEW evil AS SELECT * FROM finding",
    "CREATE VIRTUAL TABLE evil USING fts5(x)",
    "CREATE TABLE evil (x)",
    "CREATE INDEX evil ON finding (kind)",
    "CREATE INDEX evil ON finding (abs(seq)) WHERE kind = 'x'",
    "ALTER TABLE finding ADD COLUMN evil TEXT",
    "ALTER TABLE meta RENAME TO meta2",
    "DROP TABLE note",
    "DROP INDEX edit_by_circuit",
]


@pytest.mark.parametrize("statement", PLANTED)
def test_planted_schema_is_refused(document: Path, tamper: Tamper, statement: str) -> None:
    tamper(document, statement)
    assert "declares what no project has" in refused(document, DamagedProject)


@pytest.mark.parametrize("statement", PLANTED[:3])
def test_newer_version_may_not_plant_either(document: Path, tamper: Tamper, statement: str) -> None:
    tamper(document, statement, "PRAGMA user_version = 9")
    with pytest.raises(DamagedProject):
        ProjectFile.open(document, read_only=True)


def test_view_in_a_tables_place_is_refused(document: Path, tamper: Tamper) -> None:
    tamper(
        document,
        "DROP TABLE note",
        "CREATE VIEW note AS SELECT 1 AS id, '' AS finding_id, '' AS made, load_extension('x')",
    )
    refused(document, DamagedProject)


def test_schema_text_that_is_no_sql(document: Path) -> None:
    data = document.read_bytes()
    document.write_bytes(data.replace(b"CREATE TABLE note", b"CREATE TABLZ note", 1))
    refused(document, DamagedProject)


def test_folder_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(NotAProject, match="is a folder"):
        ProjectFile.open(tmp_path)


def test_path_through_a_file_is_told(document: Path) -> None:
    with pytest.raises(ProjectError):
        ProjectFile.open(document / "inside.circuitscope")


def use(path: Path) -> None:
    """Open a file and do with it whatever a user may do."""
    with ProjectFile.open(path) as project:
        for info in project.findings():
            found = project.read_finding(info.id)
            drawing = project.drawing(info.id)
            drawing.history()
            drawing.label("token/embed/-1/6/8", "x")
            while drawing.undo():
                pass
            while drawing.redo():
                pass
            assert found.provenance.method == "direct"
        project.originals()
        project.save()


def open_damaged(document: Path, seed: int, check: Callable[[Circuit], None]) -> None:
    """Change random bytes of a project, then do with it whatever a user may do."""
    rng = random.Random(seed)
    data = bytearray(document.read_bytes())
    for _ in range(rng.choice([1, 3, 20])):
        data[rng.randrange(100, len(data))] = rng.randrange(256)
    document.write_bytes(data)
    try:
        with ProjectFile.open(document) as project:
            for circuit in project.circuits().values():
                check(circuit)
        use(document)
    except CircuitScopeError as error:
        kept = error.kept
    else:
        kept = "nothing that was read had changed"
    assert kept


@pytest.fixture
def rich(document: Path) -> Path:
    """Return a project with something in most tables."""
    with ProjectFile.open(document) as project:
        drawing = project.drawing("Dallas")
        drawing.group(["token/embed/-1/6/8"], "Texas")
        drawing.add_checkpoint("kept")
        project.attach_original("a", b"abc" * 100, "x")
        project.save()
    return document


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_damaged_bytes_never_crash_nor_give_wrong_numbers(
    rich: Path, small_circuit: Circuit, same_circuit, start: int
) -> None:
    whole = rich.read_bytes()
    for seed in range(start, start + 10):
        rich.write_bytes(whole)
        open_damaged(rich, seed, lambda circuit: same_circuit(circuit, small_circuit))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 600, 50))
def test_500_damaged_files_never_crash_nor_give_wrong_numbers(
    rich: Path, small_circuit: Circuit, same_circuit, start: int
) -> None:
    whole = rich.read_bytes()
    for seed in range(start, start + 50):
        rich.write_bytes(whole)
        open_damaged(rich, seed, lambda circuit: same_circuit(circuit, small_circuit))
