"""Words behind a decision, heads behind a metric, heads of two circuits: what is asked, and how.

Requests are plain data; torch and models are imported on use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from circuitscope.core.agreement import Agreement
from circuitscope.core.circuit import Circuit
from circuitscope.core.finding import Grid, Ranking
from circuitscope.core.metrics import Metric

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.engine.answers import Holdings
    from circuitscope.engine.requests import ModelChoice


@dataclass(frozen=True, slots=True)
class WeighWords:
    """Weigh the words and phrases of a classifier's decision; the answer is a `Ranking`.

    Attributes:
        label: What is explained; "" for the model's own decision.
        contrast: What it is told from; "" for the likeliest other label.
        longest: Words of the longest phrase.
    """

    model: ModelChoice
    prompt: str | tuple[int, ...]
    label: str = ""
    contrast: str = ""
    longest: int = 4
    weights: str = "raw"


@dataclass(frozen=True, slots=True)
class MeasureMeans:
    """Average what heads and MLPs hold over prompts; the answer is a `Grid`.

    Attributes:
        name: What the means are called.
    """

    model: ModelChoice
    prompts: tuple[str | tuple[int, ...], ...]
    name: str = ""
    weights: str = "raw"


@dataclass(frozen=True, slots=True)
class DiscoverHeads:
    """Find the heads behind a metric over many prompts; the answer is a `Circuit`.

    Attributes:
        prompts: Texts or ids; `metrics` holds one for each.
        evaluation: Prompts that faithfulness is measured on; none takes those searched.
        n_heads: Units taken at most.
    """

    model: ModelChoice
    prompts: tuple[str | tuple[int, ...], ...]
    metrics: tuple[Metric, ...]
    evaluation: tuple[str | tuple[int, ...], ...] = ()
    evaluation_metrics: tuple[Metric, ...] = ()
    granularity: Literal["head", "head-position"] = "head"
    n_heads: int = 10
    mlps: bool = False
    ablation: Literal["zero", "mean"] = "mean"
    weights: str = "raw"


@dataclass(frozen=True, slots=True)
class CompareHeads:
    """Compare a dictionary circuit with one of contextual decomposition by heads.

    Attributes:
        contextual: Of the same prompt; None traces one.
        dictionaries: Folders that hold those of the circuit.
    """

    model: ModelChoice
    circuit: Circuit
    contextual: Circuit | None = None
    dictionaries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Two circuits side by side.

    Attributes:
        traced: The circuit of contextual decomposition where it was traced for this.
    """

    agreement: Agreement
    traced: Circuit | None = None


def weigh_words(request: WeighWords, holdings: Holdings, progress: Progress) -> Ranking:
    """Answer a `WeighWords`."""
    from circuitscope.tracing.importance import importance_finding

    model = holdings.model(request.model, progress)
    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    return importance_finding(
        model, prompt, request.label or None, request.contrast or None, longest=request.longest,
        weights=request.weights, progress=progress,
    )  # fmt: skip


def measure_means(request: MeasureMeans, holdings: Holdings, progress: Progress) -> Grid:
    """Answer a `MeasureMeans`."""
    from circuitscope.core.means import as_grid
    from circuitscope.tracing.ablating import mean_activations, provenance_of_means

    model = holdings.model(request.model, progress)
    found = mean_activations(model, request.prompts, weights=request.weights, progress=progress)
    return as_grid(replace(found, name=request.name), provenance_of_means(model))


def discover_heads(request: DiscoverHeads, holdings: Holdings, progress: Progress) -> Circuit:
    """Answer a `DiscoverHeads`."""
    from circuitscope.tracing.relevance_circuit import discover

    return discover(
        holdings.model(request.model, progress), request.prompts, request.metrics,
        granularity=request.granularity, n_heads=request.n_heads, mlps=request.mlps,
        ablation=request.ablation, weights=request.weights,
        evaluation=request.evaluation or None,
        evaluation_metric=request.evaluation_metrics or None, progress=progress,
    )  # fmt: skip


def compare_heads(request: CompareHeads, holdings: Holdings, progress: Progress) -> Compared:
    """Answer a `CompareHeads`."""
    from circuitscope.tracing.agreement import compare, contextual_settings
    from circuitscope.tracing.method import trace

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    traced = None
    if request.contextual is None:
        settings = contextual_settings(request.circuit, model)
        traced = trace(model, settings, (), progress)
    heads = request.contextual or traced
    assert heads is not None
    return Compared(compare(model, request.circuit, heads, opened or None), traced)
