"""A first name for every node, made from this run alone.

A unit is called by the token it fires on and the tokens it promotes: what it writes is read out
by the last norm's gain and the unembedding (the logit lens), and the two highest are named, as in
"on Dallas → Texas, Houston". It is a hint, not a description: what a unit means is read from its
examples. Where that would cost more than the trace itself, only the strongest units are read out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import BiasUnit, NodeKind
from circuitscope.core.progress import Progress
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.prompts import token_text
from circuitscope.tracing.assemble import Parts
from circuitscope.tracing.sources import Sources

_PROMOTED = 2
_CHUNK_NUMBERS = 4_000_000
_MOST_PRODUCTS = 4e11
"""Multiplications spent on promoted tokens: seconds on one core; all units of small models."""
_LEAST_READ = 500
_MODULE_WORDS = {
    Site.ATTN_OUT: "attention",
    Site.MLP_OUT: "MLP",
    Site.MLP_TRANSCODER: "MLP",
    Site.LN1_NORMALIZED: "attention",
    Site.LN2_NORMALIZED: "MLP",
}
_BIAS_WORDS = {
    BiasUnit.ENCODER: "encoder bias, {module}, layer {layer}",
    BiasUnit.DECODER: "decoder bias, {module}, layer {layer}",
    BiasUnit.MODULE: "bias of {module}, layer {layer}",
    BiasUnit.NORM: "bias of the norm before {module}, layer {layer}",
    BiasUnit.UNEMBED: "bias of the unembedding",
}


def label_nodes(
    parts: Parts, circuit: Circuit, frozen: FrozenModel, progress: Progress
) -> tuple[str, ...]:
    """Return a label for every node of a circuit, in the order of its table.

    Args:
        parts: What the circuit was assembled from.
        circuit: The circuit.
        frozen: The forward pass.
        progress: Advanced with the nodes whose promoted tokens have been found.
    """
    nodes, tokens = circuit.nodes, circuit.tokens
    named = {root.key: root.label for root in parts.roots if root.label}
    promoted = _promoted(frozen, parts.sources, _worth_reading(parts, circuit, frozen), progress)
    labels = []
    for index in range(len(nodes)):
        key = nodes.key(index)
        kind, module = key.kind, _MODULE_WORDS.get(key.site, "the stream")
        token = tokens[key.position].strip() if 0 <= key.position < len(tokens) else ""
        if key in named:
            labels.append(named[key])
        elif kind is NodeKind.TOKEN:
            labels.append(token)
        elif kind is NodeKind.POSITION:
            labels.append(f"position {key.position}")
        elif kind is NodeKind.ERROR:
            labels.append(f"unexplained {module}, layer {key.layer}")
        elif kind is NodeKind.BIAS:
            labels.append(_bias_label(key.site, key.layer, key.unit, module))
        else:
            words = promoted.get((int(key.site), key.layer, key.position, key.unit), "")
            labels.append(_unit_label(kind, key.layer, key.unit, token, words))
    return tuple(labels)


def _unit_label(kind: NodeKind, layer: int, unit: int, token: str, words: str) -> str:
    name = ""
    if kind is NodeKind.HEAD:
        name = f"head {layer}.{unit} "
    elif kind is NodeKind.NEURON:
        name = f"neuron {layer}.{unit} "
    return f"{name}on {token} → {words}" if words else f"{name}on {token}"


def _bias_label(site: Site, layer: int, unit: int, module: str) -> str:
    if site is Site.LN_FINAL:
        return "bias of the last norm"
    return _BIAS_WORDS[BiasUnit(unit)].format(module=module, layer=layer)


def _worth_reading(parts: Parts, circuit: Circuit, frozen: FrozenModel) -> NDArray[np.int64]:
    """Return the columns whose promoted tokens are found: all, or the strongest if too many."""
    columns = parts.explained.column[parts.rows.explained]
    columns = columns[columns >= 0]
    anatomy, nodes, c = frozen.model.anatomy, circuit.nodes, parts.sources.columns
    most = max(int(_MOST_PRODUCTS // (anatomy.d_model * anatomy.d_vocab)), _LEAST_READ)
    if len(columns) <= most:
        return columns
    units = np.flatnonzero(circuit.expanded)
    best = units[np.argsort(-nodes.influence[units], kind="stable")[:most]]
    names = (nodes.site[best], nodes.layer[best], nodes.position[best], nodes.unit[best])
    wanted = set(zip(*(name.tolist() for name in names), strict=True))
    found = (c.site[columns], c.layer[columns], c.position[columns], c.unit[columns])
    keys = zip(*(name.tolist() for name in found), strict=True)
    chosen: NDArray[np.int64] = columns[np.array([key in wanted for key in keys])]
    return chosen


def _promoted(
    frozen: FrozenModel, sources: Sources, columns: NDArray[np.int64], progress: Progress
) -> dict[tuple[int, int, int, int], str]:
    """Return the promoted tokens of some writers by (site, layer, position, unit)."""
    c = sources.columns
    groups: dict[tuple[int, ...], list[int]] = {}
    for column in np.sort(columns).tolist():
        # A unit writes one direction at all positions; a head writes another at each.
        is_head = c.kind[column] == NodeKind.HEAD
        varies = c.position[column] if is_head else c.activation[column] > 0
        key = (c.site[column], c.layer[column], c.unit[column], varies)
        groups.setdefault(tuple(int(part) for part in key), []).append(column)
    progress.phase("Labels", len(groups))
    found: dict[tuple[int, int, int, int], str] = {}
    first = np.array([members[0] for members in groups.values()], np.int64)
    by_first = {members[0]: members for members in groups.values()}
    for column, words in _read_out(frozen, sources, first, progress):
        for member in by_first[column]:
            site, layer = int(c.site[member]), int(c.layer[member])
            found[site, layer, int(c.position[member]), int(c.unit[member])] = words
    return found


def _read_out(
    frozen: FrozenModel, sources: Sources, columns: NDArray[np.int64], progress: Progress
) -> Iterator[tuple[int, str]]:
    """Yield writers and the tokens that the logit lens reads in what they write."""
    W_U, _ = frozen.model.family.unembed(frozen.model.module)
    norm = frozen.weights.norm(Site.LN_FINAL, frozen.model.anatomy.n_layers)
    tokenizer = frozen.model.tokenizer
    special = tokenizer.all_special_ids if tokenizer else []
    texts: dict[int, str] = {}
    ordered = np.sort(columns)
    seen = _vectors(sources, ordered)
    seen = (seen - seen.mean(-1, keepdim=True) if norm.kind == "layer" else seen) * norm.weight
    best = _best_tokens(seen, W_U.detach(), special, progress)
    for column, ids in zip(ordered.tolist(), best.tolist(), strict=True):
        for token in ids:
            if token not in texts:
                texts[token] = token_text(frozen.model, token).strip()
        yield column, ", ".join(texts[token] for token in ids)


def _best_tokens(seen: Tensor, W_U: Tensor, special: Sequence[int], progress: Progress) -> Tensor:
    """Return the tokens of the highest scores, [row, 2]: the vocabulary in pieces, few kept."""
    n, n_tokens = len(seen), W_U.shape[1]
    step = max(_CHUNK_NUMBERS // max(n, len(W_U)), 1)
    values, ids = seen.new_full((n, 0), -torch.inf), seen.new_zeros((n, 0), dtype=torch.long)
    done = 0
    for start in range(0, n_tokens, step):
        scores = seen @ W_U[:, start : start + step].to(seen.dtype)
        width = scores.shape[1]
        scores[:, [i - start for i in special if start <= i < start + width]] = -torch.inf
        top = scores.topk(min(_PROMOTED, width))
        values, ids = torch.cat([values, top.values], 1), torch.cat([ids, top.indices + start], 1)
        values, chosen = values.topk(min(_PROMOTED, values.shape[1]))
        ids = ids.gather(1, chosen)
        progress.advance(n * min(start + step, n_tokens) // n_tokens - done)
        done = n * min(start + step, n_tokens) // n_tokens
    return ids


def _vectors(sources: Sources, columns: NDArray[np.int64]) -> Tensor:
    """Return what some writers wrote, [column, d_model], for ascending columns."""
    parts = []
    for stage in sources.stages:
        for group in stage.groups:
            lo, hi = np.searchsorted(columns, [group.columns.start, group.columns.stop])
            if hi > lo:
                parts.append(group.vectors[torch.from_numpy(columns[lo:hi]) - group.columns.start])
    width = sources.stages[0].groups[0].vectors
    return torch.cat(parts) if parts else width.new_zeros(0, width.shape[1])
