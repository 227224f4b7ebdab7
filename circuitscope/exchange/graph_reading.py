"""Read attribution-graph JSON (Neuronpedia, circuit-tracer, Anthropic) into a circuit and rows.

1. The file is read by `exchange.graph_file`, which holds links as columns.
2. Nodes to keys (`exchange.graph_nodes`). An id may stand for two nodes: circuit-tracer gives the
   error node of layer l the same id as layer 0's feature l. They are told apart by feature_type.
3. Links to edges. Links to missing nodes and weights that are not finite are left out and counted;
   of a shared id, targets are the feature (an error has no inputs), and of two links between the
   same ids the first leaves the feature, the second the error, which is the order of the writers.
4. Influence is computed anew; the file's is a running sum over nodes that the file may lack.
5. The saved view (`qParams`) becomes pins, groups and labels.
Everything left out or changed is said in the provenance's remarks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import circuitscope
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.rows import Rows
from circuitscope.exchange import graph_nodes as names
from circuitscope.exchange.graph_file import GraphFile, Links, unreadable
from circuitscope.exchange.graph_view import rows_of_view
from circuitscope.graph.influence import influence

_MOST_POSITIONS: Final = 1_000_000
_STEP: Final = 20_000


@dataclass
class GraphParts:
    """A graph file's nodes and how to find them.

    Attributes:
        keys: One key a node, all different; nodes: the file's own records, in the same order.
        by_id: Node indices by `node_id` (two where an id is shared); by_js: by `jsNodeId`.
        counts: What was left out or changed, by sentence with {n} for the number.
    """

    keys: list[NodeKey] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    by_id: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_js: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def find(self, name: str) -> int | None:
        """Return a node by `node_id`, else by `jsNodeId`."""
        found = self.by_id.get(name)
        return found[0] if found else self.by_js.get(name)

    def remarks(self) -> tuple[str, ...]:
        """Return what was left out or changed, in full sentences."""
        return tuple(
            sentence.format(
                n=f"{n:,}".replace(",", " "), s="" if n == 1 else "s",
                was="was" if n == 1 else "were", took="is" if n == 1 else "are",
            )
            for sentence, n in self.counts.items() if n
        )  # fmt: skip


def read_graph(
    graph: GraphFile, path: Path, progress: Progress
) -> tuple[Circuit, Rows, tuple[str, ...]]:
    """Make a circuit and its rows from a parsed graph file.

    Args:
        graph: What the file holds.
        path: Where it came from, for names and messages.
        progress: Hears of nodes and links; may cancel.

    Returns:
        Circuit, rows with empty circuit_id, and the remarks that are in its provenance too.

    Raises:
        UnreadableGraph: No node of it can be read.
    """
    data = graph.data
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    parts = read_nodes(data["nodes"], progress)
    if not parts.keys:
        raise unreadable(f"{path.name} holds no nodes.", "Choose another file.")
    progress.phase("Links", len(graph.links))
    edges = _edges(graph.links, parts)
    roots, weights = _roots(parts, edges)
    tokens, token_ids = _tokens(metadata, parts)
    n = len(parts.keys)
    zeros = np.zeros(n, np.float32)
    labels = tuple(
        tokens[key.position]
        if key.kind is NodeKind.TOKEN and 0 <= key.position < len(tokens)
        else names.label_of(node, key.kind)
        for key, node in zip(parts.keys, parts.nodes, strict=True)
    )
    activation = np.array([_float32(node.get("activation")) for node in parts.nodes], np.float32)
    circuit = Circuit(
        tokens, token_ids, NodeTable.from_keys(parts.keys, activation), edges, roots, weights,
        zeros, zeros, zeros, np.zeros(n, np.bool_),
        _provenance(metadata, path), labels,
    )  # fmt: skip
    progress.phase("Influence")
    circuit = circuit.with_influence(influence(circuit))
    rows = rows_of_view(data.get("qParams"), parts)
    remarks = parts.remarks()
    circuit = replace(circuit, provenance=replace(circuit.provenance, remarks=remarks))
    return circuit, rows, remarks


def _float32(value: Any) -> float:
    number = names.finite(value)
    return number if abs(number) < 3.4e38 else 0.0


def _batches(items: list[Any], phase: str, progress: Progress) -> Iterator[list[Any]]:
    progress.phase(phase, len(items))
    for start in range(0, len(items), _STEP):
        batch = items[start : start + _STEP]
        yield batch
        progress.advance(len(batch))


def read_nodes(nodes: list[Any], progress: Progress) -> GraphParts:
    """Return a file's nodes under keys that no two share, in the order of the circuit."""
    parts = GraphParts()
    top = max(
        (names.layer_of(n) for n in nodes if _is(n, NodeKind.LOGIT, wanted=False)), default=-1
    )
    taken: set[NodeKey] = set()
    seen: set[tuple[str, str]] = set()
    for batch in _batches(nodes, "Nodes", progress):
        for node in batch:
            if not isinstance(node, dict):
                parts.counts["{n} node{s} could not be read and {was} left out."] += 1
                continue
            name = str(node.get("node_id") or node.get("nodeId") or node.get("jsNodeId") or "")
            identity = (name, str(node.get("feature_type", "")))
            if name and identity in seen:
                parts.counts["{n} node{s} repeated an id and {was} left out."] += 1
                continue
            seen.add(identity)
            key = _unused(_key(node, name, top), taken, parts)
            taken.add(key)
            index = len(parts.keys)
            parts.keys.append(key)
            parts.nodes.append(node)
            parts.by_id[name].append(index)
            parts.by_js.setdefault(str(node.get("jsNodeId", "")), index)
    shared = sum(len(found) > 1 for found in parts.by_id.values())
    parts.counts["{n} id{s} stood for two nodes and {was} told apart by type."] += shared
    opaque = sum(key.kind is NodeKind.OPAQUE for key in parts.keys)
    parts.counts["{n} node{s} of unknown type {took} kept without a change."] += opaque
    return parts


