"""Check a project file and save what can be read of it: in this process, whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuitscope.core.progress import Progress
from circuitscope.project.check import Problem, check_project
from circuitscope.project.rescue import Rescued, rescue_project

if TYPE_CHECKING:
    from circuitscope.engine.answers import Holdings


@dataclass(frozen=True, slots=True)
class CheckFile:
    """Verify a project file; with `out`, also save what can be read there."""

    path: str
    out: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found.

    Attributes:
        path: The file that was checked, and not changed.
        problems: What is wrong with it; none where all is well.
        rescued: What was saved; None where nothing was asked for.
    """

    path: str
    problems: tuple[Problem, ...]
    rescued: Rescued | None = None


def answer_check(request: CheckFile, holdings: Holdings, progress: Progress) -> Checked:
    """Answer the request."""
    del holdings
    path = Path(request.path)
    progress.phase(f"Checking {path.name}")
    problems = tuple(check_project(path))
    rescued = None
    if request.out:
        progress.phase(f"Saving what can be read of {path.name}")
        rescued = rescue_project(path, request.out)
    return Checked(request.path, problems, rescued)
