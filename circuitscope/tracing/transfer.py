"""Run two compared circuits on each other's prompts: does what works here work there?

1. The metric of a prompt is the logit it explains less the one that the other circuit explains;
   where both explain the same word, or something else than a word, it is what the circuit explains.
2. A circuit is carried over to a prompt by the alignment of tokens: a node without a partner
   there is left behind.
3. On each prompt m(c) is the metric with the circuit's kept nodes intact and everything else of
   their kinds replaced (`tracing.node_bench`); it keeps (m(c) - m(nothing)) / (m(everything) -
   m(nothing)) of the answer. Never clipped. The same for the nodes that both have.
4. Features that one circuit has alone are looked up in the other's run: silent there, or weak? And
   they are paired where their decoder rows are alike (cosine at least 0.6), at paired positions
   and in neighbouring layers, beside how often both are active together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKind
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.core.transfer import Similar, Transfer
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.graph.compare import Alignment, Comparison, align_tokens, compare
from circuitscope.graph.prune import prune
from circuitscope.models.capture import capture
from circuitscope.models.reading import as_traced
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.node_bench import NodeBench
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.relevance_circuit import metric_of
from circuitscope.tracing.reopen import dictionaries_of, settings_of

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

SHARED = "shared"
LEAST_COSINE = 0.6
MOST_SIMILAR = 200
_LAYERS_APART = 1
Place = tuple[Site, int]


@dataclass(frozen=True, eq=False)
class _Lab:
    """What every run needs."""

    model: LoadedModel
    align: Alignment
    ablation: str
    dictionaries: Sequence[Dictionary] | None


def transfer(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    a: Circuit,
    b: Circuit,
    *,
    floor: Circuit | None = None,
    names: Sequence[str] = ("A", "B", "floor"),
    align: Alignment = "edit",
    node_threshold: float = 0.8,
    ablation: str = "auto",
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Transfer:
    """Measure how much of each prompt's answer either circuit keeps.

    Args:
        model: The model that both are of.
        a: One circuit.
        b: The other.
        floor: A third, which should do what a does: the same prompt rephrased, another seed or
            another budget.
        names: What the three are called.
        align: How tokens are paired.
        node_threshold: Influence kept of each circuit.
        ablation: What replaces the rest; see `tracing.node_bench`.
        dictionaries: Those of the traces; None opens the folders named in their provenance.
        progress: Hears of every run; may cancel.

    Returns:
        What was found; what could not be run is NaN, and `remarks` say why.
    """
    hear, lab = progress or silent(), _Lab(as_traced(model), align, ablation, dictionaries)
    metrics, words = _metrics(a, b)
    remarks = [
        f"{names[row]} explains no word, so nothing is measured on its prompt."
        for row in (0, 1) if metrics[row] is None
    ]  # fmt: skip
    found = compare(a, b, align, node_threshold)
    runners = [a, b, *([] if floor is None else [floor])]
    columns = [*names[:2], SHARED, *names[2 : len(runners)]]
    kept = np.full((2, len(columns)), np.nan)
    whole, ablated = np.full(2, np.nan), np.full(2, np.nan)
    with fitting_threads(lab.model.anatomy):
        hear.phase("Run on each other's prompts", 2 * len(runners))
        for row, place in product(range(2), range(len(runners))):
            circuit, metric = runners[place], metrics[row]
            if metric is None:
                hear.advance()
                continue
            masks = [prune(circuit, node_threshold).node_mask]
            if place == row:
                masks.append(_both(found, circuit, row))
            try:
                values = _run(lab, circuit, (a, b)[row], metric, masks)
            except TraceError as error:
                remarks.append(f"{names[place]} on {names[row]}’s prompt: {error}")
                values = [np.nan] * (2 + len(masks))
            shares = _shares(values)
            kept[row, place if place < 2 else 3] = shares[0]
            if place == row:
                whole[row], ablated[row], kept[row, 2] = values[0], values[1], shares[1]
            hear.advance()
        hear.phase("Look for what is alike", 1)
        try:
            similar, elsewhere = _alike(lab, a, b, found)
        except TraceError as error:
            similar, elsewhere = (), ({}, {})
            remarks.append(f"Single features are not compared: {error}")
        hear.advance()
    return Transfer(
        tuple(columns), words, whole, ablated, kept, similar, elsewhere,
        tuple(dict.fromkeys(remarks)),
    )  # fmt: skip


def _word(circuit: Circuit) -> int | None:
    """Return the token that a circuit mainly explains, None where it explains something else."""
    targets = circuit.provenance.settings.get("targets") or ()
    if any(target.get("kind") in ("LogitDifference", "Direction") for target in targets):
        return None
    if not len(circuit.roots) or "metric" in circuit.provenance.settings:
        return None
    root = _root(circuit)
    is_logit = circuit.nodes.kind[root] == NodeKind.LOGIT
    return int(circuit.nodes.unit[root]) if is_logit else None


def _root(circuit: Circuit) -> int:
    return int(circuit.roots[int(np.argmax(circuit.root_weights))])


def _metrics(a: Circuit, b: Circuit) -> tuple[tuple[Metric | None, Metric | None], tuple[str, str]]:
    """Return what is measured on each prompt, None for nothing, and how it is called."""
    words = [_word(one) for one in (a, b)]
    found: list[Metric | None] = []
    told: list[str] = []
    for side, (circuit, against) in enumerate(((a, b), (b, a))):
        own, other = words[side], words[1 - side]
        if own is None:
            try:
                found.append(metric_of(circuit))
            except TraceError:  # it explains a feature or a score, which is no answer
                found.append(None)
            label = circuit.labels[_root(circuit)].strip() if len(circuit.roots) else ""
            told.append(label or "what it explains")
            continue
        root = _root(circuit)
        position = int(circuit.nodes.position[root])
        at = -1 if position == len(circuit.tokens) - 1 else position
        name = circuit.labels[root].strip() or f"token {own}"
        if other is None or own == other:
            found.append(Logit(own, at))
            told.append(name)
        else:
            found.append(LogitDifference(own, other, at))
            told.append(f"{name} − {against.labels[_root(against)].strip()}")
    return (found[0], found[1]), (told[0], told[1])


def _both(found: Comparison, circuit: Circuit, side: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(circuit.nodes), np.bool_)
    mask[[(pair.a, pair.b)[side] for pair in found.nodes_in("both")]] = True
    return mask


def _run(
    lab: _Lab,
    circuit: Circuit,
    prompt: Circuit,
    metric: Metric,
    masks: Sequence[NDArray[np.bool_]],
) -> list[float]:
    """Return the metric of the whole model, of nothing, and of the nodes of each mask alone."""
    moved, stays = carried(circuit, prompt, lab.align)
    bench = NodeBench(lab.model, moved, lab.ablation, lab.dictionaries)
    choices = np.zeros((2 + len(masks), len(bench.nodes) + 1), np.bool_)
    choices[0] = True
    for row, mask in enumerate(masks):
        choices[2 + row, :-1] = mask[stays][bench.nodes]
    return bench.values(bench.open(list(prompt.token_ids), None, metric), choices)


def carried(
    circuit: Circuit, prompt: Circuit, align: Alignment = "edit"
) -> tuple[Circuit, NDArray[np.int64]]:
    """Return a circuit's nodes at the positions of another's prompt, and which nodes they were."""
    there = dict(align_tokens(circuit.token_ids, prompt.token_ids, align))
    position = np.array(
        [there.get(p, -2) if p >= 0 else p for p in circuit.nodes.position.tolist()]
    )
    stays = np.flatnonzero(position >= -1)
    nodes = circuit.nodes
    table = NodeTable(
        nodes.kind[stays], nodes.site[stays], nodes.layer[stays], position[stays].astype(np.int32),
        nodes.unit[stays], nodes.activation[stays], nodes.influence[stays],
    )  # fmt: skip
    none, zero = np.zeros(0, np.int32), np.zeros(len(stays), np.float32)
    moved = replace(
        circuit, tokens=prompt.tokens, token_ids=prompt.token_ids, nodes=table,
        edges=EdgeTable(none, none, none.astype(np.float32), none.astype(np.uint8)),
        roots=none, root_weights=none.astype(np.float32), preactivation=zero, unexplained=zero,
        conservation=zero, expanded=zero > 1, labels=(),
    )  # fmt: skip
    return moved, stays


def _shares(values: Sequence[float]) -> list[float]:
    whole, empty = values[:2]
    if np.isnan(whole) or abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
        return [float("nan")] * (len(values) - 2)
    return [(value - empty) / (whole - empty) for value in values[2:]]


@dataclass(frozen=True, eq=False)
class _Alone:
    """The features that one circuit has alone: node, place and position of each, [f]."""

    nodes: list[int]
    places: list[Place]
    units: NDArray[np.int64]
    positions: NDArray[np.int64]


def _alike(
    lab: _Lab, a: Circuit, b: Circuit, found: Comparison
) -> tuple[tuple[Similar, ...], tuple[dict[str, float], dict[str, float]]]:
    alone = (
        _alone(a, [pair.a for pair in found.nodes_in("a")]),
        _alone(b, [pair.b for pair in found.nodes_in("b")]),
    )
    opened = [_opened(lab, one) for one in (a, b)]
    fires = [
        _firing(lab.model, side, known, (a, b)) for side, known in zip(alone, opened, strict=True)
    ]
    there = (dict(found.positions), {q: p for p, q in found.positions})
    elsewhere: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for side, circuit in enumerate((a, b)):
        for row, node in enumerate(alone[side].nodes):
            at = there[side].get(int(alone[side].positions[row]))
            if at is not None:
                key = str(circuit.nodes.key(node))
                elsewhere[side][key] = float(fires[side][row].get((1 - side, at), 0.0))
    cosine = _cosines(alone, opened)
    similar: list[Similar] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    rows, columns = np.nonzero(cosine >= LEAST_COSINE)
    for at in np.argsort(-cosine[rows, columns], kind="stable").tolist():
        i, j = int(rows[at]), int(columns[at])
        pair = there[0].get(int(alone[0].positions[i])) == int(alone[1].positions[j])
        if not pair or i in taken[0] or j in taken[1]:
            continue
        taken[0].add(i)
        taken[1].add(j)
        one, other = set(fires[0][i]), set(fires[1][j])
        similar.append(Similar(
            str(a.nodes.key(alone[0].nodes[i])), str(b.nodes.key(alone[1].nodes[j])),
            round(float(cosine[i, j]), 4), len(one & other), len(one | other),
        ))  # fmt: skip
    return tuple(similar[:MOST_SIMILAR]), elsewhere


def _alone(circuit: Circuit, nodes: list[int]) -> _Alone:
    table = circuit.nodes
    own = [node for node in nodes if table.kind[node] == NodeKind.FEATURE]
    places = [(Site(int(table.site[node])), int(table.layer[node])) for node in own]
    return _Alone(own, places, table.unit[own], table.position[own].astype(np.int64))


def _opened(lab: _Lab, circuit: Circuit) -> dict[Place, Dictionary]:
    if not circuit.provenance.dictionaries:
        return {}
    known = dictionaries_of(circuit, lab.dictionaries)
    plan = make_plan(lab.model.anatomy, known, settings_of(circuit, lab.model))
    return {(one.card.feature_site, one.card.layers[0]): one for one in plan.dictionaries}


def _firing(
    model: LoadedModel,
    alone: _Alone,
    opened: dict[Place, Dictionary],
    prompts: tuple[Circuit, Circuit],
) -> list[dict[tuple[int, int], float]]:
    """Return where each feature fires, by prompt and position, and how strongly."""
    fires: list[dict[tuple[int, int], float]] = [{} for _ in alone.nodes]
    rows: dict[Place, dict[int, list[int]]] = {}
    for row, (place, unit) in enumerate(zip(alone.places, alone.units.tolist(), strict=True)):
        if place in opened:
            rows.setdefault(place, {}).setdefault(unit, []).append(row)
    for number, prompt in enumerate(prompts):
        cache = capture(model, list(prompt.token_ids))
        for place, wanted in rows.items():
            card = opened[place].card
            found = opened[place].encode(cache.site(card.read_site, place[1]).float())
            held = zip(found.unit.tolist(), found.position.tolist(), found.value.tolist(),
                       strict=True)  # fmt: skip
            for unit, position, value in held:
                for row in wanted.get(unit, ()):
                    fires[row][number, position] = value
    return fires


def _cosines(
    alone: tuple[_Alone, _Alone], opened: Sequence[dict[Place, Dictionary]]
) -> NDArray[np.float64]:
    """Return cosines of decoder rows, [f of a, f of b]; -1 where they are not comparable."""
    found = np.full((len(alone[0].nodes), len(alone[1].nodes)), -1.0)
    sides = [_written(side, known) for side, known in zip(alone, opened, strict=True)]
    for place, (rows, vectors) in sides[0].items():
        for other, (columns, others) in sides[1].items():
            near = place[0] is other[0] and abs(place[1] - other[1]) <= _LAYERS_APART
            if near and vectors.shape[1] == others.shape[1]:
                found[np.ix_(rows, columns)] = (vectors @ others.T).numpy()
    return found


def _written(
    alone: _Alone, opened: dict[Place, Dictionary]
) -> dict[Place, tuple[list[int], torch.Tensor]]:
    rows: dict[Place, list[int]] = {}
    for row, place in enumerate(alone.places):
        if place in opened:
            rows.setdefault(place, []).append(row)
    found: dict[Place, tuple[list[int], torch.Tensor]] = {}
    for place, chosen in rows.items():
        vectors = opened[place].decoder_rows(torch.from_numpy(alone.units[chosen])).double().cpu()
        found[place] = chosen, torch.nn.functional.normalize(vectors, dim=1)
    return found
