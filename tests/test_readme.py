"""The README's Python runs as it is printed, and its pictures exist."""

import re
from pathlib import Path

import pytest

from circuitscope.core.shipped import shipped_path
from tests.fits import table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_printed_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "projects").symlink_to(shipped_path("projects"))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "Austin" in capsys.readouterr().out
    assert (tmp_path / "dallas.circuitscope").stat().st_size > 100_000
    assert (tmp_path / "dallas.svg").read_text("utf-8").startswith("<")


def test_pictures_and_folders_exist() -> None:
    paths = re.findall(r"\]\((resources[^)]+)\)", README) + re.findall(r"`((?:\w+/)+)`", README)
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_table_of_what_fits_is_the_estimate() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert table() in README
    finally:
        torch.set_num_threads(before)
