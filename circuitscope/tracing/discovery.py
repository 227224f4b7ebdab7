"""Find the heads that make a metric: circuit discovery by contextual decomposition (Algorithm 1).

1. Targets are the logits. Decompose every head (or head at a position, and MLPs where asked): its
   score is the metric of its relevant logits, averaged over the prompts.
2. Divide scores by their layer's mean size; take the strongest: by count, or by percentile.
3. Greedy pruning: drop a unit while the circuit without it does better.
4. Targets are the units just taken: the score of a source is the sum over them of
   |r| / (|r| + |i|). Back to 2, until no source lies upstream, the budget is spent, or the
   circuit is good enough.

One sweep records what every source is relevant for at every head and at the logits, so all
iterations read the same numbers (Hsu et al. 2025, arXiv 2407.00886, section 3.3 and appendix B).

Edges are all-paths relevances, not direct effects; they are not additive and no row is conserved:
the sum of the parts is kept beside the whole. A unit is evidence once removing or keeping it
changes the metric, which is what faithfulness measures, on prompts of its own where given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress, silent
from circuitscope.models.blueprint import Blueprint
from circuitscope.models.drafting import draft
from circuitscope.models.preparing import prepare
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.ablating import (
    Case,
    Unit,
    faithfulness_of,
    mean_activations,
    measure,
    measure_over,
)
from circuitscope.tracing.decomposition import choose_rules
from circuitscope.tracing.injection import Means, Silent, SourceSet, Where
from circuitscope.tracing.metrics import read_metric
from circuitscope.tracing.naming_sources import read_means
from circuitscope.tracing.relevance import Reading, RelevanceWalk
from circuitscope.tracing.splitting import MeansLike
from circuitscope.tracing.totals import Totals, run_totals

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Granularity = Literal["head", "head-position"]
_ENOUGH = 0.02
_KEPT = "Nothing has been changed."


@dataclass(frozen=True, slots=True)
class Search:
    """How to search.

    Attributes:
        n_heads: Units taken at most.
        percentile: Per iteration take units from this percentile of scores up, not by count.
        per_step: Units taken in one iteration; None takes a third of n_heads.
        normalise: Divide scores by their layer's mean size.
        prune: Drop units whose removal helps.
    """

    granularity: Granularity = "head"
    n_heads: int = 10
    percentile: float | None = None
    per_step: int | None = None
    mlps: bool = False
    normalise: bool = True
    prune: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """What every source is relevant for, averaged over prompts.

    Attributes:
        units: Sources, in the order of computation; targets are the same units.
        to_metric: Metric of each source's relevant logits, [unit].
        between: Share |r| / (|r| + |i|) that a source (row) has of a unit downstream, [unit, unit].
        whole: The metric itself.
    """

    units: tuple[Unit, ...]
    to_metric: NDArray[np.float64]
    between: NDArray[np.float32]
    whole: float


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A discovered circuit.

    Attributes:
        units: Units of the circuit, strongest first.
        edges: (source, target, weight); target None is the metric.
        node_scores: Best normalised score of each unit of the sweep over all iterations.
        pruned: Units that greedy pruning dropped.
        measured: Metric of the circuit, of nothing and of the model, on the discovery prompts.
    """

    sweep: Sweep
    units: tuple[Unit, ...]
    edges: tuple[tuple[Unit, Unit | None, float], ...]
    node_scores: NDArray[np.float64]
    pruned: tuple[Unit, ...]
    measured: tuple[float, float, float]


def read_cases(
    model: LoadedModel,
    prompts: Sequence[Written],
    metric: Metric | Sequence[Metric],
    means: MeansLike,
    ablation: Literal["zero", "mean"],
    weights: str = "raw",
) -> list[Case]:
    """Make prompts ready, each with its metric and means.

    Raises:
        TraceError: No prompts, as many metrics as prompts are missing, or means do not fit.
    """
    if isinstance(prompts, str) or not len(prompts):
        raise TraceError("Discovery needs a list of prompts.", kept=_KEPT)
    many = list(metric) if isinstance(metric, Sequence) else [metric] * len(prompts)
    if len(many) != len(prompts):
        raise TraceError(
            f"There are {len(prompts)} prompts but {len(many)} metrics.",
            kept=_KEPT,
            hint="Give one metric for all prompts, or one for each.",
        )
    blueprint = prepare(draft(model), weights)
    cases = []
    with torch.no_grad():
        for prompt, one in zip(prompts, many, strict=True):
            ids = torch.tensor(read_prompt(model, prompt).token_ids, device=model.device)
            meter = read_metric(model, blueprint, one, len(ids))
            held = Means()
            if ablation == "mean":
                held = read_means(run_totals(blueprint, ids), model.anatomy.digest, means)
            cases.append(Case(ids, meter, held))
    return cases


def list_units(blueprint: Blueprint, n_pos: int | None, *, mlps: bool) -> list[Unit]:
    """Return all heads (and MLPs), at every position where n_pos is given."""
    positions = (-1,) if n_pos is None else range(n_pos)
    units = []
    for layer in range(blueprint.n_layers):
        heads = range(blueprint.heads[0])
        units += [Unit(layer, at, head) for at in positions for head in heads]
        units += [Unit(layer, at, -1) for at in positions if mlps]
    return units


