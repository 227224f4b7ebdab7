"""Open, save, import, export and trace: the dialogs around the session's files and jobs."""

from functools import partial
from pathlib import Path

from PySide6.QtWidgets import QDialog, QFileDialog

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import MessageDialog, show_error
from circuitscope.app.whereabouts import go_back, recall
from circuitscope.app.widgets import button
from circuitscope.app.words import tr
from circuitscope.core.errors import ChangedOnDisk, CircuitScopeError, ProjectLocked
from circuitscope.core.finding import Ranking
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import AttentionScore
from circuitscope.core.shipped import shipped_path

SUFFIX = ".circuitscope"
PROJECTS = "CircuitScope (*.circuitscope)"
GRAPHS = "Graphs (*.json *.pt)"


def ask_to_save(desk: Desk) -> str:
    """Ask what becomes of unsaved changes: "save", "discard" or "cancel"."""
    path = desk.session.project.path
    name = Path(path).name if path else tr("the new project")
    dialog = MessageDialog(
        desk.window, "save", desk.palette.accent_ink,
        tr("Save changes to {0}?").format(name),
        tr("What is not saved is lost when the project is closed."),
    )  # fmt: skip
    return _answer(dialog, (
        ("discard", tr("Discard changes"), ""), ("cancel", tr("Cancel"), ""),
        ("save", tr("Save"), "primary"),
    ))  # fmt: skip


def may_leave(desk: Desk) -> bool:
    """Make sure that nothing unsaved is lost; False where the user would rather stay."""
    session = desk.session
    if session.project is None or not session.is_modified or session.project.read_only:
        return True
    answer = ask_to_save(desk)
    if answer == "save":
        try:
            return save(desk)
        except CircuitScopeError as error:
            show_error(desk.window, error)
            return False
    return answer == "discard"


def new_project(desk: Desk) -> None:
    """Start an empty project."""
    if may_leave(desk):
        desk.session.new_project()


def open_project(desk: Desk) -> None:
    """Ask for a project and open it."""
    path, _ = QFileDialog.getOpenFileName(
        desk.window, tr("Open project"), start_folder(desk), PROJECTS
    )
    if path:
        open_path(desk, path)


def open_path(desk: Desk, path: str | Path) -> None:
    """Open whatever a path names: a project, a graph file or a model folder.

    Raises:
        CircuitScopeError: It cannot be opened; what was open before stays open.
    """
    path = Path(path)
    if path.is_dir() or path.name == "config.json":
        use_model(desk, path if path.is_dir() else path.parent)
    elif path.suffix.lower() in (".json", ".pt"):
        _import(desk, path)
    elif may_leave(desk):
        _open(desk, path)


def _open(desk: Desk, path: Path) -> None:
    project = desk.session.project
    if project is not None and project.path and Path(project.path).resolve() == path.resolve():
        return
    desk.window.keep_picture()
    place = recall(path)
    try:
        desk.session.open_project(path)
        go_back(desk, place)
    except ProjectLocked as error:
        _offer_read_only(desk, path, error)
        return
    except CircuitScopeError:
        desk.session.preferences.forget_recent("projects", path)
        raise


def _offer_read_only(desk: Desk, path: Path, error: ProjectLocked) -> None:
    dialog = MessageDialog(
        desk.window, "lock", desk.palette.accent_ink, error.message, error.kept, error.hint
    )
    dialog.setObjectName("LockedDialog")

    def look_only() -> None:
        dialog.accept()
        desk.session.open_project(path, read_only=True)

    dialog.buttons.addWidget(button(tr("Cancel"), "", dialog.reject))
    look = button(tr("Open for reading"), "primary", look_only)
    look.setDefault(True)
    dialog.buttons.addWidget(look)
    dialog.open()
    look.setFocus()


def import_graph(desk: Desk) -> None:
    """Ask for a graph file and add it to the project."""
    path, _ = QFileDialog.getOpenFileName(
        desk.window, tr("Import graph"), start_folder(desk), GRAPHS
    )
    if path:
        _import(desk, Path(path))


def _import(desk: Desk, path: Path) -> None:
    if desk.session.project is None:
        desk.session.new_project()
    desk.session.import_file(path)


def save(desk: Desk) -> bool:
    """Save, under a name asked for where there is none; False where the user cancels."""
    project = desk.session.project
    if project.path is None or project.read_only or is_shipped(project.path):
        return save_as(desk)
    try:
        path = desk.session.save()
    except ChangedOnDisk as error:
        return _settle_change(desk, error)
    desk.session.preferences.add_recent("projects", path)
    return True


def save_unasked(desk: Desk) -> None:
    """Save where the user wants that done now and then; what stands in the way is said quietly."""
    project = desk.session.project
    if project is None or project.path is None or project.read_only or is_shipped(project.path):
        return
    if not desk.session.is_modified:
        return
    try:
        path = desk.session.save()
    except CircuitScopeError as error:
        desk.window.say(tr("Not saved: {0}").format(error.message))
    else:
        desk.window.say(tr("Saved {0}").format(path.name))
        desk.window.refresh()


def _settle_change(desk: Desk, error: ChangedOnDisk) -> bool:
    """Let the user choose between the file of another program and this project's work."""
    dialog = MessageDialog(
        desk.window, "triangle-alert", desk.palette.negative, error.message, error.kept, error.hint
    )
    choices = (("cancel", tr("Cancel"), ""), ("overwrite", tr("Replace the file"), ""),
               ("save_as", tr("Save as…"), "primary"))  # fmt: skip
    answer = _answer(dialog, choices)
    if answer == "overwrite":
        desk.session.save(overwrite=True)
    return answer == "overwrite" or (answer == "save_as" and save_as(desk))


