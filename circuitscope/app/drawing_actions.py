"""Actions on whole drawings and on what stands in the diagram; part of the table of actions."""

from circuitscope.app import conditions as when
from circuitscope.app.action import SEPARATOR, Action
from circuitscope.app.commands import contents

DRAWING_ACTIONS: tuple[Action, ...] = (
    Action("trace.again", "Trace again with changes…",
           "Open the trace dialog with the settings that the circuit was traced with.",
           contents.trace_again, ("Ctrl+Shift+T",), "refresh-cw", when.traced_circuit_shown),
    Action("project.new_drawing", "New drawing…",
           "Begin another drawing of the circuit; the ones there stay as they are.",
           contents.new_drawing, ("Ctrl+Shift+N",), "file-plus", when.circuit_shown),
    Action("project.duplicate_drawing", "Duplicate drawing",
           "Copy the drawing on screen and go on in the copy.",
           contents.duplicate_drawing, ("Ctrl+Shift+D",), "copy", when.circuit_shown),
    Action("project.delete_drawing", "Delete drawing",
           "Take the drawing on screen out of the project; undo brings it back.",
           contents.delete_drawing, (), "trash-2", when.further_drawing_shown),
    Action("project.note", "New project note…", "Add a note on the project as a whole.",
           contents.add_project_note, (), "sticky-note", when.project_open),
)  # fmt: skip

DRAWING_MENU: tuple[str, ...] = (
    "project.new_drawing", "project.duplicate_drawing", "project.delete_drawing", SEPARATOR,
    "project.note",
)  # fmt: skip
