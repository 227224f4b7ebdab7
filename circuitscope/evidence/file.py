"""The file `evidence.sqlite`: what was collected about all dictionaries of a set.

    meta        model, corpus, number of tokens and how they were collected, as JSON by key
    dictionary  the card of each dictionary, one line for each layer it reads
    token       texts of the token ids that occur
    array       packed arrays; those of examples in blocks of features, so that one is read quickly
    label       labels made by machine or imported; a person's are kept in `labels`
    page        what others published of a feature, as packed JSON; only in files of version 2

Equal evidence gives equal bytes: rows are written in one order into a fresh file, without times or
paths. A file may come from anywhere: it is opened read-only, its tables are compared with ours, and
arrays are of known types and bounded size.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import numpy as np
import zstandard
from numpy.typing import NDArray

from circuitscope.evidence.records import EvidenceMissing, FeatureId, FeaturePage, Label, Source

NAME: Final = "evidence.sqlite"
APPLICATION_ID: Final = 0x43534556
"""The letters CSEV."""
VERSION: Final = 2
"""Without imported pages a file is of version 1, as all were before."""
_LEVEL = 19
_ABANDONED_SECONDS = 3600
_MOST_BYTES = 2**31
_MOST_LABELS = 2**26
_DTYPES = frozenset({"|u1", "<u2", "<u4", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"})
_TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE dictionary (digest TEXT NOT NULL, layer INTEGER NOT NULL, card TEXT NOT NULL,"
    " PRIMARY KEY (digest, layer)) STRICT",
    "CREATE TABLE token (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
    "CREATE TABLE array (digest TEXT NOT NULL, layer INTEGER NOT NULL, name TEXT NOT NULL,"
    " first INTEGER NOT NULL, last INTEGER NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (digest, layer, name, first)) STRICT",
    "CREATE TABLE label (digest TEXT NOT NULL, layer INTEGER NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (digest, layer)) STRICT",
)

_PAGES: Final = (
    "CREATE TABLE page (digest TEXT NOT NULL, layer INTEGER NOT NULL, unit INTEGER NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (digest, layer, unit)) STRICT"
)


Stored = tuple[str, str, bytes]
"""An array as it lies in a file: type, shape as JSON, compressed bytes."""


@dataclass(frozen=True, slots=True)
class PackedArray:
    """An array of one dictionary and layer; `first` and `last` are the features it is about.

    One taken over from another file stays as it lies there.
    """

    digest: str
    layer: int
    name: str
    array: NDArray[Any] | Stored
    first: int = 0
    last: int = -1


@dataclass(slots=True)
class Contents:
    """Everything that goes into a file.

    Attributes:
        meta: Plain values by key.
        cards: The card of each dictionary as JSON, by digest and layer.
        arrays: Arrays.
        tokens: Texts by token id.
        labels: Labels of features.
        pages: What others published of features, as `packed_page` makes it.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    cards: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    arrays: list[PackedArray] = field(default_factory=list)
    tokens: dict[int, str] = field(default_factory=dict)
    labels: dict[FeatureId, list[Label]] = field(default_factory=dict)
    pages: dict[FeatureId, bytes] = field(default_factory=dict)

    def keep_imported(self, other: EvidenceFile) -> None:
        """Take over what was imported about the same dictionaries."""
        for feature, found in other.all_labels().items():
            imported = [label for label in found if label.source == "imported"]
            if imported and (feature.digest, feature.layer) in self.cards:
                self.labels.setdefault(feature, []).extend(imported)
        for feature, page in other.all_pages().items():
            if (feature.digest, feature.layer) in self.cards:
                self.pages[feature] = page


