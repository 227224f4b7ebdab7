"""Measure a circuit over prompts: is it faithful, complete and minimal?

1. Order its edges (or nodes) by size. m(S) is the metric, averaged over prompts, with S intact and
   everything else replaced; F(S) = (m(S) - m(nothing)) / (m(everything) - m(nothing)).
2. Faithfulness: F of the strongest k, for several k up to the circuit C. Beside it F of everything
   but these k: little is left of a model without a complete circuit.
3. Completeness (Wang et al. 2022, arXiv 2211.00593): |F(C without K) - F(everything without K)| for
   random parts K of C; 0 where the circuit stands in for the model whatever else is taken out.
4. Minimality (the same): for each edge v the largest |F(C without K) - F(C without K and v)| over
   no K and random ones; 0 where v does nothing.
5. Edges between heads, MLPs and words: area under the curve (CPR) and mean distance from 1 (CMD)
   over shares of all edges of the model, as the MIB benchmark takes them (Mueller et al. 2025,
   arXiv 2504.13151). Beyond the circuit's own size its last value holds.
6. Tests of hypotheses over prompts (`core.hypotheses`).

Nothing is clipped: more than 1, or less than 0, is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

import circuitscope
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Curves
from circuitscope.core.hypotheses import TOLERANCE, beyond, equivalence, independence
from circuitscope.core.keys import NodeKind
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress, silent
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.models.prompts import read_prompt
from circuitscope.models.reading import as_traced
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.edge_bench import EdgeBench
from circuitscope.tracing.feature_edges import FeatureEdgeBench
from circuitscope.tracing.node_bench import Choices, NodeBench
from circuitscope.tracing.relevance_circuit import metric_of
from circuitscope.tracing.run import Clock, libraries

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

Level = Literal["edge", "node"]
Ablation = Literal["auto", "zero", "mean", "resample"]
LEVELS: tuple[Level, ...] = ("edge", "node")
ABLATIONS: tuple[Ablation, ...] = ("auto", "zero", "mean", "resample")
METHOD = "measurement"
SHARES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOST_PARTS = 100
"""Edges or nodes, the strongest, whose minimality is measured."""
MANY = 1000
"""From here on small circuits are measured too, each so many times the one before."""
N_SETS, N_RANDOM, LEAST_PROMPTS = 8, 50, 5


class _Bench(Protocol):
    def open(self, prompt: Any, corrupted: Any, metric: Metric) -> Any: ...
    def values(self, task: Any, choices: Choices) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which choices are run: rows of `choices`, by what they are for.

    Attributes:
        of_model: Whether the columns are all edges of the model, so that shares of it mean
            something.
    """

    sizes: NDArray[np.int64]
    choices: Choices
    at: dict[str, slice]
    of_model: bool


