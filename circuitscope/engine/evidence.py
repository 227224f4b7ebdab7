"""Evidence for a circuit: what is asked, and how it is answered; torch is imported on use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from circuitscope.core.badges import Outcome
from circuitscope.core.circuit import Circuit
from circuitscope.core.finding import Curves, Grid
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.core.transfer import Transfer
from circuitscope.graph.compare import Alignment

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.engine.answers import Holdings
    from circuitscope.engine.requests import ModelChoice
    from circuitscope.tracing.mib import MibResult


@dataclass(frozen=True, slots=True, eq=False)
class RunTests:
    """Test nodes, edges and groups of a circuit on the unfrozen model; see `tracing.badges`.

    Attributes:
        nodes: Keys, tested one by one; edges: by index; groups: each changed as a whole.
        counterfactual: A prompt of as many tokens, "" for none; means: prompts to be averaged.
        dictionaries: Folders.
    """

    model: ModelChoice
    circuit: Circuit
    nodes: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    root: str = ""
    ablation: Literal["auto", "zero", "mean", "resample"] = "auto"
    counterfactual: str | tuple[int, ...] = ""
    means: tuple[str | tuple[int, ...], ...] = ()
    draws: int = 200
    seed: int = 0
    dictionaries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the tests found, in the order asked: nodes, edges, groups."""

    tests: tuple[Outcome, ...]


def run_tests(request: RunTests, holdings: Holdings, progress: Progress) -> Outcomes:
    """Answer a `RunTests`."""
    from circuitscope.tracing.badges import badges

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    found = badges(
        model, request.circuit, request.nodes or None, request.edges, request.groups,
        root=request.root or None, ablation=request.ablation,
        counterfactual=request.counterfactual or None, means=request.means, draws=request.draws,
        seed=request.seed, dictionaries=opened or None, progress=progress,
    )  # fmt: skip
    return Outcomes(found)


@dataclass(frozen=True, slots=True)
class SweepPatches:
    """Ask for a sweep of activation patching, a `Grid`; see `tracing.patching`.

    With the component "pattern" it is one of attention modification (`tracing.attention_sweep`) on
    the clean prompt.

    Attributes:
        key: Position looked at; query: the one that looks, None for all; factor: of the entries.
    """

    model: ModelChoice
    clean: str | tuple[int, ...]
    corrupted: str | tuple[int, ...]
    metric: Logit | LogitDifference
    component: Literal["resid_pre", "attn_out", "mlp_out", "head_z", "pattern"] = "resid_pre"
    key: int = 0
    query: int | None = -1
    factor: float = 0.0


def sweep_patches(request: SweepPatches, holdings: Holdings, progress: Progress) -> Grid:
    """Answer a `SweepPatches`."""
    from circuitscope.tracing.attention_sweep import attention_grid
    from circuitscope.tracing.patching import patching_grid

    model = holdings.model(request.model, progress)
    if request.component == "pattern":
        return attention_grid(
            model, request.clean, request.metric, request.key, request.query,
            factor=request.factor, progress=progress,
        )  # fmt: skip
    return patching_grid(
        model, request.clean, request.corrupted, request.metric, request.component,
        progress=progress,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class MeasureCircuit:
    """Measure a circuit over prompts, `Curves`; see `tracing.measuring`.

    Attributes:
        pairs: Prompts with corrupted partners; none takes the circuit's own.
        dictionaries: Folders.
    """

    model: ModelChoice
    circuit: Circuit
    pairs: tuple[PromptPair, ...] = ()
    level: Literal["edge", "node"] = "edge"
    ablation: Literal["auto", "zero", "mean", "resample"] = "auto"
    points: int = 20
    seed: int = 0
    dictionaries: tuple[str, ...] = ()


def measure_circuit(request: MeasureCircuit, holdings: Holdings, progress: Progress) -> Curves:
    """Answer a `MeasureCircuit`."""
    from circuitscope.tracing.measuring import measure

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    return measure(
        model, request.circuit, request.pairs or None, request.level, request.ablation,
        points=request.points, seed=request.seed, dictionaries=opened or None, progress=progress,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class CrossTest:
    """Run two circuits on each other's prompts, `Transfer`; see `tracing.transfer`.

    Attributes:
        circuits: The two and, where there is one, the noise floor of the first.
        names: What they are called.
        dictionaries: Folders.
    """

    model: ModelChoice
    circuits: tuple[Circuit, ...]
    names: tuple[str, ...]
    align: Alignment = "edit"
    node_threshold: float = 0.8
    dictionaries: tuple[str, ...] = ()


def cross_test(request: CrossTest, holdings: Holdings, progress: Progress) -> Transfer:
    """Answer a `CrossTest`."""
    from circuitscope.tracing.transfer import transfer

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    a, b, *floor = request.circuits
    return transfer(
        model, a, b, floor=floor[0] if floor else None, names=request.names, align=request.align,
        node_threshold=request.node_threshold, dictionaries=opened or None, progress=progress,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchMib:
    """Run the circuit protocol of the MIB benchmark; see `tracing.mib`."""

    model: ModelChoice
    train: tuple[PromptPair, ...]
    test: tuple[PromptPair, ...] = ()
    methods: tuple[str, ...] = ("eap", "eap_ig", "random")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MibResults:
    """What the protocol says of each method, in the order asked."""

    methods: tuple[MibResult, ...]


def run_mib(request: BenchMib, holdings: Holdings, progress: Progress) -> MibResults:
    """Answer a `BenchMib`."""
    from circuitscope.tracing.mib import bench_mib

    model = holdings.model(request.model, progress)
    return MibResults(
        bench_mib(
            model, request.train, request.test, request.methods, seed=request.seed,
            progress=progress,
        )
    )  # fmt: skip


EVIDENCE: Final[dict[type, Callable[[Any, Holdings, Progress], Any]]] = {
    RunTests: run_tests, SweepPatches: sweep_patches, MeasureCircuit: measure_circuit,
    CrossTest: cross_test, BenchMib: run_mib,
}  # fmt: skip
"""Who answers which request."""
