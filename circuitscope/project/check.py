"""Look through a whole project file and name everything that is wrong with it."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import DamagedProject, ProjectError
from circuitscope.core.rows import PROJECT_ROW_KINDS, ROW_KINDS
from circuitscope.project import findings, history, originals
from circuitscope.project.opening import probed
from circuitscope.project.texts import parse, text_digest
from circuitscope.project.working_copy import DATABASE_ERRORS, project_error

# Further drawings of a circuit are called "circuit id/own id".
_OWNER: Final = "substr(circuit_id, 1, instr(circuit_id || '/', '/') - 1)"
_LINKS: Final = (
    ("array", "owner", "SELECT id FROM finding UNION SELECT id FROM verification"),
    ("drawing", _OWNER, "SELECT id FROM finding UNION SELECT ''"),
    ("drawing_row", "circuit_id", "SELECT circuit_id FROM drawing"),
    ("edit", "circuit_id", "SELECT circuit_id FROM drawing"),
    ("checkpoint", _OWNER, "SELECT id FROM finding UNION SELECT ''"),
    ("verification", "finding_id", "SELECT id FROM finding"),
    ("note", "finding_id", "SELECT id FROM finding"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: The part, such as "circuit Dallas" or "history".
        what: What is wrong with it, a full sentence.
    """

    where: str
    what: str


def check_project(path: str | Path) -> list[Problem]:
    """Check a file in full: pages, schema, every digest, every row; changes nothing.

    Args:
        path: The file.

    Returns:
        What is wrong, nothing where all is well.
    """
    file = Path(path)
    try:
        with probed(file, read_only=True) as connection:
            return list(_problems(connection))
    except ProjectError as error:
        return [Problem("file", error.message)]


def _problems(connection: sqlite3.Connection) -> Iterator[Problem]:
    for check in (
        _pages,
        _findings,
        _shared_texts,
        _dangling,
        _drawings,
        _history,
        _checkpoints,
        _attachments,
    ):
        try:
            yield from check(connection)
        except DATABASE_ERRORS as error:
            yield Problem(check.__name__.strip("_").replace("_", " "), project_error(error).message)


def _pages(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (line,) in connection.execute("PRAGMA integrity_check(20)"):
        if line != "ok":
            yield Problem("database", f"{line}.")


def _findings(connection: sqlite3.Connection) -> Iterator[Problem]:
    for info in findings.read_infos(connection):
        try:
            found = findings.read_finding(connection, info.id)
        except DamagedProject as error:
            yield Problem(f"{info.kind} {info.name}", error.message)
            continue
        size = (len(found.nodes), len(found.edges)) if isinstance(found, Circuit) else (0, 0)
        if (info.n_nodes, info.n_edges) != size:
            yield Problem("list of results", f"The sizes listed for {info.name} are wrong.")


def _shared_texts(connection: sqlite3.Connection) -> Iterator[Problem]:
    for table, columns in (
        ("model", "card"), ("dictionary", "card"), ("prompt", "text, tokens, token_ids")
    ):  # fmt: skip
        for name, *texts in connection.execute(f"SELECT id, {columns} FROM {table}"):
            if text_digest(*texts) != name:
                yield Problem(f"{table} {name[:12]}", "It does not match its digest.")


def _dangling(connection: sqlite3.Connection) -> Iterator[Problem]:
    for table, column, owners in _LINKS:
        found = connection.execute(
            f"SELECT {column}, count(*) FROM {table} WHERE {column} NOT IN ({owners}) GROUP BY 1"
        )
        for owner, n in found:
            where = table.replace("_", " ")
            yield Problem(where, f"{n} rows belong to {owner!r}, which is not there.")


def _drawings(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (circuit_id,) in connection.execute("SELECT circuit_id FROM drawing").fetchall():
        where = f"drawing of {circuit_id[:12]}" if circuit_id else "contents"
        try:
            rows = history.read_rows(connection, circuit_id)
        except DamagedProject as error:
            yield Problem(where, error.message)
            continue
        known = ROW_KINDS if circuit_id else PROJECT_ROW_KINDS
        groups = {key.id for key in rows if key.kind == "group"}
        for key, row in rows.items():
            if key.kind not in known:
                yield Problem(where, f"Rows of kind {key.kind!r} are not known here.")
            if key.kind == "member" and row.get("group") not in groups:
                yield Problem(where, f"{key.id} is in a group that is not there.")


def _history(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (circuit_id,) in connection.execute("SELECT DISTINCT circuit_id FROM edit").fetchall():
        for entry in history.entries(connection, [circuit_id]):
            try:
                history.read_edit(connection, entry.id)
            except DamagedProject as error:
                yield Problem("history", error.message)
        try:
            leads_here = history.leads_here(connection, circuit_id)
        except DamagedProject:
            continue
        if not leads_here:
            where = f"history of {circuit_id[:12] or 'the project itself'}"
            yield Problem(where, "It does not lead to the drawing as it is.")
    for (text,) in connection.execute("SELECT summary FROM finding"):
        try:
            parse(text)
        except ValueError:
            yield Problem("list of results", "An entry's summary cannot be read.")


def _checkpoints(connection: sqlite3.Connection) -> Iterator[Problem]:
    for circuit_id, entry in connection.execute("SELECT circuit_id, id FROM checkpoint").fetchall():
        try:
            history.checkpoint_rows(connection, circuit_id, entry)
        except DamagedProject as error:
            yield Problem("checkpoints", error.message)


def _attachments(connection: sqlite3.Connection) -> Iterator[Problem]:
    for original in originals.entries(connection):
        try:
            originals.read(connection, original.id)
        except DamagedProject as error:
            yield Problem(f"attachment {original.name}", error.message)
