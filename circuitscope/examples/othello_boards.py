"""What the features of the Othello example mean on the board: one file, read without torch.

`boards.npz` lies beside the example's model. Its rows are features of the example's dictionaries;
the columns are the attributes of `FeatureBoards` under the same names. Files come from anywhere, so
every array's header is looked at before its numbers, and nothing in it is ever unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.errors import DictionaryError
from circuitscope.examples.othello import MOVES, VOCABULARY

__all__ = ["EXAMPLES", "KINDS", "FeatureBoards", "read", "write"]

KINDS = ("mine", "theirs", "empty", "flipped", "move", "legal")
"""What the six averaged boards of a feature count, in the order of `FeatureBoards.boards`."""
EXAMPLES = 6
"""Games kept for each feature."""

_MOST_FEATURES = 1 << 18
_MOST_LETTERS = 400
# Kind of the dtype, its size in bytes (0: any), and the shape behind the rows.
_COLUMNS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "names": ("U", 0, ()),
    "dictionary": ("u", 1, ()),
    "unit": ("i", 2, ()),
    "frequency": ("f", 4, ()),
    "mean_activation": ("f", 4, ()),
    "boards": ("u", 1, (len(KINDS), 64)),
    "examples": ("u", 1, (EXAMPLES, MOVES)),
    "example_position": ("u", 1, (EXAMPLES,)),
    "example_activation": ("f", 4, (EXAMPLES,)),
    "rule": ("U", 0, ()),
    "rule_f1": ("f", 4, ()),
}


@dataclass(frozen=True, eq=False)
class FeatureBoards:
    """Hold the boards on which features are active, one row for each feature.

    "Mine" and "theirs" are seen by the player who moves next, as in `othello.Games`. Squares go
    A1, B1, ... H8 row by row.

    Attributes:
        names: Names of the dictionaries, such as "mlp_out_3", str [d].
        dictionary: Which dictionary a feature is of, uint8 [n].
        unit: Its number there, int16 [n].
        frequency: Share of positions at which it is active, float32 [n].
        mean_activation: Mean over those positions, float32 [n].
        boards: Share of its activation that falls on positions where a square is as `KINDS` say,
            0 to 255 for none to all, uint8 [n, 6, 64].
        examples: Moves of the games in which it is most active, as tokens, strongest first, 0
            behind the end of a game, uint8 [n, 6, 60]; all 0 where there is no further game.
        example_position: At which move of each, uint8 [n, 6].
        example_activation: How active it is there, float32 [n, 6].
        rule: The board rule that says best when it is active, "" for none, str [n].
        rule_f1: F1 of that rule, float32 [n].

    Raises:
        DictionaryError: An array is not what it should be.
    """

    names: NDArray[np.str_]
    dictionary: NDArray[np.uint8]
    unit: NDArray[np.int16]
    frequency: NDArray[np.float32]
    mean_activation: NDArray[np.float32]
    boards: NDArray[np.uint8]
    examples: NDArray[np.uint8]
    example_position: NDArray[np.uint8]
    example_activation: NDArray[np.float32]
    rule: NDArray[np.str_]
    rule_f1: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.unit) if np.ndim(self.unit) else 0
        for part in fields(self):
            array = getattr(self, part.name)
            _check_column(part.name, array.dtype, array.shape, None if part.name == "names" else n)
        for good, what in self._rules():
            if not good:
                raise _broken(what)
        if len(self._rows) < n:
            raise _broken("it holds a feature twice")

    def __len__(self) -> int:
        return len(self.unit)

    def find(self, dictionary: str, unit: int) -> int | None:
        """Return the row of a feature; None where the file does not tell of it."""
        return self._rows.get((dictionary, unit))

    @cached_property
    def _rows(self) -> dict[tuple[str, int], int]:
        names = self.names.tolist()
        pairs = zip(self.dictionary.tolist(), self.unit.tolist(), strict=True)
        return {(names[which], unit): row for row, (which, unit) in enumerate(pairs)}

    def _rules(self) -> list[tuple[bool, str]]:
        """Return what must hold of the numbers, each with what to say where it does not."""
        numbers = (self.frequency, self.mean_activation, self.example_activation, self.rule_f1)
        used = self.examples.any(-1)
        behind = (self.examples[..., :-1] == 0) & (self.examples[..., 1:] != 0)
        at = np.minimum(self.example_position, MOVES - 1).astype(np.intp)
        played = np.take_along_axis(self.examples, at[..., None], -1)[..., 0] > 0
        return [
            (len(set(self.names.tolist())) == len(self.names), "a dictionary is named twice"),
            (bool((self.dictionary < len(self.names)).all()), "a feature's dictionary is missing"),
            (bool((self.unit >= 0).all()), "a feature's number is below 0"),
            (all(np.isfinite(some).all() for some in numbers), "a number is not finite"),
            (bool((self.examples < len(VOCABULARY)).all()), "a game has a move that is no token"),
            (not bool(behind.any()), "a game goes on behind its end"),
            (bool((self.example_position < MOVES).all()), "a position is behind the 60th move"),
            (bool((played | ~used).all()), "a position is behind the end of its game"),
        ]


def write(path: Path | str, boards: FeatureBoards) -> None:
    """Write a file, whole or not at all; the same boards always give the same bytes."""
    place = Path(path)
    draft = place.with_name(place.name + ".part")
    columns: dict[str, Any] = {part.name: getattr(boards, part.name) for part in fields(boards)}
    try:
        with draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **columns)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path | str) -> FeatureBoards:
    """Read a file that `write` wrote.

    Raises:
        DictionaryError: The file is missing, damaged, or holds something else.
    """
    place = Path(path)
    try:
        with zipfile.ZipFile(place) as archive:
            columns = {name: _read_column(archive, name) for name in _COLUMNS}
            return FeatureBoards(**columns)
    except FileNotFoundError:
        raise DictionaryError(
            f"{place} does not exist.", hint="It is made with the example's dictionaries."
        ) from None
    except DictionaryError as error:
        raise DictionaryError(
            f"{place.name} does not hold the boards of features: {error.message}.", hint=error.hint
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile,
            NotImplementedError, RuntimeError) as error:  # fmt: skip
        raise DictionaryError(
            f"{place.name} does not hold the boards of features, or is damaged.",
            hint="Copy or make the file again.",
        ) from error


def _read_column(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array once its header says that it is of the right kind and size."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise _broken(f"{name} is in a format of its own")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    _check_column(name, dtype, shape, None)
    if member.file_size < dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise _broken(f"{name} is cut off")
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_column(name: str, dtype: np.dtype, shape: tuple[int, ...], n: int | None) -> None:
    kind, size, behind = _COLUMNS[name]
    letters = dtype.itemsize // 4
    if dtype.kind != kind or (size and dtype.itemsize != size):
        raise _broken(f"{name} holds {dtype} numbers")
    if kind == "U" and letters > _MOST_LETTERS:
        raise _broken(f"{name} holds texts of {letters} letters")
    if len(shape) != 1 + len(behind) or shape[1:] != behind or shape[0] > _MOST_FEATURES:
        raise _broken(f"{name} is of shape {shape}")
    if n is not None and shape[0] != n:
        raise _broken(f"{name} has {shape[0]} rows, but there are {n} features")


def _broken(what: str) -> DictionaryError:
    return DictionaryError(what, hint="Copy or make the file again.")
