"""Start CircuitScope: the window, or the command line where a verb or an option is given."""

import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

APART = "--new-window"
"""Opens a window of its own beside the one that is open."""


def main() -> None:
    """Decide by the first argument and exit with the code of what was run."""
    multiprocessing.freeze_support()
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Our own messages say it; the engine process inherits both.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    arguments = [argument for argument in sys.argv[1:] if argument != APART]
    window = partial(open_window, apart=APART in sys.argv[1:])
    from circuitscope import cli

    if not arguments or not (arguments[0].startswith("-") or arguments[0] in cli.VERBS):
        raise SystemExit(cli.open_project(arguments, window))
    raise SystemExit(cli.run(arguments, window))


def open_window(project: Path | None, *, apart: bool = False) -> int:
    """Open the window, or tell the one that is open; return the exit code when it closes."""
    from circuitscope.app.application import run

    return run(project, apart=apart)


if __name__ == "__main__":
    main()
