"""Offer what a crash left behind.

A session's folder whose lock is free belongs to no running process. Its database holds every
acknowledged edit; recovering goes on in that same folder, so nothing is copied and a second
crash loses nothing either.
"""

import logging
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from circuitscope.core.errors import ProjectError, ProjectLocked
from circuitscope.project import history
from circuitscope.project.documents import lock_document
from circuitscope.project.file import ProjectFile
from circuitscope.project.lock import FileLock, try_lock
from circuitscope.project.opening import check_database, probed
from circuitscope.project.saving import remove_draft
from circuitscope.project.working_copy import (
    DATABASE,
    RECORD,
    SessionRecord,
    WorkingCopy,
    bring_up_to_date,
    connect,
    explained,
    remove_session,
    session_lock_path,
    sessions_folder,
    stamp_of,
)  # fmt: skip

log = logging.getLogger(__name__)
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A session that ended without closing.

    Attributes:
        folder: The session's folder.
        document: Path of the document; None where it never had one.
        when: When it was opened or saved last, ISO 8601, UTC.
        last_edits: Menu texts of the last edits, newest first, at most ten.
        unsaved: Number of changes since the last save.
    """

    folder: Path
    document: Path | None
    when: str
    last_edits: tuple[str, ...]
    unsaved: int


def recoverable() -> list[LeftOver]:
    """Return the sessions that hold changes no file holds, newest first.

    Sessions without any are removed in passing, as are halves of sessions that a crash left
    while they were being made.
    """
    found = []
    for entry in sorted(sessions_folder().iterdir()):
        # A lock without a folder is what a crash leaves of the very first moment.
        folder = entry if entry.is_dir() else entry.with_suffix("")
        lock = _try_lock(folder)
        if lock is None:
            continue
        with ExitStack() as stack:
            stack.callback(lock.release)
            left_over = _look(folder) if entry is folder else None
            if left_over is not None and left_over.document is not None:
                remove_draft(left_over.document, folder.name)
            if left_over is not None and left_over.unsaved:
                found.append(left_over)
            elif entry is folder and (left_over is not None or not _is_finished(folder)):
                remove_session(folder, lock)
    return sorted(found, key=lambda left_over: left_over.when, reverse=True)


def _is_finished(folder: Path) -> bool:
    """Say whether a session was ever begun: its record is written last, its database before."""
    return (folder / RECORD).exists() and (folder / DATABASE).exists()


def recover(left_over: LeftOver) -> ProjectFile:
    """Open a left-over session again, with all its edits and its undo history.

    Raises:
        ProjectLocked: Another window is recovering it, or has its document open.
        DamagedProject: Its database is broken; the session stays where it is.
        ProjectError: It is gone.
    """
    folder = left_over.folder
    record = SessionRecord.read(folder)
    if record is None:
        raise ProjectError(
            "The left-over work is not there any more.",
            hint="It was recovered or discarded by another window.",
        )
    with ExitStack() as undo:
        session_lock = _hold(folder)
        undo.callback(session_lock.release)
        lock = lock_document(Path(record.document)) if record.document else None
        if lock is not None:
            undo.callback(lock.release)
        _check(folder / DATABASE)
        # The program may have been updated since the crash.
        bring_up_to_date(folder / DATABASE)
        copy = WorkingCopy(folder, session_lock)
        undo.callback(copy.close)
        project = ProjectFile(copy, _settled(record, folder.name, copy.changes), lock)
        undo.pop_all()
    return project


def discard(left_over: LeftOver) -> None:
    """Remove a left-over session for good.

    Raises:
        ProjectLocked: Another window is recovering it.
    """
    remove_session(left_over.folder, _hold(left_over.folder))


def _try_lock(folder: Path) -> FileLock | None:
    try:
        return try_lock(session_lock_path(folder))
    except OSError:
        return None


def _hold(folder: Path) -> FileLock:
    lock = _try_lock(folder)
    if lock is None:
        raise ProjectLocked(
            "This left-over work is open in another window.",
            kept="Nothing was changed.",
            hint="Go on in that window.",
        )
    return lock


def _check(database: Path) -> None:
    with explained(), closing(connect(database)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        check_database(connection, database, version)


def _settled(record: SessionRecord, session: str, changes: int) -> SessionRecord:
    """Return the record as it would be, had the crash not come between a save and its record.

    Without this, a save that succeeded would look like another program's change. The file names
    the session that saved it: counts alone would take another window's save for this one's.
    """
    if not record.document or stamp_of(Path(record.document)) in (None, record.stamp):
        return record
    document = Path(record.document)
    stamp = stamp_of(document)
    try:
        with probed(document, read_only=True) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            saved = int(meta["changes"])
    except (ProjectError, ValueError, KeyError):
        return record
    ours = meta.get("saved_by") == session and record.saved_changes <= saved <= changes
    return replace(record, stamp=stamp, saved_changes=saved) if ours else record


def _look(folder: Path) -> LeftOver | None:
    """Describe a session; None where it cannot be read."""
    record = SessionRecord.read(folder)
    if record is None:
        return None
    try:
        with closing(connect(folder / DATABASE)) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            line = history.entries(connection, limit=_SHOWN)
            changes = int(meta["changes"])
    except (sqlite3.Error, ValueError, KeyError):
        log.warning("the left-over session %s cannot be read", folder)
        return None
    record = _settled(record, folder.name, changes)
    labels = tuple(entry.label for entry in reversed(line) if not entry.undone)
    document = Path(record.document) if record.document else None
    return LeftOver(folder, document, record.when, labels, max(changes - record.saved_changes, 0))
