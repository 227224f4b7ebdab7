"""The exact table behind one attention score: every pair of sources, every sign.

1. Run the prompt once and break the stream into its writers, as a trace does.
2. For each of the d_head entries of the query, and each of the key, walk its direction down the
   stream: U [source, d_head] holds what every source brings to the query, V [source, d_head] to
   the key. 2 * d_head rows, whatever the number of sources.
3. The table is U V^T. Its sum is the score; nothing is approximated, nothing is left out.
4. Against another key k', V - V' in place of V: the table of score(q, k) - score(q, k').

Norm denominators are frozen; biases are sources. The score is that before soft cap, mask and
softmax. Sources beyond the strongest of a side are one entry of it, "others", so that the sum
stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ConservationBroken, TargetNotFound
from circuitscope.core.finding import Grid
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import AttentionScore, TraceSettings
from circuitscope.models.capture import capture
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.scores import Side
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.assemble import TOLERANCE
from circuitscope.tracing.attention_score import placed, pull_side, sides_of
from circuitscope.tracing.read_points import Explained, Injection
from circuitscope.tracing.run import Run, open_run
from circuitscope.tracing.sources import attention_stage

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

AXES = ("source at the query", "source at the key")
OTHERS = "others"
"""Tick of the sources that are too weak, or too many, to be named."""
MOST = 400
_CHUNK = 2048


@torch.no_grad()
def attention_table(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    settings: TraceSettings,
    target: AttentionScore,
    dictionaries: Sequence[Dictionary] = (),
    *,
    contrast: int | None = None,
    most: int = MOST,
    progress: Progress | None = None,
) -> Grid:
    """Return the table of all pairs of sources behind a score.

    Args:
        model: A loaded model.
        settings: The prompt, and how modules are broken into sources.
        target: The score; negative positions count from the end.
        dictionaries: Opened dictionaries.
        contrast: Position of another key, whose score is subtracted.
        most: Sources named on each side, strongest first.
        progress: Hears of the work and may cancel it.

    Returns:
        A grid whose ticks are node keys, summing to the score, or to the difference of scores.

    Raises:
        TargetNotFound: No such head or position, or both keys are the same.
        TraceError: The model's scores cannot be explained.
    """
    hear = progress or silent()
    with fitting_threads(model.anatomy):
        run = open_run(model, dictionaries, replace(settings, targets=(target,)), hear)
        asked = placed(run.frozen, target)
        other = None if contrast is None else placed(run.frozen, replace(asked, key=contrast))
        if other == asked:
            raise TargetNotFound(
                f"Position {asked.key} cannot be set against itself.", hint="Choose another key."
            )
        hear.phase("Pairs of sources", 2 * model.anatomy.d_head)
        query, key, value = _sides(run, asked, hear)
        contrasted = 0.0
        if other is not None:
            _, other_key, contrasted = _sides(run, other, hear)
            key = key - other_key
    rows, row_ticks = _named(run, query, key, most)
    columns, column_ticks = _named(run, key, query, most)
    values = rows @ columns.T
    _check(values, value - contrasted)
    found = {"score": value} | ({} if other is None else {"contrast": contrasted})
    written = replace(settings, targets=(asked,)).as_json() | {"contrast": contrast}
    provenance = replace(run.provenance, method="attention_table", settings=written, scores=found)
    return Grid(AXES, (row_ticks, column_ticks), values.astype(np.float32), provenance)


@torch.no_grad()
def key_scores(
    model: LoadedModel, settings: TraceSettings, target: AttentionScore
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a head's scores and attention probabilities at every key up to the query."""
    cache = capture(model, model.prompt(settings.prompt).token_ids)
    frozen = FrozenModel(model, cache, settings.gated, torch.float64)
    asked = placed(frozen, target)
    keys = range(asked.query + 1)
    scores = tuple(sides_of(frozen, replace(asked, key=key)).score for key in keys)
    pattern = cache.patterns[asked.layer][asked.head, asked.query, : asked.query + 1]
    return scores, tuple(pattern.tolist())


def _sides(
    run: Run, target: AttentionScore, progress: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return what each source brings to the query and to the key, [column + 1, d_head] each."""
    sides = sides_of(run.frozen, target)
    places = ((target.query, sides.query), (target.key, sides.key))
    d_head = len(sides.query.value)
    points = _SidePoints(run.frozen, target.layer, places)
    rows = run.walking(points, progress).rows(np.arange(2 * d_head)).astype(np.float64)
    return rows[:d_head].T, rows[d_head:].T, sides.score


class _SidePoints:
    """The rows of both sides: one for each entry of the query, then of the key.

    Args:
        frozen: The forward pass.
        layer: Of the head.
        places: Position and side, of the query and of the key.
    """

    def __init__(
        self, frozen: FrozenModel, layer: int, places: tuple[tuple[int, Side], ...]
    ) -> None:
        self._layer = layer
        norm_bias = frozen.norm_bias(Site.LN1_NORMALIZED, layer)
        pulled = [pull_side(frozen, layer, at, own.weight.T) for at, own in places]
        self._vectors = torch.cat(pulled)
        self._module = torch.cat([own.bias for _, own in places])
        self._norm = torch.cat([norm_bias @ own.weight for _, own in places])
        n = len(self._vectors)
        nothing = np.zeros(n, np.int64)
        position = np.repeat([at for at, _ in places], n // len(places))
        self.explained = Explained(
            nothing, nothing, nothing, position, nothing,
            np.full(n, attention_stage(layer)), np.zeros(n), nothing - 1, {}, {},
        )  # fmt: skip

    def inject(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Injection]]:
        """Return the rows' directions at their positions, and what the biases bring."""
        at = torch.from_numpy(rows).to(self._vectors.device)
        constants = {
            (Site.ATTN_OUT, self._layer, BiasUnit.MODULE): self._module[at],
            (Site.LN1_NORMALIZED, self._layer, BiasUnit.NORM): self._norm[at],
        }
        return [(np.arange(len(rows)), Injection(self._vectors[at], constants))]


def _named(
    run: Run, own: NDArray[np.float64], other: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the strongest sources of one side and their names; the others are summed last."""
    present = np.flatnonzero((own[:-1] != 0).any(1))
    chosen = present
    if len(present) > most:
        against = other[(other != 0).any(1)].T
        strength = np.concatenate([
            np.abs(own[present[start : start + _CHUNK]] @ against).sum(1)
            for start in range(0, len(present), _CHUNK)
        ])  # fmt: skip
        chosen = np.sort(present[np.argsort(-strength, kind="stable")[:most]])
    left = np.setdiff1d(np.arange(len(own)), chosen)
    ticks = tuple(str(column_key(run, int(column))) for column in chosen)
    rest = own[left].sum(0)
    if not rest.any():
        return own[chosen], ticks
    return np.vstack([own[chosen], rest]), (*ticks, OTHERS)


def column_key(run: Run, column: int) -> NodeKey:
    """Return the name of a source."""
    c = run.sources.columns
    return NodeKey(
        NodeKind(int(c.kind[column])), Site(int(c.site[column])), int(c.layer[column]),
        int(c.position[column]), int(c.unit[column]),
    )  # fmt: skip


def _check(values: NDArray[np.float64], expected: float) -> None:
    miss = abs(float(values.sum()) - expected) / max(float(np.abs(values).sum()), 1e-30)
    if not miss <= TOLERANCE:
        raise ConservationBroken(
            f"The pairs of the attention score miss it by {miss:.2g} of their size; at most "
            f"{TOLERANCE:g} is allowed.",
            kept="No table was made.",
            hint='Use dtype="float64"; if it stays, the model is read wrongly.',
        )
