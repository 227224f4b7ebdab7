"""Where the user's own state lives: working copies, logs, preferences."""

import os
from pathlib import Path

import platformdirs

from circuitscope.core.errors import CircuitScopeError


def state_home() -> Path:
    """Return the folder for everything CircuitScope keeps outside project files.

    `CIRCUITSCOPE_HOME` overrides the platform's own place; the folder is made when missing.

    Raises:
        CircuitScopeError: It cannot be made.
    """
    chosen = os.environ.get("CIRCUITSCOPE_HOME")
    home = Path(chosen) if chosen else platformdirs.user_state_path("circuitscope", appauthor=False)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CircuitScopeError(
            f"The folder for working copies and logs, {home}, cannot be made: {error.strerror}.",
            kept="Nothing was changed.",
            hint="Set CIRCUITSCOPE_HOME to a folder that you may write to.",
        ) from error
    return home
