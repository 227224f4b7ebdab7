"""What a person calls features: kept per user, by dictionary and feature, with its history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from circuitscope.core.places import state_home
from circuitscope.evidence.records import FeatureId, Label

_TABLE = (
    "CREATE TABLE IF NOT EXISTS label (digest TEXT NOT NULL, layer INTEGER NOT NULL,"
    " unit INTEGER NOT NULL, text TEXT NOT NULL, made TEXT NOT NULL) STRICT"
)


def _file() -> Path:
    return state_home() / "feature-labels.sqlite"


def read(feature: FeatureId) -> tuple[Label, ...]:
    """Return a person's labels, oldest first; all but the newest are marked as replaced."""
    if not _file().is_file():
        return ()
    try:
        with closing(sqlite3.connect(_file())) as connection:
            rows = connection.execute(
                "SELECT text, made FROM label WHERE digest = ? AND layer = ? AND unit = ?"
                " ORDER BY rowid",
                (feature.digest, feature.layer, feature.unit),
            ).fetchall()
    except sqlite3.DatabaseError:
        return ()
    last = len(rows) - 1
    return tuple(
        Label(text, "you", "person", made=made, replaced=at < last)
        for at, (text, made) in enumerate(rows)
    )


def write(feature: FeatureId, text: str) -> None:
    """Add a person's label; an empty one takes the name away, the history stays."""
    before = read(feature)
    if (before[-1].text if before else "") == text:
        return
    made = datetime.now(UTC).isoformat(timespec="seconds")
    with closing(sqlite3.connect(_file(), isolation_level=None)) as connection:
        connection.execute(_TABLE)
        connection.execute(
            "INSERT INTO label VALUES (?, ?, ?, ?, ?)",
            (feature.digest, feature.layer, feature.unit, text, made),
        )
