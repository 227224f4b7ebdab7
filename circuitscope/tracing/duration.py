"""How long a trace will take, from its operations and a short trial.

Fitted to whole traces of a model of GPT-2 small's size, in processor seconds, estimated / measured.
Attribution graphs, tokens and nodes: 32, 1024 2.4/3.1; 64, 1024 5.0/5; 128, 1024 10/11; 256, 1024
20/24; 64, 4096 13/11; 128, 4096 26/24; 256, 4096 53/41. Direct, 32, 256 0.8/0.8; 64, 2048 3.6/3.5;
by neurons, 64, 2048 3.3/4.0. Below a second, work of fixed size is all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.memory import operations, run_operations
from circuitscope.tracing.method import cards_of
from circuitscope.tracing.plan import THROUGH, used_cards

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_TRIAL_PLACES = 512
_TRIALS = 3
_SLOWER = {THROUGH: (0.6, 10.0), "direct": (5.0, 4.4)}
"""By how much rows and run (forward pass, features, writers) are slower than their products.

Rows of an attribution graph are faster: the strongest features lie below the middle layer.
"""


def estimate_seconds(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_pos: int
) -> float:
    """Return about how long a trace takes, in seconds; 0 for methods that are not estimated."""
    if settings.method not in _SLOWER:
        return 0.0
    cards = used_cards(cards_of(dictionaries), settings)
    rate = _rate(model.anatomy.d_model, model.device)
    anatomy = model.anatomy
    work = operations(anatomy, cards, settings, n_pos)
    run = run_operations(anatomy, cards, n_pos)
    rows, opening = _SLOWER[settings.method]
    return (rows * work + opening * run) / rate


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
