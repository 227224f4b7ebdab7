"""Findings as rows: written once, checked whenever they are read.

Arrays go to table `array`, one blob each; texts that many findings share (models, dictionary
cards, prompts) are stored once, under the sha256 of their content, which is compared on
reading. Labels are a blob of UTF-8 JSON. What is read back is compared with digests and then
with the rules of a circuit, because a hostile file can carry right digests over wrong numbers.
"""

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import (
    CIRCUIT_COLUMNS,
    EDGE_COLUMNS,
    NODE_COLUMNS,
    Circuit,
    EdgeTable,
    Finding,
    NodeTable,
    Route,
)  # fmt: skip
from circuitscope.core.finding import Curves, Grid, Provenance, Ranking
from circuitscope.core.keys import NodeKind
from circuitscope.project.arrays import Blob, claimed, damaged, pack, unpack
from circuitscope.project.history import now, storable
from circuitscope.project.texts import dump, fitting, parse, text_digest

KINDS: Final[dict[type, str]] = {
    Circuit: "circuit", Grid: "grid", Ranking: "ranking", Curves: "curves"
}  # fmt: skip
MAX_FINDING: Final = 2**30
"""Most bytes that the arrays of one finding unpack to, all together."""


@dataclass(frozen=True, slots=True)
class FindingInfo:
    """What a list of findings shows, without reading any array.

    Attributes:
        id: Never changes; names do.
        kind: "circuit", "grid", "ranking" or "curves".
        name: Unique within the project.
        prompt: As the user wrote it.
        method: As in its provenance.
        n_nodes: Of a circuit, else 0.
        n_edges: Of a circuit, else 0.
        added: ISO 8601 time in UTC.
        digest: `Circuit.digest`, or sha256 over another finding's arrays.
        remarks: What its provenance says a reader must see.
    """

    id: str
    kind: str
    name: str
    prompt: str
    method: str
    n_nodes: int
    n_edges: int
    added: str
    digest: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packed:
    """A finding ready to be written; made without touching the database."""

    kind: str
    digest: str
    summary: dict[str, Any]
    provenance: Provenance
    blobs: tuple[Blob, ...]
    prompt: tuple[str, str, str, str] | None


def pack_finding(finding: Finding) -> Packed:
    """Compress a finding; may run on any thread, before the short transaction that writes it."""
    kind = KINDS[type(finding)]
    if isinstance(finding, Circuit):
        arrays = _circuit_arrays(finding)
        texts: dict[str, Any] = {"labels": list(finding.labels)} if any(finding.labels) else {}
        prompt = _prompt_row(finding.prompt, finding.tokens, finding.token_ids)
        digest = finding.digest
    else:
        arrays, texts = _other_parts(finding)
        prompt = None
        digest = ""
    blobs = [pack(name, array) for name, array in arrays.items()]
    blobs += [pack(name, _as_bytes(value)) for name, value in texts.items()]
    summary = summary_of(finding)
    digest = digest or text_digest(*(blob.digest for blob in blobs))
    return Packed(kind, digest, summary, finding.provenance, tuple(blobs), prompt)


def summary_of(finding: Finding) -> dict[str, Any]:
    """Return what the list of results says of one."""
    found: dict[str, Any] = {
        "method": finding.provenance.method,
        "prompt": storable(str(finding.provenance.settings.get("prompt", ""))),
        "remarks": list(finding.provenance.remarks),
    }
    if isinstance(finding, Circuit):
        found["prompt"] = storable(finding.prompt)
        found |= {"n_nodes": len(finding.nodes), "n_edges": len(finding.edges)}
    return found


def _circuit_arrays(circuit: Circuit) -> dict[str, NDArray]:
    arrays: dict[str, NDArray] = {}
    for prefix, table, columns in (
        ("nodes/", circuit.nodes, NODE_COLUMNS),
        ("edges/", circuit.edges, EDGE_COLUMNS),
        ("", circuit, CIRCUIT_COLUMNS),
    ):
        arrays.update({prefix + name: getattr(table, name) for name in columns})
    return arrays


def _other_parts(finding: Grid | Ranking | Curves) -> tuple[dict[str, NDArray], dict[str, Any]]:
    if isinstance(finding, Grid):
        texts: dict[str, Any] = {"axes": finding.axes, "ticks": finding.ticks}
        arrays = {"values": finding.values}
        texts |= {"texts": finding.texts, "ids": finding.ids} if finding.texts else {}
    elif isinstance(finding, Ranking):
        texts, arrays = {"names": finding.names}, {"scores": finding.scores}
    else:
        texts = {"x_name": finding.x_name, "curve_names": list(finding.curves)}
        arrays = {"x": finding.x}
        arrays |= {f"curve/{place}": curve for place, curve in enumerate(finding.curves.values())}
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}, texts