def _answer(dialog: MessageDialog, choices: tuple[tuple[str, str, str], ...]) -> str:
    """Show buttons and return the name of the one pressed; "cancel" for Escape."""
    pressed = ["cancel"]

    def choose(name: str) -> None:
        pressed[0] = name
        dialog.accept()

    for name, words, style in choices:
        made = button(words, style, partial(choose, name))
        dialog.buttons.addWidget(made)
    made.setDefault(True)
    made.setFocus()
    dialog.exec()
    return pressed[0]


def is_shipped(path: Path | str) -> bool:
    """Say whether a file belongs to the program; examples are edited freely and saved elsewhere."""
    return Path(path).resolve().is_relative_to(shipped_path("projects").resolve())


def save_as(desk: Desk) -> bool:
    """Ask for a file and save there; False where the user cancels."""
    project = desk.session.project
    name = Path(project.path).name if project.path else "untitled" + SUFFIX
    start = Path(start_folder(desk)) / name
    path, _ = QFileDialog.getSaveFileName(desk.window, tr("Save project as"), str(start), PROJECTS)
    if not path:
        return False
    target = Path(path) if path.endswith(SUFFIX) else Path(path + SUFFIX)
    desk.session.save_as(target)
    return True


def close_project(desk: Desk) -> None:
    """Close the project and return to the start page."""
    if may_leave(desk):
        desk.window.keep_picture()
        desk.session.close()


def start_folder(desk: Desk) -> str:
    """Return where a file dialog starts: beside the project, or where one was last."""
    project = desk.session.project
    if project is not None and project.path and not is_shipped(project.path):
        return str(Path(project.path).parent)
    recent = desk.session.preferences.now.recent.projects
    own = [path for path in recent if not is_shipped(path)]
    return str(Path(own[0]).parent) if own else str(Path.home())


def export(desk: Desk) -> QDialog:
    """Open the export dialog for what is on screen."""
    from circuitscope.app.dialogs.export import ExportDialog

    dialog = ExportDialog(desk, desk.window.shown_view())
    dialog.open()
    return dialog


def trace(desk: Desk) -> QDialog:
    """Open the trace dialog."""
    from circuitscope.app.dialogs.trace import TraceDialog

    dialog = TraceDialog(desk)
    dialog.open()
    return dialog


def lens(desk: Desk) -> QDialog:
    """Open the lens."""
    from circuitscope.app.dialogs.lens import LensDialog

    dialog = LensDialog(desk)
    dialog.show()
    return dialog


def weigh_words(desk: Desk, finding: str = "") -> QDialog:
    """Open the dialog that weighs a classifier's words, on a result kept before where one is named.

    Args:
        desk: Session and window.
        finding: Id of the kept result.
    """
    from circuitscope.app.dialogs.importance import ImportanceDialog

    project = desk.session.project
    kept = project.read_finding(finding) if finding and project is not None else None
    dialog = ImportanceDialog(desk, kept if isinstance(kept, Ranking) else None)
    dialog.show()
    return dialog


def compare_heads(desk: Desk) -> QDialog:
    """Compare the circuit shown with one of contextual decomposition, head by head."""
    from circuitscope.app.dialogs.agreement import AgreementDialog

    dialog = AgreementDialog(desk)
    dialog.show()
    return dialog


def try_changes(desk: Desk) -> QDialog:
    """Open the dialog that tries changes of the selected nodes on the model."""
    from circuitscope.app.dialogs.trial import TrialDialog

    dialog = TrialDialog(desk)
    dialog.show()
    return dialog


def trace_further(desk: Desk) -> None:
    """Compute what feeds the selected node."""
    desk.session.grow(desk.session.selected_keys()[0])


def why_there(desk: Desk, edge: int | None = None, score: AttentionScore | None = None) -> QDialog:
    """Explain the attention behind an edge, or behind the selected node's strongest input."""
    from circuitscope.app.dialogs.attention import AttentionDialog

    session = desk.session
    if edge is None:
        inputs = session.circuit.inputs(session.selection[0])
        constants = (NodeKind.BIAS, NodeKind.POSITION)
        written = (found for found in inputs if found.source.kind not in constants)
        edge = next((found.index for found in written), None)
    dialog = AttentionDialog(desk, edge, score)
    dialog.open()
    return dialog


def why_edge(desk: Desk, edge: int) -> QDialog:
    """Show the terms of an edge, and where it comes from."""
    from circuitscope.app.dialogs.why_edge import EdgeDialog

    dialog = EdgeDialog(desk, edge)
    dialog.open()
    return dialog


def choose_model(desk: Desk) -> QDialog:
    """Open the model dialog, above the trace dialog where that is open."""
    from circuitscope.app.dialogs.model import ModelDialog

    dialog = ModelDialog(desk)
    dialog.open()
    return dialog


def use_model(desk: Desk, folder: Path) -> None:
    """Load a model folder in the engine."""
    choices = desk.session.preferences.now.engine
    desk.session.load_model(folder, device=choices.device, dtype=choices.dtype)


def cancel_job(desk: Desk) -> None:
    """Stop the job that is running."""
    if (job := desk.session.jobs.running) is not None:
        desk.session.jobs.cancel(job)
