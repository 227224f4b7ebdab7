"""Imported files kept byte for byte, so that what was not understood is not lost."""

import hashlib
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Final

from circuitscope.core.errors import ProjectError
from circuitscope.project.arrays import compress, damaged, decompress
from circuitscope.project.history import now, storable

MAX_BYTES: Final = 900 * 2**20
"""SQLite takes no larger value."""


@dataclass(frozen=True, slots=True)
class Original:
    """An attached file, without its bytes."""

    id: str
    finding_id: str | None
    name: str
    kind: str
    size: int
    added: str


def write(
    connection: sqlite3.Connection, name: str, data: bytes, kind: str, finding_id: str | None
) -> str:
    """Attach a file and return its id.

    Raises:
        ProjectError: It is too large.
    """
    codec, packed = compress(data)
    if max(len(packed), len(data)) > MAX_BYTES:
        raise ProjectError(
            f"{name} has {len(data) / 2**20:.0f} MB, too many to be kept in a project.",
            kept="The project is unchanged.",
            hint=f"Files up to {MAX_BYTES // 2**20} MB can be attached.",
        )
    original_id = uuid.uuid4().hex
    connection.execute(
        "INSERT INTO original_file (id, finding_id, name, kind, added, size, digest, codec, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [original_id, finding_id, storable(name), kind, now(), len(data),
         hashlib.sha256(data).hexdigest(), codec, packed],
    )  # fmt: skip
    return original_id


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
