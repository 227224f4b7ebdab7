"""Everything one trace has at hand before its rows are computed: steps shared by the methods."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

import torch

import circuitscope
from circuitscope.core.dictionary_check import POOR, DictionaryCheck
from circuitscope.core.errors import NothingActive
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.features import SparseFeatures, encode_prompt
from circuitscope.dictionaries.fit import name_remark
from circuitscope.dictionaries.self_check import check_features
from circuitscope.models.capture import capture
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.prompts import Prompt, read_prompt
from circuitscope.models.reading import as_traced, model_record, precision_remark
from circuitscope.tracing.backward_walk import BackwardWalk
from circuitscope.tracing.memory import check_memory
from circuitscope.tracing.packed_walk import PackedWalk
from circuitscope.tracing.plan import Plan, make_plan
from circuitscope.tracing.read_points import Explained, Points, ReadPoints
from circuitscope.tracing.sources import Sources
from circuitscope.tracing.targets import Root, explained_rows, find_roots
from circuitscope.tracing.walk import Walk
from circuitscope.tracing.writers import collect_sources

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_PLACES = 8
_MOST_NEURONS = 30_000
"""With a budget, neurons beyond the strongest of these are summed without being ranked."""


class Clock:
    """Measure the time since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it was made, to the millisecond."""
        return round(time.perf_counter() - self._start, 3)


class OwnPoints(Points, Protocol):
    """Read points that bring their own rows."""

    explained: Explained


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One forward pass, broken into writers, with its targets found."""

    prompt: Prompt
    plan: Plan
    frozen: FrozenModel
    features: SparseFeatures
    sources: Sources
    roots: list[Root]
    explained: Explained
    points: Points
    walk: Walk
    provenance: Provenance

    def walking(self, points: OwnPoints, progress: Progress) -> Walk:
        """Return a walk of this run for rows of one's own."""
        kind = PackedWalk if self.plan.through else BackwardWalk
        return kind(self.frozen, self.sources, points.explained, points, progress)

    @property
    def parts(
        self,
    ) -> tuple[list[Root], Explained, Sources, tuple[str, ...], tuple[int, ...], int]:
        """Return what a circuit is assembled from besides its rows."""
        return (
            self.roots, self.explained, self.sources, self.prompt.tokens, self.prompt.token_ids,
            self.frozen.model.anatomy.n_ctx,
        )  # fmt: skip


@torch.no_grad()
def open_run(
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    settings: TraceSettings,
    progress: Progress,
) -> Run:
    """Run the prompt, encode it, gather the writers and find the targets.

    Raises:
        TraceError: The model's class is not known, or it is not read right.
        PromptError: The prompt cannot be read.
        OutOfMemory: It needs more than is free.
        DictionaryMismatch: A dictionary has other shapes than the model.
        TargetNotFound: A target does not exist in this run.
        NothingActive: No feature of any dictionary is active on the prompt.
    """
    model = as_traced(model)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    prompt = read_prompt(model, settings.prompt)
    needed = check_memory(model, dictionaries, settings, len(prompt.token_ids))
    progress.note(f"Needs about {needed.total / 1e9:.2f} GB besides the model.")
    plan = make_plan(model.anatomy, dictionaries, settings)
    progress.phase("Forward pass", 1)
    cache = capture(model, prompt.token_ids)
    progress.advance()
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    frozen = FrozenModel(model, cache, settings.gated, dtype)
    progress.phase("Features", len(plan.dictionaries))
    features = encode_prompt(plan.dictionaries, cache, progress)
    if plan.dictionaries and not features.n_active:
        raise NothingActive(
            "No feature of the dictionaries is active on this prompt.",
            kept="Nothing has been changed.",
            hint="Check that the dictionaries were trained on this model, or trace neurons.",
        )
    roots = find_roots(frozen, plan, settings)
    most = None if settings.max_nodes is None else max(_MOST_NEURONS, settings.max_nodes)
    sources = collect_sources(frozen, plan, features, most)
    parallel = model.anatomy.parallel_blocks
    explained = explained_rows(roots, sources, parallel=parallel)
    points = ReadPoints(frozen, plan, explained)
    walk = (PackedWalk if plan.through else BackwardWalk)(
        frozen, sources, explained, points, progress
    )
    blank = Provenance(settings.method)
    run = Run(prompt, plan, frozen, features, sources, roots, explained, points, walk, blank)
    return replace(run, provenance=_provenance(run, settings, started))


def _provenance(run: Run, settings: TraceSettings, started: str) -> Provenance:
    model = run.frozen.model
    cache = run.frozen.cache
    remarks = [precision_remark(model, cache.token_ids, cache.logits), *run.plan.remarks]
    cards = []
    poor = []
    remarks += [_inactive(run, root) for root in run.roots]
    for dictionary in run.plan.dictionaries:
        card = dictionary.card
        checks = check_features(dictionary, run.features, run.frozen.cache)
        here = _measured(checks)
        cards.append({**card.as_json(), "here": here})
        if remark := name_remark(card, model.anatomy, here["explained_variance"]):
            remarks.append(remark)
        if here["explained_variance"] < POOR:
            poor.append(card.name)
    if poor:
        remarks.append(
            f"Less than half of the variance is explained here by {', '.join(poor)}; a check of "
            "the dictionaries tries neighbouring sites."
        )
    if run.sources.n_dropped:
        remarks.append(
            f"{run.sources.n_dropped} weak neurons were summed as unexplained without being ranked."
        )
    return Provenance(
        method=settings.method,
        app_version=circuitscope.__version__,
        settings=settings.as_json(),
        model=model_record(model),
        dictionaries=tuple(cards),
        dtype=settings.dtype,
        device=str(model.device),
        seed=settings.seed,
        started=started,
        libraries=libraries(),
        remarks=tuple(filter(None, remarks)),
    )


def _inactive(run: Run, root: Root) -> str:
    """Say so where a feature that is explained is not active there; "" where it is."""
    key = root.key
    if key.kind is not NodeKind.FEATURE or root.activation:
        return ""
    found = run.features.active[key.site, key.layer]
    places = sorted(set(found.position[found.unit == key.unit].tolist()))
    shown = ", ".join(map(str, places[:_PLACES])) + (", ..." if len(places) > _PLACES else "")
    where = f"It is active at position {shown}." if places else "It is active nowhere here."
    return (
        f"Feature {key.unit} of {key.site.text} in layer {key.layer} is not active at position "
        f"{key.position}: the circuit explains its pre-activation there, "
        f"{root.preactivation:.3g}. {where}"
    )


def _measured(checks: Sequence[DictionaryCheck]) -> dict[str, float]:
    """Return how well a dictionary does on this prompt, the mean over its layers."""
    names = {"explained_variance": 4, "l0": 2, "silent_share": 4}
    return {
        name: round(sum(getattr(check, name) for check in checks) / len(checks), digits)
        for name, digits in names.items()
    }


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    names = ("torch", "transformers", "safetensors", "numpy")
    return {name: found for name in names if (found := _version(name))}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a frozen bundle may carry no metadata
        return ""
