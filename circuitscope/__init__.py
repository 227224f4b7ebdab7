"""See, test and publish the circuits inside a language model, on your own machine.

`import circuitscope as cs` loads neither torch nor Qt; names come from `circuitscope.api` when
they are first used.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    from circuitscope import api

    if name.startswith("_") or name not in api.__all__:
        raise AttributeError(f"module 'circuitscope' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    from circuitscope import api

    return sorted(api.__all__)
