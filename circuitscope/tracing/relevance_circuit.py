"""From a discovered circuit to a `Circuit`: nodes are heads, edges are relevances.

No row of it is conserved, since relevance is not additive, so no node is `expanded`: a root's
`preactivation` is the whole metric, and `provenance.scores` has the sum of the parts beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import circuitscope
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.errors import CircuitScopeError, TraceError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.metrics import (
    AnswerVersusOthers,
    GreaterThan,
    Metric,
    ProbabilityDifference,
)
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Direction, Logit, LogitDifference, Target, target_as_json
from circuitscope.models.capture import capture
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.models.reading import as_traced, model_record, precision_remark
from circuitscope.tracing.ablating import Unit, faithfulness_of, mean_activations
from circuitscope.tracing.discovery import Found, Granularity, Search, discover_units, read_cases
from circuitscope.tracing.run import Clock, libraries
from circuitscope.tracing.splitting import MeansLike

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

NOT_ADDITIVE = (
    "Edges are relevances along all paths, not direct effects; they do not add up to the whole."
)


@dataclass(frozen=True, slots=True)
class Root:
    """What a circuit explains: where, which unit, its weight, its label."""

    position: int
    unit: int
    weight: float
    label: str


def discover(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    prompts: Sequence[Written],
    metric: Metric | Sequence[Metric],
    method: str = "contextual",
    granularity: Granularity = "head",
    n_heads: int = 10,
    *,
    percentile: float | None = None,
    per_step: int | None = None,
    mlps: bool = False,
    normalise: bool = True,
    prune: bool = True,
    ablation: Literal["zero", "mean"] = "mean",
    means: MeansLike = None,
    weights: str = "raw",
    evaluation: Sequence[Written] | None = None,
    evaluation_metric: Metric | Sequence[Metric] | None = None,
    progress: Progress | None = None,
) -> Circuit:
    """Find the heads behind a metric over many prompts; see `tracing.discovery`.

    Returns:
        A circuit of the first prompt's tokens; `provenance.scores` holds faithfulness (on the
        evaluation prompts where given), the whole metric and the sum of the parts.
    """
    if method != "contextual":
        raise TraceError(f"Discovery has no method {method!r}.", hint='It has "contextual".')
    if granularity not in ("head", "head-position"):
        raise TraceError(
            f"There is no granularity {granularity!r}.", hint="Choices: head, head-position."
        )
    clock = Clock()
    search = Search(granularity, n_heads, percentile, per_step, mlps, normalise, prune)
    found, faithful, cases = discover_units(
        model, prompts, metric, search, ablation=ablation, means=means, weights=weights,
        evaluation=evaluation, evaluation_metric=evaluation_metric, progress=progress,
    )  # fmt: skip
    first = metric[0] if isinstance(metric, Sequence) else metric
    root = metric_root(model, first, cases[0].meter.position)
    settings = {
        "method": "contextual", "targets": _targets(first), "metric": _plain(first),
        "n_prompts": len(prompts), "n_evaluation_prompts": len(evaluation or prompts),
        "ablation": ablation, "weights": weights, **asdict(search),
    }  # fmt: skip
    if isinstance(prompts[0], str):
        settings["prompt"] = prompts[0]
    scores = {"faithfulness": faithful, "n_prompts": float(len(prompts))}
    return as_circuit(model, prompts[0], found, root, settings, scores, clock)


def _plain(metric: Metric) -> dict[str, Any]:
    assert is_dataclass(metric)
    return {"kind": type(metric).__name__, **asdict(metric)}


def _targets(metric: Metric) -> list[dict[str, Any]]:
    if isinstance(metric, Target):
        return [target_as_json(metric)]
    return []


def metric_root(model: LoadedModel, metric: Metric, position: int) -> Root:
    """Return the node that stands for a metric; logits and differences are named as by traces."""
    d_vocab = model.anatomy.d_vocab
    if isinstance(metric, (Logit, LogitDifference)):
        words = [metric.token] if isinstance(metric, Logit) else [metric.a, metric.b]
        try:
            ids = [model.find_token(word) for word in words if word is not None]
        except CircuitScopeError:  # labels of classifiers are no tokens
            return Root(position, d_vocab * (d_vocab + 1), 1.0, " − ".join(map(str, words)))
        label = " − ".join(model.token_text(one).strip() for one in ids)
        unit = ids[0] if len(ids) == 1 else ids[0] + d_vocab * (ids[1] + 1)
        return Root(position, unit, 1.0, label)
    label = metric.name if isinstance(metric, Direction) else type(metric).__name__
    return Root(position, d_vocab * (d_vocab + 1), 1.0, label)


def as_circuit(  # noqa: PLR0913 - the parts of a circuit
    model: LoadedModel,
    prompt: Written,
    found: Found,
    root: Root,
    settings: dict[str, Any],
    scores: dict[str, float],
    clock: Clock,
) -> Circuit:
    """Return the circuit of one root."""
    model, read = as_traced(model), read_prompt(model, prompt)
    remark = ""
    if model.upcasts:
        cache = capture(model, read.token_ids)
        remark = precision_remark(model, cache.token_ids, cache.logits)
    n_layers = model.anatomy.n_layers
    units = list(found.units)
    keys = [*(key_of(unit) for unit in units),
            NodeKey(NodeKind.LOGIT, Site.LOGITS, n_layers, root.position, root.unit)]  # fmt: skip
    place = {unit: k for k, unit in enumerate(units)}
    ends = [(place[s], len(units) if t is None else place[t], w) for s, t, w in found.edges]
    source, target, weight = (np.array(column) for column in zip(*ends, strict=True)) if ends else (
        np.zeros(0, int), np.zeros(0, int), np.zeros(0))  # fmt: skip
    relevance = np.array([found.sweep.to_metric[found.sweep.units.index(unit)] for unit in units])
    own, empty, whole = found.measured
    pre = np.zeros(len(keys), np.float32)
    pre[-1] = whole
    settings = {**settings, "relevance": relevance_of_heads(found, n_layers)}
    n = len(keys)
    provenance = Provenance(
        method="contextual", app_version=circuitscope.__version__, settings=settings,
        model=model_record(model), dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=clock.seconds(), libraries=libraries(),
        remarks=(remark, NOT_ADDITIVE) if remark else (NOT_ADDITIVE,),
        scores={
            **scores, "whole": whole, "ablated": empty, "circuit": own,
            "sum_of_parts": float(relevance.sum()),
        },
    )  # fmt: skip
    return Circuit(
        read.tokens, read.token_ids, NodeTable.from_keys(keys, np.append(relevance, whole)),
        EdgeTable(source, target, weight.astype(np.float32), np.full(len(ends), Route.RELEVANCE)),
        np.array([n - 1]), np.array([root.weight]), pre, np.zeros(n, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, bool), provenance, (*map(name_of, units), root.label),
    )  # fmt: skip


def relevance_of_heads(found: Found, n_layers: int) -> list[list[float]]:
    """Return how relevant every head is for the metric, positions summed, [layer][head]."""
    heads = [(k, unit) for k, unit in enumerate(found.sweep.units) if unit.head >= 0]
    out = np.zeros((n_layers, 1 + max(unit.head for _, unit in heads)))
    for k, unit in heads:
        out[unit.layer, unit.head] += found.sweep.to_metric[k]
    return [[float(f"{value:.6g}") for value in row] for row in out]


def faithfulness(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[Written] | None = None,
    ablation: Literal["zero", "mean"] = "mean",
    *,
    metric: Metric | Sequence[Metric] | None = None,
    means: MeansLike = None,
    mlps: bool = False,
) -> float:
    """Measure how much of a metric a circuit's heads keep when all others are replaced.

    Args:
        model: The model the circuit is of.
        circuit: Its heads are kept, at their positions where they have any.
        prompts: None takes the circuit's own.
        ablation: What the others hold: their mean over the prompts, or 0.
        metric: None takes what the circuit explains.
        means: Means measured elsewhere.
        mlps: Whether MLPs that are not in the circuit are replaced too.

    Raises:
        TraceError: The circuit holds no heads, or nothing says what it is measured by.
    """
    units = units_of(circuit)
    if not units:
        raise TraceError(
            "The circuit holds no attention heads, so there is nothing to keep.",
            hint="Discover one with discover, or trace with units=neurons.",
        )
    texts = [list(circuit.token_ids)] if prompts is None else prompts
    weights = str(circuit.provenance.settings.get("weights", "raw"))
    held = means
    if ablation == "mean" and means is None:
        held = mean_activations(model, texts, weights=weights)
    cases = read_cases(model, texts, metric or metric_of(circuit), held, ablation, weights)
    return faithfulness_of(cases, units, mlps=mlps)


_METRICS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Logit, LogitDifference, Direction, ProbabilityDifference, GreaterThan, AnswerVersusOthers,
    )
}  # fmt: skip


def metric_of(circuit: Circuit) -> Metric:
    """Return what a circuit explains, as a metric.

    Raises:
        TraceError: It does not say.
    """
    settings = circuit.provenance.settings
    named = settings.get("metric") or next(iter(settings.get("targets") or ()), None)
    kind = _METRICS.get((named or {}).get("kind", ""))
    if named is None or kind is None or named.get("token", "") is None:
        raise TraceError(
            "The circuit does not say by which metric it is measured.",
            hint="Pass one, such as metric=LogitDifference(a, b).",
        )
    values = {name: tuple(value) if isinstance(value, list) else value
              for name, value in named.items() if name != "kind"}  # fmt: skip
    metric: Metric = kind(**values)
    return metric


def key_of(unit: Unit) -> NodeKey:
    """Return a unit's name in a circuit; the MLP is one node of its layer's output."""
    if unit.head < 0:
        return NodeKey(NodeKind.NEURON, Site.MLP_OUT, unit.layer, unit.position, -1)
    return NodeKey(NodeKind.HEAD, Site.HEAD_Z, unit.layer, unit.position, unit.head)


def name_of(unit: Unit) -> str:
    """Return what a unit is called in a drawing."""
    return f"MLP {unit.layer}" if unit.head < 0 else f"head {unit.layer}.{unit.head}"


def units_of(circuit: Circuit, nodes: Sequence[int] | None = None) -> list[Unit]:
    """Return the heads (and MLPs) of a circuit, or of some of its nodes, as units."""
    found = []
    for index in range(len(circuit.nodes)) if nodes is None else nodes:
        key = circuit.nodes.key(index)
        if key.kind is NodeKind.HEAD:
            found.append(Unit(key.layer, key.position, key.unit))
        elif key.kind is NodeKind.NEURON and key.site is Site.MLP_OUT and key.unit == -1:
            found.append(Unit(key.layer, key.position, -1))
    return found
