"""Actions on whole drawings and on what stands in the diagram; part of the table of actions."""

from circuitscope.app import conditions as when
from circuitscope.app.action import SEPARATOR, Action
from circuitscope.app.commands import contents, diagram
from circuitscope.graph.align import Edge

_ALIGN_KEYS: dict[Edge, str] = {
    "left": "Ctrl+Alt+Left", "centre": "Ctrl+Alt+C", "right": "Ctrl+Alt+Right",
    "top": "Ctrl+Alt+Up", "middle": "Ctrl+Alt+M", "bottom": "Ctrl+Alt+Down",
}  # fmt: skip

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
    Action("window.next_tab", "Next drawing tab", "Show the next of the open drawings.",
           contents.next_tab, ("Ctrl+Tab", "Ctrl+PgDown"), "", when.circuit_shown),
    Action("window.previous_tab", "Previous drawing tab", "Show the open drawing before.",
           contents.previous_tab, ("Ctrl+Shift+Tab", "Ctrl+PgUp"), "", when.circuit_shown),
    Action("window.close_tab", "Close drawing tab",
           "Close the tab in front; the drawing stays in the project.",
           contents.close_tab, ("Ctrl+F4",), "", when.circuit_shown),
    Action("project.note", "New project note…", "Add a note on the project as a whole.",
           contents.add_project_note, (), "sticky-note", when.project_open),
    Action("graph.suggest", "Suggest groups…",
           "List groups of features with similar edges, to be taken one by one.",
           diagram.suggest_groups, ("Ctrl+G",), "sparkles", when.circuit_shown),
    Action("graph.look", "Colour and shape…",
           "Give nodes a colour and a shape, by hand or by rules.",
           diagram.choose_looks, ("Ctrl+Shift+G",), "", when.circuit_shown),
    Action("diagram.note", "New note…", "Write a note bound to what is selected.",
           diagram.add_note, ("N",), "sticky-note", when.circuit_shown, "canvas"),
    Action("diagram.frame", "New frame…", "Draw a titled rectangle behind what is selected.",
           diagram.add_frame, ("Shift+F",), "square", when.circuit_shown, "canvas"),
    Action("diagram.sketch_node", "Draw node by hand…",
           "Add a node of your own; it is drawn dashed and is no evidence.",
           diagram.add_sketch, ("Shift+N",), "pencil", when.circuit_shown, "canvas"),
    Action("diagram.sketch_edge", "Draw edge by hand…",
           "Link two selected boxes by a line of your own; it is no evidence.",
           diagram.add_sketched_edge, ("Shift+E",), "pencil", when.circuit_shown, "canvas"),
    Action("diagram.erase", "Erase note, frame or sketch",
           "Take away what is selected of what was drawn by hand.",
           diagram.erase, ("Backspace",), "x", when.circuit_shown, "canvas"),
    *(
        Action(f"diagram.align_{edge}", f"Align {edge}",
               f"Line the selected boxes of the diagram up: {edge}.",
               diagram.aligning(edge), (keys,) if keys else (), "", when.nodes_selected, "canvas")
        for edge, keys in _ALIGN_KEYS.items()
    ),
    Action("diagram.distribute_across", "Distribute horizontally",
           "Give the selected boxes equal gaps from left to right.",
           diagram.distributing("across"), ("Ctrl+Alt+H",), "", when.nodes_selected, "canvas"),
    Action("diagram.distribute_down", "Distribute vertically",
           "Give the selected boxes equal gaps from top to bottom.",
           diagram.distributing("down"), ("Ctrl+Alt+V",), "", when.nodes_selected, "canvas"),
)  # fmt: skip

DRAWING_MENU: tuple[str, ...] = (
    "project.new_drawing", "project.duplicate_drawing", "project.delete_drawing", SEPARATOR,
    "project.note", "graph.suggest", "graph.look", SEPARATOR, "diagram.note", "diagram.frame",
    "diagram.sketch_node", "diagram.sketch_edge",
    "diagram.erase", SEPARATOR, *(f"diagram.align_{edge}" for edge in _ALIGN_KEYS), SEPARATOR,
    "diagram.distribute_across", "diagram.distribute_down",
)  # fmt: skip
