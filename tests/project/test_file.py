import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import (
    ChangedOnDisk,
    ProjectError,
    ProjectLocked,
)
from circuitscope.core.finding import Curves, Grid, Provenance, Ranking
from circuitscope.project import verbs
from circuitscope.project.file import ProjectFile

Same = Callable[[Circuit, Circuit], None]


def test_circuit_reads_back_equal(
    document: Path, small_circuit: Circuit, same_circuit: Same
) -> None:
    with ProjectFile.open(document) as project:
        same_circuit(project.circuit("Dallas"), small_circuit)
        assert project.circuit("Dallas").digest == small_circuit.digest
        assert project.circuit("Dallas") is project.circuit("Dallas")


def test_list_says_what_is_there_without_arrays(project: ProjectFile) -> None:
    (info,) = project.findings()
    assert (info.kind, info.name, info.n_nodes, info.n_edges) == ("circuit", "Dallas", 9, 10)
    assert info.prompt == "the capital of the state Dallas is"
    assert info.method == "direct"


def test_new_project_is_written_by_save_only(tmp_path: Path, small_circuit: Circuit) -> None:
    path = tmp_path / "new.circuitscope"
    project = ProjectFile.create(path)
    assert not project.is_modified
    project.add_finding(small_circuit)
    assert project.is_modified
    assert not path.exists()
    project.save()
    assert not project.is_modified
    assert path.read_bytes()[68:72] == b"CSPG"
    assert path.read_bytes()[18:20] == b"\x01\x01", "saved files use a rollback journal, not WAL"
    assert [item.name for item in tmp_path.iterdir()] == ["new.circuitscope"]
    project.close()


def test_close_without_save_drops_changes(document: Path) -> None:
    before = document.read_bytes()
    with ProjectFile.open(document) as project:
        project.drawing("Dallas").label("token/embed/-1/6/8", "the city")
        working_copy = project.working_copy
    assert document.read_bytes() == before
    assert not working_copy.exists()
    project.close()


def test_names_are_unique_and_kept_in_order_of_adding(
    project: ProjectFile, small_circuit: Circuit
) -> None:
    project.add(small_circuit, "Dallas")
    project.add(small_circuit, "Austin")
    project.add(small_circuit, "Dallas")
    assert list(project.circuits()) == ["Dallas", "Dallas 2", "Austin", "Dallas 3"]
    assert len(project.circuits()) == 4
    assert project.circuits()["Austin"].digest == small_circuit.digest
    with pytest.raises(KeyError):
        project.circuits()["Houston"]


def test_unnamed_finding_takes_its_prompt(project: ProjectFile, small_circuit: Circuit) -> None:
    finding_id = project.add(small_circuit)
    assert project.finding(finding_id).name == "the capital of the state Dallas is"


def test_unknown_name_is_told_with_those_that_exist(project: ProjectFile) -> None:
    with pytest.raises(ProjectError, match="'Houston'") as error:
        project.circuit("Houston")
    assert "'Dallas'" in error.value.hint


def test_rename_move_and_delete_undo_and_survive_saving(
    project: ProjectFile, document: Path, small_circuit: Circuit
) -> None:
    heard = []
    project.findings_changed.connect(lambda: heard.append(1))
    other = project.add(small_circuit, "Oakland")
    first = project.finding("Dallas").id
    project.contents.commit(verbs.rename_finding(project, first, "Texas"))
    project.contents.commit(verbs.move_finding(project, other, 0))
    assert [info.name for info in project.findings()] == ["Oakland", "Texas"]
    assert list(project.circuits()) == ["Texas", "Oakland"]
    project.contents.commit(verbs.delete_finding(project, other))
    assert [info.name for info in project.findings()] == ["Texas"]
    assert len(heard) == 4
    assert project.undo_text() == "Delete “Oakland”"
    project.save()
    project.close()
    with ProjectFile.open(document) as again:
        assert [info.name for info in again.findings()] == ["Texas"]
        again.undo()
        assert [info.name for info in again.findings()] == ["Oakland", "Texas"]
        again.undo()
        again.undo()
        assert [info.name for info in again.findings()] == ["Dallas", "Oakland"]
        assert again.undo() is None
        assert again.redo_text() == "Rename “Dallas” to “Texas”"


def test_rename_to_a_taken_or_empty_name_is_refused(
    project: ProjectFile, small_circuit: Circuit
) -> None:
    other = project.add(small_circuit, "Oakland")
    for name in ("Dallas", "  "):
        with pytest.raises(ProjectError):
            verbs.rename_finding(project, other, name)


def test_name_that_comes_back_by_undo_is_made_unique(
    project: ProjectFile, small_circuit: Circuit
) -> None:
    first = project.finding("Dallas").id
    project.contents.commit(verbs.rename_finding(project, first, "Texas"))
    project.add(small_circuit, "Dallas")
    project.undo()
    assert [info.name for info in project.findings()] == ["Dallas", "Dallas 2"]