def _is(node: Any, kind: NodeKind, *, wanted: bool) -> bool:
    return isinstance(node, dict) and (names.kind_of(node)[0] is kind) == wanted


def _key(node: dict[str, Any], name: str, top: int) -> NodeKey:
    kind, site = names.kind_of(node)
    layer = names.layer_of(node)
    position = min(max(names.whole(node.get("ctx_idx"), -1), -1), _MOST_POSITIONS)
    if kind is NodeKind.LOGIT:
        is_circuit_tracer = str(node.get("jsNodeId", "")).startswith("L_")
        layer = max(layer - is_circuit_tracer, top + 1)
    elif kind in (NodeKind.TOKEN, NodeKind.BIAS):
        layer = -1 if kind is NodeKind.TOKEN else layer
        position = -1 if kind is NodeKind.BIAS else position
    elif kind is NodeKind.FEATURE and layer < 0:
        layer = 0
    return NodeKey(kind, site, layer, position, names.unit_of(node, name, kind))


def _unused(key: NodeKey, taken: set[NodeKey], parts: GraphParts) -> NodeKey:
    if key not in taken:
        return key
    if key.kind not in (NodeKind.BIAS, NodeKind.OPAQUE):
        parts.counts["{n} node{s} had the same number as another and got one of their own."] += 1
        key = replace(key, kind=NodeKind.OPAQUE, unit=len(taken))
    while key in taken:
        key = replace(key, unit=key.unit + 1)
    return key


