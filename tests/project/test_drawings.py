"""Several drawings of one circuit, in one file, each with its own history."""

from pathlib import Path

import pytest

from circuitscope.core.errors import ProjectError
from circuitscope.project import drawings, verbs
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.rescue import rescue_project

CITY = "token/embed/-1/6/8"
CAPITAL = "token/embed/-1/2/5"


def names(project: ProjectFile) -> list[str]:
    return [info.name for info in project.drawings("Dallas")]


def kinds_of(project: ProjectFile, drawing_id: str) -> list[tuple[str, str]]:
    return [(key.kind, key.id) for key in project.drawing(drawing_id).rows]


def test_every_circuit_has_a_first_drawing(project: ProjectFile) -> None:
    (first,) = project.drawings("Dallas")
    assert first.is_first
    assert first.name == "Drawing 1"
    assert project.drawing(first.id) is project.drawing("Dallas")


def test_new_drawing_is_empty_and_undoes(project: ProjectFile) -> None:
    project.drawing("Dallas").pin(CITY)
    made = project.add_drawing("Dallas", "Figure 2")
    assert names(project) == ["Drawing 1", "Figure 2"]
    assert not project.drawing(made).rows
    assert project.undo_text() == "New drawing “Figure 2”"
    project.undo()
    assert names(project) == ["Drawing 1"]
    with pytest.raises(ProjectError, match="no such drawing"):
        project.drawing(made)
    project.redo()
    assert names(project) == ["Drawing 1", "Figure 2"]


def test_duplicate_begins_as_the_other_is_and_then_goes_its_own_way(project: ProjectFile) -> None:
    first = project.drawing("Dallas")
    first.group([CITY, CAPITAL], "Texas")
    made = project.add_drawing("Dallas", like=first.circuit_id)
    copy = project.drawing(made)
    assert kinds_of(project, made) == kinds_of(project, first.circuit_id)
    assert names(project) == ["Drawing 1", "Drawing 1 2"]
    assert copy.history() == []
    assert copy.undo_text is None
    copy.pin(CITY)
    assert first.row("pin", CITY) is None
    assert project.undo(made).label == "Pin token 6"
    assert copy.row("pin", CITY) is None


def test_rename_and_delete_undo(project: ProjectFile) -> None:
    made = project.add_drawing("Dallas", "Figure 2")
    project.drawing(made).pin(CITY)
    project.contents.commit(drawings.rename_drawing(project, made, "Figure 3"))
    project.contents.commit(drawings.delete_drawing(project, made))
    assert names(project) == ["Drawing 1"]
    project.undo()
    assert names(project) == ["Drawing 1", "Figure 3"]
    assert project.drawing(made).row("pin", CITY) == {}
    project.undo()
    assert names(project) == ["Drawing 1", "Figure 2"]


def test_the_first_drawing_is_renamed_but_stays(project: ProjectFile) -> None:
    circuit = project.finding("Dallas").id
    project.contents.commit(drawings.rename_drawing(project, circuit, "Figure 1"))
    assert names(project) == ["Figure 1"]
    with pytest.raises(ProjectError, match="first drawing"):
        drawings.delete_drawing(project, circuit)


def test_names_are_taken_once(project: ProjectFile) -> None:
    made = project.add_drawing("Dallas", "Figure 2")
    again = project.add_drawing("Dallas", "Figure 2")
    assert names(project) == ["Drawing 1", "Figure 2", "Figure 2 2"]
    for name in ("Figure 2", " "):
        with pytest.raises(ProjectError):
            drawings.rename_drawing(project, again, name)
    assert made != again


def test_all_is_kept_in_the_file(project: ProjectFile, document: Path) -> None:
    made = project.add_drawing("Dallas", "Figure 2")
    drawing = project.drawing(made)
    drawing.pin(CITY)
    drawing.add_checkpoint("kept")
    project.save()
    project.close()
    assert check_project(document) == []
    with ProjectFile.open(document) as again:
        assert names(again) == ["Drawing 1", "Figure 2"]
        assert again.drawing(made).row("pin", CITY) == {}
        assert [one.name for one in again.drawing(made).checkpoints()] == ["kept"]
        assert again.undo_text(made) == "Pin token 6"


def test_rescue_takes_every_drawing(project: ProjectFile, document: Path, tmp_path: Path) -> None:
    made = project.add_drawing("Dallas", "Figure 2")
    project.drawing(made).pin(CITY)
    project.save()
    project.close()
    saved = tmp_path / "saved.circuitscope"
    rescue_project(document, saved)
    with ProjectFile.open(saved) as again:
        assert names(again) == ["Drawing 1", "Figure 2"]
        assert again.drawing(made).row("pin", CITY) == {}
        assert again.drawing(made).undo_text == "Pin token 6"


def test_compact_removes_what_is_deleted_and_what_nothing_names(
    project: ProjectFile, document: Path
) -> None:
    kept = project.add_drawing("Dallas", "Figure 2")
    project.drawing(kept).pin(CITY)
    gone = project.add_drawing("Dallas", "Figure 3")
    project.drawing(gone).pin(CITY)
    project.contents.commit(drawings.delete_drawing(project, gone))
    undone = project.add_drawing("Dallas", like=kept)
    project.undo()
    assert project.compact() == 1
    assert names(project) == ["Drawing 1", "Figure 2"]
    assert project.drawing(kept).row("pin", CITY) == {}
    with project._copy.reading() as connection:
        scopes = {row[0] for row in connection.execute("SELECT circuit_id FROM drawing_row")}
    assert not scopes & {gone, undone}
    project.save()
    assert check_project(document) == []


def test_drawings_go_with_their_circuit(project: ProjectFile, document: Path) -> None:
    made = project.add_drawing("Dallas", "Figure 2")
    project.drawing(made).pin(CITY)
    project.contents.commit(verbs.delete_finding(project, project.finding("Dallas").id))
    project.compact()
    with project._copy.reading() as connection:
        assert not connection.execute("SELECT * FROM drawing_row").fetchall()
    project.save()
    assert check_project(document) == []
