"""Report progress of slow work, and stop it when the user asks.

Every slow function takes a `Progress` as its last parameter. Calls to it are the only points
where work is cancelled, so they come at least every 200 ms.
"""

from typing import Any, Protocol

from circuitscope.core.errors import Cancelled


class Progress(Protocol):
    """Hear how far a job is; each call may raise `Cancelled`."""

    def phase(self, name: str, total: int = 0) -> None:
        """Begin a named phase of `total` steps (0: unknown)."""

    def advance(self, steps: int = 1) -> None:
        """Count finished steps of the current phase."""

    def partial(self, result: Any) -> None:
        """Show an unfinished result."""

    def note(self, text: str) -> None:
        """Add a line to the job's log."""


class _Silent:
    def phase(self, name: str, total: int = 0) -> None: ...
    def advance(self, steps: int = 1) -> None: ...
    def partial(self, result: Any) -> None: ...
    def note(self, text: str) -> None: ...


def silent() -> Progress:
    """Return a progress that hears nothing and never cancels."""
    return _Silent()


__all__ = ["Cancelled", "Progress", "silent"]