def _as_bytes(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(fitting(dump(value), "A list of names").encode(), np.uint8)


def _prompt_row(
    text: str, tokens: tuple[str, ...], token_ids: tuple[int, ...]
) -> tuple[str, str, str, str]:
    parts = storable(text), dump(list(tokens)), dump([int(token) for token in token_ids])
    return text_digest(*parts), *parts


def write_finding(connection: sqlite3.Connection, packed: Packed, name: str) -> str:
    """Write a finding in the running transaction and return its new id."""
    finding_id = uuid.uuid4().hex
    provenance = dump(asdict(packed.provenance))
    model_id = _write_card(connection, "model", packed.provenance.model)
    for card in packed.provenance.dictionaries:
        _write_card(connection, "dictionary", card)
    if packed.prompt is not None:
        connection.execute(
            "INSERT OR IGNORE INTO prompt (id, text, tokens, token_ids) VALUES (?, ?, ?, ?)",
            packed.prompt,
        )
    connection.execute(
        "INSERT INTO finding (id, kind, name, added, prompt_id, model_id, digest, summary,"
        " provenance_digest, provenance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            finding_id, packed.kind, storable(name), now(),
            packed.prompt[0] if packed.prompt else None, model_id, packed.digest,
            dump(packed.summary), text_digest(provenance), provenance,
        ],
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO array (owner, name, dtype, shape, codec, digest, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (finding_id, blob.name, blob.dtype, blob.shape, blob.codec, blob.digest, blob.data)
            for blob in packed.blobs
        ],
    )
    return finding_id


def _write_card(connection: sqlite3.Connection, table: str, card: Mapping[str, Any]) -> str | None:
    if not card:
        return None
    text = dump(dict(card))
    card_id = text_digest(text)
    connection.execute(
        f"INSERT OR IGNORE INTO {table} (id, name, card) VALUES (?, ?, ?)",
        [card_id, storable(str(card.get("name", ""))), text],
    )
    return card_id


def read_infos(connection: sqlite3.Connection) -> list[FindingInfo]:
    """Return all findings in order of adding, with the names they were added under."""
    found = connection.execute(
        "SELECT id, kind, name, added, digest, summary FROM finding ORDER BY seq"
    )
    return [_info(*row) for row in found]


def _info(
    finding_id: str, kind: str, name: str, added: str, digest: str, summary: str
) -> FindingInfo:
    try:
        data = parse(summary)
        return FindingInfo(
            finding_id, kind, name, str(data.get("prompt", "")), str(data.get("method", "")),
            int(data.get("n_nodes", 0)), int(data.get("n_edges", 0)), added, digest,
            tuple(str(remark) for remark in data.get("remarks", ())),
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, RecursionError):
        # Only a list shows these; the evidence itself is checked when it is read.
        return FindingInfo(finding_id, kind, name, "", "", 0, 0, added, digest)


def read_finding(connection: sqlite3.Connection, finding_id: str) -> Finding:
    """Read a finding and check all of it.

    Raises:
        DamagedProject: Something does not match its digest, is missing or makes no sense.
    """
    found = connection.execute(
        "SELECT kind, prompt_id, digest, provenance_digest, provenance FROM finding WHERE id = ?",
        [finding_id],
    ).fetchone()
    if found is None:
        raise damaged(finding_id, "has no entry")
    kind, prompt_id, whole, digest, text = found
    if text_digest(text) != digest:
        raise damaged("provenance", "does not match its digest")
    read = _READERS.get(kind)
    if read is None:
        raise damaged(finding_id, f"is of the unknown kind {kind!r}")
    parts = _Parts(connection, finding_id, prompt_id)
    try:
        parse(text)
        finding = read(parts, Provenance.from_json(text))
        # Each array has a digest of its own; this one sees arrays that changed places.
        if (finding.digest if isinstance(finding, Circuit) else parts.digest()) != whole:
            raise damaged(finding_id, "is not the one that was stored")
        return finding  # noqa: TRY300 - the last step can fail like the others
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise damaged(finding_id, f"makes no sense ({error})") from error


