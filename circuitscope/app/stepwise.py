"""Long work between other events, a few milliseconds at a time, so that the window answers."""

import time
from typing import Any, Final

from PySide6.QtCore import QObject, Signal

from circuitscope.app.later import Later
from circuitscope.core.steps import Steps

STEP_S: Final = 0.012
"""How long the window may be kept from other events at a time."""


class Stepwise(QObject):
    """Do the steps of one piece of work; new work takes the place of what is not done.

    Args:
        owner: The widget it is done for; both end together.
    """

    done = Signal(object)
    """Emitted with the result."""

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._work: Steps[Any] | None = None
        self._more = Later(self, self._go_on)

    @property
    def is_busy(self) -> bool:
        """Say whether work is left."""
        return self._work is not None

    def start(self, work: Steps[Any]) -> None:
        """Take the first step now; what is short is done with it."""
        self._work = work
        self._go_on(0.0)

    def settle(self) -> None:
        """Do what is left now: somebody needs the result."""
        self._go_on(float("inf"))

    def _go_on(self, seconds: float = STEP_S) -> None:
        end = time.perf_counter() + seconds
        while (work := self._work) is not None:
            try:
                next(work)
            except StopIteration as finished:
                if self._work is work:
                    self._work = None
                self.done.emit(finished.value)
            if self._work is not None and time.perf_counter() >= end:
                self._more.start()
                return
