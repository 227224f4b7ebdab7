"""Where the user's own state lives: working copies, logs, preferences."""

import os
from pathlib import Path

import platformdirs


def state_home() -> Path:
    """Return the folder for everything CircuitScope keeps outside project files.

    `CIRCUITSCOPE_HOME` overrides the platform's own place; the folder is made when missing.
    """
    chosen = os.environ.get("CIRCUITSCOPE_HOME")
    home = Path(chosen) if chosen else platformdirs.user_state_path("circuitscope", appauthor=False)
    home.mkdir(parents=True, exist_ok=True)
    return home
