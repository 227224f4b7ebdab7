"""How many threads a model is worth, and independent pieces of work on one thread each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, TypeVar

import torch

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import Cancelled

_SMALL: Final = 256
"""Up to this d_model one thread is as fast as several, and never waits for the others."""
_PULSE_SECONDS: Final = 0.1
Item = TypeVar("Item")
Result = TypeVar("Result")


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


def side_by_side(
    work: Callable[[Item, Callable[[], None]], Result],
    items: Sequence[Item],
    heard: Callable[[], None],
    n_threads: int | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Do independent pieces of work, each on one thread, and yield them as they are done.

    Threads that share every product wait for each other after each one; pieces of their own meet
    only at the end, and a busy machine delays the piece, not all of them at every step.

    Args:
        work: Does one piece; calls its second argument often, which may raise `Cancelled`.
        items: The pieces, longest first.
        heard: Called often on the calling thread; what it raises ends the work.
        n_threads: Pieces at once; None is as many as torch may use here.
    """
    before = torch.get_num_threads()
    n = min(n_threads or before, len(items))
    if n < 2:
        for item in items:
            yield item, work(item, heard)
        return
    stopped = threading.Event()

    def go_on() -> None:
        if stopped.is_set():
            raise Cancelled

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n, "piece") as pool:
            left = {pool.submit(work, item, go_on): item for item in items}
            try:
                while left:
                    done, _ = wait(left, _PULSE_SECONDS, FIRST_COMPLETED)
                    heard()
                    for future in done:
                        yield left.pop(future), future.result()
            finally:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        torch.set_num_threads(before)
