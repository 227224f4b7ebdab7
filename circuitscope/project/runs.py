"""Tests on the model as rows of a drawing: undoable, listed, and told in the figure."""

import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from circuitscope.core.badges import Outcome
from circuitscope.core.errors import ProjectError
from circuitscope.core.rows import RowKey, Rows
from circuitscope.project.edit import Edit, change
from circuitscope.project.wording import count, describe, short

if TYPE_CHECKING:
    from circuitscope.project.drawing import Drawing


def add_runs(drawing: "Drawing", results: Iterable[Outcome]) -> Edit:
    """Keep tests; their ids sort in the order of making."""
    kept = list(results)
    start = time.time_ns()
    after: Rows = {
        RowKey(drawing.circuit_id, "run", f"{start + at:020d}-{uuid.uuid4().hex[:6]}"): (
            tested.as_json()
        )
        for at, tested in enumerate(kept)
    }
    text = f"Test {subject_of(kept[0])}" if len(kept) == 1 else f"Test {count(kept, 'thing')}"
    return change(text, drawing.rows, after)


def remove_runs(drawing: "Drawing", ids: Iterable[str]) -> Edit:
    """Take tests away.

    Raises:
        ProjectError: There is no such test.
    """
    names = list(ids)
    missing = [name for name in names if drawing.row("run", name) is None]
    if missing:
        raise ProjectError(
            f"There is no test {missing[0]!r} in this drawing.", kept="The drawing is unchanged."
        )
    after: Rows = {RowKey(drawing.circuit_id, "run", name): None for name in names}
    return change(f"Remove {count(names, 'test')}", drawing.rows, after)


def subject_of(tested: Outcome) -> str:
    """Return what was tested, in a few words."""
    if tested.kind == "edge":
        return f"{describe(tested.subject[0])} to {describe(tested.subject[1])}"
    if tested.kind == "group":
        return short(f"group of {count(tested.subject, 'node')}")
    return describe(tested.subject[0])
