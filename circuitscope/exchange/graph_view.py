"""The saved view of attribution-graph JSON (`qParams`) as pins, groups and labels, and back.

Pins are node ids, in a list or one comma-separated text; older files name `jsNodeId`s. Groups are
lists of a label and member ids. Labels come in three dialects: by bare feature number (every
position of that feature), by "{layer}_{feature}_{position}", and with a robot sign in front.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import GROUP_COLORS, RowKey, Rows
from circuitscope.exchange import positions
from circuitscope.graph.view import find_node, rows_of

if TYPE_CHECKING:
    from circuitscope.exchange.graph_reading import GraphParts

_ROBOT: Final = "🤖"


def rows_of_view(saved: Any, parts: "GraphParts") -> Rows:
    """Return the rows of a saved view; what names missing nodes is counted in `parts.counts`."""
    saved = saved if isinstance(saved, dict) else {}
    rows: Rows = {}
    for name in listed(saved.get("pinnedIds")):
        index = parts.find(str(name))
        if index is None:
            parts.counts["{n} pin{s} named missing nodes and {was} left out."] += 1
        else:
            rows[RowKey("", "pin", str(parts.keys[index]))] = {}
    groups = [g for g in listed(saved.get("supernodes")) if isinstance(g, list) and len(g) > 1]
    number = 0
    for label, *members in groups:
        found = [parts.find(str(member)) for member in members]
        parts.counts["{n} group member{s} named missing nodes and {was} left out."] += sum(
            index is None for index in found
        )
        keys = [RowKey("", "member", str(parts.keys[i])) for i in found if i is not None]
        parts.counts["{n} node{s} in two groups stayed in the first."] += sum(
            key in rows for key in keys
        )
        fresh = [key for key in keys if key not in rows]
        if fresh:
            group = f"imported-{number + 1:03d}"
            color = GROUP_COLORS[number % len(GROUP_COLORS)]
            rows[RowKey("", "group", group)] = {"label": str(label), "color": color, "open": False}
            rows.update({key: {"group": group} for key in fresh})
            number += 1
    rows.update(_labels(listed(saved.get("clerps")), parts))
    rows.update(_places(saved.get("sg_pos"), rows, parts))
    threshold = saved.get("pruningThreshold")
    if isinstance(threshold, str):
        threshold = _number(threshold)
    if isinstance(threshold, int | float) and 0 < threshold <= 1:
        rows[RowKey("", "view", "link_graph")] = {"node_threshold": float(threshold)}
    return rows


def saved_view(
    circuit: Circuit, rows: Rows, ids: list[str], features: Sequence[Any]
) -> dict[str, Any]:
    """Return the `qParams` of a drawing; labels of groups are made unique in the file only.

    Args:
        circuit: The evidence.
        rows: The drawing's rows.
        ids: The file's id of every node.
        features: The file's feature number of every node.
    """

    def indices(names: Iterable[str]) -> list[int]:
        return [i for i in (find_node(circuit, name) for name in names) if i is not None]

    members: dict[str, list[int]] = defaultdict(list)
    for name, row in rows_of(rows, "member"):
        members[str(row.get("group"))] += indices([name])
    pinned = indices(name for name, _ in rows_of(rows, "pin"))
    grouped = [i for found in members.values() for i in found]
    supernodes, used = [], set()
    for group, row in rows_of(rows, "group"):
        if not members[group]:
            continue
        label = base = str(row.get("label", "")) or "group"
        number = 2
        while label in used:
            label, number = f"{base} ({number})", number + 1
        used.add(label)
        supernodes.append([label, *(ids[i] for i in members[group])])
    drawn: list[tuple[str, list[int]]] = [
        (str(circuit.nodes.key(i)), [i]) for i in dict.fromkeys(pinned) if i not in grouped
    ]
    drawn += [(group, members[group]) for group, _ in rows_of(rows, "group") if members[group]]
    return {
        "linkType": "both",
        "pinnedIds": [ids[i] for i in dict.fromkeys(pinned + grouped)],
        "clickedId": "",
        "supernodes": supernodes,
        "sg_pos": positions.written(drawn, features, rows),
        "clerps": label_entries(circuit, rows, ids),
    }


def label_entries(circuit: Circuit, rows: Rows, ids: list[str]) -> list[list[str]]:
    """Return the labels among rows as the file has them: id and text."""
    found = [(find_node(circuit, name), row) for name, row in rows_of(rows, "label")]
    return [[ids[i], str(row.get("text", ""))] for i, row in found if i is not None]


def listed(value: Any) -> list[Any]:
    """Read a list that some files write as JSON text, or as one comma-separated text."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not value.strip():
        return []
    if value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except ValueError:
            return []
        return found if isinstance(found, list) else []
    return [part.strip() for part in value.split(",") if part.strip()]


def _places(text: Any, rows: Rows, parts: "GraphParts") -> Rows:
    """Return places from `sg_pos`, which has one pair for each pinned node and each group."""
    if not isinstance(text, str) or not text.strip():
        return {}
    index = {str(key): i for i, key in enumerate(parts.keys)}
    members: dict[str, list[int]] = defaultdict(list)
    for key, row in rows.items():
        if key.kind == "member" and row is not None:
            members[row["group"]].append(index[key.id])
    inside = {i for found in members.values() for i in found}
    drawn = [
        (key.id, [index[key.id]]) for key in sorted(rows, key=lambda key: index.get(key.id, -1))
        if key.kind == "pin" and index[key.id] not in inside
    ]  # fmt: skip
    drawn += [(key.id, members[key.id]) for key in rows if key.kind == "group"]
    places = positions.read(text, drawn, [node.get("feature") for node in parts.nodes])
    if places is None:
        parts.counts["The saved places do not fit the {n} thing{s} pinned and {was} left out."] += (
            len(drawn)
        )
        return {}
    return {RowKey("", "place", name): {"x": x, "y": y} for name, (x, y) in places.items()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _labels(pairs: list[Any], parts: "GraphParts") -> Rows:
    if not pairs:
        return {}
    exact, loose = _names(parts)
    rows: Rows = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
            parts.counts["{n} label{s} could not be read and {was} left out."] += 1
            continue
        name = str(pair[0]).removeprefix(_ROBOT).strip()
        found = exact.get(name) or loose.get(name)
        if not found:
            parts.counts["{n} label{s} named missing nodes and {was} left out."] += 1
            continue
        for index in found:
            key = RowKey("", "label", str(parts.keys[index]))
            rows[key] = {"text": pair[1], "source": "imported"}
    return rows


def _names(parts: "GraphParts") -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return nodes by names of one position, and by names that every position shares."""
    exact: dict[str, list[int]] = {name: found for name, found in parts.by_id.items() if name}
    loose: dict[str, list[int]] = defaultdict(list)
    for index, (key, node) in enumerate(zip(parts.keys, parts.nodes, strict=True)):
        layer, feature, position = (node.get(k) for k in ("layer", "feature", "ctx_idx"))
        exact.setdefault(f"{layer}_{feature}_{position}", [index])
        shared = {f"{layer}_{feature}", f"{key.layer}_{key.unit}"}
        shared.add(str(node.get("jsNodeId", "")))
        if isinstance(feature, int | str) and feature != -1:
            shared.add(str(feature))
        for name in shared:
            loose[name].append(index)
    return exact, loose
