from collections.abc import Callable
from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import DamagedProject, ProjectError
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.rescue import rescue_project

Tamper = Callable[..., None]
CITY = "token/embed/-1/6/8"


@pytest.fixture
def two(document: Path, small_circuit: Circuit) -> Path:
    """Return a project of two drawn circuits, "Dallas" and "Oakland", and an attachment."""
    with ProjectFile.open(document) as project:
        project.add(small_circuit, "Oakland")
        for name in ("Dallas", "Oakland"):
            project.drawing(name).group([CITY], "Texas")
            project.drawing(name).pin(CITY)
            project.drawing(name).add_checkpoint("kept")
        project.attach_original("a.json", b"{}", "json", project.finding("Dallas").id)
        project.save()
    return document


def rescued(document: Path) -> tuple[ProjectFile, tuple[str, ...]]:
    before, out = document.read_bytes(), document.with_name("out.circuitscope")
    found = rescue_project(document, out)
    assert document.read_bytes() == before
    assert check_project(out) == []
    return ProjectFile.open(out), found.lost


def test_whole_project_is_rescued_whole(two: Path) -> None:
    with ProjectFile.open(two) as project:
        project_id, line = project.project_id, project.drawing("Oakland").history()
    project, lost = rescued(two)
    with project:
        assert lost == ()
        assert project.project_id == project_id
        assert list(project.circuits()) == ["Dallas", "Oakland"]
        assert project.drawing("Oakland").history() == line
        assert project.drawing("Oakland").row("pin", CITY) == {}
        assert [entry.name for entry in project.drawing("Dallas").checkpoints()] == ["kept"]
        assert project.original(project.originals()[0].id) == b"{}"
        project.drawing("Oakland").undo()
        assert project.drawing("Oakland").row("pin", CITY) is None


def test_damaged_result_is_named_and_the_others_are_taken(two: Path, tamper: Tamper) -> None:
    tamper(two, "UPDATE array SET data = x'00' WHERE name = 'edges/weight' AND owner ="
                " (SELECT id FROM finding WHERE name = 'Dallas')")  # fmt: skip
    project, lost = rescued(two)
    with project:
        assert list(project.circuits()) == ["Oakland"]
        assert project.drawing("Oakland").row("pin", CITY) == {}
        assert project.original(project.originals()[0].id) == b"{}"
    assert any("circuit Dallas is lost" in text and "edges/weight" in text for text in lost)


def test_circuit_is_taken_without_labels_that_are_damaged(two: Path, tamper: Tamper) -> None:
    tamper(two, "UPDATE array SET data = x'00' WHERE name = 'labels'")
    project, lost = rescued(two)
    with project:
        assert list(project.circuits()) == ["Dallas", "Oakland"]
        assert not any(project.circuit("Dallas").labels)
    assert lost == (
        "The automatic labels of Dallas are lost.", "The automatic labels of Oakland are lost."
    )  # fmt: skip


def test_history_with_a_gap_is_left_out_and_the_drawing_stays(two: Path, tamper: Tamper) -> None:
    with ProjectFile.open(two) as project:
        project.drawing("Oakland").label(CITY, "a")
        project.drawing("Oakland").label(CITY, "b")
        project.save()
    tamper(two, "DELETE FROM edit WHERE id = (SELECT max(id) FROM edit)")
    assert [problem.what for problem in check_project(two)] == [
        "It does not lead to the drawing as it is."
    ]
    project, lost = rescued(two)
    with project:
        assert len(project.drawing("Dallas").history()) == 2
        assert project.drawing("Oakland").history() == []
        assert project.drawing("Oakland").row("label", CITY)["text"] == "b"
        assert project.drawing("Oakland").row("pin", CITY) == {}
    assert len(lost) == 1
    assert "has gaps" in lost[0]


def test_planted_view_is_passed_by(two: Path, tamper: Tamper) -> None:
    tamper(two, "DROP TABLE note", "CREATE VIEW note AS SELECT 1/0", "CREATE VIEW evil AS SELECT 1")
    project, lost = rescued(two)
    with project:
        assert list(project.circuits()) == ["Dallas", "Oakland"]
    assert lost == ("The table note is missing or is not declared as it should be.",)


def test_shortened_file_gives_what_is_left(two: Path) -> None:
    whole = two.read_bytes()
    two.write_bytes(whole[: len(whole) - 3 * 4096])
    assert check_project(two)
    project, _ = rescued(two)
    with project:
        assert project.findings() or project.originals() or project.contents.rows is not None


def test_nothing_is_overwritten_and_nothing_made_of_nothing(two: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="exists already"):
        rescue_project(two, two)
    out = tmp_path / "out.circuitscope"
    for content in (b"", b"hello" * 999, two.read_bytes()[:4096]):
        bad = tmp_path / "bad.circuitscope"
        bad.write_bytes(content)
        with pytest.raises(DamagedProject, match="Nothing in bad"):
            rescue_project(bad, out)
        assert not out.exists()
    with pytest.raises(ProjectError, match="There is no file"):
        rescue_project(tmp_path / "missing", out)
