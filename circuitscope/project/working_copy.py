"""The private database behind an open project: every commit lands here at once.

A session is a folder `sessions/<uuid>/` in the user's state folder with `work.db` (WAL) and
`session.json`, and a lock beside it that ends with the process. A folder whose lock is free was
left behind by a crash. `session.json` is written last, so a folder without it holds nothing.
"""

import json
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from circuitscope import __version__
from circuitscope.core.errors import DamagedProject, ProjectError
from circuitscope.core.places import state_home
from circuitscope.project import schema
from circuitscope.project.history import now, storable
from circuitscope.project.lock import FileLock, try_lock

DATABASE: Final = "work.db"
RECORD: Final = "session.json"
_MAX_VALUE: Final = 1_000_000_000
LONGEST_NAME: Final = 80
"""Characters of an author's name."""
_AUTHOR: Final = "author "
_MOST_AUTHORS: Final = 10_000


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What must be known of a session after a crash.

    Attributes:
        document: Path of the document as the user named it; empty where it has none yet.
        stamp: What the document looked like when it was read or written last.
        saved_changes: The count of commits (meta `changes`) that the document holds.
        when: When it was opened or saved last, ISO 8601, UTC.
    """

    document: str
    stamp: tuple[int, int, int] | None
    saved_changes: int
    when: str

    @staticmethod
    def read(folder: Path) -> "SessionRecord | None":
        """Read a session's record; None where it has none that can be read."""
        try:
            data = json.loads((folder / RECORD).read_text("utf-8"))
            stamp = data["stamp"]
            return SessionRecord(
                str(data["document"]),
                None if stamp is None else (int(stamp[0]), int(stamp[1]), int(stamp[2])),
                int(data["saved_changes"]),
                str(data["when"]),
            )
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            return None


def sessions_folder() -> Path:
    """Return the folder of all sessions, made when missing."""
    folder = state_home() / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def session_lock_path(folder: Path) -> Path:
    """Return where the lock of a session lies."""
    return folder.with_name(f"{folder.name}.lock")