def dump(value: Any) -> str:
    """Return JSON with the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def packed_page(page: FeaturePage) -> bytes:
    """Pack a page; its labels are kept apart."""
    plain = dump(replace(page, labels=()).as_json())
    return zstandard.ZstdCompressor(level=9).compress(plain.encode("utf-8", "surrogatepass"))


def write(path: Path, contents: Contents) -> None:
    """Write a file in place of the one that is there, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{path.name}.tmp-*"):  # what a killed process left
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED_SECONDS:
                old.unlink()
    fresh = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            _fill(connection, contents)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, contents: Contents) -> None:
    for setting in (
        "page_size = 4096", "journal_mode = OFF", "synchronous = OFF",
        f"application_id = {APPLICATION_ID}", f"user_version = {VERSION if contents.pages else 1}",
    ):  # fmt: skip
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN")
    for statement in _TABLES:
        connection.execute(statement)
    insert = connection.executemany
    insert(
        "INSERT INTO meta VALUES (?, ?)", [(k, dump(v)) for k, v in sorted(contents.meta.items())]
    )
    insert(
        "INSERT INTO dictionary VALUES (?, ?, ?)",
        [(*key, dump(card)) for key, card in sorted(contents.cards.items())],
    )
    insert("INSERT INTO token VALUES (?, ?)", sorted(contents.tokens.items()))
    arrays = sorted(
        contents.arrays, key=lambda item: (item.digest, item.layer, item.name, item.first)
    )
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    insert(
        "INSERT INTO array VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                item.digest,
                item.layer,
                item.name,
                item.first,
                item.last,
                *_packed(item.array, packer),
            )
            for item in arrays
        ),
    )
    insert("INSERT INTO label VALUES (?, ?, ?)", _label_rows(contents.labels, packer))
    if contents.pages:
        connection.execute(_PAGES)
        pages = sorted((f.digest, f.layer, f.unit, data) for f, data in contents.pages.items())
        insert("INSERT INTO page VALUES (?, ?, ?, ?)", pages)
    connection.execute("COMMIT")


def _packed(array: NDArray[Any] | Stored, packer: zstandard.ZstdCompressor) -> Stored:
    if isinstance(array, tuple):
        return array
    plain = np.ascontiguousarray(_smallest(array))
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    assert plain.dtype.str in _DTYPES, f"{plain.dtype} is not stored"
    return plain.dtype.str, dump(list(plain.shape)), packer.compress(plain.tobytes())


def _smallest(array: NDArray[Any]) -> NDArray[Any]:
    """Return integers in the smallest type that holds them all: less to read, and to ship."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    types = (np.uint8, np.uint16, np.uint32) if array.min() >= 0 else (np.int16, np.int32)
    most, least = int(array.max()), int(array.min())
    for kind in types:
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            return array.astype(kind)
    return array


def _label_rows(
    labels: Mapping[FeatureId, Iterable[Label]], packer: zstandard.ZstdCompressor
) -> list[tuple[str, int, bytes]]:
    """Return one line for each dictionary and layer: its features' labels as packed JSON."""
    found: dict[tuple[str, int], dict[str, list[Any]]] = {}
    for feature in sorted(labels, key=lambda f: (f.digest, f.layer, f.unit)):
        rows = [
            [one.text, one.method, one.source, one.score, one.scored_by, dict(one.detail or {})]
            for one in labels[feature]
        ]
        if rows:
            found.setdefault((feature.digest, feature.layer), {})[str(feature.unit)] = rows
    return [(*place, packer.compress(dump(rows).encode())) for place, rows in found.items()]


