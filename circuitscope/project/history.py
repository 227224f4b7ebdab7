"""Undo history as rows of the file: it survives closing, and crash recovery comes for free.

Every drawing has its own line of edits (table `edit`, one scope per `circuit_id`): applied ones
have `undone` 0, undone ones a rising number, so the pointer between both is stored. Rows of two
drawings never meet, so their edits can be undone in any order. Functions take the connection of
a running transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from circuitscope.core.errors import DamagedProject, EditConflict, ProjectError
from circuitscope.core.rows import Row, RowKey, Rows, is_sound
from circuitscope.project.arrays import compress, decompress
from circuitscope.project.edit import Edit, apply_edit, dump_row, dump_rows, load_rows
from circuitscope.project.texts import MAX_TEXT, fitting, parse


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history panel.

    Attributes:
        id: For `Drawing.go_to`.
        circuit_id: The drawing it belongs to; empty for the project's own rows.
        label: Menu text.
        when: ISO 8601 time in UTC.
        undone: True where it has been taken back and can be done again.
    """

    id: int
    circuit_id: str
    label: str
    when: str
    undone: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A kept state of a drawing."""

    id: int
    name: str
    when: str


def now() -> str:
    """Return the time as files keep it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_rows(connection: sqlite3.Connection, circuit_id: str) -> dict[RowKey, Row]:
    """Return a drawing's rows in order of making.

    Raises:
        DamagedProject: A row is not JSON.
    """
    found = connection.execute(
        "SELECT kind, id, data FROM drawing_row WHERE circuit_id = ? ORDER BY seq", [circuit_id]
    )
    rows: dict[RowKey, Row] = {}
    for kind, name, data in found:
        try:
            row = parse(data)
        except ValueError:
            row = None
        named = isinstance(kind, str) and isinstance(name, str)
        if not named or not isinstance(row, dict) or not is_sound(kind, row):
            raise DamagedProject(
                f"The {kind} of {name} in a drawing cannot be read.",
                kept="The file is unchanged.",
                hint="Run “circuitscope check” on the file to see what else is damaged.",
            )
        rows[RowKey(circuit_id, kind, name)] = row
    return rows


def write_rows(connection: sqlite3.Connection, edit: Edit) -> None:
    """Write the rows an edit leaves behind."""
    gone = [(key.circuit_id, key.kind, key.id) for key, row in edit.after.items() if row is None]
    kept = [
        (key.circuit_id, key.kind, key.id, dump_row(row))
        for key, row in edit.after.items()
        if row is not None
    ]
    connection.executemany(
        "DELETE FROM drawing_row WHERE circuit_id = ? AND kind = ? AND id = ?", gone
    )
    connection.executemany(
        "INSERT INTO drawing_row (circuit_id, kind, id, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (circuit_id, kind, id) DO UPDATE SET data = excluded.data",
        kept,
    )


def record(connection: sqlite3.Connection, circuit_id: str, edit: Edit) -> None:
    """Append an edit to a drawing's history."""
    connection.execute(
        "INSERT OR IGNORE INTO drawing (circuit_id, made) VALUES (?, ?)", [circuit_id, now()]
    )
    connection.execute(
        "INSERT INTO edit (circuit_id, label, merge_key, before, after, made, undone)"
        " VALUES (?, ?, ?, ?, ?, ?, 0)",
        [circuit_id, *_edit_columns(edit), now()],
    )


def seed(connection: sqlite3.Connection, circuit_id: str, rows: Mapping[RowKey, Row]) -> None:
    """Begin a drawing with rows that nothing in its history takes back."""
    connection.execute(
        "INSERT OR IGNORE INTO drawing (circuit_id, made) VALUES (?, ?)", [circuit_id, now()]
    )
    after: Rows = {RowKey(circuit_id, key.kind, key.id): row for key, row in rows.items()}
    write_rows(connection, Edit("", dict.fromkeys(after), after))


def replace(connection: sqlite3.Connection, entry_id: int, edit: Edit) -> None:
    """Put another edit in an entry's place; an edit that changes nothing leaves none."""
    if edit.is_empty:
        connection.execute("DELETE FROM edit WHERE id = ?", [entry_id])
        return
    connection.execute(
        "UPDATE edit SET label = ?, merge_key = ?, before = ?, after = ?, made = ? WHERE id = ?",
        [*_edit_columns(edit), now(), entry_id],
    )


