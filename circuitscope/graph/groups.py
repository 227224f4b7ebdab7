"""Fold the pinned and grouped part of a circuit into boxes, and sum the edges between them.

1. Nodes that are pinned or grouped, and visible, take part; all else stays outside.
2. A closed group is one box, with the groups inside it; every other node is a box of its own.
3. The weight of an edge between two boxes is the sum over all edges from members to members.
4. Its share is that weight / sum of |weights into the target box from outside it|, over *all*
   sources of the circuit, constants, errors and hidden nodes included. For a single node it equals
   `core.circuit.Edge.share`.

What runs through nodes outside the boxes is not counted: the shares into a box add up to less
than one by exactly that much.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.nesting import box_of, parents_of
from circuitscope.core.rows import Rows
from circuitscope.graph.influence import is_relevance, signed_shares, stages
from circuitscope.graph.looks import looks_of
from circuitscope.graph.view import find_node, rows_of


@dataclass(frozen=True, eq=False)
class Box:
    """One node, or one closed group of nodes.

    Attributes:
        id: Node key text, or the group's id.
        members: Node indices, int64 [k], ascending.
        label: What it is called; label_source: "person", "machine", "imported" or "automatic".
        color: The group's colour name, "" outside groups; also set for members of open groups. A
            node's own goes before its group's.
        is_group: Whether it stands for a group, even of one node.
        kind: Kind of its members, None where they differ; site: of the first member.
        layers: Lowest and highest layer; position: mean token position, NaN where none has one.
        stage: Mean place in the order of computation, for the layered layout.
        place: x and y of its top left corner where the user put it, in points.
        shape: Name of the shape that the user gave to the node, "" for none.
    """

    id: str
    members: NDArray[np.int64]
    label: str
    label_source: str
    color: str
    is_group: bool
    kind: NodeKind | None
    site: Site
    layers: tuple[int, int]
    position: float
    stage: float
    place: tuple[float, float] | None = None
    shape: str = ""


@dataclass(frozen=True, eq=False)
class Subgraph:
    """Boxes and the summed edges between them.

    Attributes:
        boxes: In the order of computation, then of position, then of id.
        source: Box index of each edge, int32 [m]; target: likewise.
        weight: Sum of the members' edges, float32 [m].
        share: weight / sum of |inputs of the target box|, float32 [m].
        count: How many edges were summed, int32 [m].
    """

    boxes: tuple[Box, ...]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    share: NDArray[np.float32]
    count: NDArray[np.int32]

    def find(self, name: str) -> int | None:
        """Return the index of a box by id; None where there is none."""
        return next((i for i, box in enumerate(self.boxes) if box.id == name), None)


def fold(
    circuit: Circuit,
    rows: Rows,
    visible: NDArray[np.bool_],
    *,
    opened: frozenset[str] = frozenset(),
) -> Subgraph:
    """Fold a drawing's groups.

    Args:
        circuit: The evidence.
        rows: The drawing's rows; group, member, pin, label and place are read.
        visible: Nodes that may take part, bool [n].
        opened: Groups shown as their members, besides those whose row says `open`.

    Returns:
        Boxes and edges; empty where nothing is pinned or grouped.
    """
    groups = dict(rows_of(rows, "group"))
    membership: dict[int, str] = {}
    for name, row in rows_of(rows, "member"):
        index = find_node(circuit, name)
        if index is not None and row.get("group") in groups and visible[index]:
            membership[index] = str(row["group"])
    pinned = {find_node(circuit, name) for name, _ in rows_of(rows, "pin")}
    alone = {i for i in pinned if i is not None and visible[i] and i not in membership}

    parents = parents_of(groups)
    unfolded = opened | {name for name, row in groups.items() if row.get("open")}
    folded: dict[str, list[int]] = {}
    for index, group in sorted(membership.items()):
        if box := box_of(group, parents, unfolded):
            folded.setdefault(box, []).append(index)
        else:
            alone.add(index)
    parts = sorted(folded.items())
    parts += [(str(circuit.nodes.key(i)), [i]) for i in sorted(alone)]
    boxes = _boxes(circuit, rows, parts, membership)
    return Subgraph(boxes, *_summed(circuit, boxes))


def fold_nodes(circuit: Circuit, rows: Rows, chosen: NDArray[np.bool_]) -> Subgraph:
    """Make one box of every chosen node, groups ignored: a first diagram of an undrawn circuit."""
    parts = [(str(circuit.nodes.key(int(i))), [int(i)]) for i in np.flatnonzero(chosen)]
    boxes = _boxes(circuit, rows, parts, {})
    return Subgraph(boxes, *_summed(circuit, boxes))


def unfold(circuit: Circuit, rows: Rows, visible: NDArray[np.bool_], group: str) -> Subgraph:
    """Fold all groups but one, whose members stand on their own with their own edges."""
    return fold(circuit, rows, visible, opened=frozenset([group]))


def name_of(circuit: Circuit, index: int, labels: dict[str, str] | None = None) -> tuple[str, str]:
    """Return what a node is called and who says so.

    Args:
        circuit: The evidence.
        index: Node index.
        labels: The drawing's labels by node key text.

    Returns:
        Label and source; a node that nobody named is called by its token, layer and number.
    """
    key = circuit.nodes.key(index)
    given = (labels or {}).get(str(key), "")
    if given:
        return given, "person"
    if circuit.labels[index]:
        return circuit.labels[index], "automatic"
    if key.kind in (NodeKind.TOKEN, NodeKind.POSITION) and 0 <= key.position < len(circuit.tokens):
        token = circuit.tokens[key.position]
        return (token if key.kind is NodeKind.TOKEN else f"position {key.position}"), "automatic"
    if key.kind is NodeKind.ERROR:
        return f"unexplained L{key.layer}", "automatic"
    if key.kind is NodeKind.HEAD:
        return f"head L{key.layer}.{key.unit}", "automatic"
    if key.kind in (NodeKind.BIAS, NodeKind.LOGIT):
        return ("constant" if key.kind is NodeKind.BIAS else f"logit {key.unit}"), "automatic"
    return f"L{key.layer} #{key.unit}", "automatic"


def _boxes(
    circuit: Circuit,
    rows: Rows,
    parts: list[tuple[str, list[int]]],
    membership: dict[int, str],
) -> tuple[Box, ...]:
    groups, labels = dict(rows_of(rows, "group")), dict(rows_of(rows, "label"))
    texts = {name: str(row.get("text", "")) for name, row in labels.items()}
    places = dict(rows_of(rows, "place"))
    nodes, stage, looks = circuit.nodes, stages(circuit.nodes), looks_of(circuit, rows)
    boxes = []
    for name, members in parts:
        at = np.array(members, np.int64)
        is_group = name in groups
        if is_group:
            label = str(groups[name].get("label", "")) or "group"
            source = str(groups[name].get("source", "person"))
        else:
            label, source = name_of(circuit, members[0], texts)
            source = str(labels[name].get("source", source)) if texts.get(name) else source
        group = groups.get(name if is_group else membership.get(members[0], ""), {})
        color = str(group.get("color", ""))
        kinds = set(nodes.kind[at].tolist())
        position = [at for at in nodes.position[at].tolist() if at >= 0]
        layers = nodes.layer[at].tolist()
        spot = places.get(name)
        boxes.append(
            Box(
                name, at, label, source, (looks.color(members[0]) if not is_group else "") or color,
                is_group,
                NodeKind(kinds.pop()) if len(kinds) == 1 else None,
                Site(int(nodes.site[at[0]])), (min(layers), max(layers)),
                sum(position) / len(position) if position else float("nan"),
                float(stage[at].mean()) if len(members) > 1 else float(stage[members[0]]),
                None if spot is None else (float(spot["x"]), float(spot["y"])),
                looks.shape(members[0]) if not is_group else "",
            )
        )  # fmt: skip
    boxes.sort(key=lambda box: (box.stage, box.position if box.position >= 0 else -1.0, box.id))
    return tuple(boxes)


def _summed(circuit: Circuit, boxes: tuple[Box, ...]) -> tuple[NDArray, ...]:
    box_of = np.full(len(circuit.nodes), -1, np.int64)
    for i, box in enumerate(boxes):
        box_of[box.members] = i
    edges, k = circuit.edges, len(boxes)
    into, out_of = box_of[edges.target], box_of[edges.source]
    arrives = (into >= 0) & (into != out_of)
    size = np.abs(edges.weight.astype(np.float64))
    total = np.bincount(into[arrives], size[arrives], minlength=k)
    between = arrives & (out_of >= 0)
    pair, which = np.unique(out_of[between] * max(k, 1) + into[between], return_inverse=True)
    weight = np.bincount(which, edges.weight[between].astype(np.float64), minlength=len(pair))
    source, target = pair // max(k, 1), pair % max(k, 1)
    share = weight / np.maximum(total[target], 1e-30) if len(pair) else weight
    if is_relevance(circuit):
        weight, share = _strongest(edges.weight[between], signed_shares(circuit)[between], which)
    return (
        source.astype(np.int32), target.astype(np.int32), weight.astype(np.float32),
        share.astype(np.float32), np.bincount(which, minlength=len(pair)).astype(np.int32),
    )  # fmt: skip


def _strongest(
    weight: NDArray[np.float32], share: NDArray[np.float64], which: NDArray[np.int64]
) -> tuple[NDArray, NDArray]:
    """Return weight and share of the strongest edge of each pair: relevances do not add up."""
    order = np.lexsort((np.abs(share), which))
    last = order[np.flatnonzero(np.diff(which[order], append=-1))]
    return weight[last].astype(np.float64), share[last]
