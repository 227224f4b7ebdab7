"""What is split off a forward pass: heads, MLPs and token spans, and their means over prompts.

Plain data without torch. Dictionary features are named by `core.settings.Feature`. Positions count
from 0, and from -1 backwards; None means all positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.settings import Feature

HeadPart = Literal["z", "query", "key", "value", "residual"]


@dataclass(frozen=True, slots=True)
class Head:
    """Name an attention head: a source (its z), or a target.

    Attributes:
        position: Where; None for all positions.
        part: As a target: "z" (what the head mixes, before W_O), "query", "key" and "value" (with
            bias, before rotation; key and value of the kv head that it reads), or "residual"
            (the head's slice of the residual stream after attention, which one public
            implementation reads in BERT).
    """

    layer: int
    head: int
    position: int | None = None
    part: HeadPart = "z"


@dataclass(frozen=True, slots=True)
class Mlp:
    """Name what an MLP writes: a source or a target; position None for all positions."""

    layer: int
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Name the tokens start, ..., stop - 1 as they enter a layer; layer 0 is the embedding."""

    start: int
    stop: int
    layer: int = 0


Source = Head | Mlp | Span | Feature


@dataclass(frozen=True, slots=True, eq=False)
class MeanActivations:
    """What heads and MLPs hold on average over prompts.

    Attributes:
        z: [layer, position, head, d_head], or [layer, head, d_head] where prompts differ in length.
        mlp: [layer, position, d_model] or [layer, d_model].
        digest: Of the model they were measured in.
        n_prompts: Over how many prompts.
        weights: How the weights were prepared.
        name: What they are called where they are kept.
    """

    z: NDArray[np.floating]
    mlp: NDArray[np.floating]
    digest: str = ""
    n_prompts: int = 0
    weights: str = "raw"
    name: str = ""

    @property
    def by_position(self) -> bool:
        """Return whether every position has its own mean."""
        return self.z.ndim == 4
