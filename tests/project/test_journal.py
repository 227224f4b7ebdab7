from dataclasses import replace
from pathlib import Path

from circuitscope.core.circuit import Circuit
from circuitscope.project import verbs
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.journal import read_log
from circuitscope.project.rescue import rescue_project

CITY = "token/embed/-1/6/8"


def test_log_says_who_did_what_in_order(document: Path, small_circuit: Circuit) -> None:
    imported = replace(
        small_circuit, provenance=replace(small_circuit.provenance, source_file="/x/graph.json")
    )
    with ProjectFile.open(document) as project:
        project.add(imported, "from elsewhere")
        drawing = project.drawing("Dallas")
        drawing.pin(CITY)
        drawing.hide(CITY)
        drawing.undo()
        drawing.add_checkpoint("kept")
        project.contents.commit(verbs.project_note(project, "x"))
        project.attach_original("graph.json", b"12", "json", project.finding("from elsewhere").id)
        project.save()
    events = read_log(document)
    assert [event.when for event in events] == sorted(event.when for event in events)
    told = {(event.where, event.what): event for event in events}
    assert events[0].what == "Start the project"
    assert ("from elsewhere", "Import graph.json (9 nodes, 12 edges)") in told or any(
        what.startswith("Import graph.json") for _, what in told
    )
    assert any(what.startswith("Compute a circuit by direct") for _, what in told)
    assert told["Dallas", "Pin token 6"].who == "a person"
    assert not told["Dallas", "Pin token 6"].undone
    assert told["Dallas", "Hide token 6"].undone
    assert ("Dallas", "Keep a version as “kept”") in told
    assert ("", "Edit project note") in told
    assert ("from elsewhere", "Attach graph.json (2 bytes)") in told


def test_compact_removes_what_was_deleted_and_only_that(
    document: Path, small_circuit: Circuit, same_circuit
) -> None:
    with ProjectFile.open(document) as project:
        assert project.compact() == 0
        gone = project.add(small_circuit, "Oakland")
        project.drawing("Oakland").pin(CITY)
        project.drawing("Dallas").pin(CITY)
        project.attach_original("a", b"abc", "x", gone)
        project.contents.commit(verbs.rename_finding(project, project.finding("Dallas").id, "D"))
        project.contents.commit(verbs.delete_finding(project, gone))
        project.save()
        before = document.stat().st_size
        assert project.compact() == 1
        assert project.undo_text() is None
        assert [info.name for info in project.added()] == ["D"]
        assert project.is_modified
        project.save()
    assert check_project(document) == []
    assert document.stat().st_size < before
    with ProjectFile.open(document) as project:
        same_circuit(project.circuit("D"), small_circuit)
        assert project.originals() == []
        assert project.drawing("D").undo_text == "Pin token 6"
        project.drawing("D").undo()


def test_edits_carry_the_name_of_who_made_them(document: Path) -> None:
    before = document.read_bytes()
    with ProjectFile.open(document) as project:
        project.author = "  Ada\nLovelace "
        assert project.author == "Ada Lovelace"
    assert document.read_bytes() == before
    for author in ("Ada", "Alan", ""):
        with ProjectFile.open(document) as project:
            assert project.author == ""
            project.author = author
            project.drawing("Dallas").label(CITY, f"by {author}")
            assert project.log()[-1].who == (author or "a person")
            project.save()
    people = [event.who for event in read_log(document) if not event.who.startswith("CircuitScope")]
    assert people == ["Ada", "Alan", "a person"]
    assert check_project(document) == []
    rescue_project(document, document.with_name("again.circuitscope"))
    again = read_log(document.with_name("again.circuitscope"))
    assert [event.who for event in again if "by Alan" in event.what] == ["Alan"]
