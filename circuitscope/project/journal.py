"""Who did what in a project, in plain words and in order of time."""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Provenance
from circuitscope.project import findings, history, originals
from circuitscope.project.opening import probed
from circuitscope.project.texts import parse
from circuitscope.project.working_copy import explained, read_authors


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a project.

    Attributes:
        when: ISO 8601 time in UTC.
        who: "CircuitScope 0.1.0" for what a program computed or read; for edits the name that
            the person gave, or "a person".
        what: A sentence without its full stop.
        where: Name of the circuit concerned; empty for the project itself.
        undone: True for an edit that was taken back and can be done again.
    """

    when: str
    who: str
    what: str
    where: str = ""
    undone: bool = False


_PERSON = "a person"


def read_log(path: str | Path) -> list[Event]:
    """Return all that a project file tells of its making, oldest first.

    Raises:
        ProjectError: The file is no sound project.
    """
    with probed(Path(path), read_only=True) as connection, explained():
        return events(connection)


def events(connection: sqlite3.Connection) -> list[Event]:
    """Return all that a project's database tells of its making, oldest first."""
    return sorted(_events(connection), key=lambda event: event.when)


def _events(connection: sqlite3.Connection) -> Iterator[Event]:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    program = f"CircuitScope {meta.get('app_version', '')}".strip()
    yield Event(str(meta.get("made", "")), program, "Start the project")
    names = {"": ""}
    for info in findings.read_infos(connection):
        names[info.id] = info.name
        yield Event(info.added, *_making(connection, info), info.name)
    authors = read_authors(connection)
    since = [when for when, _ in authors]

    def person(when: str) -> str:
        place = bisect_right(since, when)
        return (authors[place - 1][1] if place else "") or _PERSON

    for entry in history.entries(connection, limit=2**31):
        where = names.get(entry.circuit_id, entry.circuit_id[:12])
        yield Event(entry.when, person(entry.when), entry.label, where, entry.undone)
    for circuit_id, name, made in connection.execute(
        "SELECT circuit_id, name, made FROM checkpoint"
    ):
        yield Event(made, person(made), f"Keep a version as “{name}”", names.get(circuit_id, ""))
    for original in originals.entries(connection):
        size = f"{original.size:,} bytes".replace(",", " ")
        where = names.get(original.finding_id or "", "")
        yield Event(original.added, program, f"Attach {original.name} ({size})", where)


def _making(connection: sqlite3.Connection, info: findings.FindingInfo) -> tuple[str, str]:
    """Return who added a finding, and how it came to be."""
    size = f" ({info.n_nodes} nodes, {info.n_edges} edges)" if info.kind == "circuit" else ""
    (text,) = connection.execute(
        "SELECT provenance FROM finding WHERE id = ?", [info.id]
    ).fetchone()
    try:
        parse(text)  # It refuses what is too long to unfold.
        found = Provenance.from_json(text)
    except (ValueError, TypeError, AttributeError, CircuitScopeError):
        return "an unknown program", f"Add a {info.kind}{size}"
    who = f"CircuitScope {found.app_version}".strip()
    if found.source_file:
        return who, f"Import {Path(found.source_file).name}{size}"
    model = str(found.model.get("name") or "")
    thing = info.kind if info.kind.endswith("s") else f"a {info.kind}"
    how = f"Compute {thing} by {found.method}" + (f" in {model}" if model else "")
    return who, how + size
