"""What the engine says about the request it works on: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from circuitscope.core.errors import CircuitScopeError
from circuitscope.engine.requests import Result


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """The request entered a phase of `total` steps (0: unknown)."""

    request_id: int
    name: str
    total: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """The current phase has done this many steps."""

    request_id: int
    done: int


@dataclass(frozen=True, slots=True)
class Noted:
    """The request adds a line to its log."""

    request_id: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """The request is answered."""

    request_id: int
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """The request could not be answered.

    Attributes:
        error: What to tell the user.
        report: Traceback for the log file; "" for errors of the user's world.
    """

    request_id: int
    error: CircuitScopeError
    report: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The request ended because it was cancelled."""

    request_id: int


Event = PhaseBegan | Advanced | Noted | Finished | Failed | Stopped
"""What the engine says about the request it works on."""
