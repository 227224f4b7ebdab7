"""Write an imported graph back without losing what we did not understand.

An imported graph that nobody edited is its original bytes. After an edit the original tree is kept
as it is and only what changed is changed: pins, groups, single labels. What the dialect has no
place for, and where the file came from, goes under the one key "circuitscope".
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ExchangeError
from circuitscope.core.progress import silent
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.graph_file import read_graph_file
from circuitscope.exchange.graph_reading import read_graph, read_nodes
from circuitscope.exchange.graph_view import label_entries, listed, saved_view
from circuitscope.exchange.graph_writing import OURS, restore
from circuitscope.graph.view import find_node

EDITED: Final = 2
"""The version of our part in a file that keeps another program's tree."""


def with_original(circuit: Circuit, rows: Rows, original: bytes, name: str) -> bytes | None:
    """Return the file of an imported circuit and its drawing.

    Args:
        circuit: The evidence as it was imported.
        rows: The drawing as it is now.
        original: The bytes that it was imported from.
        name: The original's file name.

    Returns:
        The new file's bytes; None where the original is not what this circuit came from.
    """
    try:
        graph = read_graph_file(BytesIO(original), name, silent())
        own = restore(graph)
        found = own if own is not None else read_graph(graph, Path(name), silent())[:2]
    except ExchangeError:
        return None
    if found[0].digest != circuit.digest:
        return None
    now, before = _plain(rows), _plain(edited_rows(graph.data) or found[1])
    if now == before:
        return original
    if own is not None:
        return None
    data = read_graph_file(BytesIO(original), name, silent(), as_tree=True).data
    _change(data, circuit, before, now)
    data[OURS] = {
        "version": EDITED,
        "digest": circuit.digest,
        "original": graph.digest,
        "provenance": json.loads(circuit.provenance.without_folders().to_json()),
        "qParams": data["qParams"],
        "rows": [
            [key.kind, key.id, dict(row)] for key, row in sorted(now.items()) if row is not None
        ],
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def edited_rows(data: dict[str, Any]) -> Rows | None:
    """Return the rows that `with_original` put into a file, where nobody changed its view since."""
    ours = data.get(OURS)
    if not isinstance(ours, dict) or ours.get("version") != EDITED:
        return None
    if ours.get("qParams") != data.get("qParams"):
        return None
    try:
        return {RowKey("", str(kind), str(name)): dict(row) for kind, name, row in ours["rows"]}
    except (KeyError, TypeError, ValueError):
        return None


def _plain(rows: Rows) -> Rows:
    return {RowKey("", key.kind, key.id): row for key, row in rows.items() if row is not None}


def _kinds(rows: Rows, *kinds: str) -> Rows:
    return {key: row for key, row in rows.items() if key.kind in kinds}


def _change(data: dict[str, Any], circuit: Circuit, before: Rows, now: Rows) -> None:
    """Change the saved view of a parsed file where the drawing has changed."""
    records = read_nodes(data["nodes"], silent()).nodes
    ids = [
        str(node.get("node_id") or node.get("nodeId") or node.get("jsNodeId")) for node in records
    ]
    features = [node.get("feature") for node in records]
    view = data["qParams"] if isinstance(data.get("qParams"), dict) else {}
    fresh = saved_view(circuit, now, ids, features)
    drawn = ("pin", "group", "member")
    if _kinds(before, *drawn) != _kinds(now, *drawn):
        view = {**view, "pinnedIds": fresh["pinnedIds"], "supernodes": fresh["supernodes"]}
    if _kinds(before, "place", *drawn) != _kinds(now, "place", *drawn):
        view = {**view, "sg_pos": fresh["sg_pos"]}
    changed = {
        key for key in _kinds(before, "label") | _kinds(now, "label")
        if before.get(key) != now.get(key)
    }  # fmt: skip
    if changed:
        gone = {index for key in changed if (index := find_node(circuit, key.id)) is not None}
        names = {ids[index] for index in gone}
        kept = [pair for pair in listed(view.get("clerps")) if not _is_about(pair, names)]
        mine = label_entries(circuit, {key: now.get(key) for key in changed}, ids)
        view = {**view, "clerps": kept + mine}
    data["qParams"] = view


def _is_about(pair: Any, names: set[str]) -> bool:
    return isinstance(pair, list) and bool(pair) and str(pair[0]) in names
