"""Remove for good what a project has deleted; the one change that cannot be undone."""

import sqlite3
from collections.abc import Sequence
from typing import Final

_OWNED: Final = (
    ("array", "owner"), ("verification", "finding_id"), ("note", "finding_id"),
    ("original_file", "finding_id"), ("drawing_row", "circuit_id"), ("edit", "circuit_id"),
    ("checkpoint", "circuit_id"), ("drawing", "circuit_id"), ("finding", "id"),
)  # fmt: skip


def remove_findings(connection: sqlite3.Connection, finding_ids: Sequence[str]) -> None:
    """Remove findings with everything that belongs to them, in the running transaction.

    The project's own history is dropped, because undoing a deletion would look for them.

    Args:
        connection: Of the working copy.
        finding_ids: What to remove: findings, and drawings beyond a circuit's first.
    """
    for finding_id in finding_ids:
        connection.execute(
            "DELETE FROM array WHERE owner IN (SELECT id FROM verification WHERE finding_id = ?)",
            [finding_id],
        )
        for table, column in _OWNED:
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [finding_id])
        connection.execute(
            "DELETE FROM drawing_row WHERE circuit_id = '' AND id = ?"
            " AND kind IN ('name', 'order', 'deleted', 'drawing')",
            [finding_id],
        )
    _remove_drawings(connection)
    connection.execute("DELETE FROM edit WHERE circuit_id = ''")
    connection.execute("DELETE FROM checkpoint WHERE circuit_id = ''")
    connection.execute(
        "DELETE FROM prompt WHERE id NOT IN"
        " (SELECT prompt_id FROM finding WHERE prompt_id IS NOT NULL)"
    )
    connection.execute(
        "DELETE FROM model WHERE id NOT IN"
        " (SELECT model_id FROM finding WHERE model_id IS NOT NULL)"
    )


def _remove_drawings(connection: sqlite3.Connection) -> None:
    """Remove further drawings of circuits that are gone, and those that nothing names any more."""
    owner = "substr({0}, 1, instr({0}, '/') - 1)"
    named = "SELECT id FROM drawing_row WHERE circuit_id = '' AND kind = 'drawing'"
    connection.execute(
        "DELETE FROM drawing_row WHERE circuit_id = '' AND kind IN ('drawing', 'deleted')"
        f" AND instr(id, '/') > 0 AND {owner.format('id')} NOT IN (SELECT id FROM finding)"
    )
    for table in ("drawing_row", "edit", "checkpoint", "drawing"):
        connection.execute(
            f"DELETE FROM {table} WHERE instr(circuit_id, '/') > 0 AND circuit_id NOT IN ({named})"
        )
