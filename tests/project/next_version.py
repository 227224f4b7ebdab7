"""A program that is one file format further, for tests of migrations."""

import sqlite3

from circuitscope.project import schema


def _next(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE trial (id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT")
    connection.execute("INSERT INTO trial SELECT id, label FROM edit")


STEPS = (*schema.STEPS, ("next", _next))
VERSION = len(STEPS)


def pretend() -> None:
    """Make this process the next version of the program."""
    schema.STEPS, schema.SCHEMA_VERSION = STEPS, VERSION