def _edit_columns(edit: Edit) -> list[str | None]:
    return [
        storable(edit.label),
        None if edit.merge_key is None else storable(edit.merge_key),
        fitting(dump_rows(edit.before), "This change"),
        fitting(dump_rows(edit.after), "This change"),
    ]


def storable(text: str) -> str:
    """Return text that SQLite takes: lone halves of surrogate pairs become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def next_undo(connection: sqlite3.Connection, circuit_id: str) -> tuple[int, Edit] | None:
    """Return the entry that undo takes back."""
    return _edit(
        connection.execute(
            "SELECT id, circuit_id, label, before, after, merge_key FROM edit"
            " WHERE circuit_id = ? AND undone = 0 ORDER BY id DESC LIMIT 1",
            [circuit_id],
        ).fetchone()
    )


def next_redo(connection: sqlite3.Connection, circuit_id: str) -> tuple[int, Edit] | None:
    """Return the entry that redo does again: the one undone last."""
    return _edit(
        connection.execute(
            "SELECT id, circuit_id, label, before, after, merge_key FROM edit"
            " WHERE circuit_id = ? AND undone > 0 ORDER BY id LIMIT 1",
            [circuit_id],
        ).fetchone()
    )


def read_edit(connection: sqlite3.Connection, entry_id: int) -> tuple[int, Edit] | None:
    """Return one entry.

    Raises:
        DamagedProject: It cannot be read.
    """
    return _edit(
        connection.execute(
            "SELECT id, circuit_id, label, before, after, merge_key FROM edit WHERE id = ?",
            [entry_id],
        ).fetchone()
    )


def _edit(row: tuple | None) -> tuple[int, Edit] | None:
    if row is None:
        return None
    entry_id, circuit_id, label, before, after, merge_key = row
    try:
        rows = load_rows(circuit_id, before), load_rows(circuit_id, after)
        if rows[0].keys() != rows[1].keys():
            raise ValueError("before and after touch different rows")  # noqa: TRY301
    except (ValueError, TypeError):
        raise DamagedProject(
            f"The history entry “{label}” cannot be read.",
            kept="The drawing and everything else are unchanged.",
            hint="Go on working; only undo beyond this point is lost.",
        ) from None
    return entry_id, Edit(label, *rows, merge_key)


def next_label(connection: sqlite3.Connection, circuit_id: str, *, undo: bool) -> str | None:
    """Return the menu text of the edit that undo, or redo, is about; None where there is none."""
    order = "undone = 0 ORDER BY id DESC" if undo else "undone > 0 ORDER BY id"
    found = connection.execute(
        f"SELECT label FROM edit WHERE circuit_id = ? AND {order} LIMIT 1", [circuit_id]
    ).fetchone()
    return None if found is None else str(found[0])


def forget_undone(connection: sqlite3.Connection, circuit_id: str) -> None:
    """Drop what was undone, because a new edit takes its place."""
    connection.execute("DELETE FROM edit WHERE circuit_id = ? AND undone > 0", [circuit_id])


def mark(connection: sqlite3.Connection, entry_id: int, *, undone: bool) -> None:
    """Move the pointer over one entry."""
    connection.execute(
        "UPDATE edit SET undone = CASE WHEN ? THEN (SELECT max(undone) + 1 FROM edit) ELSE 0 END"
        " WHERE id = ?",
        [undone, entry_id],
    )


def latest(connection: sqlite3.Connection, circuit_ids: Iterable[str], *, undo: bool) -> str | None:
    """Say which of several drawings undo or redo is about: the one changed, or undone, last."""
    names = list(circuit_ids)
    order = "undone = 0 ORDER BY id DESC" if undo else "undone > 0 ORDER BY undone DESC"
    marks = ",".join("?" * len(names))
    found = connection.execute(
        f"SELECT circuit_id FROM edit WHERE circuit_id IN ({marks}) AND {order} LIMIT 1", names
    ).fetchone()
    return None if found is None else str(found[0])


def entries(
    connection: sqlite3.Connection, circuit_ids: Iterable[str] | None = None, limit: int = 10_000
) -> list[Entry]:
    """Return the newest entries, oldest first; all drawings' where no ids are given."""
    names = None if circuit_ids is None else list(circuit_ids)
    where = "" if names is None else f"WHERE circuit_id IN ({','.join('?' * len(names))})"
    found = connection.execute(
        f"SELECT id, circuit_id, label, made, undone FROM edit {where} ORDER BY id DESC LIMIT ?",
        [*(names or []), limit],
    ).fetchall()
    return [
        Entry(entry, circuit_id, label, made, bool(undone))
        for entry, circuit_id, label, made, undone in reversed(found)
    ]


