"""What `import circuitscope as cs` offers: models, traces, projects and exports in a few calls.

Nothing heavy is imported before it is used: `import circuitscope` loads neither torch nor Qt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from circuitscope.core.agreement import Agreement
from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.attention_text import attention_changes
from circuitscope.core.badges import Badge, Outcome
from circuitscope.core.circuit import Circuit, Edge, EdgeTable, Node, NodeTable, Route
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import Cancelled, CircuitScopeError, ExchangeError
from circuitscope.core.finding import Curves, Grid, Provenance, Ranking
from circuitscope.core.importance import Importance
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.metrics import (
    AnswerVersusOthers,
    GreaterThan,
    Metric,
    ProbabilityDifference,
)
from circuitscope.core.progress import Progress
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.core.settings import (
    AttentionScore,
    Direction,
    Feature,
    Logit,
    LogitDifference,
    Target,
    TraceSettings,
)
from circuitscope.core.sources import Head, MeanActivations, Mlp, Source, Span
from circuitscope.core.target_text import parse_target
from circuitscope.core.transfer import Transfer
from circuitscope.core.viewing import SOCKET
from circuitscope.evidence.records import EvidenceMissing
from circuitscope.graph.compare import Comparison, compare
from circuitscope.session.dictionaries import (
    check_dictionaries,
    collect,
    import_evidence,
    label_features,
    load_dictionaries,
    save_dictionaries,
    train_dictionary,
)
from circuitscope.tracing.evidence import (
    attention_grid,
    badges,
    bench_mib,
    faithfulness_curve,
    inspect_logits,
    measure,
    patching_grid,
    transfer,
    verify,
)
from circuitscope.tracing.prompt_set import stable_core, trace_set

if TYPE_CHECKING:
    import networkx
    from numpy.typing import NDArray

    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.graph.prune import Pruned
    from circuitscope.models.folder import ModelSummary
    from circuitscope.models.loading import LoadedModel
    from circuitscope.models.prompts import Written
    from circuitscope.project.file import ProjectFile
    from circuitscope.session.work import Project
    from circuitscope.tracing.split import HeadSplit
    from circuitscope.tracing.splitting import Split

__all__ = [
    "Agreement",
    "AnswerVersusOthers",
    "AttentionScore",
    "Badge",
    "Cancelled",
    "Circuit",
    "CircuitScopeError",
    "Comparison",
    "Curves",
    "DictionaryCard",
    "Direction",
    "Edge",
    "EdgeTable",
    "EvidenceMissing",
    "Feature",
    "GreaterThan",
    "Grid",
    "Head",
    "Importance",
    "Intervention",
    "Logit",
    "LogitDifference",
    "MeanActivations",
    "Mlp",
    "ModelAnatomy",
    "Node",
    "NodeKey",
    "NodeKind",
    "NodeTable",
    "Outcome",
    "ProbabilityDifference",
    "Progress",
    "PromptPair",
    "Provenance",
    "Ranking",
    "Route",
    "Site",
    "Span",
    "TraceSettings",
    "Transfer",
    "agreement",
    "attention_changes",
    "attention_grid",
    "attention_table",
    "badges",
    "bench_mib",
    "check_dictionaries",
    "collect",
    "compare",
    "decompose",
    "discover",
    "export",
    "faithfulness",
    "faithfulness_curve",
    "grow",
    "import_evidence",
    "importance",
    "inspect_logits",
    "inspect_model",
    "label_features",
    "lens",
    "load_dictionaries",
    "load_model",
    "mean_activations",
    "measure",
    "new_project",
    "open_project",
    "patching_grid",
    "prune",
    "save_dictionaries",
    "scores",
    "split_by_head",
    "stable_core",
    "to_networkx",
    "trace",
    "trace_set",
    "train_dictionary",
    "transfer",
    "verify",
]


class _Viewer:
    """Show circuits by the session's notebook viewer, imported when one is shown."""

    def svg(self, circuit: Circuit) -> str:
        from circuitscope.session.notebook import NotebookViewer

        return NotebookViewer().svg(circuit)

    def open(self, circuit: Circuit) -> None:
        from circuitscope.session.notebook import NotebookViewer

        NotebookViewer().open(circuit)


SOCKET.viewer = _Viewer()


