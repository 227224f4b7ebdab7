"""Work that can stop between steps, so that a window stays awake while it is done.

Such a function yields often and returns its result; `finish` is how everybody else calls it.
"""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
Steps = Generator[None, None, Result]
"""Work that yields between its steps and returns the result."""


def finish(steps: "Steps[Result]") -> Result:
    """Do all steps and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Result = end.value
            return found