class WorkingCopy:
    """The open database of one session.

    Attributes:
        folder: The session's folder.
        read_only: True where nothing may be changed.
        author: Who works; written down with the first change that somebody else makes.

    Args:
        folder: Holds a finished `work.db`.
        lock: The session's lock.
        read_only: See above.
    """

    def __init__(self, folder: Path, lock: FileLock, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.author = ""
        self._signed = ""
        self._lock = lock
        self._guard = threading.RLock()
        with explained():
            self._connection = connect(folder / DATABASE)
            try:
                self._connection.execute("PRAGMA synchronous = OFF")
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                self.changes = _as_count(self.meta("changes"))
                self._signed = (read_authors(self._connection) or [("", "")])[-1][1]
            except BaseException:
                self._connection.close()
                raise

    @property
    def path(self) -> Path:
        """Return the database file."""
        return self.folder / DATABASE

    def meta(self, key: str) -> str | None:
        """Return one value of table meta."""
        with self.reading() as connection:
            found = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        return None if found is None else str(found[0])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for reading; database errors become project errors."""
        with self._guard, explained():
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one commit: all of it is kept, or nothing.

        Raises:
            ProjectError: The project was opened read-only, or cannot be written.
        """
        if self.read_only:
            raise ProjectError(
                "This project was opened for reading only.",
                kept="Nothing was changed.",
                hint="Save it under another name to go on with a copy of your own.",
            )
        with self._guard, explained():
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            author = self.author
            try:
                if author != self._signed:
                    write_author(connection, now(), author)
                yield connection
                connection.execute(
                    "UPDATE meta SET value = ? WHERE key = 'changes'", [str(self.changes + 1)]
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self.changes += 1
            self._signed = author

    def write_record(self, record: SessionRecord) -> None:
        """Write `session.json`, whole or not at all.

        Raises:
            ProjectError: It cannot be written.
        """
        target = self.folder / RECORD
        draft = target.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(asdict(record)), "utf-8")
            draft.replace(target)
        except OSError as error:
            raise no_place(error) from error

    def close(self) -> None:
        """Close the database and leave the folder to recovery."""
        with self._guard:
            self._connection.close()
        self._lock.release()

    def drop(self) -> None:
        """Close the database and remove the folder."""
        with self._guard:
            self._connection.close()
        remove_session(self.folder, self._lock)


def read_authors(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return since when who works on a project, oldest first; "" for a person without a name."""
    found = connection.execute(
        "SELECT key, value FROM meta WHERE key GLOB ? ORDER BY key", [_AUTHOR + "*"]
    )
    return [
        (str(key).removeprefix(_AUTHOR)[:40], str(name)[:LONGEST_NAME])
        for key, name in found.fetchmany(_MOST_AUTHORS)
    ]


def write_author(connection: sqlite3.Connection, since: str, name: str) -> None:
    """Write down who works from now on, in the running transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        [_AUTHOR + since, storable(name)[:LONGEST_NAME]],
    )


def _as_count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 18 else 0


def remove_session(folder: Path, lock: FileLock) -> None:
    """Remove a session whose lock is held, then the lock."""
    # The record goes first: what is half removed is nothing to recover.
    (folder / RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


@contextmanager
def new_session() -> Iterator[tuple[Path, FileLock]]:
    """Make a session's folder and hold its lock; both go when the block fails."""
    folder = state_home() / "sessions" / uuid.uuid4().hex
    try:
        sessions_folder()
        lock = try_lock(session_lock_path(folder))
        assert lock is not None, "a new session's lock is taken"
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise no_place(error) from error
    try:
        yield folder, lock
    except BaseException:
        remove_session(folder, lock)
        raise


def no_place(error: OSError) -> ProjectError:
    """Return what to say when the state folder fails."""
    return ProjectError(
        f"The folder for working copies cannot be used: {error.strerror or error}.",
        kept="No project was changed.",
        hint=f"Make room or allow writing in {state_home()}.",
    )


def make_database(path: Path) -> None:
    """Make a new project database."""
    with explained():
        connection = connect(path)
        try:
            # Nothing is promised before the session's record is written.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA page_size = {schema.PAGE_SIZE}")
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            schema.migrate(connection)
            values = {
                "project_id": uuid.uuid4().hex,
                "min_reader": str(schema.MIN_READER),
                "app_version": __version__,
                "made": now(),
                "changes": "0",
            }
            connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values.items())
        finally:
            connection.close()


def bring_up_to_date(database: Path) -> None:
    """Bring a private copy to this version's schema; a newer one is only read and left as it is."""
    with explained():
        connection = connect(database)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < schema.SCHEMA_VERSION:
                schema.migrate(connection)
        finally:
            connection.close()


def connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    """Open a database with everything switched off that a file could use against us."""
    # Any thread may use it: WorkingCopy lets one at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, uri=uri)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Damaged text must not raise: what matters has a digest, the rest shows where it is broken.
    connection.text_factory = _decoded
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
    return connection


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from its changed self: mtime in ns, size, inode; None if gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged database can raise: some messages of SQLite quote bytes of the file."""
_FULL = {sqlite3.SQLITE_FULL}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def explained() -> Iterator[None]:
    """Turn database errors into project errors that a user can act on."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise project_error(error) from error


def project_error(error: Exception) -> ProjectError:
    """Say in plain words what a database error means."""
    if isinstance(error, UnicodeDecodeError):
        error = sqlite3.DatabaseError("the declaration of a table is not text")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return ProjectError(
            "The disk is full.",
            kept="Everything up to the last change is kept, in the file or in its working copy.",
            hint="Make room and try again, or save to another disk.",
        )
    if code in _DAMAGE:
        return DamagedProject(
            f"The project's database is damaged: {error}.",
            kept="The file was not changed.",
            hint="Open a backup, or run “circuitscope check” on the file.",
        )
    return ProjectError(
        f"The project's database cannot be used: {error}.",
        kept="Everything up to the last change is kept.",
        hint="See that the disk is there and can be written, and try again.",
    )
