"""Damage a project file in every way that disks, programs and enemies do; each from one seed."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import zstandard

from circuitscope.project.arrays import digest, pack

PAGE = 4096
HTML = '<img src=x onerror=alert(1)><script>alert(1)</script><b>"&amp;'


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 20, 200])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def _truncate(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.choice([rng.randrange(len(data)), rng.randrange(8) * PAGE])])


def _shortened_and_told(path: Path, rng: random.Random) -> None:
    """Cut pages off and let the header say so."""
    data = bytearray(path.read_bytes())
    pages = rng.randrange(1, len(data) // PAGE)
    data[28:32] = pages.to_bytes(4, "big")
    path.write_bytes(data[: pages * PAGE])


def _swap_pages(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    a, b = (rng.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    data[a : a + PAGE], data[b : b + PAGE] = data[b : b + PAGE], data[a : a + PAGE]
    path.write_bytes(data)


def _overwrite_page(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) // PAGE) * PAGE
    data[at : at + PAGE] = rng.choice([bytes(PAGE), rng.randbytes(PAGE), data[:PAGE]])
    path.write_bytes(data)


def _insert(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    at = rng.randrange(len(data))
    path.write_bytes(data[:at] + rng.randbytes(rng.choice([1, PAGE])) + data[at:])


def _sql(path: Path, *statements: str | tuple[str, list]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            with suppress(sqlite3.Error):
                connection.execute(*([statement] if isinstance(statement, str) else statement))


_PLANTS = (
    "CREATE TRIGGER evil AFTER INSERT ON edit BEGIN DELETE FROM finding; END",
    "CREATE TRIGGER evil AFTER UPDATE ON meta BEGIN DELETE FROM array; END",
    "CREATE VIEW evil AS SELECT load_extension('x')",
    "CREATE VIRTUAL TABLE evil USING fts5(x)",
    "CREATE VIRTUAL TABLE evil USING rtree(id, a, b)",
    "CREATE TABLE evil (x DEFAULT (load_extension('x')))",
    "CREATE INDEX evil ON finding (lower(name))",
    "ALTER TABLE edit ADD COLUMN evil AS (randomblob(1000000000))",
)


def _plant(path: Path, rng: random.Random) -> None:
    _sql(path, rng.choice(_PLANTS))


def _plant_in_a_tables_place(path: Path, rng: random.Random) -> None:
    table = rng.choice(["note", "finding", "array", "edit", "drawing_row", "meta", "prompt"])
    body = rng.choice(
        [
            "SELECT 1",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n",
        ]
    )
    _sql(path, f"DROP TABLE {table}", f"CREATE VIEW {table} AS {body}")


_VALUES = ("1", "NULL", "x'00ff'", "9223372036854775807", "1e999", "''", "'[]'", "'{}'", "-1",
           "'" + "9" * 5000 + "'", "'\ud7ff'", "char(0)")  # fmt: skip


def _wrong_types(path: Path, rng: random.Random) -> None:
    """Store what the tables forbid, by lifting their strictness for a moment."""
    table, column = rng.choice(
        [("array", c) for c in ("name", "dtype", "shape", "codec", "digest", "data", "owner")]
        + [("finding", c) for c in ("kind", "name", "prompt_id", "digest", "summary", "provenance")]
        + [("drawing_row", c) for c in ("kind", "id", "data", "circuit_id")]
        + [("edit", c) for c in ("label", "before", "after", "undone", "merge_key")]
        + [("meta", "value"), ("prompt", "tokens"), ("prompt", "token_ids"), ("model", "card")]
        + [("original_file", "size"), ("original_file", "data"), ("checkpoint", "data")]
    )
    relax = (
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE type = 'table'",
    )
    value = rng.choice(_VALUES)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in relax:
            connection.execute(statement)
    _sql(path, f"UPDATE {table} SET {column} = {value}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE type = 'table'"
            " AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'"
        )


def _huge_lengths(path: Path, rng: random.Random) -> None:
    shape = rng.choice(["[268435456]", "[67108864]", "[1000000000000]", "[65536,65536]", "[0]",
                        "[-1]", "[[1]]", "[" + "1," * 5000 + "1]", "[" * 9999])  # fmt: skip
    _sql(path, (rng.choice([
        "UPDATE array SET shape = ? WHERE name = 'roots'",
        "UPDATE array SET shape = ?", "UPDATE array SET shape = ? WHERE name = 'labels'",
    ]), [shape]))  # fmt: skip


def _bomb(path: Path, rng: random.Random) -> None:
    """Pack a large array of nothing, with a right digest, in the place of a small one."""
    name, dtype = rng.choice([("edges/weight", "float32"), ("labels", "uint8"), ("roots", "int32")])
    n = rng.choice([10**6, 2 * 10**7])
    blob = pack(name, np.zeros(n, dtype))
    statement = "UPDATE array SET shape = ?, codec = ?, digest = ?, data = ? WHERE name = ?"
    _sql(path, (statement, [blob.shape, blob.codec, blob.digest, blob.data, name]))


def _text_bomb(path: Path, rng: random.Random) -> None:
    """Pack JSON that unfolds into far more memory than it takes."""
    raw = rng.choice([b"[" + b"[]," * 10**6 + b"[]]", b"[" * 10**6, b"[" + b"9" * 10**6 + b"]"])
    shape = json.dumps([len(raw)])
    data = zstandard.ZstdCompressor(level=1).compress(raw)
    _sql(path, (
        "UPDATE array SET dtype = 'uint8', shape = ?, codec = 'zstd', digest = ?, data = ?"
        " WHERE name = 'labels'",
        [shape, digest("labels", "uint8", shape, raw), data],
    ))  # fmt: skip
    _sql(path, ("UPDATE checkpoint SET codec = 'zstd', data = ?", [data]))


_ROWS = (
    ("group", "a", {"label": HTML, "color": HTML, "open": True}),
    ("group", "a", {"label": 7}),
    ("member", "a", {"group": "a"}),
    ("member", "token/embed/-1/6/8", {"group": "nowhere"}),
    ("member", "token/embed/-1/6/8", {"group": ["a"]}),
    ("place", "token/embed/-1/6/8", {"x": "left", "y": 3}),
    ("place", "token/embed/-1/6/8", {"x": 1e300, "y": 3}),
    ("place", "token/embed/-1/6/8", {}),
    ("label", "token/embed/-1/6/8", {"text": HTML * 100, "source": "person"}),
    ("label", "token/embed/-1/6/8", {"text": None}),
    ("label", "token/embed/-1/999999999999999999999/8", {"text": "x"}),
    ("pin", "feature/mlp_out/0/7/" + "9" * 400, {}),
    ("pin", "a/b/c", {}),
    ("view", "link_graph", {"node_threshold": "all"}),
    ("view", "link_graph", {"node_threshold": -7, "edge_threshold": 1e6}),
    ("sketch_edge", "e", {"source": "e", "target": "e", "label": HTML}),
    ("note", "n", {"text": HTML, "x": 1, "y": 1, "width": -5}),
    ("spell", "s", {"what": "ever"}),
)


def _rows(path: Path, rng: random.Random) -> None:
    """Put rows into drawings that no verb makes: wrong types, cycles, HTML, far places."""
    for kind, name, row in rng.sample(_ROWS, 4):
        text = rng.choice([json.dumps(row), json.dumps(row), '{"x": NaN}', "[" * 99999, "null"])
        _sql(path, (
            "INSERT OR REPLACE INTO drawing_row (circuit_id, kind, id, data)"
            " SELECT id, ?, ?, ? FROM finding", [kind, name, text],
        ))  # fmt: skip


def _cyclic_groups(path: Path, rng: random.Random) -> None:
    for name, inside in (("a", "b"), ("b", "a"), ("c", "c")):
        _sql(path, (
            "INSERT OR REPLACE INTO drawing_row (circuit_id, kind, id, data)"
            " SELECT id, 'group', ?, ? FROM finding", [name, '{"label": "x", "open": false}'],
        ))  # fmt: skip
        _sql(path, (
            "INSERT OR REPLACE INTO drawing_row (circuit_id, kind, id, data)"
            " SELECT id, 'member', ?, ? FROM finding", [name, json.dumps({"group": inside})],
        ))  # fmt: skip


def _swap_owners(path: Path, rng: random.Random) -> None:
    """Give an array another name: its own digest stays right for the bytes, not for the name."""
    _sql(path, "UPDATE array SET name = 'x' WHERE name = 'edges/source'",
         "UPDATE array SET name = 'edges/source' WHERE name = 'edges/target'",
         "UPDATE array SET name = 'edges/target' WHERE name = 'x'")  # fmt: skip


def _delete(path: Path, rng: random.Random) -> None:
    table = rng.choice(["finding", "array", "prompt", "drawing", "drawing_row", "edit", "meta"])
    _sql(path, f"DELETE FROM {table} WHERE rowid % {rng.choice([1, 2, 3])} = 0")


def _header(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(16, 100)] = rng.randrange(256)
    path.write_bytes(data)


MUTATORS: tuple[Callable[[Path, random.Random], None], ...] = (
    _flip, _flip, _flip, _truncate, _shortened_and_told, _swap_pages, _overwrite_page, _insert,
    _plant, _plant_in_a_tables_place, _wrong_types, _wrong_types, _huge_lengths, _bomb, _text_bomb,
    _rows, _rows, _cyclic_groups, _swap_owners, _delete, _header,
)  # fmt: skip


def mutate(path: Path, seed: int) -> str:
    """Damage a file; returns how."""
    mutator = MUTATORS[seed % len(MUTATORS)]
    mutator(path, random.Random(seed))
    return mutator.__name__.strip("_")
