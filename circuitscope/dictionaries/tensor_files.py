"""Read safetensors files, and only those: shapes from the header, tensors in float32.

A safetensors file is eight bytes of header length, a JSON header and raw numbers; nothing in it
can run. Other files that carry the name are refused before any library reads them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from circuitscope.core.errors import DictionaryError, UnsafeFile

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
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
    """Return the shape of every tensor in a safetensors file, without its numbers."""
    try:
        return {name: tuple(entry["shape"]) for name, entry in read_header(path).items()}
    except (KeyError, TypeError) as error:
        raise _no_safetensors(path) from error


def read_tensors(path: Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read every tensor of a safetensors file in float32."""
    read_header(path)
    try:
        found = load_file(path, device=str(device))
    except (SafetensorError, OSError, ValueError) as error:
        raise _no_safetensors(path) from error
    return {name: tensor.float() for name, tensor in found.items()}


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


def header_digest(config: Path, weights: Path) -> str:
    """Return sha256 over a configuration and the header and size of its weights."""
    total = hashlib.sha256(config.read_bytes())
    with weights.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        total.update(start + file.read(int.from_bytes(start, "little")))
    total.update(str(weights.stat().st_size).encode())
    return total.hexdigest()


def _no_safetensors(path: Path) -> DictionaryError:
    return DictionaryError(
        f"{path} is not a readable safetensors file; it may be cut off.",
        hint="Download or copy it again.",
    )
