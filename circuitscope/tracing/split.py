"""Split an edge that passes attention by head and by the position looked at.

1. An attention feature, or a head, reads sum over heads h and positions k of
   pattern[h, query, k] * (z_h . W_V x_k), z_h being its direction pulled back through W_O. Each
   pair (h, k) is one direction in the stream at k: a row of its own, walked down.
2. Where attention passes effects on, an edge is a sum over paths, and each path counts for the last
   head it passes: the one that brought it to the target's position. Below, the writer is carried up
   over all paths (`forward_walk`), giving what each layer's stream holds of it, x_k; above, the
   target's direction is pulled down past all attention, giving g at each layer's attn_out:
       part (layer, h, k) = pattern[h, query, k] * (W_O^h g) . (W_V^h norm(x_k))
3. Parts and what passes no head (biases, skips, the stream itself) add up to the edge; the latter
   is computed on its own, not as what is left.

Edges that pass no attention are direct; an edge into a score belongs to that score's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, Edge
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import AttentionScore
from circuitscope.dictionaries.features import input_scale
from circuitscope.models.capture import capture
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.attention_score import pull_side, score_of
from circuitscope.tracing.forward_walk import climb
from circuitscope.tracing.read_points import Explained, Injection
from circuitscope.tracing.reopen import dictionaries_of, settings_of
from circuitscope.tracing.run import Run, open_run
from circuitscope.tracing.sources import Bias, attention_layer, attention_stage
from circuitscope.tracing.targets import column_of

if TYPE_CHECKING:
    from circuitscope.core.settings import TraceSettings
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True, eq=False)
class HeadSplit:
    """An edge by attention head and position looked at, strongest first.

    Attributes:
        query: Position that looks.
        layers, heads: int64 [part].
        keys: Position looked at, int64 [part].
        patterns: Attention probability of each part, float64 [part].
        weights: Contribution of each part, float64 [part].
        direct: What passes no head.
    """

    query: int
    layers: NDArray[np.int64]
    heads: NDArray[np.int64]
    keys: NDArray[np.int64]
    patterns: NDArray[np.float64]
    weights: NDArray[np.float64]
    direct: float

    def by_head(self) -> dict[tuple[int, int], float]:
        """Return what each head, (layer, head), brings over all positions, strongest first."""
        found: dict[tuple[int, int], float] = {}
        for layer, head, weight in zip(self.layers, self.heads, self.weights, strict=True):
            key = int(layer), int(head)
            found[key] = found.get(key, 0.0) + float(weight)
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def score(self, part: int) -> AttentionScore:
        """Return the score behind a part: why that head looked there."""
        layer, head, key = (int(x[part]) for x in (self.layers, self.heads, self.keys))
        return AttentionScore(layer, head, self.query, key)


@dataclass(frozen=True, slots=True)
class Ends:
    """An edge by the names of its ends."""

    source: NodeKey
    target: NodeKey
    weight: float


def split_by_head(
    circuit: Circuit,
    model: LoadedModel,
    edge: Edge | int,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> HeadSplit:
    """Split an edge of a circuit by attention head and position looked at.

    Args:
        circuit: A circuit traced here.
        model: The model it was traced in.
        edge: One of its edges, or an index.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of the work.

    Raises:
        TraceError: The circuit cannot be run again here, or has no such edge.
    """
    index = edge.index if isinstance(edge, Edge) else int(edge)
    if not 0 <= index < len(circuit.edges):
        raise TraceError(
            f"The circuit has no edge {index}.", hint=f"It has {len(circuit.edges)} edges."
        )
    found = circuit.edge(index)
    settings = settings_of(circuit, model)
    used = dictionaries_of(circuit, dictionaries)
    return split(
        model, settings, used, Ends(found.source.key, found.target.key, found.weight), progress
    )


@torch.no_grad()
def split(
    model: LoadedModel,
    settings: TraceSettings,
    dictionaries: Sequence[Dictionary],
    ends: Ends,
    progress: Progress | None = None,
) -> HeadSplit:
    """Split the edge between two nodes of a trace.

    Args:
        model: The model.
        settings: Those of the trace, the prompt included.
        dictionaries: Those of the trace.
        ends: The edge.
        progress: Hears of the work.
    """
    hear = progress or silent()
    target, none = ends.target, np.zeros(0)
    if settings.method not in ("direct", "attribution"):
        raise TraceError(
            f"Edges of the method {settings.method!r} cannot be split by head.",
            kept="The circuit is unchanged.",
            hint='Trace with the method "direct" or "attribution".',
        )
    if target.kind is NodeKind.SCORE:
        score = score_of(model.anatomy, target)
        cache = capture(model, model.prompt(settings.prompt).token_ids)
        pattern = float(cache.patterns[score.layer][score.head, score.query, score.key])
        return HeadSplit(
            score.query, np.array([score.layer]), np.array([score.head]),
            np.array([score.key]), np.array([pattern]), np.array([ends.weight]), 0.0,
        )  # fmt: skip
    # With a budget a weak neuron would not be among the sources.
    with fitting_threads(model.anatomy):
        run = open_run(model, dictionaries, replace(settings, max_nodes=None), hear)
        attends = target.kind is NodeKind.FEATURE and target.site is Site.ATTN_OUT
        if attends or target.kind is NodeKind.HEAD:
            return _split(run, ends, hear)
        if any(stage.spreads for stage in run.sources.stages):
            return _split_paths(run, ends, hear)
    at = none.astype(np.int64)
    return HeadSplit(target.position, at, at, at, none, none, ends.weight)


def _split(run: Run, ends: Ends, progress: Progress) -> HeadSplit:
    source, target = ends.source, ends.target
    column = _column(run, source)
    # What other attention may have moved can be looked at anywhere.
    moves = any(stage.spreads for stage in run.sources.stages)
    alone = source.position >= 0 and not moves
    keys = [source.position] if alone else list(range(target.position + 1))
    points = _Parts(run, target, _head_directions(run, target), keys)
    n = len(points.explained)
    progress.phase("Heads", n)
    out = run.walking(points, progress).rows(np.arange(n))[:, column].astype(np.float64)
    weights = out[:-1]
    order = np.argsort(-np.abs(weights), kind="stable")
    order = order[weights[order] != 0]
    heads, at = points.heads[order], points.keys[order]
    pattern = run.frozen.cache.patterns[target.layer].double().cpu().numpy()
    return HeadSplit(
        target.position, np.full(len(heads), target.layer), heads, at,
        pattern[heads, target.position, at], weights[order], float(out[-1]),
    )  # fmt: skip


def _column(run: Run, source: NodeKey) -> int:
    column = column_of(run.sources.columns, source)
    if column < 0:
        raise TraceError(
            f"{source} writes nothing on this prompt.", kept="The circuit is unchanged."
        )
    return column


def _split_paths(run: Run, ends: Ends, progress: Progress) -> HeadSplit:
    """Split an edge that passes the attention of several layers by the last head on each path."""
    column, target = _column(run, ends.source), ends.target
    e, at = run.explained, target.position
    same = (e.kind == target.kind) & (e.site == target.site) & (e.layer == target.layer)
    rows = np.flatnonzero(same & (e.position == at) & (e.unit == target.unit))
    if not len(rows):
        raise TraceError(f"{target} is not active here.", kept="The circuit is unchanged.")
    row = rows[:1]
    ((_, injection),) = run.points.inject(row)
    direct = sum(
        float(injection.constants.get(bias, torch.zeros(1))[0])
        for bias, place in run.sources.biases.items()
        if place == column
    )
    stage = int(e.stage[row[0]])
    for number, held in climb(run.frozen, run.sources, column, attention=False):
        if number == stage:
            direct += float(held[at] @ injection.vectors[0])
    reads = _past_attention(run, stage, at, injection.vectors[0])
    progress.phase("Heads", len(reads))
    found = []
    for number, held in climb(run.frozen, run.sources, column):
        if number in reads:
            found.append(_parts(run, attention_layer(number), at, reads[number], held))
            progress.advance()
    layers, heads, keys, patterns, weights = (np.concatenate(x) for x in zip(*found, strict=True))
    order = np.argsort(-np.abs(weights), kind="stable")
    order = order[weights[order] != 0]
    return HeadSplit(
        at, layers[order], heads[order], keys[order], patterns[order], weights[order], direct
    )


def _past_attention(run: Run, stage: int, at: int, vector: Tensor) -> dict[int, Tensor]:
    """Return a direction as it stands at each attention below, past all others, [d_model]."""
    g, found = torch.zeros_like(run.frozen.cache.embed, dtype=vector.dtype), {}
    g[at] = vector
    for number in range(stage - 1, -1, -1):
        here = run.sources.stages[number]
        if here.spreads:
            found[number] = g[at]
        passages = (here.beside, None if here.spreads else here.through)
        moved = [one.pull(g) for one in passages if one is not None]
        if here.cuts:
            break
        g = sum(moved, g)
    return found


def _parts(run: Run, layer: int, at: int, g: Tensor, held: Tensor) -> tuple[NDArray[Any], ...]:
    """Return layer, head, key, pattern and weight of what one layer's heads bring to a position.

    Args:
        run: The run.
        layer: Of the heads.
        at: The position that looks.
        g: What is read of attn_out there, [d_model].
        held: What the stream below holds, [pos, d_model].
    """
    frozen, weights = run.frozen, run.frozen.weights.attention(layer)
    place = torch.tensor([at], device=g.device)
    g = frozen.norm_vjp(Site.ATTN_OUT_NORM, layer, g[None], place)[0]
    z = torch.einsum("d,hed->he", g, weights.W_O)
    W_V = weights.W_V.repeat_interleave(len(z) // weights.n_kv, 0)
    values = frozen.norm_jvp(Site.LN1_NORMALIZED, layer, held)[: at + 1]
    read = torch.einsum("he,hde,kd->hk", z, W_V, values).double()
    pattern = frozen.cache.patterns[layer][:, at, : at + 1].double()
    n_heads, n_keys = pattern.shape
    heads, keys = np.repeat(np.arange(n_heads), n_keys), np.tile(np.arange(n_keys), n_heads)
    flat = (pattern.flatten().cpu().numpy(), (pattern * read).flatten().cpu().numpy())
    return np.full(len(heads), layer), heads, keys, *flat


def _head_directions(run: Run, target: NodeKey) -> Tensor:
    """Return how a target reads head_z at its position, [head, d_head]."""
    frozen, layer = run.frozen, target.layer
    if target.kind is NodeKind.FEATURE:
        g = _read_of_feature(run, target)
        return torch.einsum("d,hed->he", g, frozen.weights.attention(layer).W_O)
    W_O = frozen.weights.attention(layer).W_O[target.unit]
    z_here = frozen.cache.head_z[layer].to(frozen.dtype)
    write = frozen.write_heads(layer, z_here)[target.position, target.unit]
    direction = write / write.norm().clamp(min=1e-30)
    at = torch.tensor([target.position], device=direction.device)
    back = frozen.norm_vjp(Site.ATTN_OUT_NORM, layer, direction[None], at)[0]
    z = W_O.new_zeros(frozen.model.anatomy.n_heads, W_O.shape[0])
    z[target.unit] = W_O @ back
    return z


def _read_of_feature(run: Run, target: NodeKey) -> Tensor:
    """Return how an attention feature reads what its heads write together, [d_model]."""
    frozen, layer = run.frozen, target.layer
    dictionary = run.plan.attention[layer]
    assert dictionary is not None, "a feature without dictionary"
    at = torch.tensor([target.position], device=frozen.cache.token_ids.device)
    g = dictionary.encoder_rows(torch.tensor([target.unit], device=at.device)).to(frozen.dtype)
    scale = input_scale(dictionary, frozen.cache)
    if scale is not None:
        g = g / scale.to(g)[at, None]
    if dictionary.card.read_site is not Site.ATTN_WRITE:
        g = frozen.norm_vjp(Site.ATTN_OUT_NORM, layer, g, at)
    return g[0]


class _Parts:
    """One row for every head and position looked at, and a last one for what passes no head.

    Args:
        run: The forward pass and its sources.
        target: What is explained.
        z: How it reads head_z at its position, [head, d_head].
        keys: The positions looked at.
    """

    def __init__(self, run: Run, target: NodeKey, z: Tensor, keys: list[int]) -> None:
        frozen, layer = run.frozen, target.layer
        attention = frozen.weights.attention(layer)
        group = len(z) // attention.n_kv
        W_V = attention.W_V.repeat_interleave(group, 0)
        norm_bias = frozen.norm_bias(Site.LN1_NORMALIZED, layer)
        read = torch.einsum("he,hde->hd", z, W_V)
        pattern = frozen.cache.patterns[layer].to(frozen.dtype)[:, target.position, keys]
        n_heads, n_keys = pattern.shape
        self.heads = np.repeat(np.arange(n_heads), n_keys)
        self.keys = np.tile(np.array(keys, np.int64), n_heads)
        pulled = torch.stack([pull_side(frozen, layer, key, read) for key in keys], 1)
        vectors = (pattern[..., None] * pulled).flatten(0, 1)
        self._vectors = torch.cat([vectors, torch.zeros_like(vectors[:1])])
        b_V = z.new_zeros(n_heads)
        if attention.b_V is not None:
            b_V = (attention.b_V.repeat_interleave(group, 0) * z).sum(-1)
        parts = {
            (Site.ATTN_OUT, layer, BiasUnit.MODULE): (pattern * b_V[:, None]).flatten(),
            (Site.LN1_NORMALIZED, layer, BiasUnit.NORM): (
                pattern * (read @ norm_bias)[:, None]
            ).flatten(),
        }
        last = _past_heads(run, target)
        self._constants: dict[Bias, Tensor] = {}
        for bias in {*parts, *last}:
            own = parts.get(bias, vectors.new_zeros(len(vectors)))
            self._constants[bias] = torch.cat([own, own.new_full((1,), last.get(bias, 0.0))])
        n, nothing = len(self._vectors), np.zeros(len(self._vectors), np.int64)
        position = np.concatenate([self.keys, [target.position]])
        self.explained = Explained(
            nothing, nothing, nothing, position, nothing,
            np.full(n, attention_stage(layer)), np.zeros(n), nothing - 1, {}, {},
        )  # fmt: skip

    def inject(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Injection]]:
        """Return the rows' directions, each at the position looked at."""
        at = torch.from_numpy(rows).to(self._vectors.device)
        constants = {bias: value[at] for bias, value in self._constants.items()}
        return [(np.arange(len(rows)), Injection(self._vectors[at], constants))]


def _past_heads(run: Run, target: NodeKey) -> dict[Bias, float]:
    """Return the constants of a target that pass no head."""
    if target.kind is not NodeKind.FEATURE:
        return {}
    frozen, layer = run.frozen, target.layer
    dictionary = run.plan.attention[layer]
    assert dictionary is not None, "a feature without dictionary"
    ids = torch.tensor([target.unit], device=frozen.cache.token_ids.device)
    found = {(Site.ATTN_OUT, layer, BiasUnit.ENCODER): float(dictionary.encoder_constants(ids)[0])}
    b_O = frozen.weights.attention(layer).b_O
    if b_O is not None:
        found[Site.ATTN_OUT, layer, BiasUnit.MODULE] = float(_read_of_feature(run, target) @ b_O)
    return found
