"""Read the headers of a model's safetensors files, and say what to do where files are missing."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitscope.core.errors import ModelError, ModelFilesMissing

KEPT = "Nothing was loaded."
INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8,
    "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
}  # fmt: skip
_MOST_HEADER = 100_000_000
_SHOWN_FILES = 4


@dataclass(frozen=True, slots=True)
class Header:
    """A weight file without its weights.

    Attributes:
        tensors: Type, shape and place of each tensor by name.
        text: The header as stored.
        size: Bytes of the whole file.
    """

    tensors: dict[str, dict[str, Any]]
    text: bytes
    size: int


def read_headers(folder: Path) -> dict[str, Header]:
    """Return the headers of a model's weight files by file name; empty where it has none.

    Raises:
        ModelFilesMissing: A shard that the index lists is not there.
        ModelError: A file is damaged.
    """
    return {file.name: _read_header(file) for file in _weight_files(folder)}


def shards_by_tensor(folder: Path) -> dict[str, str]:
    """Return which file holds each tensor, {} where the weights are one file."""
    index = folder / INDEX
    return _weight_map(index) if index.is_file() else {}


def has_weights(folder: Path) -> bool:
    """Say whether a folder claims to hold a whole model's safetensors."""
    return (folder / INDEX).is_file() or (folder / _SINGLE).is_file()


def download_line(folder: Path, files: Sequence[str] = ()) -> str:
    """Return the line to type that downloads files of a model, or all of it.

    The model's name is read from a Hugging Face cache path or from config.json; where neither
    tells it, the line has ORGANISATION/MODEL in its place.
    """
    words = ["hf", "download", hub_name(folder) or "ORGANISATION/MODEL", *files]
    if not cached_name(folder):
        words += ["--local-dir", str(folder)]
    elif folder.parent.name == "snapshots":
        words += ["--revision", folder.name]
    return shlex.join(words)


def hub_name(folder: Path) -> str:
    """Return the name a model has on the Hugging Face Hub, "" where the folder does not tell."""
    if cached := cached_name(folder):
        return cached
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        name = str(config.get("_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        return ""
    is_path = Path(name).is_absolute() or name.startswith((".", "~")) or "\\" in name
    return "" if is_path or name.count("/") != 1 else name


def cached_name(folder: Path) -> str:
    """Return the name of the model that a Hugging Face cache folder holds, else ""."""
    for part in reversed(folder.parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return ""


def _weight_files(folder: Path) -> list[Path]:
    """Return the model's safetensors files in order of name; shards as their index lists them."""
    index = folder / INDEX
    if not index.is_file():
        single = folder / _SINGLE
        return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    names = sorted(set(_weight_map(index).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise _lacking(folder, missing, len(names))
    return [folder / name for name in names]


def _lacking(folder: Path, missing: list[str], n_files: int) -> ModelFilesMissing:
    listed = ", ".join(missing[:_SHOWN_FILES])
    if len(missing) > _SHOWN_FILES:
        listed += f" and {len(missing) - _SHOWN_FILES} more"
    return ModelFilesMissing(
        f"{folder} lacks {len(missing)} of {n_files} weight files: {listed}.",
        kept=KEPT,
        hint=f"Download them with:\n{download_line(folder, missing)}",
    )


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(tensor): str(file) for tensor, file in found.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise damaged(index, str(error)) from error


def _read_header(file: Path) -> Header:
    """Read and check a safetensors header: 8 bytes of length, JSON, then exactly the tensors."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise damaged(file, f"{size} bytes do not hold its header")
            text = stream.read(length)
        tensors = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        well_formed = all(
            math.prod(t["shape"]) * _BITS.get(t["dtype"], 0) // 8
            in (t["data_offsets"][1] - t["data_offsets"][0], 0)
            for t in tensors.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(file, str(error) or type(error).__name__) from error
    if not tensors or not well_formed:
        raise damaged(file, "its header does not fit its tensors")
    if 8 + length + end != size:
        raise damaged(file, f"it has {size} bytes where its header asks for {8 + length + end}")
    return Header(tensors, text, size)


def damaged(file: Path, why: str) -> ModelError:
    """Return what to tell a user whose file cannot be trusted."""
    return ModelError(
        f"{file} is damaged: {why}.",
        kept=KEPT,
        hint=f"Delete it and download it again:\n{download_line(file.parent, [file.name])}",
    )
