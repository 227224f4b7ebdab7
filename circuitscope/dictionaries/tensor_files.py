"""Read safetensors and npz files: shapes from headers, tensors as views of the mapped file.

A safetensors file is eight bytes of header length, a JSON header and raw numbers; nothing in it
can run. Other files that carry the name are refused before any library reads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from circuitscope.core.dictionary import header_digest as header_digest
from circuitscope.core.errors import DictionaryError, UnsafeFile
from circuitscope.dictionaries.npz_files import map_npz, npz_shapes

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
_MOST_SETTINGS_BYTES = 1_000_000
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file: {name: {dtype, shape, data_offsets}}.

    Raises:
        UnsafeFile: The file is a pickle or a zip of pickles under a false name.
        DictionaryError: The file is missing, cut off or no safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            if start.startswith(_PICKLE_STARTS):
                raise UnsafeFile(
                    f"{path.name} is a pickle or zip file, which can run code when it is read.",
                    kept="It was not opened.",
                    hint="Ask for the weights as safetensors.",
                )
            length = int.from_bytes(start, "little")
            if len(start) < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MOST_HEADER_BYTES):
                raise _no_safetensors(path)
            header = json.loads(file.read(length))
    except OSError as error:
        raise DictionaryError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except ValueError as error:
        raise _no_safetensors(path) from error
    if not isinstance(header, dict):
        raise _no_safetensors(path)
    header.pop("__metadata__", None)
    return header


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors or npz file, without its numbers."""
    if path.suffix == ".npz":
        return npz_shapes(path)
    try:
        return {name: tuple(entry["shape"]) for name, entry in read_header(path).items()}
    except (KeyError, TypeError) as error:
        raise _no_safetensors(path) from error


def shapes_only(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file without numbers, so that a reader's layout can run on them."""
    return {name: torch.empty(shape, device="meta") for name, shape in read_shapes(path).items()}


def map_tensors(path: Path) -> dict[str, Tensor]:
    """Return every tensor of a safetensors or npz file, in its own type.

    They are views of the mapped file: numbers are read from disk when they are used, and their
    memory can be given back at any time.
    """
    if path.suffix == ".npz":
        return map_npz(path)
    read_header(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise _no_safetensors(path) from error


def mentions(path: Path, word: bytes) -> bool:
    """Say whether a word stands in a small text file's first million bytes; False without it."""
    try:
        with path.open("rb") as file:
            return word in file.read(1_000_000)
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DictionaryError: The file is missing or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DictionaryError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DictionaryError(
            f"{path} is not valid JSON.", hint="Download or copy the folder again."
        ) from error
    if not isinstance(data, dict):
        raise DictionaryError(
            f"{path} holds no settings.", hint="Download or copy the folder again."
        )
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a small YAML mapping of plain values.

    Raises:
        DictionaryError: The file is missing, large, or holds something else.
    """
    import yaml

    try:
        with path.open("rb") as file:
            content = file.read(_MOST_SETTINGS_BYTES + 1)
        data = yaml.safe_load(content) if len(content) <= _MOST_SETTINGS_BYTES else None
    except OSError as error:
        raise DictionaryError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DictionaryError(
            f"{path} is not valid YAML.", hint="Download or copy the folder again."
        ) from error
    if not isinstance(data, dict):
        raise DictionaryError(
            f"{path} holds no settings.", hint="Download or copy the folder again."
        )
    return data


def _no_safetensors(path: Path) -> DictionaryError:
    return DictionaryError(
        f"{path} is not a readable safetensors file; it may be cut off.",
        hint="Download or copy it again.",
    )
