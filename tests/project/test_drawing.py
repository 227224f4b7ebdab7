from pathlib import Path

import pytest

from circuitscope.core.errors import EditConflict, ProjectError
from circuitscope.core.rows import RowKey
from circuitscope.project import verbs
from circuitscope.project.drawing import Drawing
from circuitscope.project.edit import Edit
from circuitscope.project.file import ProjectFile

CITY, FACT = "token/embed/-1/6/8", "feature/mlp_out/0/7/214"


def test_undo_restores_a_deleted_group(drawing: Drawing) -> None:
    group_id = drawing.group([CITY, FACT], "Texas")
    before = dict(drawing.rows)
    drawing.commit(verbs.ungroup(drawing, group_id))
    assert not drawing.rows
    drawing.undo()
    assert dict(drawing.rows) == before


def test_changed_tells_each_commit_undo_and_redo_once(drawing: Drawing) -> None:
    heard: list[Edit] = []
    drawing.changed.connect(heard.append)
    drawing.pin(CITY)
    drawing.undo()
    drawing.redo()
    key = RowKey(drawing.circuit_id, "pin", CITY)
    assert [edit.after for edit in heard] == [{key: {}}, {key: None}, {key: {}}]


def test_edit_that_changes_nothing_is_no_step(drawing: Drawing) -> None:
    drawing.pin(CITY)
    drawing.pin(CITY)
    assert [entry.label for entry in drawing.history()] == ["Pin token 6"]


def test_stale_edit_is_refused_and_changes_nothing(drawing: Drawing) -> None:
    stale = verbs.label(drawing, CITY, "old")
    drawing.label(CITY, "new")
    with pytest.raises(EditConflict) as error:
        drawing.commit(stale)
    assert "“Label token 6 “old””" in error.value.message
    assert drawing.row("label", CITY) == {"text": "new", "source": "person"}
    assert len(drawing.history()) == 1


def test_steps_of_one_drag_undo_at_once(drawing: Drawing) -> None:
    for x in range(5):
        drawing.commit(verbs.place(drawing, {CITY: (x, 2.0)}, merge_key="drag 1"))
    drawing.commit(verbs.place(drawing, {CITY: (9, 9)}, merge_key="drag 2"))
    assert len(drawing.history()) == 2
    drawing.undo()
    assert drawing.row("place", CITY) == {"x": 4.0, "y": 2.0}
    drawing.undo()
    assert not drawing.rows


def test_drag_back_to_the_start_is_no_step(drawing: Drawing) -> None:
    drawing.place({CITY: (1, 1)})
    for x in (2, 3, 1):
        drawing.commit(verbs.place(drawing, {CITY: (x, 1)}, merge_key="drag"))
    assert len(drawing.history()) == 1
    drawing.commit(verbs.place(drawing, {CITY: (4, 1)}, merge_key="drag"))
    assert len(drawing.history()) == 2
    drawing.undo()
    assert drawing.row("place", CITY) == {"x": 1.0, "y": 1.0}


def test_slider_reads_from_start_to_end(drawing: Drawing) -> None:
    drawing.set_view(node_threshold=0.9)
    for value in (0.75, 0.7, 0.6):
        drawing.commit(verbs.set_view(drawing, node_threshold=value, merge_key="slider"))
    assert drawing.undo_text == "Influence 0.90 → 0.60"
    assert drawing.history()[0].label == "Influence 0.80 → 0.90"


def test_new_edit_drops_what_was_undone(drawing: Drawing) -> None:
    drawing.pin(CITY)
    drawing.pin(FACT)
    drawing.undo()
    assert [entry.undone for entry in drawing.history()] == [False, True]
    assert drawing.redo_text == "Pin L0 #214"
    drawing.hide(FACT)
    assert drawing.redo() is None
    assert drawing.redo_text is None
    assert [entry.label for entry in drawing.history()] == ["Pin token 6", "Hide L0 #214"]


def test_history_survives_closing(project: ProjectFile, document: Path) -> None:
    drawing = project.drawing("Dallas")
    drawing.group([CITY, FACT], "Texas")
    drawing.label(CITY, "the city")
    drawing.pin(CITY)
    drawing.undo()
    rows, line = dict(drawing.rows), drawing.history()
    project.save()
    project.close()
    with ProjectFile.open(document) as again:
        same = again.drawing("Dallas")
        assert dict(same.rows) == rows
        assert list(same.rows) == list(rows), "the order of rows is kept, so pictures are too"
        assert same.history() == line
        assert same.undo_text == "Label token 6 “the city”"
        same.redo()
        assert same.row("pin", CITY) == {}
        for _ in range(3):
            same.undo()
        assert not same.rows