def measure(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[PromptPair] | None = None,
    level: Level = "edge",
    ablation: Ablation = "auto",
    *,
    points: int = 20,
    seed: int = 0,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Curves:
    """Measure faithfulness, completeness and minimality of a circuit.

    Args:
        model: The model the circuit is of.
        circuit: For edges, one of heads, MLPs and words, or one of features by method "direct";
            for nodes, any with features, heads, MLPs or neurons.
        prompts: Prompts with their corrupted partners; those that the circuit was found on are
            left out where others remain. None takes the circuit's own prompt.
        level: "edge" or "node".
        ablation: What takes the place of the rest: "auto" and "resample" the corrupted prompt's
            values ("auto": the mean where there is none, and 0 for features), "mean" or "zero".
        points: Sizes of the circuit that are measured, besides MIB's shares.
        seed: Seeds random parts and circuits.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of every prompt; may cancel.

    Returns:
        Curves over the number of edges or nodes; `provenance.scores` holds the numbers, and
        `provenance.settings["measured"]` those of each edge and prompt.

    Raises:
        TraceError: The circuit cannot be measured so, or the metric does not depend on it.
    """
    hear, clock, model = progress or silent(), Clock(), as_traced(model)
    _check(level, ablation, prompts)
    pairs, remarks = _evaluated(model, circuit, prompts)
    if ablation == "resample" and any(pair.corrupted is None for pair in pairs):
        raise TraceError(
            "Resampling needs a corrupted partner for every prompt.",
            hint='Give one for each, or choose ablation "mean".',
        )
    with fitting_threads(model.anatomy):
        plan, bench = _prepare(model, circuit, level, ablation, points, seed, dictionaries)
        found = []
        hear.phase("Measuring", len(pairs))
        for pair in pairs:
            metric = metric_of(circuit) if pair.metric is None else pair.metric
            task = bench.open(_plain(pair.clean), _plain(pair.corrupted), metric)
            found.append(bench.values(task, plan.choices))
            hear.advance()
    values = np.array(found, np.float64)
    scores, curves, measured = _read(plan, values, seed)
    record = circuit.provenance
    told = replace(
        record, method=METHOD, app_version=circuitscope.__version__, remarks=(*remarks,
        *record.remarks), scores=scores, parent=circuit.digest, seed=seed,
        settings={**record.settings, "level": level, "ablation": ablation, "measured": measured},
        started=datetime.now(UTC).isoformat(timespec="seconds"), seconds=clock.seconds(),
        libraries=libraries(),
    )  # fmt: skip
    return Curves(f"{level}s", plan.sizes.astype(np.float32), curves, told)


def _plain(prompt: Any) -> Any:
    return list(prompt) if isinstance(prompt, tuple) else prompt


def _check(level: str, ablation: str, prompts: object) -> None:
    if level not in LEVELS:
        raise TraceError(f"There is no level {level!r}.", hint=f"Choices: {', '.join(LEVELS)}.")
    if ablation not in ABLATIONS:
        raise TraceError(
            f"There is no ablation {ablation!r}.", hint=f"Choices: {', '.join(ABLATIONS)}."
        )
    if prompts is not None and not len(prompts):  # type: ignore[arg-type]
        raise TraceError("There are no prompts to measure on.", hint="Give at least one.")


def _evaluated(
    model: LoadedModel, circuit: Circuit, prompts: Sequence[PromptPair] | None
) -> tuple[list[PromptPair], list[str]]:
    """Return the prompts to measure on, without those traced, and what must be said of them."""
    corrupted = circuit.provenance.settings.get("corrupted") or None
    own = PromptPair(circuit.token_ids, tuple(corrupted) if isinstance(corrupted, list)
                     else corrupted)  # fmt: skip
    if prompts is None:
        return [own], ["Measured on the prompt that the circuit was found on."]
    traced = tuple(circuit.token_ids)
    others = [p for p in prompts if tuple(read_prompt(model, _plain(p.clean)).token_ids) != traced]
    if not others:
        return list(prompts), ["Measured on the prompt that the circuit was found on."]
    left = len(prompts) - len(others)
    return others, ["The prompt that the circuit was found on is left out."] if left else []


def _prepare(  # noqa: PLR0913 - the parts of a measurement
    model: LoadedModel,
    circuit: Circuit,
    level: Level,
    ablation: Ablation,
    points: int,
    seed: int,
    dictionaries: Sequence[Dictionary] | None,
) -> tuple[_Plan, _Bench]:
    random = np.random.default_rng(seed)
    if level == "edge" and circuit.nodes.of_kind(NodeKind.FEATURE).any():
        between = FeatureEdgeBench(model, circuit, ablation, dictionaries)
        n = len(between.edges)
        return _plan(np.arange(n), n + 1, points, random, outside=False), between
    if level == "edge":
        edges = EdgeBench(model, circuit, ablation)
        order = np.arange(edges.n_own)
        return _plan(order, len(edges.places), points, random, outside=True), edges
    nodes = NodeBench(model, circuit, ablation, dictionaries)
    order = _order(circuit, nodes)
    return _plan(order, len(nodes.keys) + 1, points, random, outside=False), nodes


def _order(circuit: Circuit, bench: NodeBench) -> NDArray[np.int64]:
    """Return the bench's nodes, those with the most influence (or strongest edge) first."""
    strength = np.abs(circuit.nodes.influence.astype(np.float64))
    if not strength.any():
        weight = np.abs(circuit.edges.weight).astype(np.float64)
        np.maximum.at(strength, circuit.edges.source, weight)
    return np.argsort(-strength[bench.nodes], kind="stable")


def _plan(
    order: NDArray[np.int64], width: int, points: int, random: np.random.Generator, *, outside: bool
) -> _Plan:
    n = len(order)
    spread = np.linspace(0, n, min(points, n + 1)).tolist()
    if n > MANY:
        spread += np.geomspace(1, n, points).tolist()
    shares = [share * width for share in SHARES if share * width <= n] if outside else []
    sizes = np.unique(np.round([*spread, *shares]).astype(np.int64))
    own = np.zeros(width, bool)
    own[order] = True
    rows: list[NDArray[np.bool_]] = []
    at: dict[str, slice] = {}

    def add(name: str, new: Sequence[NDArray[np.bool_]]) -> None:
        at[name] = slice(len(rows), len(rows) + len(new))
        rows.extend(new)

    def first(k: int) -> NDArray[np.bool_]:
        chosen = np.zeros(width, bool)
        chosen[order[:k]] = True
        return chosen

    add("whole", [np.ones(width, bool)])
    add("empty", [np.zeros(width, bool)])
    add("circuit", [own])
    add("kept", [first(k) for k in sizes.tolist()])
    add("without", [~first(k) for k in sizes.tolist()])
    sets = [own & (random.random(width) < 0.5) for _ in range(N_SETS)]
    add("circuit less K", [own & ~part for part in sets])
    add("model less K", [~part for part in sets])
    parts = order[:MOST_PARTS].tolist()
    add("circuit less v", [own & ~_one(v, width) for v in parts])
    for number, taken in enumerate(sets[:3]):
        add(f"less K{number} and v", [own & ~taken & ~_one(v, width) for v in parts])
    rest = np.flatnonzero(~own)
    if outside and len(rest):
        drawn = random.permutation(rest)[:N_RANDOM].tolist()
        add("circuit and other", [own | _one(v, width) for v in drawn])
        same = [random.permutation(width)[:n] for _ in range(N_RANDOM)]
        add("random", [np.isin(np.arange(width), chosen) for chosen in same])
    return _Plan(sizes, np.array(rows), at, outside)


def _one(v: int, width: int) -> NDArray[np.bool_]:
    found = np.zeros(width, bool)
    found[v] = True
    return found


def _read(
    plan: _Plan, values: NDArray[np.float64], seed: int
) -> tuple[dict[str, float], dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return scores, curves and what is known of each edge, from values [prompt, choice]."""
    mean, at = values.mean(0), plan.at
    whole, empty = float(mean[at["whole"]][0]), float(mean[at["empty"]][0])
    if abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
        raise TraceError(
            f"The metric is {whole:.4g} also with everything replaced, so nothing can be faithful "
            "to it.",
            hint="Choose another metric, other prompts or another ablation.",
        )
    scaled = (mean - empty) / (whole - empty)
    f = {name: scaled[where] for name, where in at.items()}
    kept, without = f["kept"], f["without"]
    incomplete = np.abs(f["circuit less K"] - f["model less K"])
    minimal = np.abs(f["circuit"] - f["circuit less v"])
    for number in range(3):
        change = np.abs(f["circuit less K"][number] - f[f"less K{number} and v"])
        minimal = np.maximum(minimal, change)
    width = plan.choices.shape[1]
    n = int(plan.sizes[-1])
    scores = {
        "faithfulness": float(f["circuit"][0]), "without": float(without[-1]),
        "completeness_gap": float(incomplete.max()), "least_minimality": float(minimal.min()),
        "whole": whole, "ablated": empty, "n_prompts": float(len(values)), "size": float(n),
        "area": float(np.trapezoid(kept, plan.sizes / n)),
        "distance": float(np.trapezoid(np.abs(1 - kept), plan.sizes / n)),
    }  # fmt: skip
    if plan.of_model:
        by_share = [kept[np.searchsorted(plan.sizes, min(round(s * width), n))] for s in SHARES]
        scores["CPR"] = float(np.trapezoid(by_share, SHARES))
        scores["CMD"] = float(np.trapezoid(np.abs(1 - np.array(by_share)), SHARES))
        scores["edges_of_model"] = float(width)
    scores |= _tests(plan, values, f, seed)
    measured = {
        "minimality": [float(f"{v:.4g}") for v in minimal],
        "completeness": [
            [float(f"{a:.4g}"), float(f"{b:.4g}")]
            for a, b in zip(f["circuit less K"], f["model less K"], strict=True)
        ],
        "prompts": [[float(f"{v:.5g}") for v in row[:3]] for row in values],
    }  # fmt: skip
    curves = {"faithfulness": kept.astype(np.float32), "without them": without.astype(np.float32)}
    return scores, curves, measured


def _tests(
    plan: _Plan, values: NDArray[np.float64], f: dict[str, NDArray[np.float64]], seed: int
) -> dict[str, float]:
    at = plan.at
    whole, own = values[:, at["whole"]][:, 0], values[:, at["circuit"]][:, 0]
    found: dict[str, float] = {}
    if len(values) >= LEAST_PROMPTS:
        rest = values[:, at["without"]][:, -1]
        found["p_equivalence"] = equivalence(own, whole, TOLERANCE)
        found["p_independence"] = independence(rest, whole, seed=seed)
    if "random" in f:
        change = np.abs(f["circuit"] - f["circuit less v"])
        others = np.abs(f["circuit"] - f["circuit and other"])
        found["share_minimal"] = float((beyond(change, others) <= 0.05).mean())
        near = -np.abs(1 - f["random"])
        found["p_sufficiency"] = float(beyond(-np.abs(1 - f["circuit"]), near)[0])
    return found
