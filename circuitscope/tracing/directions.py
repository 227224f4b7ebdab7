"""Directions that are named by words: sums of what their logits read of the final stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from circuitscope.core.settings import Direction, Target
from circuitscope.core.target_text import signed_words
from circuitscope.models.prompts import find_token

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


def with_vectors(model: LoadedModel, targets: Sequence[Target]) -> tuple[Target, ...]:
    """Return targets whose directions all have vectors.

    Args:
        model: Its unembedding gives the vectors of words.
        targets: Directions without a vector are sums of words, "Austin + Dallas - Texas".

    Raises:
        TargetNotFound: A word is no single token of the model.
    """
    return tuple(
        replace(target, vector=_sum(model, target.name))
        if isinstance(target, Direction) and not target.vector
        else target
        for target in targets
    )


def _sum(model: LoadedModel, name: str) -> tuple[float, ...]:
    words = signed_words(name)
    ids = [find_token(model, word) for word, _ in words]
    W_U, _ = model.family.unembed(model.module)
    signs = torch.tensor([sign for _, sign in words], dtype=torch.float64)
    vectors = W_U.detach()[:, ids].to("cpu", torch.float64)
    return tuple((vectors @ signs).tolist())
