"""How long the rows of an attribution graph will take, from their operations and a short trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.memory import operations
from circuitscope.tracing.method import cards_of
from circuitscope.tracing.plan import THROUGH, used_cards

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_TRIAL_PLACES = 512
_TRIALS = 3
_SHARE_OF_RATE = 0.8
"""Part of the plain products' rate that whole rows reach; see the bench of large graphs."""


def estimate_seconds(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_pos: int
) -> float:
    """Return about how long the rows take, in seconds; 0 for methods that are not estimated."""
    if settings.method != THROUGH:
        return 0.0
    cards = used_cards(cards_of(dictionaries), settings)
    rate = _rate(model.anatomy.d_model, model.device) * _SHARE_OF_RATE
    return operations(model.anatomy, cards, settings, n_pos) / rate


def _rate(d_model: int, device: torch.device) -> float:
    """Return operations per second of products of the walk's shape, by a trial."""
    g = torch.ones(_TRIAL_PLACES, d_model, device=device)
    W = torch.ones(d_model, d_model, device=device)
    best = 0.0
    for _ in range(_TRIALS):
        start = time.perf_counter()
        float((g @ W)[0, 0])
        best = max(best, 2 * _TRIAL_PLACES * d_model**2 / (time.perf_counter() - start))
    return best