class EvidenceFile:
    """Read a file; nothing in it is changed. Close it, or use it as a context manager.

    Attributes:
        meta: Plain values by key.
        cards: The card of each dictionary as JSON, by digest and layer.

    Raises:
        EvidenceMissing: There is none, or it is not one of ours.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path /= NAME
        if not self.path.is_file():
            raise EvidenceMissing(
                f"No evidence has been collected in {self.path.parent}.",
                hint="Collect it from a corpus: circuitscope collect --model … --dictionary …",
            )
        address = f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        self._cache: dict[tuple[Any, ...], NDArray[Any]] = {}
        self._labels: dict[tuple[str, int], dict[int, list[Label]]] = {}
        try:
            self._check()
            self.meta: dict[str, Any] = {
                key: json.loads(value)
                for key, value in self._connection.execute("SELECT key, value FROM meta")
            }
            self.cards: Mapping[tuple[str, int], dict[str, Any]] = {
                (str(digest), int(layer)): json.loads(card)
                for digest, layer, card in self._connection.execute(
                    "SELECT digest, layer, card FROM dictionary ORDER BY digest, layer"
                )
            }
        except (sqlite3.DatabaseError, ValueError) as error:
            self.close()
            raise _foreign(self.path) from error

    def _check(self) -> None:
        ask = self._connection.execute
        ask("PRAGMA trusted_schema = OFF")
        found = {sql for (sql,) in ask("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
        ids = ask("PRAGMA application_id").fetchone()[0], ask("PRAGMA user_version").fetchone()[0]
        wanted = {1: set(_TABLES), VERSION: {*_TABLES, _PAGES}}.get(ids[1])
        if ids[0] != APPLICATION_ID or found != wanted:
            raise ValueError("not ours")
        self._has_pages = ids[1] == VERSION

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def has(self, digest: str, layer: int) -> bool:
        """Say whether a dictionary was collected."""
        return (digest, layer) in self.cards

    def array(self, digest: str, layer: int, name: str) -> NDArray[Any]:
        """Return an array that is stored whole.

        Raises:
            EvidenceMissing: There is no such array.
        """
        key = (digest, layer, name)
        if key not in self._cache:
            row = self._connection.execute(
                "SELECT dtype, shape, data FROM array WHERE digest = ? AND layer = ? AND name = ?",
                key,
            ).fetchone()
            if row is None:
                raise EvidenceMissing(f"{self.path} holds no {name} of that dictionary.")
            self._cache[key] = self._unpack(*row)
        return self._cache[key]

    def block(self, feature: FeatureId) -> dict[str, NDArray[Any]]:
        """Return the arrays of the block of examples that a feature is in; empty where none."""
        rows = self._connection.execute(
            "SELECT name, first, dtype, shape, data FROM array WHERE digest = ? AND layer = ?"
            " AND name LIKE 'page/%' AND first <= ? AND last >= ?",
            (feature.digest, feature.layer, feature.unit, feature.unit),
        )
        found = {}
        for name, first, *packed in rows:
            key = (feature.digest, feature.layer, name, first)
            if key not in self._cache:
                self._cache[key] = self._unpack(*packed)
            found[name.removeprefix("page/")] = self._cache[key]
        return found

    def page(self, feature: FeatureId) -> FeaturePage | None:
        """Return what others published of a feature, without labels; None where nothing."""
        if not self._has_pages:
            return None
        row = self._connection.execute(
            "SELECT data FROM page WHERE digest = ? AND layer = ? AND unit = ?",
            (feature.digest, feature.layer, feature.unit),
        ).fetchone()
        if row is None:
            return None
        try:
            plain = zstandard.ZstdDecompressor().decompress(row[0], max_output_size=_MOST_LABELS)
            return FeaturePage.from_json(json.loads(plain.decode("utf-8", "surrogatepass")))
        except (zstandard.ZstdError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _foreign(self.path) from error

    def all_pages(self) -> dict[FeatureId, bytes]:
        """Return what others published of features, as `packed_page` makes it."""
        if not self._has_pages:
            return {}
        rows = self._connection.execute("SELECT digest, layer, unit, data FROM page")
        return {FeatureId(str(d), int(n), int(u)): bytes(data) for d, n, u, data in rows}

    def imported_units(self, digest: str, layer: int) -> list[int]:
        """Return the features that have a page by others, ascending."""
        if not self._has_pages:
            return []
        rows = self._connection.execute(
            "SELECT unit FROM page WHERE digest = ? AND layer = ? ORDER BY unit", (digest, layer)
        )
        return [int(unit) for (unit,) in rows]

    def _unpack(self, dtype: str, shape: str, data: bytes) -> NDArray[Any]:
        size = tuple(int(n) for n in json.loads(shape))
        n_bytes = math.prod(size) * np.dtype(dtype).itemsize if dtype in _DTYPES else -1
        if not 0 <= n_bytes <= _MOST_BYTES:
            raise _foreign(self.path)
        try:
            plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(n_bytes, 1))
            return np.frombuffer(plain, dtype).reshape(size)
        except (zstandard.ZstdError, ValueError) as error:
            raise _foreign(self.path) from error

    def tokens(self) -> dict[int, str]:
        """Return the texts of token ids."""
        return dict(self._connection.execute("SELECT id, text FROM token"))

    def labels(self, feature: FeatureId) -> tuple[Label, ...]:
        """Return what machines and imports call a feature."""
        return tuple(self._labels_of(feature.digest, feature.layer).get(feature.unit, ()))

    def all_labels(self) -> dict[FeatureId, list[Label]]:
        """Return the labels of all features."""
        return {
            FeatureId(digest, layer, unit): labels
            for digest, layer in self.cards
            for unit, labels in self._labels_of(digest, layer).items()
        }

    def _labels_of(self, digest: str, layer: int) -> dict[int, list[Label]]:
        if (digest, layer) not in self._labels:
            self._labels[digest, layer] = self._read_labels(digest, layer)
        return self._labels[digest, layer]

    def _read_labels(self, digest: str, layer: int) -> dict[int, list[Label]]:
        row = self._connection.execute(
            "SELECT data FROM label WHERE digest = ? AND layer = ?", (digest, layer)
        ).fetchone()
        if row is None:
            return {}
        try:
            plain = zstandard.ZstdDecompressor().decompress(row[0], max_output_size=_MOST_LABELS)
            return {
                int(unit): [_label(one) for one in rows] for unit, rows in json.loads(plain).items()
            }
        except (zstandard.ZstdError, ValueError, TypeError, AttributeError) as error:
            raise _foreign(self.path) from error

    def unpacked(self, item: PackedArray) -> NDArray[Any]:
        """Return the numbers of an array of `contents`."""
        return self._unpack(*item.array) if isinstance(item.array, tuple) else item.array

    def contents(self) -> Contents:
        """Return everything, to write a changed file."""
        arrays = [
            PackedArray(digest, layer, name, (dtype, shape, data), first, last)
            for digest, layer, name, first, last, dtype, shape, data in self._connection.execute(
                "SELECT digest, layer, name, first, last, dtype, shape, data FROM array"
            )
        ]
        return Contents(
            dict(self.meta), dict(self.cards), arrays, self.tokens(), self.all_labels(),
            self.all_pages(),
        )  # fmt: skip


def _label(row: Any) -> Label:
    text, method, source, score, scored_by, detail = row
    kind: Source = "machine" if source == "machine" else "imported"
    return Label(text, method, kind, score, scored_by, detail=detail or None)


def _foreign(path: Path) -> EvidenceMissing:
    return EvidenceMissing(
        f"{path} is damaged, or was not made by this version of CircuitScope.",
        kept="Nothing was changed.",
        hint="Collect the evidence again, or get the file anew.",
    )


def stamps(folder: Path | str) -> list[tuple[str, int, int]]:
    """Return path, time and size of the evidence files that `find` would look into."""
    start = Path(folder).absolute()
    found = []
    for place in (start, *start.parents[:3]):
        with suppress(OSError):
            stat = (place / NAME).stat()
            found.append((str(place / NAME), stat.st_mtime_ns, stat.st_size))
    return found


def find(folder: Path | str, digest: str, layer: int) -> EvidenceFile | None:
    """Open the evidence of a dictionary: in its folder or one of the three above it."""
    start = Path(folder).absolute()
    for place in (start, *start.parents[:3]):
        if not (place / NAME).is_file():
            continue
        try:
            file = EvidenceFile(place / NAME)
        except EvidenceMissing:
            continue
        if file.has(digest, layer):
            return file
        file.close()
    return None
