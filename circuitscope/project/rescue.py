"""Save what can be read of a damaged project into a new file.

1. The damaged file is opened for reading as it is, whatever its header or schema say, with
   everything off that a file could use against us. Only plain tables that are word for word ours
   are looked into; views, triggers and virtual tables are passed by.
2. Rows are read one by one; where a page is broken, reading goes on behind it.
3. A result is taken when all of it matches its digests. Where only its labels do not, it is taken
   without them. A drawing's rows, history, checkpoints, notes and attachments are taken where they
   can be read; a history with a gap is left out, since undo could not cross it.
4. What is taken goes into a new database that is then written like any save.
"""

import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from circuitscope.core.errors import DamagedProject, ProjectError
from circuitscope.core.rows import PROJECT_ROW_KINDS, ROW_KINDS, is_sound
from circuitscope.project import findings, history, originals, schema
from circuitscope.project import working_copy as work
from circuitscope.project.documents import absolute, check_target, lock_document
from circuitscope.project.drawings import circuit_of
from circuitscope.project.saving import save_database
from circuitscope.project.texts import dump, parse, text_digest

_WIDEST_GAP: Final = 1_000
"""Numbers in a row that no row answers to, before what lies behind them is given up."""
_SHARED: Final = {"model": ("card",), "dictionary": ("card",),
                  "prompt": ("text", "tokens", "token_ids")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rescued:
    """What was saved of a damaged project.

    Attributes:
        path: The new file.
        taken: Counts by what they count, such as {"results": 3, "edits": 40}.
        lost: What could not be read, a full sentence each.
    """

    path: Path
    taken: dict[str, int]
    lost: tuple[str, ...]


def rescue_project(path: str | Path, out: str | Path) -> Rescued:
    """Write a new project with whatever can be read of a damaged one, which is not changed.

    Args:
        path: The damaged file.
        out: The new file; nothing may be there.

    Raises:
        DamagedProject: Not even its tables can be read.
        ProjectError: There is no such file, or the new one cannot be written.
    """
    source, target = absolute(path), absolute(out)
    check_target(target, overwrite=False)
    if not source.is_file():
        raise ProjectError(f"There is no file {source}.", kept="Nothing was written.")
    with work.new_session() as (folder, session_lock):
        database = folder / work.DATABASE
        work.make_database(database)
        with closing(_opened(source)) as damaged, closing(work.connect(database)) as fresh:
            copier = _Copier(damaged, fresh)
            fresh.execute("PRAGMA foreign_keys = OFF")
            fresh.execute("BEGIN")
            copier.copy_all()
            fresh.execute("COMMIT")
            if not sum(copier.taken.values()):
                raise _nothing(source)
            lock = lock_document(target)
            try:
                save_database(fresh, target, folder.name)
            finally:
                lock.release()
        work.remove_session(folder, session_lock)
    return Rescued(target, copier.taken, tuple(copier.lost))


def _opened(path: Path) -> sqlite3.Connection:
    # immutable: no journal is looked for, nothing is written beside the file.
    address = f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"
    try:
        connection = work.connect(address, uri=True)
    except work.DATABASE_ERRORS as error:
        raise _nothing(path) from error
    try:
        # So that a shortened file and a broken declaration do not hide the sound ones.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except work.DATABASE_ERRORS as error:
        connection.close()
        raise _nothing(path) from error
    return connection


def _nothing(path: Path) -> DamagedProject:
    return DamagedProject(
        f"Nothing in {path.name} can be read as a project.",
        kept="The file was not changed, and none was written.",
        hint="Look for a backup or for a copy on another computer.",
    )


class _Copier:
    """Take rows from a damaged database to a new one."""

    def __init__(self, damaged: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
        self._damaged, self._fresh = damaged, fresh
        self.taken: dict[str, int] = {}
        self.lost: list[str] = []
        self._columns = self._sound_tables()
        self._ids: set[str] = set()

    def _sound_tables(self) -> dict[str, tuple[str, ...]]:
        ours = {
            name: sql for kind, name, _, sql in schema.expected_objects() if kind == "table" and sql
        }
        found = {}
        with suppress(*work.DATABASE_ERRORS):
            for _, name, _, sql in schema.objects(self._damaged):
                if sql is not None and ours.get(name) == sql:
                    columns = self._fresh.execute(f"PRAGMA table_info({name})")
                    found[name] = tuple(row[1] for row in columns)
        for name in sorted(set(ours) - set(found) - {"_sqlite_migrations"}):
            self.lost.append(f"The table {name} is missing or is not declared as it should be.")
        return found

    def copy_all(self) -> None:
        """Take everything that can be read, in the order in which things build on each other."""
        with suppress(*work.DATABASE_ERRORS):
            for (value,) in self._damaged.execute(
                "SELECT value FROM meta WHERE key = 'project_id'"
            ):
                self._fresh.execute(
                    "UPDATE meta SET value = ? WHERE key = 'project_id'", [str(value)[:64]]
                )
            for since, name in work.read_authors(self._damaged):
                work.write_author(self._fresh, since, name)
        for table, texts in _SHARED.items():
            for row in self._rows(table):
                if text_digest(*(str(row[name]) for name in texts)) == row["id"]:
                    self._write(table, row)
                else:
                    self.lost.append(f"A {table} does not match its digest.")
        self._findings()
        self._drawings()
        self._attachments()

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows, passing by those that cannot be read."""
        if table not in self._columns:
            return
        columns = self._columns[table]
        names = ", ".join(columns)
        scans = _Scan(self._damaged, table, names)
        for row in scans.rows():
            yield dict(zip(columns, row, strict=True))
        if scans.gaps:
            self.lost.append(f"Some rows of the table {table} cannot be read.")

    def _write(self, table: str, row: dict[str, Any], what: str = "") -> bool:
        marks = ", ".join("?" * len(row))
        try:
            self._fresh.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
            )
        except (sqlite3.Error, UnicodeEncodeError, OverflowError):
            self.lost.append(f"A row of the table {table} has values that no project has.")
            return False
        if what:
            self.taken[what] = self.taken.get(what, 0) + 1
        return True

    def _findings(self) -> None:
        arrays: dict[str, list[dict[str, Any]]] = {}
        found = list(self._rows("finding"))
        if found:
            for row in self._rows("array"):
                arrays.setdefault(str(row["owner"]), []).append(row)
        for row in found:
            finding_id = str(row["id"])
            self._fresh.execute("SAVEPOINT one")
            said = len(self.lost)
            try:
                kept = self._write("finding", row) and self._arrays_of(row, arrays)
            except ProjectError as error:
                kept = False
                self.lost.append(f"The {row['kind']} {row['name']} is lost: {error.message}")
            if kept:
                self._ids.add(finding_id)
                self.taken["results"] = self.taken.get("results", 0) + 1
            else:
                self._fresh.execute("ROLLBACK TO one")
                if len(self.lost) == said:
                    self.lost.append(f"The {row['kind']} {row['name']} is lost.")
            self._fresh.execute("RELEASE one")
        self._checks(arrays)

    def _checks(self, arrays: dict[str, list[dict[str, Any]]]) -> None:
        """Take remarks and verifications of the results that were taken."""
        for row in self._rows("note"):
            if row["finding_id"] in self._ids:
                self._write("note", row, "remarks")
        verified = {row["id"]: row for row in self._rows("verification")}
        for name, row in verified.items():
            if row["finding_id"] in self._ids and self._write("verification", row, "checks"):
                for array in arrays.get(str(name), ()):
                    self._write("array", array)

    def _arrays_of(self, row: dict[str, Any], arrays: dict[str, list[dict[str, Any]]]) -> bool:
        finding_id = str(row["id"])
        for array in arrays.get(finding_id, ()):
            if not self._write("array", array):
                return False
        try:
            found = findings.read_finding(self._fresh, finding_id)
        except DamagedProject:
            if row["kind"] != "circuit":
                raise
            self._fresh.execute(
                "DELETE FROM array WHERE owner = ? AND name = 'labels'", [finding_id]
            )
            found = findings.read_finding(self._fresh, finding_id)
            self.lost.append(f"The automatic labels of {row['name']} are lost.")
        # What the list shows has no digest; it is made anew from what has.
        summary = dump(findings.summary_of(found))
        self._fresh.execute("UPDATE finding SET summary = ? WHERE id = ?", [summary, finding_id])
        return True

    def _drawings(self) -> None:
        whole = self._ids | {""}
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows("drawing_row"):
            rows.setdefault(str(row["circuit_id"]), []).append(row)
        edits: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows("edit"):
            edits.setdefault(str(row["circuit_id"]), []).append(row)
        made = {str(row["circuit_id"]): row for row in self._rows("drawing")}
        whole |= {name for name in {*rows, *edits, *made} if circuit_of(name) in self._ids}
        for circuit_id in sorted((set(rows) | set(edits) | set(made)) & whole):
            drawing = made.get(circuit_id, {"circuit_id": circuit_id, "made": history.now()})
            self._write("drawing", drawing)
            # Groups first: members need them. `seq` keeps the rows in their order.
            groups: set[Any] = set()
            mine = sorted(rows.get(circuit_id, ()), key=lambda row: row["kind"] != "group")
            has_all = [self._drawing_row(row, groups) for row in mine]
            self._history(circuit_id, edits.get(circuit_id, []), whole=all(has_all))
        for row in self._rows("checkpoint"):
            if row["circuit_id"] in whole and self._write("checkpoint", row, "checkpoints"):
                try:
                    history.checkpoint_rows(self._fresh, row["circuit_id"], row["id"])
                except ProjectError as error:
                    self._fresh.execute("DELETE FROM checkpoint WHERE id = ?", [row["id"]])
                    self.taken["checkpoints"] -= 1
                    self.lost.append(error.message)

    def _drawing_row(self, row: dict[str, Any], groups: set[Any]) -> bool:
        kind = str(row["kind"])
        kinds = ROW_KINDS if row["circuit_id"] else PROJECT_ROW_KINDS
        try:
            data = parse(str(row["data"]))
            sound = isinstance(data, dict) and kind in kinds and is_sound(kind, data)
            sound = sound and (kind != "member" or data["group"] in groups)
        except ValueError:
            sound = False
        if not sound:
            self.lost.append(f"The {row['kind']} of {row['id']} in a drawing is lost.")
            return False
        if kind == "group":
            groups.add(row["id"])
        return self._write("drawing_row", row, "drawing rows")

    def _history(self, circuit_id: str, edits: Sequence[dict[str, Any]], *, whole: bool) -> None:
        """Take a drawing's history where it leads, step by step, to the rows that were taken."""
        self._fresh.execute("SAVEPOINT history")
        before = dict(self.taken)
        written = [self._write("edit", row, "edits") for row in edits]
        try:
            kept = whole and all(written) and history.leads_here(self._fresh, circuit_id)
        except ProjectError:
            kept = False
        if not kept:
            self._fresh.execute("ROLLBACK TO history")
            self.taken = before
            name = circuit_id[:12] or "the project itself"
            self.lost.append(f"The history of {name} has gaps and is left out; the drawing stays.")
        self._fresh.execute("RELEASE history")

    def _attachments(self) -> None:
        for row in self._rows("original_file"):
            if row["finding_id"] not in self._ids:
                row["finding_id"] = None
            if not self._write("original_file", row, "attachments"):
                continue
            try:
                originals.read(self._fresh, row["id"])
            except ProjectError as error:
                self._fresh.execute("DELETE FROM original_file WHERE id = ?", [row["id"]])
                self.taken["attachments"] -= 1
                self.lost.append(f"The attachment {row['name']} is lost: {error.message}")


class _Scan:
    """Read a table from both ends towards what is broken in it, then the rows in between."""

    def __init__(self, connection: sqlite3.Connection, table: str, names: str) -> None:
        self._connection, self._table, self._names = connection, table, names
        self.gaps = False

    def rows(self) -> Iterator[tuple]:
        """Yield what can be read, in order of rowid where nothing is broken."""
        last = yield from self._from("ASC", -(2**63))
        if last is None:
            return
        self.gaps = True
        first = yield from self._from("DESC", 2**63 - 1, stop=last)
        misses = 0
        for rowid in range(max(last + 1, 0), first or 0):
            with suppress(*work.DATABASE_ERRORS):
                row = self._connection.execute(
                    f"SELECT {self._names} FROM {self._table} WHERE rowid = ?", [rowid]
                ).fetchone()
                if row is not None:
                    yield row
                    misses = -1
            misses += 1
            if misses > _WIDEST_GAP:
                return

    def _from(
        self, order: str, start: int, stop: int | None = None
    ) -> Generator[tuple, None, int | None]:
        """Yield rows from one end; return the last rowid before what is broken, else None."""
        at = start
        try:
            found = self._connection.execute(
                f"SELECT rowid, {self._names} FROM {self._table} ORDER BY rowid {order}"
            )
            for rowid, *row in found:
                if stop is not None and rowid <= stop:
                    return None
                at = rowid
                yield tuple(row)
        except work.DATABASE_ERRORS:
            return at
        return None
