"""A project file: findings, drawings and their history, saved like any document.

Opening copies the file to a private working copy, and every commit lands there at once. Save
puts a whole new file in the old one's place; closing without saving drops the working copy; a
crash leaves it behind, and `recovery` offers it.
"""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from circuitscope.core.errors import ChangedOnDisk, ProjectError
from circuitscope.project import history
from circuitscope.project import working_copy as work
from circuitscope.project.contents import Contents
from circuitscope.project.documents import absolute, check_target, lock_document, same_file
from circuitscope.project.journal import Event, events
from circuitscope.project.lock import FileLock
from circuitscope.project.opening import copy_database, probed
from circuitscope.project.saving import keep_old, save_database
from circuitscope.project.working_copy import SessionRecord, WorkingCopy, stamp_of


class ProjectFile(Contents):
    """An open project; made by `create`, `open` and `recovery.recover`.

    Attributes:
        path: The document as the user named it; None while it has no name.
        read_only: True where nothing may be changed; Save As makes a copy that may.
    """

    def __init__(
        self, copy: WorkingCopy, record: SessionRecord, lock: FileLock | None = None
    ) -> None:
        super().__init__(copy)
        self._record = record
        self._lock = lock
        self._closed = False

    @property
    def author(self) -> str:
        """Return who is written down for the edits to come, "" for a person without a name."""
        return self._copy.author

    @author.setter
    def author(self, name: str) -> None:
        self._copy.author = " ".join(name.split())[: work.LONGEST_NAME]

    def log(self) -> list[Event]:
        """Return all that happened to the project, unsaved edits too, oldest first."""
        with self._copy.reading() as connection:
            return events(connection)

    @classmethod
    def create(cls, path: str | Path | None = None, *, overwrite: bool = False) -> Self:
        """Make a new project; nothing is written to `path` before `save`.

        Args:
            path: Where it will be saved; None leaves that for `save_as`.
            overwrite: Allow for a file that is already there; it stays until `save`.

        Raises:
            ProjectError: A file is there, or the folder is not.
            ProjectLocked: The file that is there is open.
        """
        document = None if path is None else absolute(path)
        with ExitStack() as undo:
            lock, stamp = None, None
            if document is not None:
                check_target(document, overwrite=overwrite)
                lock, stamp = lock_document(document), stamp_of(document)
                undo.callback(lock.release)
            with work.new_session() as (folder, session_lock):
                work.make_database(folder / work.DATABASE)
                copy = WorkingCopy(folder, session_lock)
                project = cls._begin(copy, document, stamp, lock)
            undo.pop_all()
        return project

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Self:
        """Open a project; a failed open leaves nothing behind.

        Args:
            path: The document, or a link to it.
            read_only: Look only; needs no lock, so also while it is open elsewhere.

        Raises:
            NotAProject: The file is something else, or empty.
            NewerFormat: A newer program wrote it.
            DamagedProject: It is broken or was tampered with.
            ProjectLocked: It is open, here or in another process.
            ProjectError: It cannot be read.
        """
        document = absolute(path)
        with ExitStack() as undo:
            lock = None
            if not read_only:
                lock = lock_document(document)
                undo.callback(lock.release)
            # Before reading: a change that comes meanwhile is then seen when saving.
            stamp = stamp_of(document)
            with probed(document, read_only=read_only) as source, work.new_session() as session:
                folder, session_lock = session
                copy_database(source, folder / work.DATABASE)
                work.bring_up_to_date(folder / work.DATABASE)
                copy = WorkingCopy(folder, session_lock, read_only=read_only)
                project = cls._begin(copy, document, stamp, lock)
            undo.pop_all()
        return project

    @classmethod
    def _begin(
        cls,
        copy: WorkingCopy,
        document: Path | None,
        stamp: tuple[int, int, int] | None,
        lock: FileLock | None,
    ) -> Self:
        """Declare a session finished, so that recovery knows it from now on."""
        try:
            record = SessionRecord(str(document or ""), stamp, copy.changes, history.now())
            copy.write_record(record)
            return cls(copy, record, lock)
        except BaseException:
            copy.close()
            raise

    @property
    def path(self) -> Path | None:
        """Return the document; None while it has none."""
        return Path(self._record.document) if self._record.document else None

    @property
    def read_only(self) -> bool:
        """Say whether changes are refused."""
        return self._copy.read_only

    @property
    def working_copy(self) -> Path:
        """Return the private database of this session."""
        return self._copy.path

    @property
    def format_version(self) -> int:
        """Return the file's schema number."""
        with self._copy.reading() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @property
    def is_modified(self) -> bool:
        """Say whether there are changes that the document does not hold."""
        return self._copy.changes != self._record.saved_changes

    def save(self, *, overwrite: bool = False) -> None:
        """Write everything to the document.

        Args:
            overwrite: Also when another program has changed the document meanwhile.

        Raises:
            ChangedOnDisk: It has; the document is as that program left it.
            ProjectError: There is no document yet, or it cannot be written; nothing is lost.
        """
        if self.path is None:
            raise ProjectError(
                "The project has no file yet.",
                kept="All changes are safe in the working copy.",
                hint="Use Save As.",
            )
        if self.read_only:
            raise ProjectError(
                f"{self.path.name} was opened for reading only.",
                kept="The file was not changed.",
                hint="Save it under another name.",
            )
        found = stamp_of(self.path)
        if found is not None and found != self._record.stamp and not overwrite:
            raise ChangedOnDisk(
                f"{self.path.name} was changed by another program since it was opened.",
                kept="The file is as that program left it; your changes are in the working copy.",
                hint="Save under another name, or overwrite the file.",
            )
        self._write(self.path)

    def save_as(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write everything to another document and go on with that one.

        Args:
            path: Where to.
            overwrite: Replace a file that is there.

        Raises:
            ProjectError: A file is there, or it cannot be written; the project stays with its
                document.
            ProjectLocked: The file that is there is open.
        """
        document = absolute(path)
        if self._lock is not None and same_file(document, self.path):
            self.save(overwrite=overwrite)
            return
        check_target(document, overwrite=overwrite)
        lock = lock_document(document)
        try:
            self._write(document)
        except BaseException:
            lock.release()
            raise
        if self._lock is not None:
            self._lock.release()
        self._lock = lock
        self._copy.read_only = False

    def close(self) -> None:
        """Close the project; changes that were not saved are dropped. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._copy.drop()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ProjectFile {self.path or 'without a name'}>"

    def _write(self, document: Path) -> None:
        changes = self._copy.changes
        keep_old(document)
        with self._copy.reading() as connection:
            target = save_database(connection, document, self._copy.folder.name)
        self._record = SessionRecord(str(document), stamp_of(target), changes, history.now())
        with suppress(ProjectError):  # the document is safe; recovery compares it by itself
            self._copy.write_record(self._record)
