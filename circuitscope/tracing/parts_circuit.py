"""From scores of edges between parts to a `Circuit`, and from a circuit back to edges.

1. An edge is one writer into one head, MLP or the logits, at all positions; the embedding's edges
   are split by token.
2. Keep the strongest by size, at most as many as asked.
3. Drop edges that lie on no path from a token to the logits.
4. Run the model with only the kept edges intact: the circuit's faithfulness, never clipped.

Scores are estimates or measurements of what the metric loses without an edge, along every path
that goes on from it; they do not add up, so no row is `expanded`, and edges have the route of
relevances.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import circuitscope
from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Direction, Logit, LogitDifference, TraceSettings
from circuitscope.models.prompts import read_prompt
from circuitscope.models.reading import model_record
from circuitscope.tracing.ablating import Unit
from circuitscope.tracing.edge_scores import Task, open_task
from circuitscope.tracing.method import Refusal
from circuitscope.tracing.parts import INPUT, PartList
from circuitscope.tracing.plan import operations_refusal
from circuitscope.tracing.relevance_circuit import Root, key_of, metric_root, name_of
from circuitscope.tracing.run import Clock, libraries

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

EDGES_PER_NODE = 4
_REMARK = (
    "Edges are effects on the metric along every path that goes on from them, against {0}; they "
    "do not add up to the whole."
)


@dataclass(frozen=True, slots=True)
class PartEdge:
    """An edge between parts; position -1 is all of them."""

    reader: int
    writer: int
    position: int
    weight: float


class EdgeMethod(ABC):
    """A method that scores edges between heads, MLPs and tokens.

    Attributes:
        name, title: As registered, and as the window calls it.
    """

    name: str
    title: str
    settings_type = TraceSettings

    @abstractmethod
    def scores(self, task: Task, progress: Progress) -> Tensor:
        """Return the score of each edge and position, [reader, writer, pos]."""

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model; None where it can."""
        if refused := operations_refusal(self.title, anatomy):
            return refused
        kinds = (Logit, LogitDifference, Direction)
        if len(settings.targets) != 1 or not isinstance(settings.targets[0], kinds):
            return Refusal(
                f"{self.title} explains one logit, difference or direction at a time.",
                "Choose one word, or one word against another.",
            )
        return None

    def run(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit of heads, MLPs and tokens."""
        clock = Clock()
        ids = read_prompt(model, settings.prompt).token_ids
        target = settings.targets[0]
        assert isinstance(target, (Logit, LogitDifference, Direction)), "requires refuses others"
        progress.phase("Forward passes", 1)
        weight = 1.0
        if isinstance(target, Logit):
            target, weight = _named(model, ids, target)
            settings = replace(settings, targets=(target,))
        task = open_task(model, list(ids), target, settings.corrupted or None)
        progress.advance()
        scores = self.scores(task, progress)
        most = None if settings.max_nodes is None else EDGES_PER_NODE * settings.max_nodes
        root = replace(metric_root(model, target, task.meter.position), weight=weight)
        return as_circuit(model, task, scores, most, root, settings, self.name, clock)


def _named(model: LoadedModel, ids: Sequence[int], target: Logit) -> tuple[Logit, float]:
    logits = torch.from_numpy(model.run(list(ids)).logits[target.position]).double()
    word = int(logits.argmax()) if target.token is None else model.find_token(target.token)
    return Logit(word, target.position), float(logits.softmax(-1)[word])


def list_edges(task: Task, scores: Tensor, most: int | None = None) -> list[PartEdge]:
    """Return edges on paths from a token to the logits, the strongest first, at most so many."""
    parts, summed = task.parts, scores.sum(-1).double().cpu().numpy()
    by_token = scores[:, INPUT].double().cpu().numpy()
    found = [
        PartEdge(reader, INPUT, at, float(by_token[reader, at]))
        for reader, at in np.argwhere(by_token != 0).tolist()
    ]
    found += [
        PartEdge(reader, writer, -1, float(summed[reader, writer]))
        for reader, writer in np.argwhere(summed != 0).tolist()
        if writer != INPUT
    ]
    found.sort(key=lambda edge: -abs(edge.weight))
    return _on_paths(found[:most], parts)


def _on_paths(edges: list[PartEdge], parts: PartList) -> list[PartEdge]:
    reached, leads = {INPUT}, {parts.logits + 1}
    for edge in sorted(edges, key=lambda edge: edge.reader):
        if edge.writer in reached:
            reached.add(edge.reader + 1)
    for edge in sorted(edges, key=lambda edge: -edge.reader):
        if edge.reader + 1 in leads:
            leads.add(edge.writer)
    return [e for e in edges if e.writer in reached and e.reader + 1 in leads]


def mask_of(edges: Iterable[PartEdge], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return edges as 1 in [reader, writer, pos], else 0."""
    keep: NDArray[np.float32] = np.zeros(shape, np.float32)
    for edge in edges:
        at = slice(None) if edge.position < 0 else edge.position
        keep[edge.reader, edge.writer, at] = 1
    return torch.from_numpy(keep).to(like)


def as_circuit(  # noqa: PLR0913 - the parts of a circuit
    model: LoadedModel,
    task: Task,
    scores: Tensor,
    most: int | None,
    root: Root,
    settings: TraceSettings,
    method: str,
    clock: Clock,
) -> Circuit:
    """Return the circuit of the strongest edges."""
    edges = list_edges(task, scores, most)
    own = task.values([mask_of(edges, tuple(scores.shape), scores)])[0]
    parts, ids = task.parts, tuple(task.ids.tolist())
    logit = NodeKey(NodeKind.LOGIT, Site.LOGITS, parts.n_layers, root.position, root.unit)

    def key(writer: int, position: int) -> NodeKey:
        if writer == INPUT:
            return NodeKey(NodeKind.TOKEN, Site.EMBED, -1, position, ids[position])
        if writer == parts.logits + 1:
            return logit
        return key_of(_unit(parts, writer))

    ends = [(key(e.writer, e.position), key(e.reader + 1, -1), e.weight) for e in edges]
    keys = sorted({end for source, target, _ in ends for end in (source, target)} - {logit})
    keys.append(logit)
    place = {one: k for k, one in enumerate(keys)}
    size = np.zeros(len(keys))
    for source, _, weight in ends:
        size[place[source]] += weight
    size[-1] = task.whole
    n, tokens = len(keys), tuple(model.token_text(one) for one in ids)
    preactivation = np.zeros(n, np.float32)
    preactivation[-1] = task.whole
    gap = task.whole - task.empty
    provenance = Provenance(
        method=method, app_version=circuitscope.__version__, settings=settings.as_json(),
        model=model_record(model), dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=clock.seconds(), libraries=libraries(), remarks=(_REMARK.format(task.words),),
        scores={
            "whole": task.whole, "ablated": task.empty, "circuit": own,
            "faithfulness": (own - task.empty) / gap if gap else 0.0, "n_prompts": 1.0,
            "sum_of_parts": float(sum(e.weight for e in edges if e.reader == parts.logits)),
            "edges_of_model": float(parts.edges().sum() + parts.n_readers * (len(ids) - 1)),
        },
    )  # fmt: skip
    labels = [
        "" if one.kind is NodeKind.TOKEN else root.label if one == logit
        else name_of(Unit(one.layer, -1, -1 if one.kind is NodeKind.NEURON else one.unit))
        for one in keys
    ]  # fmt: skip
    return Circuit(
        tokens, ids, NodeTable.from_keys(keys, size),
        EdgeTable(
            np.array([place[source] for source, _, _ in ends], int),
            np.array([place[target] for _, target, _ in ends], int),
            np.array([weight for _, _, weight in ends], np.float32),
            np.full(len(ends), Route.RELEVANCE),
        ),
        np.array([n - 1]), np.array([root.weight]), preactivation, np.zeros(n, np.float32),
        np.zeros(n, np.float32), np.zeros(n, bool), provenance, tuple(labels),
    )  # fmt: skip


def _unit(parts: PartList, writer: int) -> Unit:
    layer, head = parts.place(writer)
    return Unit(layer, -1, head)
