"""Look after projects: who did what, checking a file, removing for good, the view of a link."""

from pathlib import Path

from PySide6.QtWidgets import QDialog, QFileDialog

from circuitscope.app.commands.files import PROJECTS, start_folder
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import MessageDialog
from circuitscope.app.widgets import button
from circuitscope.app.words import plural, tr


def show_log(desk: Desk) -> QDialog:
    """Show who did what in the project."""
    from circuitscope.app.dialogs.log import LogDialog

    dialog = LogDialog(desk)
    dialog.open()
    return dialog


def use_link(desk: Desk) -> QDialog:
    """Ask for a Neuronpedia link and take its pins, groups and labels."""
    from circuitscope.app.dialogs.link import LinkDialog

    dialog = LinkDialog(desk)
    dialog.open()
    return dialog


def check_file(desk: Desk) -> QDialog | None:
    """Ask for a project file, check it and offer to save what can be read."""
    from circuitscope.app.dialogs.soundness import SoundnessDialog

    path, _ = QFileDialog.getOpenFileName(
        desk.window, tr("Check project file"), start_folder(desk), PROJECTS
    )
    if not path:
        return None
    dialog = SoundnessDialog(desk, Path(path))
    dialog.open()
    return dialog


def compact(desk: Desk) -> QDialog:
    """Ask whether to remove for good what was deleted, and do it."""
    project = desk.session.project
    assert project is not None
    n = len(project.contents.of_kind("deleted"))
    dialog = MessageDialog(
        desk.window, "trash-2", desk.palette.negative,
        tr("Remove {0} for good?").format(plural(n, "deleted result", "deleted results")),
        tr("They go with their drawings, tests and attached files, and undo cannot bring them "
           "back. The project’s file shrinks when you save; until then it is unchanged."),
    )  # fmt: skip
    dialog.setObjectName("CompactDialog")

    def remove() -> None:
        dialog.accept()
        project.compact()
        desk.window.refresh()

    keep = button(tr("Keep"), "", dialog.reject)
    dialog.buttons.addWidget(keep)
    dialog.buttons.addWidget(button(tr("Remove"), "primary", remove))
    keep.setFocus()
    dialog.open()
    return dialog
