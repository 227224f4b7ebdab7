"""Many prompts, one circuit: what appears again and again, how strongly, and how surely.

1. Trace every prompt with the same settings, each on its own.
2. Prune each circuit by the same thresholds; a node or edge appears in a prompt where its pruned
   circuit has it.
3. Match nodes between prompts by kind, site, layer, position and unit. Prompts of different
   lengths are matched by the distance to the last token. Tokens are matched by position alone,
   explained logits by their rank among the targets, as both may be other words in each prompt.
4. For each node (influence) and edge (weight): the share of prompts it appears in, the mean, 0
   where it does not appear, and a 95 % interval by resampling prompts.
5. The stable core is the circuit of what appears in at least a given share of the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import Target, TraceSettings
from circuitscope.core.target_text import parse_target
from circuitscope.graph.prune import prune

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_SAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How nodes or edges vary over prompts, one entry of every array each.

    Attributes:
        share: Part of the prompts it appears in, [n].
        mean: Mean influence or weight, 0 where it does not appear, [n].
        low, high: 95 % bootstrap interval of the mean, [n].
    """

    share: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CircuitSet:
    """The circuits of many prompts, matched.

    Attributes:
        circuits: One for each prompt, whole.
        keys: The nodes that appear in any; positions are those of the first prompt.
        pairs: Edges that appear in any, as (source, target) indices of keys, int64 [edge, 2].
        nodes, edges: Their spread over the prompts.
    """

    circuits: tuple[Circuit, ...]
    keys: tuple[NodeKey, ...]
    pairs: NDArray[np.int64]
    nodes: Spread
    edges: Spread


def trace_prompts(
    traced: Callable[[Any], Circuit], prompts: Sequence[Any], progress: Progress | None = None
) -> CircuitSet:
    """Trace prompts one after the other and match their circuits.

    Args:
        traced: Traces one prompt; the same settings for all.
        prompts: Texts, token ids or chats.
        progress: Hears of every prompt.

    Raises:
        TraceError: There are fewer than two prompts.
    """
    if len(prompts) < 2:
        raise TraceError(
            f"A set needs at least two prompts, but there is {len(prompts)}.",
            hint="Give more prompts, or trace the one on its own.",
        )
    hear = progress or silent()
    circuits = []
    for number, prompt in enumerate(prompts):
        hear.note(f"Prompt {number + 1} of {len(prompts)}")
        circuits.append(traced(prompt))
    return match(circuits)


def trace_set(
    model: LoadedModel,
    prompts: Sequence[Any],
    method: str = "attribution",
    dictionaries: Sequence[Dictionary] | None = None,
    targets: Sequence[str | Target] | str | Target = ("logit:top",),
    *,
    progress: Progress | None = None,
    **more: Any,
) -> CircuitSet:
    """Trace prompts as one job: how often nodes and edges appear, how strongly, how surely.

    Args:
        model: From `load_model`.
        prompts: At least two texts, lists of ids or chats.
        method: Name of the method.
        dictionaries: From `load_dictionaries`.
        targets: What is explained in every prompt.
        progress: Hears of the work and may cancel it.
        more: Other fields of `TraceSettings`, such as max_nodes.
    """
    from circuitscope.tracing.method import cards_of, trace

    opened = () if dictionaries is None else dictionaries
    asked = [targets] if isinstance(targets, (str, Target)) else targets
    folders = tuple(dict.fromkeys(card.path for card in cards_of(opened)))
    settings = TraceSettings(
        method=method,
        targets=tuple(parse_target(target) for target in asked),
        dictionaries=folders,
        **more,
    )

    def traced(prompt: Any) -> Circuit:
        read = prompt if isinstance(prompt, str) else model.prompt(prompt).token_ids
        return trace(model, replace(settings, prompt=read), opened, progress)

    return trace_prompts(traced, prompts, progress)


def match(
    circuits: Sequence[Circuit],
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    seed: int = 0,
) -> CircuitSet:
    """Match circuits of different prompts and measure how they vary."""
    same_length = len({len(circuit.token_ids) for circuit in circuits}) == 1
    index: dict[tuple[int, ...], int] = {}
    keys: list[NodeKey] = []
    node_rows: list[dict[int, float]] = []
    edge_rows: list[dict[tuple[int, int], float]] = []
    for circuit in circuits:
        pruned = prune(circuit, node_threshold, edge_threshold)
        shift = 0 if same_length else len(circuit.token_ids)
        place: dict[int, int] = {}
        for node in np.flatnonzero(pruned.node_mask).tolist():
            key = circuit.nodes.key(node)
            name = _name(circuit, node, key, shift)
            if name not in index:
                index[name] = len(keys)
                keys.append(replace(key, position=name[3]))
            place[node] = index[name]
        influence = circuit.nodes.influence.tolist()
        root = dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))
        node_rows.append({at: root.get(n, influence[n]) for n, at in place.items()})
        edges, kept = circuit.edges, np.flatnonzero(pruned.edge_mask)
        ends = zip(edges.source[kept].tolist(), edges.target[kept].tolist(), strict=True)
        weights = edges.weight[kept].tolist()
        edge_rows.append({(place[s], place[t]): w for (s, t), w in zip(ends, weights, strict=True)})
    pairs = sorted({pair for row in edge_rows for pair in row})
    nodes = _spread(node_rows, list(range(len(keys))), seed)
    edges_spread = _spread(edge_rows, pairs, seed)
    first = 0 if same_length else len(circuits[0].token_ids)
    moved = tuple(
        replace(key, position=key.position + first) if key.position < 0 and first else key
        for key in keys
    )
    return CircuitSet(
        tuple(circuits), moved, np.array(pairs, np.int64).reshape(-1, 2), nodes, edges_spread
    )


