"""How a circuit shows itself: a socket in core, filled by the layers that draw and open windows.

Core knows neither figures nor windows. `circuitscope.api`, through which scripts and notebooks
come to their circuits, puts a `Viewer` here; inside the engine there is none.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from circuitscope.core.circuit import Circuit


class Viewer(Protocol):
    """Show circuits."""

    def svg(self, circuit: "Circuit") -> str:
        """Return a picture as SVG."""

    def open(self, circuit: "Circuit") -> None:
        """Show it in a window; return at once."""


class Socket:
    """Hold the viewer of this process, if it has one."""

    def __init__(self) -> None:
        self.viewer: Viewer | None = None


SOCKET = Socket()
