"""Add, rename, duplicate and delete what a project holds; every change is one undoable edit."""

from collections.abc import Callable

from PySide6.QtWidgets import QDialog

from circuitscope.app.commands import edits, evidence, files
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.name import ask_name
from circuitscope.app.words import tr
from circuitscope.project import drawings, verbs
from circuitscope.project.runs import remove_runs


def new_drawing(desk: Desk) -> None:
    """Ask for a name and begin another drawing of the circuit shown."""
    hint = tr("It begins empty; the circuit and its other drawings stay as they are.")
    if name := ask_name(desk, tr("New drawing"), hint, _free_name(desk), tr("Draw")):
        _show(desk, desk.session.project.add_drawing(desk.session.active, name))


def _free_name(desk: Desk) -> str:
    count = len(desk.session.project.drawings(desk.session.active))
    return tr("Drawing {0}").format(count + 1)


def duplicate_drawing(desk: Desk, drawing_id: str = "") -> None:
    """Copy a drawing, the one shown where none is named, and go on in the copy."""
    like = drawing_id or desk.session.active_drawing
    circuit_id = drawings.circuit_of(like)
    _show(desk, desk.session.project.add_drawing(circuit_id, like=like))


def _show(desk: Desk, drawing_id: str) -> None:
    desk.session.activate(drawings.circuit_of(drawing_id), drawing_id)


def show_drawing(desk: Desk, drawing_id: str) -> None:
    """Bring another drawing of the circuit onto the screen."""
    _show(desk, drawing_id)


def next_tab(desk: Desk) -> None:
    """Show the next of the open drawings."""
    desk.window.drawing_tabs.step(1)


def previous_tab(desk: Desk) -> None:
    """Show the one before of the open drawings."""
    desk.window.drawing_tabs.step(-1)


def close_tab(desk: Desk) -> None:
    """Close the tab in front; the drawing stays in the project."""
    desk.window.drawing_tabs.close_tab(desk.window.drawing_tabs.currentIndex())


def delete_drawing(desk: Desk, drawing_id: str = "") -> None:
    """Take a drawing out of the project; undo brings it back."""
    chosen = drawing_id or desk.session.active_drawing
    desk.session.edit_project(drawings.delete_drawing, chosen)


def add_project_note(desk: Desk) -> None:
    """Ask for the text of another note on the project as a whole."""
    hint = tr("Listed under Notes; Markdown.")
    if text := ask_name(desk, tr("New note"), hint, "", tr("Add")):
        desk.session.edit_project(verbs.project_note, text, verbs.new_id())


def trace_again(desk: Desk, finding_id: str = "") -> QDialog:
    """Open the trace dialog, filled with what a circuit was traced with."""
    from circuitscope.app.dialogs.trace import TraceDialog

    dialog = TraceDialog(desk)
    dialog.fill(desk.session.project.circuit(finding_id or desk.session.active))
    dialog.open()
    return dialog


def open_result(desk: Desk, finding_id: str) -> QDialog | None:
    """Open a kept result that is no circuit, where a dialog shows its kind."""
    method = desk.session.project.finding(finding_id).method
    shown: dict[str, Callable[..., QDialog]] = {
        "importance": files.weigh_words, "measurement": evidence.measure,
        "comparison": evidence.open_comparison, "logit_inspection": evidence.logits,
    }  # fmt: skip
    return shown[method](desk, finding_id) if method in shown else None


def compare_with(desk: Desk, circuit_id: str, before: str = "") -> QDialog:
    """Compare the circuit on screen with another one.

    Args:
        desk: Session and window.
        circuit_id: The other one; of the one on screen, what came before, or else the next.
        before: Id of the circuit that was on screen before, "" where there is none any more.
    """
    active = desk.session.active
    first = active if circuit_id != active else before
    return evidence.compare(desk, first, circuit_id if first else "")


def rename(desk: Desk, kind: str, name: str, text: str) -> None:
    """Give a circuit, a result or a drawing another name.

    Args:
        desk: Session and window.
        kind: "finding" or "drawing".
        name: Its id.
        text: Its new name; an empty one, and the one it has, change nothing.
    """
    if kind == "finding":
        edits.rename_circuit(desk, name, text)
    elif kind == "drawing" and text.strip():
        now = drawings.drawing_info(desk.session.project.contents, name).name
        if text.strip() != now:
            desk.session.edit_project(drawings.rename_drawing, name, text)


def duplicate(desk: Desk, kind: str, name: str) -> None:
    """Copy a drawing, a circuit's drawing (evidence is never copied), or a note."""
    session = desk.session
    if kind == "drawing":
        duplicate_drawing(desk, name)
    elif kind == "finding":
        session.activate(name)
        duplicate_drawing(desk)
    elif kind == "text":
        row = session.project.contents.row("text", name)
        session.edit_project(verbs.project_note, str(row["text"]), verbs.new_id())
    elif kind == "note":
        row = session.drawing.row("note", name)
        at = (float(row.get("x", 0.0)) + 24, float(row.get("y", 0.0)) + 24)
        about = str(row.get("about", ""))
        session.edit(verbs.note, str(row["text"]), at, float(row.get("width", 200.0)), about=about)


def delete(desk: Desk, kind: str, name: str) -> None:
    """Take a line of the tree out of the project; undo brings it back."""
    if kind == "finding":
        edits.delete_circuit(desk, name)
    elif kind == "drawing":
        delete_drawing(desk, name)
    elif kind == "text":
        desk.session.edit_project(verbs.project_note, "", name)
    elif kind == "note":
        desk.session.edit(verbs.remove_note, name)
    elif kind == "run":
        desk.session.edit(remove_runs, [name])
