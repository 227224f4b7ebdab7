"""Put a whole new file in a document's place: it is always the old one or the new one.

`VACUUM INTO` alone would leave half a file after a crash, so the new file is written beside the
document, checked, forced to disk and only then renamed over it.
"""

import os
import shutil
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

from circuitscope.core.errors import ProjectError
from circuitscope.project import schema
from circuitscope.project.opening import check_header, copy_database
from circuitscope.project.working_copy import connect, project_error

_KEPT = "The file on disk is as it was, and all your changes are safe in the working copy."


def draft_path(document: Path, session: str) -> Path:
    """Return where a session writes the new file before it takes the document's place.

    The name is the session's alone, so that two computers saving in one folder never meet, and
    short, because the document's may already be as long as names can be.
    """
    return Path(os.path.realpath(document)).with_name(f".circuitscope-{session[:16]}.tmp")


def remove_draft(document: Path, session: str) -> None:
    """Remove what a save left that was killed."""
    draft = draft_path(document, session)
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        draft.with_name(f"{draft.name}-journal").unlink(missing_ok=True)


def keep_old(document: Path) -> None:
    """Keep a file of an older version beside the new one that is about to take its place.

    An old program could not write the new file. Where the copy cannot be made (no room, a name
    too long) saving goes on: the new file holds all that the old one says.
    """
    target = Path(os.path.realpath(document))
    with suppress(OSError, ProjectError):
        version = check_header(target)
        kept = target.with_name(f"{target.name}.bak-v{version}")
        if version < schema.SCHEMA_VERSION and not kept.exists():
            shutil.copy2(target, kept)


def save_database(connection: sqlite3.Connection, document: Path, session: str) -> Path:
    """Write a database to a document; a symbolic link stays one and its target is replaced.

    Args:
        connection: The working copy, outside any transaction.
        document: Where to.
        session: Name of the session, for the draft.

    Returns:
        The real file that was written.

    Raises:
        ProjectError: It cannot be written; the old file is whole and nothing is left beside it.
    """
    target = Path(os.path.realpath(document))
    draft = draft_path(document, session)
    try:
        try:
            copy_database(connection, draft)
            _sign(draft, session)
            _check(draft)
            _keep_mode(draft, target)
            _force(draft)
            draft.replace(target)
            with suppress(OSError):  # some file systems cannot sync a folder
                _force(target.parent)
        finally:
            remove_draft(document, session)
    except sqlite3.Error as error:
        raise _not_saved(document, project_error(error).message) from error
    except UnicodeEncodeError as error:
        raise _not_saved(document, "Its folder has a name that is not text.") from error
    except OSError as error:
        raise _not_saved(document, f"{error.strerror or error}.") from error
    return target


def _sign(draft: Path, session: str) -> None:
    """Write into a file which session saved it; recovery knows its own save by that."""
    with closing(connect(draft)) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('saved_by', ?)", [session]
        )


def _check(draft: Path) -> None:
    connection = connect(draft)
    try:
        found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    finally:
        connection.close()
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"what was written does not read back ({found[0]})")


def _keep_mode(draft: Path, target: Path) -> None:
    if target.exists():
        draft.chmod(stat.S_IMODE(target.stat().st_mode))


def _force(path: Path) -> None:
    """Force a file or, where the system can, a folder to disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_saved(document: Path, why: str) -> ProjectError:
    folder = document.parent
    if not folder.is_dir():
        why = f"The folder {folder} is not there."
    elif not os.access(folder, os.W_OK):
        why = f"The folder {folder} cannot be written."
    return ProjectError(
        f"{document.name} could not be saved. {why}",
        kept=_KEPT,
        hint="Use Save As with another folder or disk, or make room and save again.",
    )