def _name(circuit: Circuit, node: int, key: NodeKey, shift: int) -> tuple[int, ...]:
    """Return what a node is matched by; counted from the end where `shift` is the length."""
    position = key.position if key.kind is NodeKind.BIAS else key.position - shift
    unit = key.unit
    if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
        unit = 0
    elif key.kind is NodeKind.LOGIT:
        found = np.flatnonzero(circuit.roots == node)
        unit = int(found[0]) if len(found) else key.unit
    return (int(key.kind), int(Site(key.site)), key.layer, position, unit)


def _spread(rows: Sequence[dict], names: Sequence, seed: int) -> Spread:
    """Return share, mean and interval of some names over the prompts."""
    values = np.zeros((len(rows), len(names)))
    seen = np.zeros((len(rows), len(names)), bool)
    at = {name: column for column, name in enumerate(names)}
    for number, row in enumerate(rows):
        for name, value in row.items():
            values[number, at[name]], seen[number, at[name]] = value, True
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), _SAMPLES) / len(rows)
    low, high = np.quantile(weights @ values, [0.025, 0.975], axis=0)
    return Spread(seen.mean(0), values.mean(0), low, high)


def stable_core(found: CircuitSet, share: float = 0.8) -> Circuit:
    """Return the circuit of the nodes and edges that appear in at least a share of the prompts.

    Args:
        found: Matched circuits.
        share: Least part of the prompts, 0 to 1.

    Returns:
        A circuit with mean influences and mean weights, in the first prompt's tokens. It claims no
        conservation: its rows are means of pruned rows.

    Raises:
        TraceError: No explained logit appears that often.
    """
    kept = np.flatnonzero(found.nodes.share >= share)
    first = found.circuits[0]
    keys = [found.keys[index] for index in kept.tolist()]
    n_roots = max(len(circuit.roots) for circuit in found.circuits)
    roots = [i for i, key in enumerate(keys) if key.kind is NodeKind.LOGIT][:n_roots]
    roots = roots or [i for i, key in enumerate(keys) if _is_root(first, key)]
    if not roots:
        raise TraceError(
            f"Nothing explained appears in {share:.0%} of the prompts.",
            hint="Lower the share, or explain the same target in every prompt.",
        )
    of = np.full(len(found.keys), -1)
    of[kept] = np.arange(len(kept))
    inside = (found.edges.share >= share) & (of[found.pairs] >= 0).all(1)
    pairs, n = of[found.pairs[inside]], len(kept)
    mean = found.nodes.mean[kept]
    table = NodeTable.from_keys(keys, activation=np.zeros(n), influence=_without(mean, roots))
    edges = EdgeTable(
        pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32),
        found.edges.mean[inside].astype(np.float32),
        np.full(len(pairs), Route.DIRECT),
    )  # fmt: skip
    zeros = np.zeros(n, np.float32)
    labels = tuple(
        f"{_label(first, key)} ({part:.0%})".strip()
        for key, part in zip(keys, found.nodes.share[kept], strict=True)
    )
    return Circuit(
        first.tokens, first.token_ids, table, edges, np.array(roots, np.int32),
        mean[roots].astype(np.float32),
        zeros, zeros, zeros, np.zeros(n, bool), _provenance(found, share), labels,
    )  # fmt: skip


def _is_root(first: Circuit, key: NodeKey) -> bool:
    node = first.nodes.find(key)
    return node is not None and bool((first.roots == node).any())


def _without(values: NDArray[np.float64], roots: Sequence[int]) -> NDArray[np.float64]:
    cleared = values.copy()
    cleared[list(roots)] = 0
    return cleared


def _label(first: Circuit, key: NodeKey) -> str:
    node = first.nodes.find(key)
    return "" if node is None else first.labels[node]


def _provenance(found: CircuitSet, share: float) -> Provenance:
    own = found.circuits[0].provenance
    n = len(found.circuits)
    remark = (
        f"Stable core of {n} prompts: what appears in at least {share:.0%} of their pruned "
        "circuits, with mean influences and weights; shown in the first prompt's tokens."
    )
    settings = {"prompts": [circuit.prompt for circuit in found.circuits], "share": share}
    return replace(
        own, settings={**settings, "method": own.method, "prompt": found.circuits[0].prompt},
        remarks=(remark, *own.remarks), scores={}, parent="",
    )  # fmt: skip
