"""See, test and publish the circuits inside a language model, on your own machine.

`import circuitscope as cs` loads neither torch nor Qt; names come from `circuitscope.api` when
they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return a name of the API; what starts with "_" is never looked up there."""
    if not name.startswith("_") and name != "api":
        api = import_module("circuitscope.api")
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module 'circuitscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(import_module("circuitscope.api").__all__)
