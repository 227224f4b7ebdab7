"""Read a graph that circuit-tracer kept as a .pt file (`Graph.to_pt`), running nothing in it.

The file is a pickle. It is opened by torch's restricted reader, with inert stand-ins for the two
classes it holds, the model's configuration and its logit targets; anything else is refused.

1. Nodes stand in the matrix as: selected features, errors by layer and position, tokens, logits.
2. A row of the matrix is a target, a column a source; entries that are zero are no links.
3. Nodes and links are written as its graph files have them (`circuit_tracer/graph.py`, 0.4) and
   read by `exchange.graph_reading`, so that both ways of the same graph give the same circuit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.dictionaries.torch_files import Record, open_torch_file
from circuitscope.exchange.format import Imported
from circuitscope.exchange.graph_file import GraphFile, Links
from circuitscope.exchange.graph_nodes import cantor
from circuitscope.exchange.graph_reading import read_graph

STAND_INS: Final = {
    "circuit_tracer.utils.tl_nnsight_mapping.UnifiedConfig": type("Config", (Record,), {}),
    "transformer_lens.HookedTransformerConfig.HookedTransformerConfig": type(
        "LensConfig", (Record,), {}
    ),
    "circuit_tracer.attribution.targets.LogitTarget": type("Target", (Record,), {}),
}
_HINT: Final = (
    "In circuit-tracer, create_graph_files(graph, ...) writes the same graph as JSON, which needs "
    "no trust."
)


def read_tracer_graph(path: Path, progress: Progress) -> Imported:
    """Read a .pt graph; its bytes have no digest here.

    Raises:
        UnsafeFile: It asks for code to be run.
        UnreadableGraph: It is no graph of circuit-tracer, or its parts do not fit each other.
    """
    progress.phase(f"Reading {path.name}")
    try:
        found = open_torch_file(path, _unreadable(path, "it may be cut off"), _HINT, STAND_INS)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if not isinstance(found, dict) or "adjacency_matrix" not in found:
        raise _unreadable(path, "it holds something else")
    try:
        graph, name = _graph(found, path.stem)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise _unreadable(path, f"its parts do not fit each other ({error})") from error
    circuit, rows, remarks = read_graph(graph, path, progress)
    for remark in remarks:
        progress.note(remark)
    return Imported(circuit, rows, name, "")


def _unreadable(path: Path, why: str) -> UnreadableGraph:
    return UnreadableGraph(
        f"{path.name} is no graph of circuit-tracer: {why}.",
        kept="Nothing was imported.",
        hint=f"Choose a file that Graph.to_pt wrote. {_HINT}",
    )


def _graph(found: dict[str, Any], stem: str) -> tuple[GraphFile, str]:
    matrix = _tensor(found["adjacency_matrix"]).float()
    tokens = _tensor(found["input_tokens"]).flatten().tolist()
    features = _tensor(found["active_features"])[_tensor(found["selected_features"]).long()]
    values = _tensor(found["activation_values"]).float()
    if len(values) != len(features):
        values = values[_tensor(found["selected_features"]).long()]
    logits = _logits(found)
    nodes = _nodes(matrix, tokens, features.tolist(), values.tolist(), logits)
    target, source = (ends.astype(np.int32) for ends in np.nonzero(matrix.numpy()))
    weight = matrix.numpy()[target, source].astype(np.float64)
    ids = [str(node["node_id"]) for node in nodes]
    config = vars(found.get("cfg")) if isinstance(found.get("cfg"), Record) else {}
    scan = found.get("scan_name", found.get("scan"))
    scans = scan if isinstance(scan, list) else [scan]
    metadata = {
        "slug": stem,
        "scan": str(config.get("model_name") or config.get("tokenizer_name") or ""),
        "prompt": str(found.get("input_string") or ""),
        "prompt_tokens": [str(token) for token in tokens],
        "transcoder_list": [str(one) for one in scans if one],
        "info": {"generator": {"name": "circuit-tracer"}},
    }  # fmt: skip
    data = {"metadata": metadata, "qParams": {}, "nodes": nodes, "links": []}
    return GraphFile(data, Links.of(ids, source, target, weight)), stem


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise TypeError("a tensor is missing")
    return value


def _logits(found: dict[str, Any]) -> list[tuple[int, str, float]]:
    """Return token, text and probability of each logit, from the newer or the older form."""
    targets = found.get("logit_targets", found.get("logit_tokens"))
    shares = _tensor(found["logit_probabilities"]).float().tolist()
    if isinstance(targets, Tensor):
        pairs = [(int(token), "") for token in targets.flatten().tolist()]
    else:
        pairs = [(int(one.values[1]), str(one.values[0])) for one in targets or ()]
    return [(token, text, share) for (token, text), share in zip(pairs, shares, strict=True)]


def _nodes(
    matrix: Tensor,
    tokens: list[int],
    features: list[list[int]],
    values: list[float],
    logits: list[tuple[int, str, float]],
) -> list[dict[str, Any]]:
    n_errors = len(matrix) - len(features) - len(tokens) - len(logits)
    n_layers, rest = divmod(n_errors, max(len(tokens), 1))
    is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not is_square or not tokens or rest or n_layers < 1:
        raise ValueError("the matrix has another number of nodes")
    nodes = [
        _node(f"{layer}_{unit}_{position}", "cross layer transcoder", layer, position,
              feature=cantor(layer, unit), jsNodeId=f"{layer}_{unit}-0", activation=value)
        for (layer, position, unit), value in zip(features, values, strict=True)
    ]  # fmt: skip
    nodes += [
        _node(f"error_{layer}_{position}", "mlp reconstruction error", layer, position, feature=-1)
        for layer in range(n_layers) for position in range(len(tokens))
    ]  # fmt: skip
    nodes += [
        _node(f"E_{token}_{position}", "embedding", "E", position, feature=position)
        for position, token in enumerate(tokens)
    ]
    last = len(tokens) - 1
    nodes += [
        _node(f"{n_layers + 1}_{token}_{last}", "logit", n_layers + 1, last, feature=token,
              jsNodeId=f"L_{token}-{last}", token_prob=share,
              clerp=f'Output "{text or token}" (p={share:.3f})')
        for token, text, share in logits
    ]  # fmt: skip
    return nodes


def _node(name: str, kind: str, layer: int | str, position: int, **more: Any) -> dict[str, Any]:
    return {
        "node_id": name, "feature_type": kind, "layer": str(layer), "ctx_idx": position,
        "jsNodeId": name, "clerp": "", **more,
    }  # fmt: skip
