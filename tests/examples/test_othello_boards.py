"""Test that the file of feature boards keeps everything, and that broken ones are refused."""

import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.errors import DictionaryError
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import othello, othello_boards
from circuitscope.examples.othello_boards import FeatureBoards

N = 5


def boards() -> FeatureBoards:
    random = np.random.default_rng(0)
    games = othello.play(7, N * 6).tokens.reshape(N, 6, 60)
    games[N - 1, 3:] = 0  # a feature with three games only
    return FeatureBoards(
        names=np.array(["attn_out_0", "mlp_out_3"]),
        dictionary=np.array([0, 0, 1, 1, 1], np.uint8),
        unit=np.array([4, 900, 4, 5, 1023], np.int16),
        frequency=random.random(N, np.float32),
        mean_activation=random.random(N, np.float32),
        boards=random.integers(0, 256, (N, 6, 64), np.uint8),
        examples=games,
        example_position=random.integers(0, 20, (N, 6), np.uint8) * games.any(-1),
        example_activation=random.random((N, 6), np.float32),
        rule=np.array(["E3 mine", "", "move at F5 and E5 flipped", "A1 empty", "H8 theirs"]),
        rule_f1=random.random(N, np.float32),
    )


def test_a_file_keeps_every_column_and_finds_features_by_dictionary_and_unit(
    tmp_path: Path,
) -> None:
    made, file = boards(), tmp_path / "boards.npz"
    othello_boards.write(file, made)
    read = othello_boards.read(file)
    for part in fields(FeatureBoards):
        before, after = getattr(made, part.name), getattr(read, part.name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert len(read) == N
    assert [read.find("mlp_out_3", unit) for unit in (4, 5, 1023)] == [2, 3, 4]
    assert read.find("attn_out_0", 4) == 0
    assert read.find("attn_out_0", 5) is None
    assert read.find("mlp_out_9", 4) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["boards.npz"]


def test_the_same_boards_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    othello_boards.write(first, boards())
    othello_boards.write(second, othello_boards.read(first))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit": np.arange(N)}, "unit holds int64"),
        ({"frequency": np.zeros(N, np.float64)}, "frequency holds float64"),
        ({"rule": np.array([None] * N)}, "rule holds object"),
        ({"rule": np.array(["x" * 5000] * N)}, "5000 letters"),
        ({"rule_f1": np.zeros(N - 1, np.float32)}, "rule_f1 has 4 rows"),
        ({"boards": np.zeros((N, 5, 64), np.uint8)}, "boards is of shape"),
        ({"names": np.array(["twice", "twice"])}, "named twice"),
        ({"dictionary": np.full(N, 2, np.uint8)}, "dictionary is missing"),
        ({"unit": np.full(N, -1, np.int16)}, "below 0"),
        ({"unit": np.full(N, 3, np.int16)}, "a feature twice"),
        ({"rule_f1": np.full(N, np.nan, np.float32)}, "not finite"),
        ({"examples": np.full((N, 6, 60), 61, np.uint8)}, "no token"),
        ({"examples": np.eye(60, dtype=np.uint8)[None, 1:7].repeat(N, 0)}, "behind its end"),
        ({"example_position": np.full((N, 6), 60, np.uint8)}, "60th move"),
        ({"examples": np.eye(60, dtype=np.uint8)[[0] * 6][None].repeat(N, 0),
          "example_position": np.ones((N, 6), np.uint8)}, "behind the end of its game"),
    ],
)  # fmt: skip
def test_wrong_columns_are_refused_when_made_and_when_read(
    change: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DictionaryError, match=said):
        replace(boards(), **change)
    good = {part.name: getattr(boards(), part.name) for part in fields(FeatureBoards)}
    np.savez(tmp_path / "boards.npz", **{**good, **change})
    with pytest.raises(DictionaryError, match=said):
        othello_boards.read(tmp_path / "boards.npz")


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "boards.npz"
    with pytest.raises(DictionaryError, match="does not exist"):
        othello_boards.read(file)
    with pytest.raises(DictionaryError, match="boards of features"):
        othello_boards.read(tmp_path)
    for content in (b"", b"PK\x03\x04 and nothing", b"\x93NUMPY", b"\x80\x04."):
        file.write_bytes(content)
        with pytest.raises(DictionaryError, match=r"boards\.npz does not hold"):
            othello_boards.read(file)
    np.savez(file, unit=np.arange(3, dtype=np.int16))
    with pytest.raises(DictionaryError, match=r"boards\.npz does not hold"):
        othello_boards.read(file)


def test_a_file_cut_off_or_changed_anywhere_is_refused_or_read_the_same(tmp_path: Path) -> None:
    file = tmp_path / "boards.npz"
    othello_boards.write(file, boards())
    whole = file.read_bytes()
    for cut in range(0, len(whole), 97):
        file.write_bytes(whole[:cut])
        with pytest.raises(DictionaryError):
            othello_boards.read(file)
    for at in range(0, len(whole), 89):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with suppress(DictionaryError):
            assert len(othello_boards.read(file)) == N


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "boards.npz"
    np.savez(file, **{part.name: getattr(boards(), part.name) for part in fields(FeatureBoards)})
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old, new = b"'shape': (5,)", b"'shape': (200000,)"
    assert old in members["unit.npy"]
    grown = members["unit.npy"].replace(old, new).replace(b" " * (len(new) - len(old)), b"", 1)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, grown if name == "unit.npy" else content)
    with pytest.raises(DictionaryError, match="unit is cut off"):
        othello_boards.read(file)


def test_reading_imports_no_torch() -> None:
    code = "import sys, circuitscope.examples.othello_boards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bundled_file_tells_of_bundled_dictionaries() -> None:
    folder = shipped_path("projects", "othello")
    read = othello_boards.read(folder / "boards.npz")
    assert len(read) > 0
    for name in read.names.tolist():
        assert (folder / "dictionaries" / name / "cfg.json").is_file()
    for game, position in zip(read.examples[:, 0], read.example_position[:, 0], strict=True):
        assert not game.any() or game[position]
    othello.replay(read.examples[read.examples.any(-1)])
