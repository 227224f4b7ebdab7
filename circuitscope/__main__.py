"""Start CircuitScope: the window, or the command line where a verb or an option is given."""

import multiprocessing
import os
import sys
from pathlib import Path


def main() -> None:
    """Decide by the first argument and exit with the code of what was run."""
    multiprocessing.freeze_support()
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Our own messages say it; the engine process inherits both.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    arguments = sys.argv[1:]
    from circuitscope import cli

    if not arguments or not (arguments[0].startswith("-") or arguments[0] in cli.VERBS):
        raise SystemExit(cli.open_project(arguments, open_window))
    raise SystemExit(cli.run(arguments, open_window))


def open_window(project: Path | None) -> int:
    """Open the window and return its exit code when it closes."""
    from circuitscope.app.application import run

    return run(project)


if __name__ == "__main__":
    main()
