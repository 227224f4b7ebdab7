"""Read npz files: shapes from headers, arrays as views of the mapped file.

An npz file is a zip of npy files. numpy stores them uncompressed, so that each array is a range
of the file and can be mapped; compressed ones are read into memory. Pickled objects are refused.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from torch import Tensor

from circuitscope.core.errors import DictionaryError, UnsafeFile

_LOCAL_HEADER = 30
_MOST_UNPACKED_BYTES = 16_000_000_000


@dataclass(frozen=True, slots=True)
class _Array:
    """One array of a file: its npy header, and where its numbers begin if they can be mapped."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    header: int
    info: zipfile.ZipInfo


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array, without its numbers.

    Raises:
        UnsafeFile: An array holds pickled objects.
        DictionaryError: The file is missing, cut off or no npz file.
    """
    with _opened(path) as archive:
        return {name: array.shape for name, array in _arrays(path, archive)}


def map_npz(path: Path) -> dict[str, Tensor]:
    """Return every array, mapped where it is not compressed.

    Raises:
        UnsafeFile: An array holds pickled objects.
        DictionaryError: The file is missing, cut off or no npz file.
    """
    with _opened(path) as archive:
        return {name: _tensor(path, archive, array) for name, array in _arrays(path, archive)}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise DictionaryError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _no_npz(path) from error


def _arrays(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, _Array]]:
    for info in archive.infolist():
        with archive.open(info) as file:
            shape, fortran, dtype = _npy_header(file)
            header = file.tell()
        if dtype.hasobject:
            raise UnsafeFile(
                f"{path.name} holds pickled objects in {info.filename}, which can run code when "
                "they are read.",
                kept="They were not opened.",
                hint="Ask for the weights as plain arrays or safetensors.",
            )
        if math.prod(shape) * dtype.itemsize + header != info.file_size:
            raise _no_npz(path)
        yield info.filename.removesuffix(".npy"), _Array(shape, dtype, fortran, header, info)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _tensor(path: Path, archive: zipfile.ZipFile, array: _Array) -> Tensor:
    order: Literal["C", "F"] = "F" if array.fortran else "C"
    if array.info.compress_type == zipfile.ZIP_STORED and array.shape:
        start = _data_start(path, array.info) + array.header
        numbers = np.memmap(path, array.dtype, "c", start, array.shape, order)
        return torch.from_numpy(numbers)
    if array.info.file_size > _MOST_UNPACKED_BYTES:
        raise _no_npz(path)
    with archive.open(array.info) as file:
        file.read(array.header)
        found = np.frombuffer(bytearray(file.read()), array.dtype)
    return torch.from_numpy(found.reshape(array.shape, order=order))


def _data_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where a member begins; its local header has its own lengths of name and extra."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name + extra


def _no_npz(path: Path) -> DictionaryError:
    return DictionaryError(
        f"{path} is not a readable npz file; it may be cut off.",
        hint="Download or copy it again.",
    )