def row_history(connection: sqlite3.Connection, key: RowKey) -> list[tuple[str, Row]]:
    """Return time and fields of one row after each edit that wrote it, oldest first."""
    found = connection.execute(
        "SELECT id, made FROM edit WHERE circuit_id = ? AND undone = 0 AND instr(after, ?) > 0"
        " ORDER BY id",
        [key.circuit_id, key.id],
    ).fetchall()
    rows = []
    for entry, made in found:
        edit = read_edit(connection, entry)
        row = edit[1].after.get(key) if edit is not None else None
        if row is not None:
            rows.append((made, row))
    return rows


def steps_to(connection: sqlite3.Connection, circuit_id: str, entry_id: int) -> tuple[bool, int]:
    """Return whether to undo, and how many steps, until an entry is the last one done.

    Raises:
        ProjectError: The history has no such entry.
    """
    line = entries(connection, [circuit_id], limit=2**31)
    places = {entry.id: place for place, entry in enumerate(line, start=1)}
    if entry_id and entry_id not in places:
        raise ProjectError(
            f"The history has no entry {entry_id}.", kept="The drawing is unchanged."
        )
    wanted = places.get(entry_id, 0)
    done = sum(not entry.undone for entry in line)
    return wanted < done, abs(wanted - done)


def leads_here(connection: sqlite3.Connection, circuit_id: str) -> bool:
    """Say whether a drawing's history can be undone to its start and redone to its end.

    Raises:
        DamagedProject: A row or an entry cannot be read.
    """
    back = read_rows(connection, circuit_id)
    ahead = dict(back)
    line = [
        (entry.undone, found[1])
        for entry in entries(connection, [circuit_id], limit=2**31)
        if (found := read_edit(connection, entry.id)) is not None
    ]
    try:
        for undone, edit in reversed(line):
            if not undone:
                apply_edit(back, edit.inverse())
        for undone, edit in line:
            if undone:
                apply_edit(ahead, edit)
    except EditConflict:
        return False
    return True


def add_checkpoint(
    connection: sqlite3.Connection, circuit_id: str, name: str, rows: Mapping[RowKey, Row]
) -> int:
    """Keep a copy of rows under a name."""
    codec, data = compress(fitting(dump_rows(dict(rows)), "The drawing").encode())
    made = connection.execute(
        "INSERT INTO checkpoint (circuit_id, name, made, codec, data) VALUES (?, ?, ?, ?, ?)",
        [circuit_id, storable(name), now(), codec, data],
    )
    assert made.lastrowid is not None
    return made.lastrowid


def settle(connection: sqlite3.Connection, name: str) -> None:
    """Keep every circuit's drawing under a name, and forget the edits of all and of the project."""
    found = connection.execute("SELECT DISTINCT circuit_id FROM drawing_row").fetchall()
    for (circuit_id,) in found:
        if circuit_id:
            add_checkpoint(connection, circuit_id, name, read_rows(connection, circuit_id))
    connection.execute("DELETE FROM edit")


def checkpoints(connection: sqlite3.Connection, circuit_id: str) -> list[Checkpoint]:
    """Return a drawing's checkpoints, oldest first."""
    found = connection.execute(
        "SELECT id, name, made FROM checkpoint WHERE circuit_id = ? ORDER BY id", [circuit_id]
    )
    return [Checkpoint(*row) for row in found]


def checkpoint_rows(
    connection: sqlite3.Connection, circuit_id: str, checkpoint_id: int
) -> tuple[str, Rows]:
    """Return a checkpoint's name and rows.

    Raises:
        ProjectError: There is no such checkpoint.
        DamagedProject: It cannot be read.
    """
    found = connection.execute(
        "SELECT name, codec, data FROM checkpoint WHERE circuit_id = ? AND id = ?",
        [circuit_id, checkpoint_id],
    ).fetchone()
    if found is None:
        raise ProjectError("There is no such checkpoint.", kept="The drawing is unchanged.")
    name, codec, data = found
    try:
        return name, load_rows(circuit_id, decompress(codec, data, MAX_TEXT).decode())
    except (ValueError, TypeError):
        raise DamagedProject(
            f"The checkpoint “{name}” cannot be read.", kept="The drawing is unchanged."
        ) from None