def test_undo_takes_the_newest_of_drawing_and_contents(project: ProjectFile) -> None:
    drawing = project.drawing("Dallas")
    drawing.label("token/embed/-1/6/8", "the city")
    project.contents.commit(verbs.rename_finding(project, drawing.circuit_id, "Texas"))
    drawing.pin("token/embed/-1/6/8")
    texts = []
    while (text := project.undo_text("Dallas" if len(texts) > 1 else "Texas")) is not None:
        texts.append(text)
        project.undo(drawing.circuit_id)
    assert texts == [
        "Pin token 6",
        "Rename “Dallas” to “Texas”",
        "Label token 6 “the city”",
    ]
    redone = []
    while (edit := project.redo(drawing.circuit_id)) is not None:
        redone.append(edit.label)
    assert redone == texts[::-1]


def test_every_kind_of_finding_reads_back(project: ProjectFile) -> None:
    provenance = Provenance("patching", scores={"a": 1.5}, remarks=("look",))
    grid = Grid(("layer", "token"), (("0", "1"), ("a", "b", "c")),
                np.arange(6, dtype=np.float32).reshape(2, 3), provenance)  # fmt: skip
    ranking = Ranking(("h0", "h1"), np.array([0.5, 0.25], np.float32), provenance)
    lines = {"own": np.ones(3, np.float32), "random": np.zeros(3, np.float32)}
    curves = Curves("k", np.arange(3, dtype=np.float32), lines, provenance)
    ids = [project.add(found, "x") for found in (grid, ranking, curves)]
    assert [project.finding(name).kind for name in ids] == ["grid", "ranking", "curves"]
    got_grid, got_ranking, got_curves = (project.read_finding(name) for name in ids)
    assert isinstance(got_grid, Grid)
    assert (got_grid.axes, got_grid.ticks) == (grid.axes, grid.ticks)
    np.testing.assert_array_equal(got_grid.values, grid.values)
    assert got_grid.provenance == provenance
    assert isinstance(got_ranking, Ranking)
    assert got_ranking.names == ranking.names
    np.testing.assert_array_equal(got_ranking.scores, ranking.scores)
    assert isinstance(got_curves, Curves)
    assert got_curves.x_name == "k"
    assert list(got_curves.curves) == ["own", "random"]
    assert list(project.circuits()) == ["Dallas"]
    with pytest.raises(ProjectError, match="not a circuit"):
        project.circuit(ids[0])


def test_odd_tokens_and_names_survive(
    project: ProjectFile, document: Path, small_circuit: Circuit, same_circuit: Same
) -> None:
    from dataclasses import replace

    odd = replace(small_circuit, tokens=("\n", '"', "שלום", "😀", "\ud83d", "\x00", "<b>", ""))
    project.add(odd, "a\nשלום 😀 <script>")
    project.drawing("Dallas").label("token/embed/-1/6/8", "½ \ud83d 😀\n")
    project.save()
    project.close()
    with ProjectFile.open(document) as again:
        same_circuit(again.circuit("a\nשלום 😀 <script>"), odd)
        row = again.drawing("Dallas").row("label", "token/embed/-1/6/8")
        assert row is not None
        assert row["text"] == "½ \ud83d 😀\n"