def _edges(links: Links, parts: GraphParts) -> EdgeTable:
    """Match the ends of links with nodes; see step 3 of the module's text."""
    counts = parts.counts
    counts["{n} link{s} could not be read and {was} left out."] += links.unreadable
    choices = [_features_first(parts, name) for name in links.ids]
    node = np.array([found[0] if found else -1 for found in choices], np.int32)
    is_shared = np.array([len(found) > 1 for found in choices], np.bool_)
    source, target, weight = node[links.source], node[links.target], links.weight
    kept = (source >= 0) & (target >= 0)
    counts["{n} link{s} pointed to missing nodes and {was} left out."] += int((~kept).sum())
    by_order = np.flatnonzero(kept & is_shared[links.source])
    counts[
        "{n} link{s} left an id shared by a feature and an error; they were matched by order."
    ] += len(by_order)
    used: Counter[tuple[int, int]] = Counter()
    for link in by_order.tolist():
        ends = int(links.source[link]), int(links.target[link])
        found = choices[ends[0]]
        source[link] = found[min(used[ends], len(found) - 1)]
        used[ends] += 1
    loops = kept & (source == target)
    counts["{n} link{s} from a node to itself {was} left out."] += int(loops.sum())
    kept &= ~loops
    endless = kept & np.isnan(weight)
    counts["{n} link{s} had no finite weight and {was} left out."] += int(endless.sum())
    kept &= ~endless
    return EdgeTable(
        source[kept], target[kept], weight[kept].astype(np.float32),
        np.full(int(kept.sum()), int(Route.DIRECT), np.uint8),
    )  # fmt: skip


def _features_first(parts: GraphParts, name: str) -> list[int]:
    """Return the nodes of an id; an error that shares its id comes last."""
    found = parts.by_id.get(name, [])
    return sorted(found, key=lambda i: parts.keys[i].kind is NodeKind.ERROR)


def _roots(parts: GraphParts, edges: EdgeTable) -> tuple[np.ndarray, np.ndarray]:
    logits = [i for i, key in enumerate(parts.keys) if key.kind is NodeKind.LOGIT]
    if logits:
        found = [names.probability_of(parts.nodes[i]) for i in logits]
        if all(p is None for p in found):
            parts.counts["{n} logit{s} came without probabilities and count alike."] += len(logits)
            return np.array(logits, np.int32), np.full(len(logits), 1 / len(logits), np.float32)
        return np.array(logits, np.int32), np.array([p or 0.0 for p in found], np.float32)
    has_output = np.isin(np.arange(len(parts.keys)), edges.source)
    sinks = np.flatnonzero(~has_output & np.isin(np.arange(len(parts.keys)), edges.target))
    parts.counts["The graph has no logits; its {n} end{s} are taken as what it explains."] += len(
        sinks
    )
    return sinks.astype(np.int32), np.full(len(sinks), 1 / max(len(sinks), 1), np.float32)


def _tokens(metadata: dict[str, Any], parts: GraphParts) -> tuple[tuple[str, ...], tuple[int, ...]]:
    given = metadata.get("prompt_tokens")
    tokens = [str(token) for token in given] if isinstance(given, list) else []
    ids = [-1] * len(tokens)
    for key, node in zip(parts.keys, parts.nodes, strict=True):
        if key.kind is not NodeKind.TOKEN or key.position < 0:
            continue
        while len(tokens) <= key.position:
            tokens.append("")
            ids.append(-1)
        ids[key.position] = key.unit
        tokens[key.position] = tokens[key.position] or names.label_of(node, NodeKind.TOKEN)
    return tuple(tokens), tuple(ids)


def _provenance(metadata: dict[str, Any], path: Path) -> Provenance:
    info = metadata.get("info") if isinstance(metadata.get("info"), dict) else {}
    generator = (info or {}).get("generator")
    generator = generator if isinstance(generator, dict) else {}
    made_by = " ".join(str(generator[k]) for k in ("name", "version") if generator.get(k))
    kept = ("slug", "scan", "node_threshold", "schema_version", "generation_settings",
            "pruning_settings", "info", "feature_details")  # fmt: skip
    settings = {key: metadata[key] for key in kept if key in metadata}
    settings["prompt"] = str(metadata.get("prompt") or "")
    lists = metadata.get("transcoder_list")
    dictionaries = tuple({"name": str(one)} for one in lists) if isinstance(lists, list) else ()
    scan = metadata.get("scan")
    return Provenance(
        "imported", circuitscope.__version__, settings,
        {"name": str(scan)} if scan else {}, dictionaries, dtype="", source_file=path.name,
        libraries={"generator": made_by} if made_by else {},
    )  # fmt: skip
