from collections.abc import Callable
from pathlib import Path

import pytest

from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile

Tamper = Callable[..., None]


def test_sound_project_has_no_problems(document: Path) -> None:
    with ProjectFile.open(document) as project:
        drawing = project.drawing("Dallas")
        drawing.group(["token/embed/-1/6/8"], "Texas")
        drawing.undo()
        drawing.add_checkpoint("kept")
        project.attach_original("a", b"abc", "x", drawing.circuit_id)
        project.save()
    assert check_project(document) == []
    assert check_project(str(document)) == []


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE array SET digest = 'x' WHERE name = 'roots'", "circuit Dallas"),
        ("UPDATE finding SET digest = 'x'", "circuit Dallas"),
        ("UPDATE model SET card = '{}'", "model"),
        ("UPDATE array SET owner = 'nobody'", "array"),
        ("UPDATE drawing SET circuit_id = 'nobody'", "drawing"),
        ("UPDATE drawing_row SET data = '[1]'", "drawing of"),
        ("UPDATE drawing_row SET kind = 'spell'", "drawing of"),
        ("DELETE FROM drawing_row WHERE kind = 'group'", "drawing of"),
        ("UPDATE edit SET before = 'x'", "history"),
        ("UPDATE finding SET summary = 'x'", "list"),
        ("UPDATE original_file SET digest = 'x'", "attachment a"),
    ],
)
def test_damage_is_named(document: Path, tamper: Tamper, statement: str, where: str) -> None:
    with ProjectFile.open(document) as project:
        project.drawing("Dallas").group(["token/embed/-1/6/8"], "Texas")
        project.attach_original("a", b"abc", "x")
        project.save()
    tamper(document, statement)
    problems = check_project(document)
    assert any(problem.where.startswith(where) for problem in problems), problems
    assert all(problem.what.endswith(".") for problem in problems)


def test_file_that_is_no_project(tmp_path: Path) -> None:
    path = tmp_path / "x.circuitscope"
    assert "no file" in check_project(path)[0].what
    path.write_text("hello")
    assert check_project(path)[0].where == "file"