def source_set(unit: Unit, n_pos: int) -> SourceSet:
    """Return a unit as a set of sources in a prompt."""
    at = range(n_pos) if unit.position < 0 else (unit.position,)
    if unit.head < 0:
        return SourceSet(mlp=tuple((unit.layer, p) for p in at))
    return SourceSet(z=tuple((unit.layer, p, unit.head) for p in at))


def sweep(cases: Sequence[Case], search: Search, progress: Progress) -> Sweep:
    """Decompose every unit of every prompt once.

    Raises:
        TraceError: Positions are fixed but prompts differ in length.
    """
    lengths = {len(case.ids) for case in cases}
    fixed = search.granularity == "head-position"
    if fixed and len(lengths) > 1:
        raise TraceError(
            f"Prompts have {min(lengths)} to {max(lengths)} tokens, but heads at positions need "
            "one length.",
            kept=_KEPT,
            hint='Give prompts of equal length, or choose granularity "head".',
        )
    blueprint = cases[0].meter.blueprint
    units = list_units(blueprint, next(iter(lengths)) if fixed else None, mlps=search.mlps)
    to_metric = np.zeros(len(units))
    between = torch.zeros(len(units), len(units))
    whole = 0.0
    progress.phase("Decomposing heads", len(units) * len(cases))
    with torch.no_grad():
        for case in cases:
            totals = run_totals(case.meter.blueprint, case.ids)
            recorder = _Shares(units, totals, case)
            reading = Reading((case.meter.position,), case.meter.tokens)
            rules = choose_rules(blueprint, "relrel")
            walk = RelevanceWalk(totals, rules, reading)
            sets = [source_set(unit, totals.n_pos) for unit in units]
            walk.run(sets, case.means, recorder, progress)
            to_metric += recorder.to_metric.double().cpu().numpy() / len(cases)
            between += recorder.between.float().cpu() / len(cases)
            whole += measure(case, None) / len(cases)
    stage = np.array([unit.stage for unit in units])
    between[torch.from_numpy(stage[:, None] >= stage[None, :])] = 0
    return Sweep(tuple(units), to_metric, between.numpy(), whole)


class _Shares(Silent):
    def __init__(self, units: Sequence[Unit], totals: Totals, case: Case) -> None:
        like = totals.embed
        self.to_metric = like.new_zeros(len(units))
        self.between = like.new_zeros(len(units), len(units))
        self._totals, self._case = totals, case
        self._by_position = units[0].position >= 0
        self._columns: dict[tuple[int, bool], list[int]] = {}
        for number, unit in enumerate(units):
            self._columns.setdefault((unit.layer, unit.head < 0), []).append(number)

    def _keep(self, key: tuple[int, bool], r: Tensor, total: Tensor, at: Where) -> None:
        """Keep mean |r| / (mean |r| + mean |i|) of parts [set, pos, unit, width]."""
        if key not in self._columns:
            return
        places = (at.place >= 0).nonzero()[:, 0]
        mine, rest = r.abs().mean(-1), (total[places] - r).abs().mean(-1)
        share = torch.nan_to_num(mine / (mine + rest))
        columns = torch.tensor(self._columns[key], device=r.device)
        rows = torch.tensor(at.numbers, device=r.device)
        if self._by_position:
            columns = torch.unflatten(columns, 0, (self._totals.n_pos, -1))[places]
            self.between[rows[:, None, None], columns[None]] = share
            return
        # Positions before a window hold nothing; the last layer has only what is read.
        n = share.shape[1] if key[0] == self._totals.blueprint.n_layers - 1 else self._totals.n_pos
        self.between[rows[:, None], columns[None]] = share.sum(1) / n

    def z(self, layer: int, z: Tensor, at: Where) -> None:
        self._keep((layer, False), z, self._totals.layers[layer].attention.z, at)

    def mlp(self, layer: int, out: Tensor, at: Where) -> None:
        whole = self._totals.layers[layer].mlp.out.after
        self._keep((layer, True), out[:, :, None], whole[:, None], at)

    def logits(self, logits: Tensor, at: Where) -> None:
        self.to_metric[list(at.numbers)] = self._case.meter.value(logits[:, 0])


