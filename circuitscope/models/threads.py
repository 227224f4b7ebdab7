"""How many threads a model is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from circuitscope.core.anatomy import ModelAnatomy

_SMALL: Final = 256
"""Up to this d_model one thread is as fast as several, and never waits for the others."""


@contextmanager
def fitting_threads(anatomy: ModelAnatomy) -> Iterator[None]:
    """Compute with one thread inside the block where the model is small.

    Threads that share a tiny product wait for each other longer than they work: beside another
    busy program a trace of 60 ms was seen to take 3 s with two threads on two cores.
    """
    before = torch.get_num_threads()
    if anatomy.d_model > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
