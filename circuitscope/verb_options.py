"""What the verbs of the command line share: options that mean the same everywhere, and tools."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from circuitscope.session.jobs import Job
from circuitscope.session.session import Session

AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]

Asked = Callable[[Path, str, bool, Callable[[Session], Job]], Job]
"""Loads a model on a device, asks, and returns the finished job."""
Opened = Callable[[], AbstractContextManager[Session]]
"""Lends a session."""
Done = Callable[..., Job]
"""Waits for a job of a session; `quiet` shows no progress."""


@contextmanager
def opened_project(
    opened: Opened, project: Path, circuit: str, *, read_only: bool = True
) -> Iterator[Session]:
    """Lend a session with a project open, and one of its circuits shown where one is named."""
    with opened() as session:
        shown = session.open_project(project, read_only=read_only)
        if circuit:
            session.activate(shown.finding(circuit).id)
        yield session


def read_ids(text: str) -> tuple[int, ...]:
    """Return token ids from the command line."""
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of token ids, such as 1,17,4.") from None