class _Parts:
    """The stored pieces of one finding."""

    def __init__(self, connection: sqlite3.Connection, owner: str, prompt_id: str | None) -> None:
        self._connection = connection
        self._prompt_id = prompt_id
        found = connection.execute(
            "SELECT name, dtype, shape, codec, digest, data FROM array WHERE owner = ?"
            " ORDER BY seq",
            [owner],
        )
        self.blobs = {row[0]: Blob(*row) for row in found}
        size = sum(claimed(blob) for blob in self.blobs.values())
        if size > MAX_FINDING:
            raise damaged(owner, f"claims {size} bytes, more than the {MAX_FINDING} allowed")

    def digest(self) -> str:
        """Return the digest of them all, in the order they were written."""
        return text_digest(*(blob.digest for blob in self.blobs.values()))

    def array(self, name: str, dtype: type | None = None) -> NDArray:
        """Return a checked array of one axis, or of any number where dtype is None."""
        if name not in self.blobs:
            raise damaged(name, "is missing")
        array = unpack(self.blobs[name])
        if dtype is not None and (array.dtype != np.dtype(dtype) or array.ndim != 1):
            raise damaged(name, f"is {array.dtype} {list(array.shape)}")
        return array

    def json(self, name: str) -> Any:
        """Return a checked JSON value."""
        return parse(self.array(name, np.uint8).tobytes())

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a checked list of texts."""
        return _all_of(str, name, self.json(name))

    def prompt(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return tokens and token ids."""
        found = self._connection.execute(
            "SELECT text, tokens, token_ids FROM prompt WHERE id = ?", [self._prompt_id]
        ).fetchone()
        if found is None or text_digest(*found) != self._prompt_id:
            raise damaged("prompt", "does not match its digest")
        tokens, token_ids = parse(found[1]), parse(found[2])
        return _all_of(str, "tokens", tokens), _all_of(int, "token_ids", token_ids)


def _all_of(kind: type, name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise damaged(name, f"is not a list of {kind.__name__}")
    return tuple(values)


def _read_circuit(parts: _Parts, provenance: Provenance) -> Circuit:
    columns = {
        prefix: {name: parts.array(prefix + name, dtype) for name, dtype in table.items()}
        for prefix, table in (
            ("nodes/", NODE_COLUMNS), ("edges/", EDGE_COLUMNS), ("", CIRCUIT_COLUMNS)
        )
    }  # fmt: skip
    nodes, edges, others = columns["nodes/"], columns["edges/"], columns[""]
    n = len(nodes["kind"])
    _same_length("nodes", n, nodes)
    _same_length("edges", len(edges["source"]), edges)
    per_node = {name: array for name, array in others.items() if not name.startswith("root")}
    _same_length("nodes", n, per_node)
    _same_length("roots", len(others["roots"]), {"root_weights": others["root_weights"]})
    for name, ids in (("source", edges["source"]), ("target", edges["target"]),
                      ("roots", others["roots"])):  # fmt: skip
        if len(ids) and not (ids.min() >= 0 and ids.max() < n):
            raise damaged(name, f"points beyond the {n} nodes")
    for name, codes, enum in (("kind", nodes["kind"], NodeKind), ("site", nodes["site"], Site),
                              ("route", edges["route"], Route)):  # fmt: skip
        if not np.isin(codes, [int(code) for code in enum]).all():
            raise damaged(name, "holds codes that are not known here")
    tokens, token_ids = parts.prompt()
    labels = parts.texts("labels") if "labels" in parts.blobs else ()
    if labels and len(labels) != n:
        raise damaged("labels", f"has {len(labels)} entries for {n} nodes")
    return Circuit(
        tokens, token_ids, NodeTable(**nodes), EdgeTable(**edges),
        provenance=provenance, labels=labels, **others,
    )  # fmt: skip


def _same_length(what: str, n: int, arrays: Mapping[str, NDArray]) -> None:
    for name, array in arrays.items():
        if len(array) != n:
            raise damaged(name, f"has {len(array)} entries for {n} {what}")


def _read_grid(parts: _Parts, provenance: Provenance) -> Grid:
    axes, values = parts.texts("axes"), parts.array("values")
    ticks = tuple(_all_of(str, "ticks", row) for row in parts.json("ticks"))
    if values.ndim != len(axes) or tuple(len(row) for row in ticks) != values.shape:
        raise damaged("values", f"has shape {list(values.shape)}, which its axes do not name")
    if "texts" not in parts.blobs:
        return Grid(axes, ticks, values, provenance)
    texts, ids = parts.texts("texts"), _all_of(int, "ids", parts.json("ids"))
    for name, listed in (("texts", texts), ("ids", ids)):
        if len(listed) != values.size:
            raise damaged(name, f"has {len(listed)} entries for {values.size} values")
    return Grid(axes, ticks, values, provenance, texts, ids)


def _read_ranking(parts: _Parts, provenance: Provenance) -> Ranking:
    names, scores = parts.texts("names"), parts.array("scores", np.float32)
    _same_length("names", len(names), {"scores": scores})
    return Ranking(names, scores, provenance)


def _read_curves(parts: _Parts, provenance: Provenance) -> Curves:
    x = parts.array("x", np.float32)
    curves = {
        name: parts.array(f"curve/{place}", np.float32)
        for place, name in enumerate(parts.texts("curve_names"))
    }
    _same_length("points", len(x), curves)
    x_name = parts.json("x_name")
    if not isinstance(x_name, str):
        raise damaged("x_name", "is not text")
    return Curves(x_name, x, curves, provenance)


_READERS: Final[dict[str, Callable[[_Parts, Provenance], Finding]]] = {
    "circuit": _read_circuit, "grid": _read_grid, "ranking": _read_ranking, "curves": _read_curves,
}  # fmt: skip
