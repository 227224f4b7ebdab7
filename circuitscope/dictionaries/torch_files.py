"""Open files of torch: the only place of the program that opens a pickle.

torch's restricted reader builds tensors and plain containers and refuses everything else. Classes
that a format is known to hold are replaced by inert stand-ins, which keep values and do nothing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from circuitscope.core.errors import CircuitScopeError, UnsafeFile


class Record:
    """Stand in for a class of another program: holds the values given to it, runs nothing."""

    def __new__(cls, *values: Any) -> Record:
        """Keep what the class was made of."""
        made = super().__new__(cls)
        made.values = values
        return made

    values: tuple[Any, ...]


def open_torch_file(
    path: Path,
    unreadable: CircuitScopeError,
    hint: str,
    stand_ins: Mapping[str, type[Record]] | None = None,
) -> Any:
    """Read a torch file without running anything in it.

    Args:
        path: The file.
        unreadable: What to raise where it is missing, cut off or of torch's form before 1.6.
        hint: What to do instead, for files that ask for more.
        stand_ins: Inert classes by the full name of what they replace.

    Raises:
        UnsafeFile: It asks for more than tensors, plain containers and these classes.
        CircuitScopeError: `unreadable`.
    """
    with path.open("rb") as file:
        start = file.read(1)
    if start == b"\x80":
        raise UnsafeFile(
            f"{path.name} is a bare pickle, which can run code when it is read.",
            kept="It was not opened.",
            hint=f"Save it again with a newer torch. {hint}",
        )
    if not zipfile.is_zipfile(path):
        raise unreadable
    allowed = [(kind, name) for name, kind in (stand_ins or {}).items()]
    try:
        with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type] # pairs, as documented
            return torch.load(  # noqa: TID251 - the one place, restricted to tensors
                path, map_location="cpu", weights_only=True, mmap=True
            )
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable from error
    except Exception as error:  # Its refusal has no name of its own that could be imported.
        raise UnsafeFile(
            f"{path.name} asks for more than tensors, which can run code when it is read.",
            kept="Nothing in it was run.",
            hint=hint,
        ) from error