def test_second_opener_is_refused_until_the_first_closes(document: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.circuitscope"
    link.symlink_to(document)
    with ProjectFile.open(document):
        for name in (document, link):
            with pytest.raises(ProjectLocked) as error:
                ProjectFile.open(name)
            assert "reading only" in error.value.hint
        with ProjectFile.open(document, read_only=True) as reader:
            assert reader.findings()[0].name == "Dallas"
    with ProjectFile.open(link) as project:
        assert project.path == link


def test_read_only_project_refuses_changes_until_saved_elsewhere(
    document: Path, tmp_path: Path
) -> None:
    with ProjectFile.open(document, read_only=True) as project:
        drawing = project.drawing("Dallas")
        for act in (lambda: drawing.pin("token/embed/-1/6/8"), project.save):
            with pytest.raises(ProjectError, match="reading only"):
                act()
        assert not drawing.rows
        project.save_as(tmp_path / "mine.circuitscope")
        drawing.pin("token/embed/-1/6/8")
        project.save()
    with ProjectFile.open(tmp_path / "mine.circuitscope") as mine:
        assert mine.drawing("Dallas").of_kind("pin")


def test_save_as_goes_on_with_the_new_file(document: Path, tmp_path: Path) -> None:
    before = document.read_bytes()
    target = tmp_path / "b.circuitscope"
    with ProjectFile.open(document) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.save_as(target)
        assert project.path == target
        assert not project.is_modified
        with ProjectFile.open(document) as first:
            assert not first.drawing("Dallas").rows
        with pytest.raises(ProjectLocked):
            ProjectFile.open(target)
        project.save_as(target)
    assert document.read_bytes() == before
    with pytest.raises(ProjectError, match="exists already"), ProjectFile.create(target):
        pass
    with ProjectFile.open(document) as project:
        with pytest.raises(ProjectError, match="exists already"):
            project.save_as(target)
        project.save_as(target, overwrite=True)
        assert not project.drawing("Dallas").rows


def test_save_as_refuses_a_file_that_is_open(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.circuitscope"
    with ProjectFile.open(document) as project:
        project.save_as(target)
        with ProjectFile.open(document) as other:
            with pytest.raises(ProjectLocked):
                other.save_as(target, overwrite=True)
            assert other.path == document


def test_untitled_project_asks_for_a_name(tmp_path: Path, small_circuit: Circuit) -> None:
    with ProjectFile.create() as project:
        project.add(small_circuit)
        assert project.path is None
        with pytest.raises(ProjectError, match="no file yet"):
            project.save()
        project.save_as(tmp_path / "now.circuitscope")
        project.save()


@pytest.mark.parametrize(
    "name",
    ["a b", "100%41", "what?", "tag#1", "😀", "שלום עולם", "é'\";--", "x" * 241, "&=+", "%00"],
)
def test_odd_file_names(tmp_path: Path, document: Path, name: str) -> None:
    folder = tmp_path / f"in {name[:40]}"
    folder.mkdir()
    target = folder / f"{name}.circuitscope"
    with ProjectFile.open(document) as project:
        project.save_as(target)
    with ProjectFile.open(target) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.save()
    assert [item.name for item in folder.iterdir()] == [target.name]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_name_that_is_not_text(tmp_path: Path, document: Path) -> None:
    target = tmp_path / os.fsdecode(b"caf\xe9.circuitscope")
    with ProjectFile.open(document) as project:
        project.save_as(target)
        folder = tmp_path / os.fsdecode(b"\xff")
        folder.mkdir()
        with pytest.raises(ProjectError, match="not text"):
            project.save_as(folder / "x.circuitscope")
    with ProjectFile.open(target) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.save()


def test_save_follows_a_symbolic_link_and_keeps_the_mode(document: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.circuitscope"
    link.symlink_to(document)
    document.chmod(0o640)
    with ProjectFile.open(link) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.save()
    assert link.is_symlink()
    assert stat.S_IMODE(document.stat().st_mode) == 0o640
    with ProjectFile.open(document) as project:
        assert project.drawing("Dallas").of_kind("pin")


def test_file_changed_by_another_program_is_not_overwritten_unasked(
    document: Path, tmp_path: Path
) -> None:
    with ProjectFile.open(document) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        copy = tmp_path / "copy"
        copy.write_bytes(document.read_bytes())
        copy.replace(document)
        before = document.stat()
        with pytest.raises(ChangedOnDisk):
            project.save()
        assert document.stat() == before
        assert project.is_modified
        project.save(overwrite=True)
        project.drawing("Dallas").pin("token/embed/-1/2/5")
        project.save()


def test_deleted_document_is_written_anew(document: Path) -> None:
    with ProjectFile.open(document) as project:
        document.unlink()
        project.save()
    with ProjectFile.open(document) as project:
        assert len(project.findings()) == 1


def test_copy_taken_while_open_is_whole(document: Path, tmp_path: Path) -> None:
    with ProjectFile.open(document) as project:
        project.drawing("Dallas").pin("token/embed/-1/6/8")
        project.save()
        project.drawing("Dallas").pin("token/embed/-1/2/5")
        copy = tmp_path / "copy.circuitscope"
        copy.write_bytes(document.read_bytes())
    with ProjectFile.open(copy) as project:
        assert list(project.drawing("Dallas").of_kind("pin")) == ["token/embed/-1/6/8"]


def test_original_files_are_kept_byte_for_byte(project: ProjectFile, document: Path) -> None:
    data = bytes(range(256)) * 40
    first = project.attach_original("graph ½.json", data, "neuronpedia", project.findings()[0].id)
    project.attach_original("empty", b"", "other")
    project.save()
    project.close()
    with ProjectFile.open(document) as again:
        assert [(item.name, item.size) for item in again.originals()] == [
            ("graph ½.json", len(data)),
            ("empty", 0),
        ]
        assert again.original(first) == data
        assert again.original(again.originals()[1].id) == b""
        with pytest.raises(ProjectError):
            again.original("nothing")


def test_project_id_stays_through_renaming(project: ProjectFile, tmp_path: Path) -> None:
    first = project.project_id
    project.save_as(tmp_path / "other.circuitscope")
    assert project.project_id == first
    assert len(first) == 32
    assert project.format_version == 1


@pytest.mark.parametrize("path", ["missing/x.circuitscope", "."])
def test_create_needs_a_folder_and_a_file_name(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProjectError):
        ProjectFile.create(tmp_path / path)


def test_failed_open_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no file"):
        ProjectFile.open(tmp_path / "missing.circuitscope")
    assert not list(tmp_path.iterdir())
