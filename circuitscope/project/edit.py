"""Undoable changes to a drawing.

A drawing is a set of rows (labels, places, pins, groups, notes). An edit is the set of rows
before and the set of rows after, so undo is the same edit read backwards.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from circuitscope.core.errors import EditConflict
from circuitscope.core.rows import Row, RowKey, Rows, is_sound
from circuitscope.project.texts import parse


@dataclass(frozen=True, slots=True)
class Edit:
    """Say which rows change, from what to what.

    Attributes:
        label: Menu text after "Undo", such as "Group 3 nodes".
        before: Touched rows as they were; None where absent.
        after: The same keys as they become; None where removed.
        merge_key: Neighbouring edits with the same key join into one, as in a drag.
    """

    label: str
    before: Rows
    after: Rows
    merge_key: str | None = None

    def __post_init__(self) -> None:
        assert self.before.keys() == self.after.keys(), "before and after touch different rows"

    def inverse(self) -> "Edit":
        """Return the edit that takes this one back."""
        return Edit(self.label, self.after, self.before)

    @property
    def is_empty(self) -> bool:
        """Say whether nothing changes."""
        return self.before == self.after


def change(
    label: str, rows: Mapping[RowKey, Row], after: Rows, merge_key: str | None = None
) -> Edit:
    """Make an edit from the rows as they are now and the rows as they should become.

    Rows that would not change are left out. Values take the form they have after a trip through
    the file, so that a drawing equals its reloaded self.

    Args:
        label: Menu text.
        rows: The drawing's rows now.
        after: New rows; None removes one.
        merge_key: See `Edit`.
    """
    plain = {key: plain_row(row) for key, row in after.items()}
    touched = {key: row for key, row in plain.items() if rows.get(key) != row}
    return Edit(label, {key: rows.get(key) for key in touched}, touched, merge_key)


_PLAIN = frozenset([str, int, bool, type(None)])
"""Types whose values come back from JSON as they went in; so do finite floats."""


def plain_row(row: Row | None) -> Row | None:
    """Return a row as the file gives it back: JSON values only."""
    if row is None:
        return None
    if all(type(v) in _PLAIN or (type(v) is float and isfinite(v)) for v in row.values()):
        return dict(row)
    plain: dict[str, Any] = json.loads(dump_row(row))
    return plain


def dump_row(row: Row) -> str:
    """Return a row as JSON text."""
    return json.dumps(dict(row), allow_nan=False, separators=(",", ":"))


def check_edit(rows: Mapping[RowKey, Row], edit: Edit) -> None:
    """Make sure that an edit fits the rows it is about to change.

    Raises:
        EditConflict: A row is no longer as the edit expects it.
    """
    for key, expected in edit.before.items():
        found = rows.get(key)
        if found != expected:
            raise EditConflict(
                f"“{edit.label}” expects {_describe(key, expected)}, "
                f"but there is {_describe(key, found)}.",
                kept="The drawing is unchanged.",
                hint="Repeat the change on the drawing as it is now.",
            )


def _describe(key: RowKey, row: Row | None) -> str:
    return f"no {key.kind} {key.id}" if row is None else f"{key.kind} {key.id} {dump_row(row)}"


def apply_edit(rows: dict[RowKey, Row], edit: Edit) -> None:
    """Change rows in place, all or nothing.

    Raises:
        EditConflict: A row is no longer as the edit expects it; nothing was changed.
    """
    check_edit(rows, edit)
    for key, row in edit.after.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


def merge(first: Edit, second: Edit) -> Edit:
    """Return one edit that does what two do in turn; label and merge key are the second's.

    A label of the form "X a → b" keeps the first's a, so that a drag of a slider reads
    "Influence 0.80 → 0.60" from its start to its end.
    """
    before = {**second.before, **first.before}
    after = {**first.after, **second.after}
    keys = [key for key in before if before[key] != after[key]]
    return Edit(
        _merged_label(first.label, second.label),
        {key: before[key] for key in keys},
        {key: after[key] for key in keys},
        second.merge_key,
    )


_ARROW = " → "


def _merged_label(first: str, second: str) -> str:
    start, end = first.split(_ARROW), second.split(_ARROW)
    return f"{start[0]}{_ARROW}{end[1]}" if len(start) == len(end) == 2 else second


def dump_rows(rows: Rows) -> str:
    """Return rows as JSON text that `load_rows` reads; keys leave out the circuit."""
    items = [[key.kind, key.id, row] for key, row in rows.items()]
    return json.dumps(items, allow_nan=False, separators=(",", ":"))


def load_rows(circuit_id: str, text: str) -> Rows:
    """Rebuild rows of one drawing from `dump_rows`.

    Raises:
        ValueError: The text is not such rows.
    """
    return dict(_rows(circuit_id, parse(text)))


def _rows(circuit_id: str, items: Any) -> Iterator[tuple[RowKey, Row | None]]:
    for item in items:
        kind, name, row = item
        if not (isinstance(kind, str) and isinstance(name, str)):
            raise ValueError("a row's key is not text")  # noqa: TRY004 - one kind of complaint
        if not (row is None or isinstance(row, dict)):
            raise ValueError("a row is not a mapping")
        if row is not None and not is_sound(kind, row):
            raise ValueError(f"a row is no {kind}")
        yield RowKey(circuit_id, kind, name), row
