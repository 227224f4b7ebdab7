"""Write attribution-graph JSON for Neuronpedia and circuit-tracer, and read our own back whole.

Nodes, links and the saved view are in the shared dialect, with ids that no two nodes share. What
the dialect has no place for (our keys, routes, conservation, provenance, other rows) goes under
the one key "circuitscope"; other programs keep or ignore it.
"""

import json
import re
from typing import Any, Final

import numpy as np

from circuitscope.core.circuit import CIRCUIT_COLUMNS, Circuit, EdgeTable, NodeTable
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange import graph_nodes as names
from circuitscope.exchange.graph_file import GraphFile
from circuitscope.exchange.graph_view import saved_view
from circuitscope.graph.groups import name_of
from circuitscope.graph.prune import prune

OURS: Final = "circuitscope"
VERSION: Final = 1
_LARGEST_SAFE: Final = 1 << 53


def graph_json(circuit: Circuit, rows: Rows, name: str = "") -> str:
    """Return a circuit and its drawing as one JSON document."""
    n_layers = _layer_count(circuit)
    keys = [circuit.nodes.key(i) for i in range(len(circuit.nodes))]
    ids = [names.file_id(key, n_layers) for key in keys]
    nodes = _nodes(circuit, keys, ids, n_layers)
    view = saved_view(circuit, rows, ids, [node["feature"] for node in nodes])
    data = {
        "metadata": _metadata(circuit, name),
        "qParams": view,
        "nodes": nodes,
        "links": [
            {"source": ids[s], "target": ids[t], "weight": w}
            for s, t, w in zip(
                circuit.edges.source.tolist(), circuit.edges.target.tolist(),
                circuit.edges.weight.tolist(), strict=True,
            )
        ],
        OURS: _ours(circuit, rows, keys, view),
    }  # fmt: skip
    return json.dumps(data, separators=(",", ":"))


def restore(graph: GraphFile) -> tuple[Circuit, Rows] | None:
    """Rebuild what `graph_json` wrote.

    Returns:
        Circuit and rows; None where the file is another program's, or where somebody changed its
        nodes or links or view, so that our own part no longer describes it.
    """
    data = graph.data
    ours = data.get(OURS)
    if not isinstance(ours, dict) or ours.get("version") != VERSION:
        return None
    try:
        circuit = _restored(graph, ours)
        rows: Rows = {
            RowKey("", str(kind), str(name)): dict(fields) for kind, name, fields in ours["rows"]
        }
    except (KeyError, TypeError, ValueError, AssertionError, OverflowError, CircuitScopeError):
        return None
    is_same = ours.get("digest") == circuit.digest and data.get("qParams") == ours.get("qParams")
    return (circuit, rows) if is_same else None


def _layer_count(circuit: Circuit) -> int:
    stated = circuit.provenance.model.get("n_layers")
    inner = circuit.nodes.layer[~circuit.nodes.of_kind(NodeKind.LOGIT)]
    deepest = int(inner.max(initial=-1)) + 1
    return max(deepest, stated if isinstance(stated, int) else 0)


def _metadata(circuit: Circuit, name: str) -> dict[str, Any]:
    found = circuit.provenance
    title = name or circuit.prompt
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "circuit"
    return {
        "slug": slug,
        "scan": str(found.model.get("name") or "unknown"),
        "prompt_tokens": list(circuit.tokens),
        "prompt": circuit.prompt,
        "schema_version": 1,
        "transcoder_list": [str(card.get("name", "")) for card in found.dictionaries],
        "info": {"generator": {"name": "CircuitScope", "version": found.app_version}},
    }


def _nodes(
    circuit: Circuit, keys: list[NodeKey], ids: list[str], n_layers: int
) -> list[dict[str, Any]]:
    cumulative = prune(circuit, 1.0, 1.0).cumulative.tolist()
    activation = circuit.nodes.activation.tolist()
    weights = dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))
    last = len(circuit.tokens) - 1
    strongest = max(weights, key=lambda i: weights[i], default=-1)
    out = []
    for i, (key, name) in enumerate(zip(keys, ids, strict=True)):
        label, _ = name_of(circuit, i)
        layer, feature, script = str(key.layer), key.unit, name
        if key.kind is NodeKind.TOKEN:
            layer, feature = "E", key.position
        elif key.kind is NodeKind.LOGIT:
            layer, script = str(n_layers + 1), f"L_{key.unit}-{key.position}"
            label = f'Output "{label}" (p={weights.get(i, 0.0):.3f})'
        elif key.kind is NodeKind.FEATURE:
            pair = names.cantor(key.layer, key.unit)
            feature = pair if pair < _LARGEST_SAFE else key.unit
            script = f"{key.layer}_{key.unit}-0"
        position = max(key.position, 0)
        out.append({
            "node_id": name, "feature": feature, "layer": layer, "ctx_idx": position,
            "feature_type": names.type_text(key), "jsNodeId": script, "clerp": label,
            "influence": cumulative[i], "activation": activation[i],
            "token_prob": weights.get(i, 0.0) if key.kind is NodeKind.LOGIT else 0.0,
            "is_target_logit": i == strongest and key.kind is NodeKind.LOGIT,
            "run_idx": 0, "reverse_ctx_idx": max(last - position, 0),
        })  # fmt: skip
    return out


def _ours(
    circuit: Circuit, rows: Rows, keys: list[NodeKey], view: dict[str, Any]
) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "version": VERSION,
        "digest": circuit.digest,
        "keys": [str(key) for key in keys],
        "influence": circuit.nodes.influence.tolist(),
        "routes": circuit.edges.route.tolist(),
        "token_ids": list(circuit.token_ids),
        "labels": list(circuit.labels),
        "provenance": json.loads(circuit.provenance.without_folders().to_json()),
        "qParams": view,
        "rows": [
            [key.kind, key.id, dict(row)] for key, row in sorted(rows.items()) if row is not None
        ],
    }
    ours.update({name: getattr(circuit, name).tolist() for name in CIRCUIT_COLUMNS})
    return ours


def _restored(graph: GraphFile, ours: dict[str, Any]) -> Circuit:
    data, links = graph.data, graph.links
    keys = [NodeKey.parse(text) for text in ours["keys"]]
    index = {node["node_id"]: i for i, node in enumerate(data["nodes"])}
    ends = np.array([index[name] for name in links.ids], np.int32)
    columns: dict[str, Any] = {
        name: np.array(ours[name], kind) for name, kind in CIRCUIT_COLUMNS.items()
    }
    return Circuit(
        tokens=tuple(str(token) for token in data["metadata"]["prompt_tokens"]),
        token_ids=tuple(int(number) for number in ours["token_ids"]),
        nodes=NodeTable.from_keys(
            keys,
            np.array([node["activation"] for node in data["nodes"]], np.float32),
            np.array(ours["influence"], np.float32),
        ),
        edges=EdgeTable(
            ends[links.source],
            ends[links.target],
            links.weight.astype(np.float32),
            np.array(ours["routes"], np.uint8),
        ),
        provenance=Provenance.from_json(json.dumps(ours["provenance"])),
        labels=tuple(str(label) for label in ours["labels"]),
        **columns,
    )
