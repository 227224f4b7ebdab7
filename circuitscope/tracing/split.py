"""Split an edge that passes attention by head and by the position looked at.

1. An attention feature, or a head, reads sum over heads h and positions k of
   pattern[h, query, k] * (z_h . W_V x_k), z_h being its direction pulled back through W_O.
2. Each pair (h, k) is one direction in the stream at k: a row of its own. All are walked down at
   once, and the source's entry of each is its part of the edge.
3. Parts and what passes no head (b_O, encoder biases) add up to the edge.

Edges into other nodes pass no attention; an edge into a score belongs to that score's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, Edge
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import AttentionScore, Logit
from circuitscope.models.capture import capture
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.attention_score import pull_side, score_of
from circuitscope.tracing.backward_walk import BackwardWalk
from circuitscope.tracing.read_points import Explained, Injection
from circuitscope.tracing.reopen import dictionaries_of, settings_of
from circuitscope.tracing.run import Run, open_run
from circuitscope.tracing.sources import Bias, attention_stage
from circuitscope.tracing.targets import column_of

if TYPE_CHECKING:
    from circuitscope.core.settings import TraceSettings
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True, eq=False)
class HeadSplit:
    """An edge by attention head and position looked at, strongest first.

    Attributes:
        layer: Of the heads, -1 where the edge passes none.
        query: Position that looks.
        heads: int64 [part].
        keys: Position looked at, int64 [part].
        patterns: Attention probability of each part, float64 [part].
        weights: Contribution of each part, float64 [part].
        direct: What passes no head.
    """

    layer: int
    query: int
    heads: NDArray[np.int64]
    keys: NDArray[np.int64]
    patterns: NDArray[np.float64]
    weights: NDArray[np.float64]
    direct: float

    def by_head(self) -> dict[int, float]:
        """Return what each head contributes, over all positions, strongest first."""
        found = {int(head): float(self.weights[self.heads == head].sum())
                 for head in np.unique(self.heads)}  # fmt: skip
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def score(self, part: int) -> AttentionScore:
        """Return the score behind a part: why that head looked there."""
        return AttentionScore(self.layer, int(self.heads[part]), self.query, int(self.keys[part]))


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
    if settings.method != "direct":
        raise TraceError(
            f"Edges of the method {settings.method!r} cannot be split by head.",
            kept="The circuit is unchanged.",
            hint='Trace with method="direct", whose edges pass one module each.',
        )
    if target.kind is NodeKind.SCORE:
        score = score_of(model.anatomy, target)
        cache = capture(model, model.prompt(settings.prompt).token_ids)
        pattern = float(cache.patterns[score.layer][score.head, score.query, score.key])
        return HeadSplit(
            score.layer, score.query, np.array([score.head]), np.array([score.key]),
            np.array([pattern]), np.array([ends.weight]), 0.0,
        )  # fmt: skip
    is_feature = target.kind is NodeKind.FEATURE and target.site is Site.ATTN_OUT
    if not is_feature and target.kind is not NodeKind.HEAD:
        at = none.astype(np.int64)
        return HeadSplit(-1, target.position, at, at, none, none, ends.weight)
    # The sources are wanted, not a row; with a budget a weak neuron would not be among them.
    plain = replace(settings, targets=(Logit(),), max_nodes=None)
    with fitting_threads(model.anatomy):
        run = open_run(model, dictionaries, plain, hear)
        return _split(run, ends, hear)


def _split(run: Run, ends: Ends, progress: Progress) -> HeadSplit:
    source, target = ends.source, ends.target
    column = column_of(run.sources.columns, source)
    if column < 0:
        raise TraceError(
            f"{source} writes nothing on this prompt.", kept="The circuit is unchanged."
        )
    keys = [source.position] if source.position >= 0 else list(range(target.position + 1))
    points = _Parts(run, target, _head_directions(run, target), keys)
    n = len(points.explained)
    progress.phase("Heads", n)
    walk = BackwardWalk(run.frozen, run.sources, points.explained, points, progress)
    out = walk.rows(np.arange(n))[:, column].astype(np.float64)
    weights = out[:-1]
    order = np.argsort(-np.abs(weights), kind="stable")
    order = order[weights[order] != 0]
    heads, at = points.heads[order], points.keys[order]
    pattern = run.frozen.cache.patterns[target.layer].double().cpu().numpy()
    return HeadSplit(
        target.layer, target.position, heads, at, pattern[heads, target.position, at],
        weights[order], float(out[-1]),
    )  # fmt: skip


def _head_directions(run: Run, target: NodeKey) -> Tensor:
    """Return how a target reads head_z at its position, [head, d_head]."""
    frozen, layer = run.frozen, target.layer
    if target.kind is NodeKind.FEATURE:
        dictionary = run.plan.attention[layer]
        assert dictionary is not None, "a feature without dictionary"
        ids = torch.tensor([target.unit], device=frozen.cache.token_ids.device)
        g = dictionary.encoder_rows(ids)[0].to(frozen.dtype)
        return torch.einsum("d,hed->he", g, frozen.weights.attention(layer).W_O)
    W_O = frozen.weights.attention(layer).W_O[target.unit]
    write = frozen.cache.head_z[layer][target.position, target.unit].to(frozen.dtype) @ W_O
    z = W_O.new_zeros(frozen.model.anatomy.n_heads, W_O.shape[0])
    z[target.unit] = W_O @ (write / write.norm().clamp(min=1e-30))
    return z


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
        g = dictionary.encoder_rows(ids)[0].to(frozen.dtype)
        found[Site.ATTN_OUT, layer, BiasUnit.MODULE] = float(g @ b_O)
    return found
