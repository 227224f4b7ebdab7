"""Change the drawing: group, label, pin, hide; every change is one undoable edit."""

from collections.abc import Callable
from typing import Any

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.name import ask_name
from circuitscope.app.words import plural, tr
from circuitscope.core.errors import QueryError
from circuitscope.core.nesting import box_of, parents_of
from circuitscope.graph.query import Query, Term, parse_query
from circuitscope.project import verbs
from circuitscope.session.session import Session

LEAST, MOST, STEP = 0.05, 1.0, 0.05


def undo(desk: Desk) -> None:
    """Take the last edit back."""
    desk.session.undo()


def redo(desk: Desk) -> None:
    """Do the edit undone last once more."""
    desk.session.redo()


def group(desk: Desk) -> None:
    """Ask for a name and put the selected nodes into a new group."""
    nodes = plural(len(desk.session.selection), "node", "nodes")
    hint = tr("What these nodes stand for together, in a word or two.")
    heading = tr("Group {0}").format(nodes)
    if name := ask_name(desk, heading, hint, _suggested_name(desk), tr("Group")):
        desk.session.edit(verbs.group, things_selected(desk), name)


def _suggested_name(desk: Desk) -> str:
    """Return the word that most selected nodes' labels promote first, if they share one."""
    counts: dict[str, int] = {}
    chosen = desk.session.selection
    for node in chosen:
        promoted = desk.session.label(node).rpartition("→")[2].split(",")
        for word in {word.strip() for word in promoted if word.strip()}:
            counts[word] = counts.get(word, 0) + 1
    best = max(counts, key=lambda word: counts[word], default="")
    return best if best and counts[best] > len(chosen) / 2 else ""


def things_selected(desk: Desk) -> list[str]:
    """Return what a new group takes in: nodes, and groups all of whose nodes are selected.

    A single group that is all of the selection is given up for the new one, with what is in it.
    """
    drawing, keys = desk.session.drawing, desk.session.selected_keys()
    parents = parents_of(drawing.of_kind("group"))
    found = {name: set(verbs.nodes_in(drawing, name)) for name in drawing.of_kind("group")}
    whole = {name for name, nodes in found.items() if nodes and nodes <= set(keys)}
    while len(top := [name for name in whole if parents.get(name) not in whole]) == 1:
        if found[top[0]] != set(keys):
            break
        whole -= set(top)
    return [*top, *keys]


def groups_of_selection(desk: Desk) -> list[str]:
    """Return the groups of the selected nodes, each once: those whose boxes stand for them.

    Where all groups around a node are open, it is the innermost.
    """
    drawing = desk.session.drawing
    if drawing is None:
        return []
    members, groups = drawing.of_kind("member"), drawing.of_kind("group")
    parents = parents_of(groups)
    opened = {name for name, row in groups.items() if row.get("open")}
    inner = [members[key]["group"] for key in desk.session.selected_keys() if key in members]
    return list(dict.fromkeys(box_of(name, parents, opened) or name for name in inner))


def ungroup(desk: Desk) -> None:
    """Dissolve the groups of the selected nodes."""
    for group_id in groups_of_selection(desk):
        desk.session.edit(verbs.ungroup, group_id)


def toggle_open(desk: Desk) -> None:
    """Unfold the groups of the selected nodes into their members, or fold them again."""
    for group_id in groups_of_selection(desk):
        row = desk.session.drawing.row("group", group_id) or {}
        desk.session.edit(verbs.open_group, group_id, not row.get("open", False))


def rename_group(desk: Desk, group_id: str, name: str) -> None:
    """Give a group another name; an empty one changes nothing."""
    row = desk.session.drawing.row("group", group_id)
    if row is not None and name.strip() and name.strip() != row["label"]:
        desk.session.edit(verbs.rename_group, group_id, name.strip())


def color_group(desk: Desk, group_id: str, color: str) -> None:
    """Give a group another colour."""
    desk.session.edit(verbs.color_group, group_id, color)


