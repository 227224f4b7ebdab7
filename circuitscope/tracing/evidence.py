"""Evidence for circuits, as Python users call it; torch is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from circuitscope.core.badges import Badge, Outcome
from circuitscope.core.badges import badges as badges_of
from circuitscope.core.circuit import Circuit
from circuitscope.core.finding import Curves, Grid
from circuitscope.core.keys import NodeKey
from circuitscope.core.progress import Progress
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.core.transfer import Transfer

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel
    from circuitscope.models.prompts import Written
    from circuitscope.tracing.mib import MibResult
    from circuitscope.tracing.verify import Verification


def badges(
    model: LoadedModel,
    circuit: Circuit,
    nodes: Sequence[int | NodeKey | str] | None = None,
    edges: Sequence[int] = (),
    groups: Sequence[Sequence[int | NodeKey | str]] = (),
    **options: Any,
) -> list[tuple[Outcome, Badge]]:
    """Test parts of a circuit on the unfrozen model, against matched controls.

    The options, among them counterfactual, ablation, draws and dictionaries, are those of
    `tracing.badges`. Badges are corrected for all tests of one call.
    """
    from circuitscope.tracing import badges as testing

    found = testing.badges(model, circuit, nodes, edges, groups, **options)
    return list(zip(found, badges_of(found), strict=True))


def patching_grid(
    model: LoadedModel,
    clean: Written,
    corrupted: Written,
    metric: Logit | LogitDifference,
    component: Any = "resid_pre",
    **options: Any,
) -> Grid:
    """Sweep activation patching over layers and positions, or heads; see `tracing.patching`."""
    from circuitscope.tracing import patching

    return patching.patching_grid(model, clean, corrupted, metric, component, **options)


def attention_grid(
    model: LoadedModel,
    prompt: Written,
    metric: Logit | LogitDifference,
    key: int,
    query: int | None = -1,
    **options: Any,
) -> Grid:
    """Return what multiplying each head's look at a position changes; `tracing.attention_sweep`."""
    from circuitscope.tracing import attention_sweep

    return attention_sweep.attention_grid(model, prompt, metric, key, query, **options)


def inspect_logits(
    model: LoadedModel,
    prompt: Written,
    metric: Logit | LogitDifference,
    component: Any = "parts",
    **options: Any,
) -> Grid:
    """Return what heads, MLPs, words or states add to a metric; see `tracing.logit_parts`."""
    from circuitscope.tracing import logit_parts

    return logit_parts.logit_parts(model, prompt, metric, component, **options)


def bench_mib(
    model: LoadedModel,
    train: Sequence[PromptPair],
    test: Sequence[PromptPair] = (),
    methods: Sequence[str] = ("eap", "eap_ig", "random"),
    **options: Any,
) -> tuple[MibResult, ...]:
    """Run the circuit protocol of the MIB benchmark at the level of edges; see `tracing.mib`."""
    from circuitscope.tracing import mib

    return mib.bench_mib(model, train, test, methods, **options)


def verify(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    nodes: Sequence[int | NodeKey | str] | None = None,
    edges: Sequence[int] | None = None,
    mode: str = "zero",
    effect: Literal["direct", "total"] = "direct",
    *,
    predict: Literal["circuit", "live"] = "circuit",
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Switch nodes off in the model and compare with what the circuit predicts.

    Args:
        model: The model the circuit was traced in.
        circuit: A circuit traced here.
        nodes: Nodes to switch off; None takes those with the strongest edges into a root.
        edges: Only these edges.
        mode: "zero".
        effect: "direct" checks the arithmetic of edges, everything else frozen; "total" lets
            everything follow, and is the evidence.
        predict: Of total effects: "circuit" by its edges over all paths; "live" with nothing
            frozen, which ranks nodes better.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of every run of the model.
    """
    from circuitscope.tracing import verify as verification

    return verification.verify(
        model, circuit, nodes, edges, mode, effect, predict=predict, dictionaries=dictionaries,
        progress=progress,
    )  # fmt: skip


def faithfulness_curve(
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[Written] | None = None,
    ablation: Literal["zero", "mean"] = "mean",
    **options: Any,
) -> Curves:
    """Measure faithfulness against the number of a circuit's heads; see `tracing.curves`."""
    from circuitscope.tracing import curves

    return curves.faithfulness_curve(model, circuit, prompts, ablation, **options)


def measure(
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[PromptPair] | None = None,
    level: Literal["edge", "node"] = "edge",
    ablation: Literal["auto", "zero", "mean", "resample"] = "auto",
    **options: Any,
) -> Curves:
    """Measure faithfulness, completeness and minimality of a circuit; see `tracing.measuring`."""
    from circuitscope.tracing import measuring

    return measuring.measure(model, circuit, prompts, level, ablation, **options)


def transfer(model: LoadedModel, a: Circuit, b: Circuit, **options: Any) -> Transfer:
    """Run two circuits on each other's prompts; see `tracing.transfer`.

    The options are floor (a circuit that should be as the first), names, align, node_threshold,
    ablation and dictionaries.
    """
    from circuitscope.tracing import transfer as crosswise

    return crosswise.transfer(model, a, b, **options)
