"""Everything that writes to the residual stream, as vectors grouped by place and position.

The stream at a position is the sum of what was written to it:

    stage 0         token and position embeddings
    stage 1 + 4 l   the stream before layer l, where a dictionary of the stream cuts it
    stage 2 + 4 l   attention of layer l: features, error and b_dec; or heads and b_O
    stage 3 + 4 l   the stream between attention and MLP, where a dictionary cuts it
    stage 4 + 4 l   MLP of layer l: features, error and b_dec; or neurons and b_out
    stage 2 + 4 L   nothing is written: the logits read here

At a cut the stream is that dictionary's features, error and b_dec; what was written below is seen
only through them.

A row of attributions has one column per writer, one per constant on the way (BIAS nodes), and a
last one, `rest`, for writers that are too many to be nodes; these are summed as vectors, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import BiasUnit, NodeKind

Bias = tuple[Site, int, BiasUnit]


class Pull(Protocol):
    """Pull directions at a module's output back to its input."""

    def __call__(self, g: Tensor, at: Tensor | None = None) -> Tensor:
        """Pull g [.., pos, d_model], or [place, d_model] with the position of each place."""


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A module that passes effects on: backwards, and its transpose, forwards.

    Attributes:
        pull: Directions at its output, back to its input.
        push: Changes of its input [pos, d_model], to its output.
    """

    pull: Pull
    push: Callable[[Tensor], Tensor]


def attention_stage(layer: int) -> int:
    """Return the stage at which a layer's attention writes."""
    return 2 + 4 * layer


def mlp_stage(layer: int) -> int:
    """Return the stage at which a layer's MLP writes."""
    return 4 + 4 * layer


STREAM = {Site.RESID_PRE: 1, Site.RESID_MID: 3, Site.RESID_POST: 5}
"""Sites of the residual stream, and the stage at which a dictionary there cuts layer 0."""


def stage_of(site: Site, layer: int) -> int:
    """Return the stage at which a dictionary's features write."""
    if site in STREAM:
        return STREAM[site] + 4 * layer
    return (attention_stage if site is Site.ATTN_OUT else mlp_stage)(layer)


def attention_layer(stage: int) -> int:
    """Return the layer whose attention writes at a stage."""
    layer, left = divmod(stage - attention_stage(0), 4)
    assert left == 0, "attention writes at every fourth stage"
    return layer


def reading_stage(stage: NDArray[np.int64], *, parallel: bool) -> NDArray[np.int64]:
    """Return the stage below which what writes at a stage reads.

    Its own; but in parallel blocks an MLP reads what the attention beside it reads.
    """
    is_mlp = (stage > 0) & (stage % 4 == 0)
    return stage - (mlp_stage(0) - attention_stage(0)) * is_mlp if parallel else stage


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Writers of one stage at one position: `vectors` [n, d_model] for `columns` of a row."""

    position: int
    columns: slice
    vectors: Tensor


@dataclass(slots=True, eq=False)
class Stage:
    """What one module writes, and what passes straight through it.

    Attributes:
        groups: Its writers.
        additions: What earlier writers add here once more: features of cross-layer transcoders.
        constants: What is written whatever the input, [pos, d_model] or [d_model], by column.
        through: The module where the method lets effects pass it; None where every path ends at
            a writer.
        spreads: True where that reaches earlier positions, as attention does.
        beside: The same for an MLP, or a transcoder's skip, that reads what the attention of this
            stage reads, in parallel blocks; both see the same directions.
        cuts: True where these writers are the whole stream, so that nothing passes below.
    """

    groups: list[Group] = field(default_factory=list)
    additions: list[Group] = field(default_factory=list)
    constants: list[tuple[int, Tensor]] = field(default_factory=list)
    through: Passage | None = None
    spreads: bool = False
    beside: Passage | None = None
    cuts: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Name the columns of a row; one entry of every array each, constants last.

    Attributes:
        kind, site, layer, position, unit: The node's key, int64 [n].
        stage: When it writes, int64 [n]; -1 for constants.
        activation: What it holds, [n]; preactivation: what its own row explains, [n].
    """

    kind: NDArray[np.int64]
    site: NDArray[np.int64]
    layer: NDArray[np.int64]
    position: NDArray[np.int64]
    unit: NDArray[np.int64]
    stage: NDArray[np.int64]
    activation: NDArray[np.float64]
    preactivation: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.kind)

    def of_kind(self, *kinds: NodeKind) -> NDArray[np.bool_]:
        """Return a mask of some kinds, bool [n]."""
        return np.isin(self.kind, [int(kind) for kind in kinds])


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """All writers of one run.

    Attributes:
        columns: Their names.
        stages: What is written when, bottom to top.
        biases: The column of each constant.
        rest: The column after the last, for writers that are not nodes.
        n_dropped: How many neurons went to `rest`.
    """

    columns: Columns
    stages: list[Stage]
    biases: dict[Bias, int]
    rest: int
    n_dropped: int

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Return the columns that can be expanded: features, heads and neurons."""
        kinds = (NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON)
        return np.flatnonzero(self.columns.of_kind(*kinds))
