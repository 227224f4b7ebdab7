"""The tables of a project file, and the migrations that lead to them, in order.

A file keeps its schema number in `user_version`. Only objects that are written here may be in
a file: their SQL is compared word for word before anything else is read, so a planted trigger,
view or virtual table never runs. Statements of released migrations are therefore never edited;
a change is a new migration.

    meta           project_id, min_reader, app_version, made, changes (a count of commits)
    model          anatomies, by sha256 of their JSON
    dictionary     dictionary cards, by sha256 of their JSON
    prompt         text, tokens and token ids, by sha256 of them
    finding        one row a result; never updated (names and deleted flags are drawing rows)
    array          packed arrays of a finding or verification (`owner`)
    drawing        one row a drawing; the project's own rows have an empty circuit_id
    drawing_row    what drawings are made of, in order of making
    edit           undo history, one line for each drawing
    checkpoint     kept states of drawings
    verification   predicted and measured effects of a finding
    note           what importers and jobs report about a finding; users' notes are drawing rows
    original_file  imported files, byte for byte
"""

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Final

from sqlite_utils import Database, Migrations

APPLICATION_ID: Final = 0x43535047
"""The letters CSPG at byte 68 of the file, by which file managers know it."""
MIN_READER: Final = 1
"""Oldest schema number whose programs can still read what this one writes."""
PAGE_SIZE: Final = 4096

# sqlite-utils would make this table itself; writing it here keeps its text the same for ever.
_MIGRATION_TABLE: Final = (
    'CREATE TABLE "_sqlite_migrations" ('
    '"id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT)',
    'CREATE UNIQUE INDEX "migrations_by_name" ON "_sqlite_migrations" ("migration_set", "name")',
)

_FIRST: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE model (id TEXT PRIMARY KEY, name TEXT NOT NULL, card TEXT NOT NULL) STRICT",
    "CREATE TABLE dictionary (id TEXT PRIMARY KEY, name TEXT NOT NULL, card TEXT NOT NULL) STRICT",
    "CREATE TABLE prompt (id TEXT PRIMARY KEY, text TEXT NOT NULL, tokens TEXT NOT NULL,"
    " token_ids TEXT NOT NULL) STRICT",
    "CREATE TABLE finding (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " name TEXT NOT NULL, added TEXT NOT NULL, prompt_id TEXT REFERENCES prompt (id),"
    " model_id TEXT REFERENCES model (id), digest TEXT NOT NULL, summary TEXT NOT NULL,"
    " provenance_digest TEXT NOT NULL, provenance TEXT NOT NULL) STRICT",
    "CREATE TABLE array (seq INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL,"
    " dtype TEXT NOT NULL, shape TEXT NOT NULL, codec TEXT NOT NULL, digest TEXT NOT NULL,"
    " data BLOB NOT NULL, UNIQUE (owner, name)) STRICT",
    "CREATE TABLE drawing (circuit_id TEXT PRIMARY KEY, made TEXT NOT NULL) STRICT",
    "CREATE TABLE drawing_row (seq INTEGER PRIMARY KEY, circuit_id TEXT NOT NULL,"
    " kind TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL,"
    " UNIQUE (circuit_id, kind, id)) STRICT",
    "CREATE TABLE edit (id INTEGER PRIMARY KEY, circuit_id TEXT NOT NULL, label TEXT NOT NULL,"
    " merge_key TEXT, before TEXT NOT NULL, after TEXT NOT NULL, made TEXT NOT NULL,"
    " undone INTEGER NOT NULL) STRICT",
    "CREATE INDEX edit_by_circuit ON edit (circuit_id, undone, id)",
    "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, circuit_id TEXT NOT NULL,"
    " name TEXT NOT NULL, made TEXT NOT NULL, codec TEXT NOT NULL, data BLOB NOT NULL) STRICT",
    "CREATE TABLE verification (id TEXT PRIMARY KEY, finding_id TEXT NOT NULL REFERENCES"
    " finding (id), made TEXT NOT NULL, settings TEXT NOT NULL) STRICT",
    "CREATE TABLE note (id INTEGER PRIMARY KEY, finding_id TEXT NOT NULL REFERENCES finding (id),"
    " made TEXT NOT NULL, text TEXT NOT NULL) STRICT",
    "CREATE TABLE original_file (id TEXT PRIMARY KEY, finding_id TEXT REFERENCES finding (id),"
    " name TEXT NOT NULL, kind TEXT NOT NULL, added TEXT NOT NULL, size INTEGER NOT NULL,"
    " digest TEXT NOT NULL, codec TEXT NOT NULL, data BLOB NOT NULL) STRICT",
)

Step = Callable[[sqlite3.Connection], None]


def _first(connection: sqlite3.Connection) -> None:
    for statement in _FIRST:
        connection.execute(statement)


STEPS: Final[tuple[tuple[str, Step], ...]] = (("1 first tables", _first),)
"""The migrations in order; the number of a step is the version it leads to."""
SCHEMA_VERSION: Final = len(STEPS)


def _numbered(version: int, step: Step) -> Callable[[Database], None]:
    def run(db: Database) -> None:
        step(db.conn)
        db.conn.execute(f"PRAGMA user_version = {version}")

    return run


def migrate(connection: sqlite3.Connection, version: int | None = None) -> None:
    """Bring a database, new or old, to a version of the schema; to this program's by default."""
    # execute_plugins: other packages' sqlite-utils plug-ins have no business in a project.
    db = Database(connection, execute_plugins=False)
    if not db["_sqlite_migrations"].exists():
        for statement in _MIGRATION_TABLE:
            connection.execute(statement)
    migrations = Migrations("circuitscope")
    for number, (name, step) in enumerate(STEPS[:version], start=1):
        migrations(name=name)(_numbered(number, step))
    migrations.apply(db)


SchemaObject = tuple[str, str, str, str | None]
"""Type, name, table and SQL of one line of sqlite_schema."""


def objects(connection: sqlite3.Connection) -> set[SchemaObject]:
    """Return everything a database declares, apart from what SQLite makes by itself."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {(kind, name, table, sql) for kind, name, table, sql in found}


def expected_objects(version: int | None = None) -> frozenset[SchemaObject]:
    """Return what a file of a version declares; of this program's version by default."""
    return _declared(STEPS[:version])


@cache
def _declared(steps: tuple[tuple[str, Step], ...]) -> frozenset[SchemaObject]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, len(steps))
        return frozenset(objects(connection))
    finally:
        connection.close()


def unknown_objects(connection: sqlite3.Connection, version: int) -> list[str]:
    """Name what a file declares beyond its schema version, or declares otherwise.

    Of a newer version, whose tables are not known here, tables and indexes beyond ours pass.
    """
    declared = objects(connection)
    ours = expected_objects(version)
    if version > SCHEMA_VERSION:
        names = {name for _, name, _, _ in ours}
        declared = {
            item
            for item in declared
            if item[1] in names or item[0] not in ("table", "index") or _is_virtual(item[3])
        }
    strange = [f"{kind} {name}" for kind, name, _, _ in sorted(declared - ours, key=str)]
    missing = [f"missing {kind} {name}" for kind, name, _, _ in sorted(ours - declared, key=str)]
    return strange + missing


def _is_virtual(sql: str | None) -> bool:
    return sql is not None and sql.lstrip().upper().startswith("CREATE VIRTUAL")
