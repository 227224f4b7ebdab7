"""Look a file over before anything in it is used, then copy it for work.

In this order: size, header, what the schema declares, the database's own check. Nothing is
written to the file or beside it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from circuitscope.core.errors import DamagedProject, NewerFormat, NotAProject, ProjectError
from circuitscope.project import schema
from circuitscope.project.working_copy import (
    DATABASE_ERRORS,
    connect,
    explained,
    project_error,
)

_MAGIC: Final = b"SQLite format 3\x00"
_UNTOUCHED: Final = "The file was not changed."


@contextmanager
def probed(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a file for reading once it has proved to be a sound project.

    Args:
        path: The file.
        read_only: Newer versions pass where they say that older programs can read them.

    Raises:
        NotAProject: It is something else.
        NewerFormat: A newer program wrote it.
        DamagedProject: It is broken, or declares what no project declares.
        ProjectError: It cannot be read at all.
    """
    version = check_header(path)
    if version > schema.SCHEMA_VERSION and not read_only:
        raise _newer(path, version)
    # A path is not a URI: %, ? and # mean something there.
    address = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro"  # noqa: PTH100 - keeps symlinks
    with explained():
        connection = connect(address, uri=True)
        try:
            check_database(connection, path, version)
            # Copies made from here are private; only a saved document is forced to disk.
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
        finally:
            connection.close()


def check_header(path: Path) -> int:
    """Read a file's first bytes and return its schema number.

    Raises:
        NotAProject: They are not a project's.
        DamagedProject: The file is shorter than its header says.
        ProjectError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error) from None
    if not size:
        raise NotAProject(
            f"{path.name} is empty.", kept=_UNTOUCHED, hint="Open a backup or make a new project."
        )
    known = header[:16] == _MAGIC and len(header) == 100
    if not known or int.from_bytes(header[68:72], "big") != schema.APPLICATION_ID:
        what = "another program's database" if known else "not a CircuitScope project"
        raise NotAProject(
            f"{path.name} is {what}.",
            kept=_UNTOUCHED,
            hint="Projects end in .circuitscope; graphs in JSON are opened with Import.",
        )
    pages, page = int.from_bytes(header[28:32], "big"), int.from_bytes(header[16:18], "big")
    if size < pages * (65536 if page == 1 else page):
        raise _damaged(path, f"it ends after {size} of {pages * page} bytes")
    version = int.from_bytes(header[60:64], "big")
    if version == 0:
        raise _damaged(path, "it has no version")
    return version


def check_database(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Check an open database: what it declares, its version, its pages.

    Raises:
        DamagedProject: It is broken, or declares what no project declares.
        NewerFormat: A newer program wrote it, and says that we cannot read it.
    """
    try:
        strange = schema.unknown_objects(connection, version)
        if strange:
            raise _damaged(path, f"it declares what no project has ({', '.join(strange[:3])})")
        if version > schema.SCHEMA_VERSION and _min_reader(connection) > schema.SCHEMA_VERSION:
            raise _newer(path, version)
        found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    except DATABASE_ERRORS as error:
        raise _damaged(path, project_error(error).message.rstrip(".")) from error
    if found != ["ok"]:
        raise _damaged(path, "; ".join(str(line).replace("\n", " ") for line in found))


def _min_reader(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT value FROM meta WHERE key = 'min_reader'").fetchone()
    text = str(found[0]) if found else ""
    return int(text) if text.isdecimal() and len(text) < 9 else schema.SCHEMA_VERSION + 1


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Write a whole, tidy copy of a database to a path where nothing is.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    connection.execute("VACUUM INTO ?", [os.fspath(target)])


def _unreadable(path: Path, error: OSError) -> ProjectError:
    if isinstance(error, FileNotFoundError):
        return ProjectError(
            f"There is no file {path}.", hint="Look for it in your recent projects or its folder."
        )
    if isinstance(error, IsADirectoryError):
        return NotAProject(f"{path} is a folder.", kept=_UNTOUCHED, hint="Choose a file in it.")
    return ProjectError(
        f"{path} cannot be read: {error.strerror or error}.",
        kept=_UNTOUCHED,
        hint="See that you may read the file and that its disk is there.",
    )


def _damaged(path: Path, what: str) -> DamagedProject:
    return DamagedProject(
        f"{path.name} is damaged: {what}.",
        kept=_UNTOUCHED,
        hint="Open a backup; “circuitscope check” lists what is damaged.",
    )


def _newer(path: Path, version: int) -> NewerFormat:
    return NewerFormat(
        f"{path.name} has file format {version}; this program writes {schema.SCHEMA_VERSION}.",
        kept=_UNTOUCHED,
        hint="Update CircuitScope, or open the file for reading only.",
    )
