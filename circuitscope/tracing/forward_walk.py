"""What one writer feeds: its column of attributions, by one walk up the residual stream.

1. X [pos, d_model], what the stream holds of the writer, starts at 0.
2. At every stage, bottom to top: X passes what effects pass there (attention with its pattern
   frozen, MLPs or skips beside it), added to itself; a cut of the stream sets it back to 0; then
   what the writer writes at that stage is added.
3. A row reads X below its stage: the product with the row's direction is the writer's entry in it.

It is the transpose of the walks down, so one column costs about what one row does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.models.frozen import FrozenModel
from circuitscope.tracing.read_points import Explained, Points
from circuitscope.tracing.sources import Sources, Stage

_AT_ONCE = 64


@torch.no_grad()
def climb(
    frozen: FrozenModel, sources: Sources, column: int, *, attention: bool = True
) -> Iterator[tuple[int, Tensor]]:
    """Yield every stage with what the stream below it holds of a writer, [pos, d_model].

    Args:
        frozen: The forward pass.
        sources: What writes to the stream.
        column: The writer.
        attention: False leaves out every path through an attention.
    """
    X = torch.zeros_like(frozen.cache.embed, dtype=frozen.dtype)
    for number, stage in enumerate(sources.stages):
        yield number, X
        passages = [stage.beside, stage.through if attention or not stage.spreads else None]
        moved = [one.push(X) for one in passages if one is not None]
        X = torch.zeros_like(X) if stage.cuts else sum(moved, X)
        X = X + _written(stage, column, X)
    yield len(sources.stages), X


def column_of_rows(
    frozen: FrozenModel,
    sources: Sources,
    explained: Explained,
    points: Points,
    column: int,
    wanted: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return a writer's entry in the rows of some explained nodes, [row]."""
    found = np.zeros(len(wanted))
    stage = explained.stage[wanted]
    biases = [bias for bias, at in sources.biases.items() if at == column]
    for number, X in climb(frozen, sources, column):
        here = np.flatnonzero(stage == number)
        for start in range(0, len(here), _AT_ONCE):
            some = here[start : start + _AT_ONCE]
            for members, injection in points.inject(wanted[some]):
                at = torch.from_numpy(explained.position[wanted[some[members]]]).to(X.device)
                g = injection.vectors
                entry = (g * (X[at] if g.dim() == 2 else X[: g.shape[1]])).flatten(1).sum(1)
                for bias in biases:
                    entry = entry + injection.constants.get(bias, 0.0)
                found[some[members]] = entry.double().cpu().numpy()
    return found


def _written(stage: Stage, column: int, like: Tensor) -> Tensor:
    """Return what a writer writes at a stage, [pos, d_model]."""
    out = torch.zeros_like(like)
    for group in (*stage.groups, *stage.additions):
        if group.columns.start <= column < group.columns.stop:
            out[group.position] += group.vectors[column - group.columns.start]
    for at, vectors in stage.constants:
        if at == column:
            out += vectors
    return out