def test_histories_of_two_circuits_are_apart(project: ProjectFile, drawing: Drawing) -> None:
    project.add(project.circuit("Dallas"), "Oakland")
    other = project.drawing("Oakland")
    drawing.pin(CITY)
    other.hide(CITY)
    drawing.undo()
    assert not drawing.rows
    assert other.of_kind("hidden")
    assert drawing.undo() is None
    assert drawing.redo() is not None


def test_go_to_walks_the_history_both_ways(drawing: Drawing) -> None:
    for x in range(6):
        drawing.place({CITY: (x, 0)})
    line = drawing.history()
    drawing.go_to(line[1].id)
    assert drawing.row("place", CITY) == {"x": 1.0, "y": 0.0}
    drawing.go_to(line[4].id)
    assert drawing.row("place", CITY) == {"x": 4.0, "y": 0.0}
    drawing.go_to(0)
    assert not drawing.rows
    with pytest.raises(ProjectError):
        drawing.go_to(10_000)


def test_checkpoint_brings_a_state_back_as_one_step(
    project: ProjectFile, document: Path, drawing: Drawing
) -> None:
    drawing.label(CITY, "the city")
    drawing.pin(FACT)
    kept = dict(drawing.rows)
    checkpoint = drawing.add_checkpoint("before the talk")
    drawing.label(CITY, "other")
    drawing.hide(FACT)
    project.save()
    project.close()
    with ProjectFile.open(document) as again:
        same = again.drawing("Dallas")
        assert [item.name for item in same.checkpoints()] == ["before the talk"]
        same.restore(checkpoint)
        assert dict(same.rows) == kept
        assert same.undo_text == "Return to “before the talk”"
        same.undo()
        assert same.row("hidden", FACT) == {}
        with pytest.raises(ProjectError):
            same.restore(99)


def test_failed_write_leaves_memory_and_file_as_they_were(
    project: ProjectFile, drawing: Drawing
) -> None:
    drawing.pin(CITY)
    with project._copy.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ProjectError, match="disk is full"):
        drawing.commit(verbs.note(drawing, "x" * 200_000))
    assert list(drawing.of_kind("pin")) == [CITY]
    assert not drawing.of_kind("note")
    with project._copy.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    drawing.commit(verbs.note(drawing, "x" * 200_000))
    assert len(drawing.history()) == 2


def test_rows_cannot_be_changed_past_commit(drawing: Drawing) -> None:
    with pytest.raises(TypeError):
        drawing.rows[RowKey(drawing.circuit_id, "pin", CITY)] = {}  # type: ignore[index]


def test_rows_of_another_drawing_or_kind_are_our_mistake(
    project: ProjectFile, drawing: Drawing
) -> None:
    for key in (RowKey("other", "pin", CITY), RowKey(drawing.circuit_id, "pinn", CITY)):
        with pytest.raises(AssertionError):
            drawing.commit(Edit("x", {key: None}, {key: {}}))


def test_checkpoint_leaves_rows_of_unknown_kinds_alone(document, tamper) -> None:
    from circuitscope.project.file import ProjectFile

    with ProjectFile.open(document) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.drawing("Dallas").add_checkpoint("kept")
        project.save()
    tamper(document, "INSERT INTO drawing_row (circuit_id, kind, id, data)"
                     " SELECT id, 'spell', 's', '{}' FROM finding")  # fmt: skip
    with ProjectFile.open(document) as project:
        drawing = project.drawing("Dallas")
        drawing.hide("token/embed/-1/2/5")
        drawing.restore(drawing.checkpoints()[0].id)
        assert drawing.row("spell", "s") == {}
        assert drawing.of_kind("hidden") == {}
        assert drawing.row("pin", "token/embed/-1/6/8") == {}


def test_a_settled_project_undoes_only_what_its_reader_does(document: Path) -> None:
    with ProjectFile.open(document) as project:
        project.contents.commit(verbs.project_note(project, "what to look at"))
        project.drawing("Dallas").pin(CITY, FACT)
        project.settle()
        project.save()
    with ProjectFile.open(document) as project:
        drawing = project.drawing("Dallas")
        rows = dict(drawing.rows)
        assert drawing.history() == []
        assert project.undo("Dallas") is None
        drawing.hide(CITY)
        project.undo("Dallas")
        assert project.undo("Dallas") is None
        assert dict(drawing.rows) == rows
        assert len(rows) == 2
        assert [kept.name for kept in drawing.checkpoints()] == ["As delivered"]
        assert project.contents.rows
