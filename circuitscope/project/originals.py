"""Imported files kept byte for byte, so that what was not understood is not lost."""

import hashlib
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zstandard import ZstdError

from circuitscope.core.errors import ProjectError
from circuitscope.core.progress import Progress
from circuitscope.project.arrays import CODEC, compress, damaged, decompress, packer_of
from circuitscope.project.history import now, storable

MAX_BYTES: Final = 900 * 2**20
"""SQLite takes no larger value."""
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Original:
    """An attached file, without its bytes."""

    id: str
    finding_id: str | None
    name: str
    kind: str
    size: int
    added: str


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file as it is kept, made without touching the database.

    Attributes:
        size: Bytes of the file; digest: their sha256.
        codec: How `data` is packed.
    """

    size: int
    digest: str
    codec: str
    data: bytes


def pack_file(path: Path, progress: Progress) -> PackedFile:
    """Pack a file piece by piece; may run on any thread.

    Raises:
        ProjectError: It is too large, cannot be read or changed meanwhile.
    """
    try:
        size = path.stat().st_size
        _refuse_large(path.name, size)
        progress.phase(f"Keeping {path.name}", size)
        total, packer = hashlib.sha256(), packer_of(size)
        pieces = []
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                total.update(piece)
                pieces.append(packer.compress(piece))
                progress.advance(len(piece))
        pieces.append(packer.flush())
    except (OSError, ZstdError) as error:
        raise ProjectError(
            f"{path.name} could not be read to its end: {error}.",
            kept="The project is unchanged.",
            hint="Try again when no other program changes the file.",
        ) from error
    return PackedFile(size, total.hexdigest(), CODEC, b"".join(pieces))


def write(
    connection: sqlite3.Connection,
    name: str,
    data: bytes | PackedFile,
    kind: str,
    finding_id: str | None,
) -> str:
    """Attach a file and return its id.

    Raises:
        ProjectError: It is too large.
    """
    if isinstance(data, bytes):
        _refuse_large(name, len(data))
        data = PackedFile(len(data), hashlib.sha256(data).hexdigest(), *compress(data))
    _refuse_large(name, len(data.data))
    original_id = uuid.uuid4().hex
    connection.execute(
        "INSERT INTO original_file (id, finding_id, name, kind, added, size, digest, codec, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [original_id, finding_id, storable(name), kind, now(), data.size, data.digest, data.codec,
         data.data],
    )  # fmt: skip
    return original_id


def _refuse_large(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ProjectError(
            f"{name} has {size / 2**20:.0f} MB, too many to be kept in a project.",
            kept="The project is unchanged.",
            hint=f"Files up to {MAX_BYTES // 2**20} MB can be attached.",
        )


def entries(connection: sqlite3.Connection) -> list[Original]:
    """Return what is attached, oldest first."""
    found = connection.execute(
        "SELECT id, finding_id, name, kind, size, added FROM original_file ORDER BY rowid"
    )
    return [Original(*row) for row in found]


def read(connection: sqlite3.Connection, original_id: str) -> bytes:
    """Return an attached file's bytes.

    Raises:
        ProjectError: There is none.
        DamagedProject: They are not the ones attached.
    """
    found = connection.execute(
        "SELECT name, size, digest, codec, data FROM original_file WHERE id = ?", [original_id]
    ).fetchone()
    if found is None:
        raise ProjectError("There is no such attachment.", kept="Nothing was changed.")
    name, size, digest, codec, packed = found
    if not 0 <= size <= MAX_BYTES:
        raise damaged(name, f"claims {size} bytes")
    try:
        data = decompress(codec, packed, size)
    except ValueError as error:
        raise damaged(name, str(error)) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise damaged(name, "does not match its digest")
    return data
