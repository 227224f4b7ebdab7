"""Why a head looked where it did, and tracing further: requests, answers, and how they are found.

Plain data above; the functions below import torch on use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey
from circuitscope.core.settings import AttentionScore, TraceSettings
from circuitscope.engine.requests import ModelChoice

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.engine.answers import Holdings
    from circuitscope.tracing.split import HeadSplit


@dataclass(frozen=True, slots=True)
class Grow:
    """Trace further: the same circuit with one more node's row, or one more score explained.

    Attributes:
        node: Key of the node.
    """

    model: ModelChoice
    circuit: Circuit
    node: str


@dataclass(frozen=True, slots=True)
class ExplainAttention:
    """Say why a head looked where it did: an edge by heads, and the pairs behind one score.

    Attributes:
        settings: Of the trace, the prompt as token ids.
        edge: Keys of source and target of an edge through attention, and its weight; None where
            only a score is asked for.
        score: The score to explain; None takes the one behind the edge's strongest part.
        contrast: Position of another key, whose score is subtracted.
        most: Pairs listed, strongest first; 0 asks for the edge by heads alone.
    """

    model: ModelChoice
    settings: TraceSettings
    edge: tuple[str, str, float] | None = None
    score: AttentionScore | None = None
    contrast: int | None = None
    most: int = 200


@dataclass(frozen=True, slots=True)
class HeadPart:
    """A part of an edge: one head looking from the target's position at one other.

    Attributes:
        pattern: Attention probability there.
    """

    layer: int
    head: int
    query: int
    key: int
    pattern: float
    weight: float


@dataclass(frozen=True, slots=True)
class SourcePair:
    """What a source at the query and a source at the key bring to a score together."""

    query: str
    key: str
    weight: float


@dataclass(frozen=True, slots=True)
class AttentionReasons:
    """Why a head looked where it did.

    Attributes:
        parts: The edge by head and position, strongest first; empty where none was asked about.
        direct: What of the edge passes no head.
        score: The score explained, None where the edge passes no attention.
        contrast: The other key.
        value: The score, less that of the contrast.
        scores: The head's score at every key up to the query; patterns: its probabilities.
        pairs: Pairs of sources by node key, strongest first.
        rest: What all other pairs bring.
    """

    parts: tuple[HeadPart, ...]
    direct: float
    score: AttentionScore | None = None
    contrast: int | None = None
    value: float = 0.0
    scores: tuple[float, ...] = ()
    patterns: tuple[float, ...] = ()
    pairs: tuple[SourcePair, ...] = ()
    rest: float = 0.0


def grow_circuit(request: Grow, holdings: Holdings, progress: Progress) -> Circuit:
    """Answer a `Grow`."""
    from circuitscope.tracing.grow import grow

    model = holdings.model(request.model, progress)
    folders = request.circuit.provenance.settings.get("dictionaries", ())
    dictionaries = holdings.dictionaries(folders, str(model.device), progress)
    return grow(request.circuit, model, request.node, dictionaries or None, progress)


def explain_attention(
    request: ExplainAttention, holdings: Holdings, progress: Progress
) -> AttentionReasons:
    """Answer an `ExplainAttention`."""
    from circuitscope.tracing.attention_table import attention_table, key_scores
    from circuitscope.tracing.split import Ends, split

    settings = request.settings
    model = holdings.model(request.model, progress)
    dictionaries = holdings.dictionaries(settings.dictionaries, str(model.device), progress)
    score, direct = request.score, 0.0
    parts: tuple[HeadPart, ...] = ()
    if request.edge is not None:
        source, target, weight = request.edge
        ends = Ends(NodeKey.parse(source), NodeKey.parse(target), weight)
        found = split(model, settings, dictionaries, ends, progress)
        parts, direct = _parts_of(found), found.direct
        if score is None and len(found.weights):
            score = found.score(0)
    if score is None or not request.most:
        return AttentionReasons(parts, direct)
    table = attention_table(
        model, settings, score, dictionaries, contrast=request.contrast, progress=progress
    )
    scores, patterns = key_scores(model, settings, score)
    order = np.argsort(-np.abs(table.values), axis=None, kind="stable")[: request.most]
    rows, columns = np.unravel_index(order, table.values.shape)
    pairs = tuple(
        SourcePair(table.ticks[0][row], table.ticks[1][column], float(table.values[row, column]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    )
    value = float(table.values.sum(dtype=np.float64))
    rest = value - sum(pair.weight for pair in pairs)
    return AttentionReasons(
        parts, direct, score, request.contrast, value, scores, patterns, pairs, rest
    )


def _parts_of(found: HeadSplit) -> tuple[HeadPart, ...]:
    return tuple(
        HeadPart(int(layer), int(head), found.query, int(key), float(pattern), float(weight))
        for layer, head, key, pattern, weight in zip(
            found.layers, found.heads, found.keys, found.patterns, found.weights, strict=True
        )
    )
