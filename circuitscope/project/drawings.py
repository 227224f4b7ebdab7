"""Several drawings of one circuit: which there are, and the edits that add and remove them.

The first drawing has the circuit's own id and is always there. Every further one has the id
`circuit id/own id`, under which its rows, history and checkpoints are kept like those of the
first; a project row of kind `drawing` says that it exists and what it is called (decision 41).
"""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from circuitscope.core.errors import ProjectError
from circuitscope.core.rows import RowKey, Rows
from circuitscope.project.edit import Edit, change
from circuitscope.project.listing import free_name
from circuitscope.project.wording import short

if TYPE_CHECKING:
    from circuitscope.project.contents import Contents
    from circuitscope.project.drawing import Drawing

_MARK: Final = "/"


@dataclass(frozen=True, slots=True)
class DrawingInfo:
    """One drawing of a circuit.

    Attributes:
        id: The circuit's id for its first drawing; name: unique among the circuit's drawings.
    """

    id: str
    circuit_id: str
    name: str

    @property
    def is_first(self) -> bool:
        """Say whether it is the drawing that every circuit has."""
        return self.id == self.circuit_id


def circuit_of(drawing_id: str) -> str:
    """Return the id of the circuit that a drawing belongs to."""
    return drawing_id.partition(_MARK)[0]


def new_drawing_id(circuit_id: str) -> str:
    """Return an id for a further drawing of a circuit."""
    return f"{circuit_id}{_MARK}{uuid.uuid4().hex[:12]}"


def is_further(drawing_id: str) -> bool:
    """Say whether an id is that of a drawing beyond a circuit's first."""
    return _MARK in drawing_id


def drawings_of(contents: "Drawing", circuit_id: str) -> list[DrawingInfo]:
    """Return a circuit's drawings, the first one first, deleted ones left out.

    Args:
        contents: The project's own rows.
        circuit_id: Whose.
    """
    rows = contents.of_kind("drawing")
    deleted = contents.of_kind("deleted")
    ids = [name for name in rows if is_further(name) and circuit_of(name) == circuit_id]
    found, taken = [], set[str]()
    for number, drawing_id in enumerate([circuit_id, *ids], start=1):
        wanted = str(rows.get(drawing_id, {}).get("text", "")) or f"Drawing {number}"
        name = free_name(wanted, taken)
        taken.add(name)
        if drawing_id == circuit_id or drawing_id not in deleted:
            found.append(DrawingInfo(drawing_id, circuit_id, name))
    return found


def drawing_info(contents: "Drawing", drawing_id: str) -> DrawingInfo:
    """Return what is known of one drawing.

    Raises:
        ProjectError: There is none of that id.
    """
    for info in drawings_of(contents, circuit_of(drawing_id)):
        if info.id == drawing_id:
            return info
    raise ProjectError("There is no such drawing.", kept="Nothing was changed.")


def add_drawing(project: "Contents", drawing_id: str, name: str, like: str = "") -> Edit:
    """Say that a further drawing exists; commit to `project.contents`.

    Args:
        project: Where to.
        drawing_id: From `new_drawing_id`.
        name: What it is called; a number is added where the name is taken.
        like: Name of the drawing that it copies, for the menu text.
    """
    circuit_id = circuit_of(drawing_id)
    taken = {info.name for info in drawings_of(project.contents, circuit_id)}
    called = free_name(name.strip() or f"Drawing {len(taken) + 1}", taken)
    text = f"Duplicate drawing “{short(like)}”" if like else f"New drawing “{short(called)}”"
    after: Rows = {RowKey("", "drawing", drawing_id): {"text": called}}
    return change(text, project.contents.rows, after)


def rename_drawing(project: "Contents", drawing_id: str, name: str) -> Edit:
    """Give a drawing another name; commit to `project.contents`.

    Raises:
        ProjectError: The name is empty, or another drawing of the circuit has it.
    """
    name, now = name.strip(), drawing_info(project.contents, drawing_id)
    others = drawings_of(project.contents, now.circuit_id)
    if not name or name in {info.name for info in others if info.id != drawing_id}:
        problem = f"Another drawing is called {name!r}." if name else "A drawing needs a name."
        raise ProjectError(
            problem, kept=f"{now.name!r} keeps its name.", hint="Choose a name that is not taken."
        )
    text = f"Rename drawing “{short(now.name)}” to “{short(name)}”"
    after: Rows = {RowKey("", "drawing", drawing_id): {"text": name}}
    return change(text, project.contents.rows, after)


def delete_drawing(project: "Contents", drawing_id: str) -> Edit:
    """Flag a further drawing as deleted; undo brings it back. Commit to `project.contents`.

    Raises:
        ProjectError: It is the circuit's first drawing, which goes with the circuit only.
    """
    now = drawing_info(project.contents, drawing_id)
    if now.is_first:
        raise ProjectError(
            f"“{now.name}” is the circuit's first drawing and stays with it.",
            kept="Nothing was deleted.",
            hint="Delete the circuit, or undo the changes that the drawing holds.",
        )
    after: Rows = {RowKey("", "deleted", drawing_id): {}}
    return change(f"Delete drawing “{short(now.name)}”", project.contents.rows, after)