def load_model(
    path: Path | str,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> LoadedModel:
    """Load a local Hugging Face folder; see `models.loading.load_model`."""
    from circuitscope.models import loading

    return loading.load_model(path, device, dtype, progress)


def inspect_model(path: Path | str) -> ModelSummary:
    """Describe a model folder from its headers, without its weights."""
    from circuitscope.models import folder

    return folder.inspect_model(path)


def trace(  # noqa: PLR0913 - the settings of a trace, by keyword
    model: LoadedModel,
    prompt: Written,
    method: str = "direct",
    dictionaries: Sequence[Dictionary] | None = None,
    targets: Sequence[str | Target] | str | Target = ("logit:top",),
    max_nodes: int | None = 2048,
    *,
    units: str = "auto",
    mlp: str = "secant",
    gated: str = "half",
    conventions: str = "ours",
    batch_size: int | None = None,
    update_interval: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    **more: Any,
) -> Circuit:
    """Compute the circuit behind what a model says.

    Args:
        model: From `load_model`.
        prompt: Text, token ids used exactly as given, or chat messages.
        method: Name of the method.
        dictionaries: From `load_dictionaries`; None traces neurons and heads.
        targets: What is explained, one or several: targets, or their texts such as "logit:top"
            and "L4/#57@7"; `core.target_text` lists the forms.
        max_nodes: Nodes kept, strongest first; None keeps every active one.
        units: "auto", "features" or "neurons".
        mlp: "secant" or "transcoder".
        gated: "half", "through_u" or "gradient".
        conventions: "ours", or for attribution "circuit-tracer".
        batch_size: Rows computed at once; None chooses by memory. It never changes what is kept,
            but under circuit-tracer's conventions.
        update_interval: Steps between two rankings of what to expand next.
        seed: Seeds what is random.
        progress: Hears of the work and may cancel it.
        more: Other fields of `TraceSettings`, such as logit_mass and dtype.

    Raises:
        CircuitScopeError: What cannot be done, and what to do instead.
    """
    from circuitscope.tracing.method import cards_of
    from circuitscope.tracing.method import trace as run_trace

    opened = () if dictionaries is None else dictionaries
    folders = tuple(dict.fromkeys(card.path for card in cards_of(opened)))
    settings: Any = {
        "method": method, "max_nodes": max_nodes, "units": units, "mlp": mlp, "gated": gated,
        "conventions": conventions, "batch_size": batch_size, "update_interval": update_interval,
        "seed": seed, **more,
    }  # fmt: skip
    asked = [targets] if isinstance(targets, (str, Target)) else targets
    wanted = TraceSettings(
        prompt if isinstance(prompt, str) else model.prompt(prompt).token_ids,
        targets=tuple(parse_target(target) for target in asked),
        dictionaries=folders,
        **settings,
    )
    return run_trace(model, wanted, opened, progress)


def decompose(
    model: LoadedModel,
    prompt: Written,
    sources: Sequence[Sequence[Source] | Source],
    ablation: Literal["zero", "mean"] = "zero",
    means: MeanActivations | NDArray[Any] | None = None,
    targets: Literal["logits"] | Sequence[Head | Mlp] = "logits",
    **options: Any,
) -> Split:
    """Split logits or targets into what sources are relevant for and the rest.

    The options, among them mode, attention, weights, positions and tokens, are those of
    `tracing.splitting.decompose`.
    """
    from circuitscope.tracing import splitting

    return splitting.decompose(model, prompt, sources, ablation, means, targets, **options)


def mean_activations(
    model: LoadedModel, prompts: Sequence[Written], **options: Any
) -> MeanActivations:
    """Average what heads and MLPs hold over prompts; see `tracing.ablating`."""
    from circuitscope.tracing import ablating

    return ablating.mean_activations(model, prompts, **options)


def discover(
    model: LoadedModel,
    prompts: Sequence[Written],
    metric: Metric | Sequence[Metric],
    method: str = "contextual",
    granularity: Literal["head", "head-position"] = "head",
    n_heads: int = 10,
    **options: Any,
) -> Circuit:
    """Find the heads behind a metric over many prompts.

    The options, among them ablation, means, percentile, mlps and evaluation prompts, are those of
    `tracing.relevance_circuit.discover`.
    """
    from circuitscope.tracing import relevance_circuit

    return relevance_circuit.discover(
        model, prompts, metric, method, granularity, n_heads, **options
    )


def faithfulness(
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[Written] | None = None,
    ablation: Literal["zero", "mean"] = "mean",
    **options: Any,
) -> float:
    """Return (m(C) - m(0)) / (m(M) - m(0)): what a circuit's heads keep of its metric alone.

    All other heads hold their mean (or 0); MLPs stay intact. See
    `tracing.relevance_circuit.faithfulness`.
    """
    from circuitscope.tracing import relevance_circuit

    return relevance_circuit.faithfulness(model, circuit, prompts, ablation, **options)


def importance(
    model: LoadedModel,
    text: Written,
    label: str | int | None = None,
    contrast: str | int | None = None,
    **options: Any,
) -> Importance:
    """Score the words and phrases that a classifier's decision rests on."""
    from circuitscope.tracing import importance as weighing

    return weighing.importance(model, text, label, contrast, **options)


def agreement(
    model: LoadedModel, circuit: Circuit, contextual: Circuit | None = None, **options: Any
) -> Agreement:
    """Compare a dictionary circuit with one of contextual decomposition, head by head.

    The second is of the same prompt, from `discover` or `trace`; None traces one for the same word.
    Options are dictionaries and progress; see `tracing.agreement`.
    """
    from circuitscope.tracing import agreement as agreeing

    return agreeing.agreement(model, circuit, contextual, **options)


def grow(
    circuit: Circuit,
    model: LoadedModel,
    node: NodeKey | str | int,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Circuit:
    """Trace further: return a new circuit in which one more node has a row."""
    from circuitscope.tracing import grow as growing

    return growing.grow(circuit, model, node, dictionaries, progress)


def attention_table(  # noqa: PLR0913 - the place of a score, and options by keyword
    model: LoadedModel,
    prompt: Written,
    layer: int,
    head: int,
    query: int,
    key: int,
    dictionaries: Sequence[Dictionary] | None = None,
    *,
    contrast: int | None = None,
    most: int = 400,
    progress: Progress | None = None,
    **more: Any,
) -> Grid:
    """Return the exact table of all pairs of sources behind one attention score.

    Query sources by key sources, named by node key; all entries add up to the score, or, with a
    `contrast` (the position of another key), to its difference from that one's. `most` sources are
    named on each side, the others summed; `more` are fields of `TraceSettings`. See
    `tracing.attention_table`.
    """
    from circuitscope.tracing import attention_table as tables

    ids = prompt if isinstance(prompt, str) else model.prompt(prompt).token_ids
    target = AttentionScore(layer, head, query, key)
    return tables.attention_table(
        model, TraceSettings(ids, **more), target, () if dictionaries is None else dictionaries,
        contrast=contrast, most=most, progress=progress,
    )  # fmt: skip


def split_by_head(
    circuit: Circuit,
    model: LoadedModel,
    edge: Edge | int,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> HeadSplit:
    """Split an edge by attention head and position looked at; see `tracing.split`."""
    from circuitscope.tracing import split

    return split.split_by_head(circuit, model, edge, dictionaries, progress)


def lens(
    model: LoadedModel, prompt: Written, top: int = 5, progress: Progress | None = None
) -> Grid:
    """Return the tokens that each residual state promotes: probabilities [layer, position, rank].

    Args:
        model: From `load_model`.
        prompt: Text, token ids used exactly as given, or chat messages.
        top: Tokens listed for each state.
        progress: Hears of the work and may cancel it.
    """
    from circuitscope.models import lens as lenses

    return lenses.lens(model, prompt, top, progress)


def prune(
    circuit: Circuit,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    *,
    keep: NDArray[Any] | None = None,
) -> Pruned:
    """Choose the nodes and edges that carry most of the explanation; see `graph.prune`."""
    from circuitscope.graph import prune as pruning

    return pruning.prune(circuit, node_threshold, edge_threshold, keep=keep)


def scores(circuit: Circuit) -> dict[str, float]:
    """Return the replacement and completeness scores and the error share of a circuit."""
    from circuitscope.graph import influence

    return influence.scores(circuit)


def to_networkx(circuit: Circuit) -> networkx.MultiDiGraph:
    """Return a networkx graph: nodes by key text, one edge for every edge of the circuit.

    Nodes carry what `Node` says, edges weight and route, the graph its prompt and provenance.
    """
    from circuitscope.graph import networks

    return networks.as_networkx(circuit)


def new_project(path: Path | str | None = None, overwrite: bool = False) -> Project:
    """Start a project; nothing is written to `path` before it is saved."""
    from circuitscope.session.work import Project

    return Project.create(path, overwrite=overwrite)


def open_project(path: Path | str, read_only: bool = False) -> Project:
    """Open a project file; use it as a context manager, or close it."""
    from circuitscope.session.work import Project

    return Project.open(path, read_only=read_only)


def export(
    source: Circuit | ProjectFile, path: Path | str, circuit: str = "", **options: Any
) -> tuple[str, ...]:
    """Write a circuit to a file whose suffix says the format.

    Args:
        source: A circuit, or a project whose drawing is then used too.
        path: Where to.
        circuit: Which circuit of a project, by name or id; else the first.
        options: Fields of `session.work.ExportOptions`: what, preset, dpi, transparent.

    Returns:
        What you should know about the figure, such as edges left out.

    Raises:
        ExchangeError: No format has that suffix, or the file cannot be written.
    """
    from circuitscope.session.work import ExportOptions, export_circuit, original_of

    chosen = ExportOptions(**options)
    if isinstance(source, Circuit):
        return export_circuit(source, {}, path, options=chosen)
    found = [info for info in source.findings() if info.kind == "circuit"]
    if not circuit and not found:
        raise ExchangeError("The project has no circuit to export.", hint="Add one first.")
    info = source.finding(circuit) if circuit else found[0]
    rows = source.drawing(info.id).rows
    original = original_of(source, info.id, path)
    return export_circuit(source.circuit(info.id), rows, path, info.name, chosen, original)
