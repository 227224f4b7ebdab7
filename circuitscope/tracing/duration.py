"""How long an attribution graph will take, from its operations and a short trial.

Fitted to whole traces of a model of GPT-2 small's size, in processor seconds of one thread: 32
tokens and 1024 nodes 7.6 estimated, 8.2 measured; 64 and 1024 13.8 and 13.0; a budget of 256, whose
steps are too small for the walk's rate, 2.8 and 5.5. Below a second, work of fixed size is all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.memory import n_cells, operations, run_operations
from circuitscope.tracing.method import cards_of
from circuitscope.tracing.plan import THROUGH, used_cards

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_TRIAL_PLACES = 512
_TRIALS = 3
_SHARE_OF_RATE = 0.8
"""Part of the plain products' rate that the walk reaches."""
_SLOWER = 3.5
"""By how much the run (forward pass, features, writers) is slower than its own products."""
_CELL_SECONDS = 1.3e-7
"""Of making the circuit, for each number of the table of rows."""


def estimate_seconds(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_pos: int
) -> float:
    """Return about how long a trace takes, in seconds; 0 for methods that are not estimated."""
    if settings.method != THROUGH:
        return 0.0
    cards = used_cards(cards_of(dictionaries), settings)
    rate = _rate(model.anatomy.d_model, model.device) * _SHARE_OF_RATE
    anatomy = model.anatomy
    work = operations(anatomy, cards, settings, n_pos)
    work += _SLOWER * run_operations(anatomy, cards, n_pos)
    return work / rate + _CELL_SECONDS * n_cells(anatomy, cards, settings, n_pos)


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
