"""What stands in the way: errors, locked files, work left by a crash."""

import shutil
import subprocess
import sys
from pathlib import Path

from screens.stage import ROOT, Scene, Stage


def errors(stage: Stage) -> None:
    stage.open("capitals")
    broken = stage.copies / "broken.circuitscope"
    broken.write_bytes(b"this is no project")
    stage.window.open_path(broken)
    stage.take("error-no-project")
    stage.close_dialogs()
    graph = stage.copies / "graph.json"
    graph.write_text('{"nodes": [')
    stage.window.open_path(graph)
    stage.take("error-graph")
    stage.close_dialogs()
    stage.session.load_model(stage.copies)
    stage.take("error-model")
    from circuitscope.app.dialogs.errors import CrashDialog

    CrashDialog(stage.window, "CircuitScope, Python, Qt\n\nValueError: a fault made up").open()
    stage.take("crash")
    stage.close_dialogs()


def files(stage: Stage) -> None:
    """What is asked about files: unsaved changes, a locked project, work that a crash left."""
    from PySide6.QtCore import QTimer

    from circuitscope.app.commands.files import ask_to_save
    from circuitscope.app.dialogs.recovery import RecoveryDialog
    from circuitscope.project.recovery import LeftOver

    stage.open("capitals")

    def answer() -> None:
        stage.take("save-changes")
        stage.app.activeModalWidget().reject()

    QTimer.singleShot(300, stage.window, answer)
    ask_to_save(stage.window.desk)
    target = stage.copies / "locked.circuitscope"
    shutil.copy(stage.copies / "capitals.circuitscope", target)
    held = "import sys, circuitscope as cs; p = cs.open_project(sys.argv[1]); print(1, flush=True)"
    other = subprocess.Popen(
        [sys.executable, "-c", held + "; input()", str(target)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    other.stdout.readline()
    stage.window.open_path(target)
    stage.take("locked")
    stage.close_dialogs()
    other.communicate("\n")
    edits = ("Label feature 57 “Texas”", "Group 6 nodes as “say a capital”", "Pin 3 nodes")
    left = LeftOver(stage.copies / "session", target, "2026-11-26T10:00:00Z", edits, len(edits))
    RecoveryDialog(stage.window.desk, left).open()
    stage.take("recovery")
    stage.close_dialogs()


def told(stage: Stage) -> None:
    """Errors that are hard to bring about, as their dialogs tell them."""
    from circuitscope.app.dialogs.errors import show_error
    from circuitscope.core.errors import NewerFormat, OutOfMemory

    stage.open("capitals")
    for name, error in (
        ("error-memory", OutOfMemory(
            "Memory ran out, also with batches of 32: CUDA out of memory.",
            kept="The project is unchanged and the model is still loaded.",
            hint="Ask for fewer nodes, a shorter prompt or a smaller batch, or use the CPU.",
        )),
        ("error-newer", NewerFormat(
            "capitals.circuitscope was written by a newer CircuitScope (format 9).",
            kept="The file was not changed.", hint="Update CircuitScope to open it.",
        )),
    ):  # fmt: skip
        show_error(stage.window, error)
        stage.take(name)
        stage.close_dialogs()


def changed_on_disk(stage: Stage) -> None:
    """Another program has written the file; reading only; a check; results to remove for good."""
    import sqlite3

    from PySide6.QtCore import QTimer

    from circuitscope.app.commands.files import save
    from circuitscope.app.dialogs.soundness import SoundnessDialog
    from circuitscope.project import verbs

    stage.open("capitals")
    path = Path(stage.session.project.path)
    stage.session.edit(verbs.pin, str(stage.session.circuit.nodes.key(3)))
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE of_another_program (a)")
    other.commit()
    other.close()

    def answer() -> None:
        stage.take("changed-on-disk")
        stage.app.activeModalWidget().reject()

    QTimer.singleShot(300, stage.window, answer)
    save(stage.window.desk)
    stage.session.undo()
    stage.session.close()
    path.unlink()
    stage.open("capitals")
    dialog = SoundnessDialog(stage.window.desk, path)
    dialog.open()
    stage.centre(dialog)
    stage.take("check-sound", 1500)
    stage.close_dialogs()
    damaged = stage.copies / "damaged.circuitscope"
    content = bytearray(path.read_bytes())
    content[40_000:90_000] = bytes(50_000)
    damaged.write_bytes(content)
    dialog = SoundnessDialog(stage.window.desk, damaged)
    dialog.open()
    stage.centre(dialog)
    stage.take("check-damaged", 2500)
    stage.close_dialogs()
    stage.run("edit.delete_circuit")
    stage.take("circuit-deleted")
    stage.run("file.compact")
    stage.take("compact")
    stage.close_dialogs()
    stage.session.undo()
    stage.session.close()
    stage.session.open_project(path, read_only=True)
    stage.take("read-only")


def no_such_model(stage: Stage) -> None:
    """The model dialog on a folder that holds none; a trace while a model is missing."""
    stage.open("capitals")
    stage.session.load_model(stage.copies)
    stage.settle()
    stage.run("trace.model")
    stage.take("model-problem")
    stage.close_dialogs()
    stage.run("trace.new")
    stage.take("trace-no-model")
    stage.close_dialogs()
    stage.load("atlas")


SCENES: tuple[Scene, ...] = (errors, told, changed_on_disk, files, no_such_model)