def select_group(desk: Desk, group_id: str) -> None:
    """Select the members of a group."""
    circuit, drawing = desk.session.circuit, desk.session.drawing
    if circuit is not None and drawing is not None:
        found = (circuit.nodes.find(key) for key in verbs.nodes_in(drawing, group_id))
        desk.session.select([node for node in found if node is not None])


def _toggle(desk: Desk, kind: str, mark: Callable[..., Any], unmark: Callable[..., Any]) -> None:
    drawing, keys = desk.session.drawing, desk.session.selected_keys()
    marked = drawing.of_kind(kind)
    verb = unmark if all(key in marked for key in keys) else mark
    desk.session.edit(verb, *keys)


def pin(desk: Desk) -> None:
    """Pin the selected nodes; unpin them where all are pinned already."""
    _toggle(desk, "pin", verbs.pin, verbs.unpin)


def hide(desk: Desk) -> None:
    """Hide the selected nodes; show them where all are hidden already."""
    _toggle(desk, "hidden", verbs.hide, verbs.unhide)
    desk.session.select([])


def show_all(desk: Desk) -> None:
    """Show every node that was hidden by hand."""
    desk.session.edit(verbs.unhide_all)


def remove_label(desk: Desk) -> None:
    """Take the selected nodes' own labels away."""
    drawing = desk.session.drawing
    for key in desk.session.selected_keys():
        if drawing.row("label", key):
            desk.session.edit(verbs.unlabel, key)


def lay_out_again(desk: Desk) -> None:
    """Forget the places given by hand, so that the layout chooses them again."""
    desk.session.edit(verbs.unplace)


def rename_circuit(desk: Desk, circuit_id: str, name: str) -> None:
    """Give a circuit of the project another name."""
    project = desk.session.project
    if name.strip() and name.strip() != project.finding(circuit_id).name:
        desk.session.edit_project(verbs.rename_finding, circuit_id, name.strip())


def delete_circuit(desk: Desk, circuit_id: str = "") -> None:
    """Take a circuit out of the project; undo brings it back."""
    desk.session.edit_project(verbs.delete_finding, circuit_id or desk.session.active)


def write_note(desk: Desk, text: str) -> None:
    """Set the note of the whole project."""
    desk.session.edit_project(verbs.project_note, text)


def _move_threshold(desk: Desk, by: float) -> None:
    now = desk.session.view().node_threshold
    moved = round(min(MOST, max(LEAST, now + by)), 3)
    if moved != now:
        desk.session.set_view(node_threshold=moved)


def tighten(desk: Desk) -> None:
    """Show fewer nodes."""
    _move_threshold(desk, -STEP)


def loosen(desk: Desk) -> None:
    """Show more nodes."""
    _move_threshold(desk, STEP)


def toggle_errors(desk: Desk) -> None:
    """Show or hide the unexplained parts."""
    desk.session.set_view(show_errors=not desk.session.view().show_errors)


def toggle_biases(desk: Desk) -> None:
    """Show or hide biases and positions."""
    desk.session.set_view(show_biases=not desk.session.view().show_biases)


def toggle_attention(desk: Desk) -> None:
    """Show or leave out heads and attention features, as a condition of the view's filter."""
    _toggle_kind(desk, "attention")


def toggle_mlp(desk: Desk) -> None:
    """Show or leave out MLP features and neurons, as a condition of the view's filter."""
    _toggle_kind(desk, "mlp")


def shows(session: Session, kind: str) -> bool:
    """Say whether the view's filter leaves a kind in."""
    return _without(kind) not in _terms(session)


def _without(kind: str) -> Term:
    return Term("kind", kind, negated=True)


def _terms(session: Session) -> tuple[Term, ...]:
    try:
        return parse_query(session.view().filter).terms
    except QueryError:
        return ()


def _toggle_kind(desk: Desk, kind: str) -> None:
    left_out, terms = _without(kind), _terms(desk.session)
    if left_out in terms:
        terms = tuple(term for term in terms if term != left_out)
    else:
        terms = (*terms, left_out)
    desk.session.set_view(filter=str(Query(terms)))
