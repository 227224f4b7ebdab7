"""The verbs about files that are there already, as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitscope import cli
from circuitscope.core.circuit import Circuit
from circuitscope.project import verbs
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(argument) for argument in arguments], lambda _: 1)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def project(small_circuit: Circuit, tmp_path: Path) -> Path:
    path = tmp_path / "dallas.circuitscope"
    with ProjectFile.create(path) as file:
        file.add(small_circuit, "Dallas")
        file.add(small_circuit, "a/b: Oakland")
        file.drawing("Dallas").pin("token/embed/-1/6/8")
        file.save()
    return path


def test_batch_of_a_project_in_two_formats(run: Run, project: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    code, said, _ = run("export", project, "--all", "--format", "svg", "--format", ".pdf",
                        "--preset", "column", "--out", out, "--json")  # fmt: skip
    assert code == 0
    assert [Path(entry["path"]) for entry in json.loads(said)] == [
        out / name for name in ("Dallas.svg", "Dallas.pdf", "a-b- Oakland.svg", "a-b- Oakland.pdf")
    ]
    assert all((out / name).stat().st_size > 1000 for name in ("Dallas.pdf", "a-b- Oakland.svg"))
    assert 'width="234pt"' in (out / "Dallas.svg").read_text("utf-8")


def test_format_without_a_place_writes_beside_the_project(run: Run, project: Path) -> None:
    assert run("export", project, "--format", "svg", "--circuit", "Dallas")[0] == 0
    assert (project.parent / "dallas Dallas.svg").is_file()


def test_export_needs_a_place_or_a_format(run: Run, project: Path, tmp_path: Path) -> None:
    assert run("export", project)[0] == 2
    assert run("export", project, "--all", "--out", tmp_path / "x.svg")[0] == 2
    assert run("export", project, "--all", "--out", tmp_path)[0] == 2
    code, _, told = run("export", project, "--format", "docx")
    assert code == 1
    assert ".svg" in told


def test_check_rescues_what_can_be_read(run: Run, project: Path, tmp_path: Path) -> None:
    content = bytearray(project.read_bytes())
    at = content.index(b"zstd") if b"zstd" in content else len(content) // 2
    content[at : at + 300] = b"\xff" * 300
    project.write_bytes(content)
    out = tmp_path / "rescued.circuitscope"
    code, said, told = run("check", project, "--rescue", out)
    assert code == 1
    assert f"Saved to {out}" in said
    assert "was not changed" in told
    assert check_project(out) == []
    assert project.read_bytes() == bytes(content)
    code, _, told = run("check", project, "--rescue", out)
    assert code == 1
    assert "exists already" in told


def test_log_and_compact(run: Run, project: Path) -> None:
    code, said, _ = run("log", project)
    assert code == 0
    assert "a person" in said
    assert "Dallas: Pin token 6" in said
    assert json.loads(run("log", project, "--json")[1])[0]["what"] == "Start the project"
    assert "nothing was deleted" in run("compact", project)[1]
    with ProjectFile.open(project) as file:
        gone = file.finding("Dallas").id
        file.contents.commit(verbs.delete_finding(file, gone))
        file.save()
    code, said, _ = run("compact", project)
    assert code == 0
    assert "removed 1 result" in said
    with ProjectFile.open(project) as file:
        assert list(file.circuits()) == ["a/b: Oakland"]
