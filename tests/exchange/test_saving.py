"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from circuitscope.core.errors import ExchangeError
from circuitscope.exchange import saving
from circuitscope.exchange.saving import save_bytes


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    save_bytes(path, b"old")
    path.chmod(0o640)
    save_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["figure.svg"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.svg", tmp_path / "link.svg"
    real.write_bytes(b"old")
    link.symlink_to(real)
    save_bytes(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "may write"), (errno.EROFS, "read-only")],
)
def test_a_full_or_read_only_disk_changes_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    path = tmp_path / "figure.svg"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(saving.os, "fsync", fail)
    with pytest.raises(ExchangeError) as caught:
        save_bytes(path, b"new")
    assert hint in caught.value.hint
    assert "figure.svg" in caught.value.message
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["figure.svg"]


def test_a_missing_folder_and_a_folder_in_the_way_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="missing"):
        save_bytes(tmp_path / "missing" / "x.svg", b"")
    with pytest.raises(ExchangeError) as caught:
        save_bytes(tmp_path, b"")
    assert "Choose another name" in caught.value.hint
