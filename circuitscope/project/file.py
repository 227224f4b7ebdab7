"""A project file: findings, drawings and their history, saved like any document.

Opening copies the file to a private working copy, and every commit lands there at once. Save
puts a whole new file in the old one's place; closing without saving drops the working copy; a
crash leaves it behind, and `recovery` offers it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from psygnal import Signal

from circuitscope.core.circuit import Circuit, Finding
from circuitscope.core.errors import ChangedOnDisk, ProjectError
from circuitscope.project import findings, history, originals, schema
from circuitscope.project import working_copy as work
from circuitscope.project.documents import absolute, check_target, lock_document, same_file
from circuitscope.project.drawing import Drawing
from circuitscope.project.edit import Edit
from circuitscope.project.findings import FindingInfo
from circuitscope.project.listing import Circuits, free_name, named, ordered
from circuitscope.project.lock import FileLock
from circuitscope.project.opening import copy_database, probed
from circuitscope.project.originals import Original
from circuitscope.project.saving import save_database
from circuitscope.project.working_copy import SessionRecord, WorkingCopy, stamp_of

_KEPT_CIRCUITS = 8


class ProjectFile:
    """An open project; made by `create`, `open` and `recovery.recover`.

    Attributes:
        path: The document as the user named it; None while it has no name.
        read_only: True where nothing may be changed; Save As makes a copy that may.
        contents: The project's own rows (names, order, deleted flags, notes) as a drawing.
        findings_changed: Emitted after a finding was added, renamed, moved, deleted or brought
            back.
    """

    findings_changed = Signal()

    def __init__(
        self, copy: WorkingCopy, record: SessionRecord, lock: FileLock | None = None
    ) -> None:
        self._copy = copy
        self._record = record
        self._lock = lock
        self._closed = False
        self._drawings: dict[str, Drawing] = {}
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        self._infos: list[FindingInfo] | None = None
        self.contents = self._drawing("")
        self.contents.changed.connect(self._contents_changed)

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
                if not read_only:
                    _migrate(folder / work.DATABASE)
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
    def project_id(self) -> str:
        """Return the id that stays with a project through renaming and copying."""
        return self._copy.meta("project_id") or ""

    @property
    def format_version(self) -> int:
        """Return the file's schema number."""
        with self._copy.reading() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @property
    def is_modified(self) -> bool:
        """Say whether there are changes that the document does not hold."""
        return self._copy.changes != self._record.saved_changes

    def findings(self) -> list[FindingInfo]:
        """Return the findings in the order the user gave them, deleted ones left out."""
        return ordered(self.added(), self.contents.of_kind("order"))

    def added(self) -> list[FindingInfo]:
        """Return the findings in order of adding, deleted ones left out."""
        deleted = self.contents.of_kind("deleted")
        return [info for info in self._all_infos() if info.id not in deleted]

    def finding(self, which: str) -> FindingInfo:
        """Return one finding by id or name.

        Raises:
            ProjectError: There is none; the message lists those that are.
        """
        infos = self._all_infos()
        for info in infos:
            if info.id == which:
                return info
        for info in self.added():
            if info.name == which:
                return info
        names = ", ".join(repr(info.name) for info in self.added()[:10]) or "none yet"
        raise ProjectError(
            f"The project has no result called {which!r}.",
            kept="Nothing was changed.",
            hint=f"Its results are: {names}.",
        )

    def read_finding(self, which: str) -> Finding:
        """Read a finding of any kind by id or name, checked against its digests.

        Raises:
            DamagedProject: It cannot be trusted.
            ProjectError: There is none.
        """
        info = self.finding(which)
        if info.kind == "circuit":
            return self.circuit(info.id)
        with self._copy.reading() as connection:
            return findings.read_finding(connection, info.id)

    def circuit(self, which: str) -> Circuit:
        """Read a circuit by id or name, checked against its digests; the last few are kept.

        Raises:
            DamagedProject: It cannot be trusted.
            ProjectError: There is none.
        """
        finding_id = self.finding(which).id
        if finding_id not in self._circuits:
            with self._copy.reading() as connection:
                found = findings.read_finding(connection, finding_id)
            if not isinstance(found, Circuit):
                raise ProjectError(f"{which!r} is not a circuit.", kept="Nothing was changed.")
            self._circuits[finding_id] = found
            if len(self._circuits) > _KEPT_CIRCUITS:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(finding_id)
        return self._circuits[finding_id]

    def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits by name, in order of adding, each read when it is asked for."""
        return Circuits(self)

    def add_finding(self, finding: Finding, name: str = "") -> str:
        """Store a finding in one transaction.

        Args:
            finding: It is kept as it is, for ever.
            name: What the list calls it; a number is added where the name is taken. Empty takes
                the prompt, or the kind.

        Returns:
            The finding's id.

        Raises:
            ProjectError: It cannot be written; nothing was added.
        """
        packed = findings.pack_finding(finding)
        wanted = name.strip() or " ".join(packed.summary["prompt"].split())[:60] or packed.kind
        taken = {info.name for info in self._all_infos()}
        with self._copy.transaction() as connection:
            finding_id = findings.write_finding(connection, packed, free_name(wanted, taken))
        self._infos = None
        self.findings_changed.emit()
        return finding_id

    add = add_finding

    def drawing(self, which: str) -> Drawing:
        """Return the drawing of a circuit, by id or name; one object for each circuit.

        Raises:
            ProjectError: There is no such finding.
        """
        return self._drawing(self.finding(which).id)

    def undo(self, which: str = "") -> Edit | None:
        """Take back what was done last to a drawing or to the project's own rows.

        Args:
            which: The drawing on screen, by id or name; empty looks at the project only.

        Returns:
            What was applied, or None where there is nothing to undo.
        """
        drawing = self._latest(which, undo=True)
        return drawing.undo() if drawing else None

    def redo(self, which: str = "") -> Edit | None:
        """Do again what `undo` took back last; see there."""
        drawing = self._latest(which, undo=False)
        return drawing.redo() if drawing else None

    def undo_text(self, which: str = "") -> str | None:
        """Return the menu text of what `undo` would take back, None where there is nothing."""
        drawing = self._latest(which, undo=True)
        return drawing.undo_text if drawing else None

    def redo_text(self, which: str = "") -> str | None:
        """Return the menu text of what `redo` would do again, None where there is nothing."""
        drawing = self._latest(which, undo=False)
        return drawing.redo_text if drawing else None

    def attach_original(
        self, name: str, data: bytes, kind: str, finding_id: str | None = None
    ) -> str:
        """Keep an imported file byte for byte; returns its id."""
        with self._copy.transaction() as connection:
            return originals.write(connection, name, data, kind, finding_id)

    def originals(self) -> list[Original]:
        """Return what files are attached."""
        with self._copy.reading() as connection:
            return originals.entries(connection)

    def original(self, original_id: str) -> bytes:
        """Return an attached file's bytes.

        Raises:
            DamagedProject: They are not the ones attached.
        """
        with self._copy.reading() as connection:
            return originals.read(connection, original_id)

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
        with self._copy.reading() as connection:
            target = save_database(connection, document, self._copy.folder.name)
        self._record = SessionRecord(str(document), stamp_of(target), changes, history.now())
        with suppress(ProjectError):  # the document is safe; recovery compares it by itself
            self._copy.write_record(self._record)

    def _drawing(self, circuit_id: str) -> Drawing:
        if circuit_id not in self._drawings:
            self._drawings[circuit_id] = Drawing(self._copy, circuit_id)
        return self._drawings[circuit_id]

    def _latest(self, which: str, *, undo: bool) -> Drawing | None:
        ids = ["", self.finding(which).id] if which else [""]
        with self._copy.reading() as connection:
            found = history.latest(connection, ids, undo=undo)
        return None if found is None else self._drawing(found)

    def _contents_changed(self, edit: Edit) -> None:
        self._infos = None
        if any(key.kind != "text" for key in edit.after):
            self.findings_changed.emit()

    def _all_infos(self) -> list[FindingInfo]:
        """Return every finding under its present name; names are made unique in this order."""
        if self._infos is None:
            with self._copy.reading() as connection:
                infos = findings.read_infos(connection)
            self._infos = named(infos, self.contents.of_kind("name"))
        return self._infos


def _migrate(database: Path) -> None:
    with work.explained():
        connection = work.connect(database)
        try:
            schema.migrate(connection)
        finally:
            connection.close()