def find(cases: Sequence[Case], search: Search, progress: Progress) -> Found:
    """Run Algorithm 1 over the prompts."""
    swept = sweep(cases, search, progress)
    score = _Scoring(swept, search)
    whole, empty = measure_over(cases, (None, ()), mlps=search.mlps)
    step = search.per_step or max(1, -(-search.n_heads // 3))
    chosen: list[Unit] = []
    edges: list[tuple[Unit, Unit | None, float]] = []
    pruned: list[Unit] = []
    targets: list[Unit] | None = None
    own = empty
    progress.phase("Searching")
    while len(chosen) < search.n_heads:
        values = score.of(targets)
        new = score.pick(values, chosen, min(step, search.n_heads - len(chosen)))
        if not new:
            break
        chosen += new
        edges += score.edges(new, targets)
        if search.prune:
            dropped = _prune(cases, chosen, search, whole, progress)
            pruned += dropped
            chosen = [unit for unit in chosen if unit not in dropped]
            # A dropped unit may be chosen again; its edges are then found again.
            edges = [one for one in edges if one[0] in chosen and (one[1] or one[0]) in chosen]
        (own,) = measure_over(cases, (tuple(chosen),), mlps=search.mlps)
        targets = [unit for unit in new if unit in chosen]
        if not targets or abs(own - whole) < _ENOUGH * abs(whole - empty):
            break
        progress.advance()
    left_out = tuple(unit for unit in dict.fromkeys(pruned) if unit not in chosen)
    return Found(swept, tuple(chosen), tuple(edges), score.best, left_out, (own, empty, whole))


class _Scoring:
    """Scores of an iteration; `best` keeps each unit's best over all iterations asked for."""

    def __init__(self, swept: Sweep, search: Search) -> None:
        self._swept, self._search = swept, search
        self._index = {unit: k for k, unit in enumerate(swept.units)}
        self._layers = np.array([unit.layer for unit in swept.units])
        self.best = np.zeros(len(swept.units))

    def of(self, targets: Sequence[Unit] | None) -> NDArray[np.float64]:
        """Return the normalised score of every unit for the targets; None is the metric."""
        swept = self._swept
        if targets is None:
            raw = np.abs(swept.to_metric)
        else:
            raw = swept.between[:, [self._index[unit] for unit in targets]].sum(1).astype(float)
        if self._search.normalise:
            for layer in np.unique(self._layers):
                mine = self._layers == layer
                raw[mine] /= max(float(raw[mine].mean()), 1e-12)
        self.best = np.maximum(self.best, raw)
        return raw

    def pick(self, values: NDArray[np.float64], chosen: Sequence[Unit], most: int) -> list[Unit]:
        """Return the strongest units that are not chosen yet."""
        if self._search.percentile is not None:
            most = min(
                self._search.n_heads - len(chosen),
                int(np.ceil(len(values) * (1 - self._search.percentile / 100))),
            )
        order = [k for k in np.argsort(-values, kind="stable") if values[k] > 0]
        units = [self._swept.units[int(k)] for k in order]
        return [unit for unit in units if unit not in chosen][:most]

    def edges(
        self, new: Sequence[Unit], targets: Sequence[Unit] | None
    ) -> list[tuple[Unit, Unit | None, float]]:
        """Return an edge for each relevance behind a choice."""
        swept = self._swept
        found: list[tuple[Unit, Unit | None, float]] = [
            (unit, None, float(swept.to_metric[self._index[unit]])) for unit in new
        ]
        for unit in new if targets is not None else ():
            for target in targets or ():
                weight = float(swept.between[self._index[unit], self._index[target]])
                if weight:
                    found.append((unit, target, weight))
        return found


def _prune(
    cases: Sequence[Case], chosen: Sequence[Unit], search: Search, whole: float, progress: Progress
) -> list[Unit]:
    """Return units whose removal brings the circuit's metric nearer to the model's direction."""
    sign = 1.0 if whole >= 0 else -1.0
    kept, dropped = list(chosen), []
    best = sign * measure_over(cases, (kept,), mlps=search.mlps)[0]
    while len(kept) > 1:
        rests = [[one for one in kept if one != unit] for unit in kept]
        without = [sign * value for value in measure_over(cases, rests, mlps=search.mlps)]
        progress.advance(0)
        at = int(np.argmax(without))
        if without[at] <= best + 1e-6 * abs(best):
            break
        best = without[at]
        dropped.append(kept.pop(at))
    return dropped


def discover_units(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    prompts: Sequence[Written],
    metric: Metric | Sequence[Metric],
    search: Search,
    *,
    ablation: Literal["zero", "mean"] = "mean",
    means: MeansLike = None,
    weights: str = "raw",
    evaluation: Sequence[Written] | None = None,
    evaluation_metric: Metric | Sequence[Metric] | None = None,
    progress: Progress | None = None,
) -> tuple[Found, float, list[Case]]:
    """Search, and measure faithfulness on the evaluation prompts; means default to the prompts'."""
    hear = progress or silent()
    if isinstance(prompts, str) or not len(prompts):
        raise TraceError("Discovery needs a list of prompts.", kept=_KEPT)
    if search.n_heads < 1:
        raise TraceError(f"n_heads cannot be {search.n_heads}.", kept=_KEPT, hint="Give 1 or more.")
    held: Any = means
    if ablation == "mean" and means is None:
        held = mean_activations(model, prompts, weights=weights, progress=hear)
    make: Callable[..., list[Case]] = lambda texts, by: read_cases(  # noqa: E731 - shared arguments
        model, texts, by, held, ablation, weights
    )
    with fitting_threads(model.anatomy):
        cases = make(prompts, metric)
        found = find(cases, search, hear)
        others = cases
        if evaluation is not None:
            others = make(evaluation, metric if evaluation_metric is None else evaluation_metric)
        faithful = faithfulness_of(others, found.units, mlps=search.mlps)
    return found, faithful, cases
