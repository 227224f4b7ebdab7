"""Lay out the diagram and add to it: align, distribute, notes, frames, what is drawn by hand."""

from collections.abc import Callable
from functools import partial

from PySide6.QtWidgets import QDialog

from circuitscope.app.commands.edits import groups_of_selection
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.name import ask_name
from circuitscope.app.dialogs.note import ask_note
from circuitscope.app.words import tr
from circuitscope.core.binding import Binding
from circuitscope.graph.align import Axis, Edge, align, distribute
from circuitscope.project import arranging, verbs

EDGES: tuple[Edge, ...] = ("left", "centre", "right", "top", "middle", "bottom")
AXES: tuple[Axis, ...] = ("across", "down")


def aligning(edge: Edge) -> Callable[[Desk], None]:
    """Return the command that lines the selected boxes up."""
    return lambda desk: _rearrange(desk, partial(align, edge=edge), f"Align {edge}", 2)


def distributing(axis: Axis) -> Callable[[Desk], None]:
    """Return the command that spaces the selected boxes evenly."""
    text = f"Distribute {'horizontally' if axis == 'across' else 'vertically'}"
    return lambda desk: _rearrange(desk, partial(distribute, axis=axis), text, 3)


def _rearrange(desk: Desk, places: Callable, text: str, least: int) -> None:
    desk.window.show_view("circuit")
    view = desk.window.circuit_view
    if len(view.selected()) < least:
        desk.window.say(tr("Select at least {0} boxes in the circuit view first.").format(least))
        return
    view.rearrange(places, text)


def suggest_groups(desk: Desk) -> QDialog:
    """Open the list of groups that features with similar edges would make."""
    from circuitscope.app.dialogs.suggestions import SuggestionsDialog

    dialog = SuggestionsDialog(desk)
    dialog.show()
    return dialog


def add_note(desk: Desk) -> None:
    """Ask for a text and put it beside what is selected, bound to it."""
    desk.window.show_view("circuit")
    view, session = desk.window.circuit_view, desk.session
    about, words = _binding(desk)
    if text := ask_note(desk, tr("New note"), words, ""):
        edit = verbs.note(session.drawing, text, view.free_spot(), about=about)
        session.edit(arranging.with_places, edit, view.places())


def _binding(desk: Desk) -> tuple[Binding, str]:
    """Return what a new note is about, and how the dialog says so."""
    keys, groups = desk.session.selected_keys(), groups_of_selection(desk)
    drawing, circuit = desk.session.drawing, desk.session.circuit
    items = desk.window.circuit_view.selected_items()
    if len(groups) == 1 and set(keys) == set(verbs.nodes_in(drawing, groups[0])):
        return Binding((groups[0],)), tr("Bound to the group.")
    if len(keys) == 1:
        return Binding((keys[0],)), tr("Bound to the node.")
    if not keys and len(items) == 1:
        return Binding(items), tr("Bound to what was drawn by hand.")
    if len(keys) == 2:
        ends = [circuit.nodes.find(key) for key in keys]
        for a, b in (ends, ends[::-1]):
            if any(edge.source.index == a for edge in circuit.inputs(b)):
                pair = (str(circuit.nodes.key(a)), str(circuit.nodes.key(b)))
                return Binding(pair), tr("Bound to the edge.")
    return Binding(), tr("Bound to the circuit. Select a node, two linked nodes or a group first "
                         "to bind it to these.")  # fmt: skip


def add_frame(desk: Desk) -> None:
    """Ask for a title and draw a frame around what is selected."""
    desk.window.show_view("circuit")
    view = desk.window.circuit_view
    hint = tr("It lies behind the boxes; dragging it takes along what it holds, with Alt it "
              "moves alone.")  # fmt: skip
    if title := ask_name(desk, tr("New frame"), hint, "", tr("Draw")):
        rect = view.frame_around_selection()
        desk.session.edit(arranging.frame, title, rect, places=view.places())


def add_sketch(desk: Desk) -> None:
    """Ask for a label and draw a node by hand."""
    desk.window.show_view("circuit")
    view, session = desk.window.circuit_view, desk.session
    hint = tr("Drawn dashed and grey, and called “by hand” in figures: it is no evidence.")
    if label := ask_name(desk, tr("Draw a node by hand"), hint, "", tr("Draw")):
        edit = verbs.sketch_node(session.drawing, label, view.free_spot())
        session.edit(arranging.with_places, edit, view.places())


def add_sketched_edge(desk: Desk) -> None:
    """Draw an edge by hand between the two selected things, the first being the source."""
    desk.window.show_view("circuit")
    view = desk.window.circuit_view
    chosen = [thing for thing in view.selected() if thing.kind in ("box", "item")]
    if len(chosen) != 2:
        desk.window.say(tr("Select two boxes in the circuit view first; the lower is the source."))
        return
    low, high = sorted(chosen, key=lambda thing: -thing.face.y)
    hint = tr("Drawn dashed and grey: it is no evidence. The label may be left as it is.")
    label = ask_name(desk, tr("Draw an edge by hand"), hint, tr("by hand"), tr("Draw"))
    if label:
        edit = verbs.sketch_edge(desk.session.drawing, low.id, high.id, label)
        desk.session.edit(arranging.with_places, edit, view.places())


def edit_item(desk: Desk, name: str) -> None:
    """Ask for another text of a note, title of a frame, or label of what was drawn by hand."""
    drawing = desk.session.drawing
    if (row := drawing.row("note", name)) is not None:
        text = ask_note(desk, tr("Note"), tr("Markdown"), str(row["text"]))
    else:
        row = drawing.row("frame", name) or drawing.row("sketch_node", name) or {}
        now = str(row.get("title", row.get("label", "")))
        text = ask_name(desk, tr("Change the text"), "", now, tr("Change"))
    if text:
        desk.session.edit(arranging.rename_item, name, text)


def erase(desk: Desk) -> None:
    """Take the selected notes, frames and sketches away; undo brings them back."""
    chosen = desk.window.circuit_view.selected_items()
    names = [name for name in chosen if not name.startswith("open ")]
    if names:
        desk.session.edit(arranging.erase, names)
    else:
        desk.window.say(tr("Select a note, a frame or something drawn by hand first."))


def choose_looks(desk: Desk) -> QDialog:
    """Open the dialog that gives nodes colours and shapes."""
    from circuitscope.app.dialogs.looks import LooksDialog

    dialog = LooksDialog(desk)
    dialog.show()
    return dialog
