"""Drive the real window and take a picture of every panel, dialog, empty state, error and theme.

    .venv/bin/python packaging/screenshots.py build/screenshots
    .venv/bin/python packaging/screenshots.py build/screenshots search

The second word chooses scenes. The window runs on a private X server (Xvfb), with settings and
copies of the bundled projects in a temporary folder. A picture is what that screen shows: title
bars are missing, nothing is composed. Without Xvfb Qt draws offscreen, and windows are grabbed one
by one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1440, 900)
PROMPT = "the capital of the state containing Oakland is"
THEMES = ("light", "dark", "contrast")
_SETTLE_MS = 400


@contextmanager
def screen() -> Iterator[bool]:
    """Run a private X server; False where there is none and Qt draws offscreen."""
    program = shutil.which("Xvfb")
    if program is None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        yield False
        return
    size = f"{SIZE[0]}x{SIZE[1]}x24"
    server = subprocess.Popen(
        [program, "-displayfd", "1", "-screen", "0", size, "-nolisten", "tcp"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    display = server.stdout.readline().strip()  # the first that no other server has
    os.environ.update(DISPLAY=f":{display}", QT_QPA_PLATFORM="xcb")
    os.environ.pop("WAYLAND_DISPLAY", None)
    try:
        yield True
    finally:
        server.terminate()
        server.wait()


class Stage:
    """The program on its screen, and the folder that takes the pictures."""

    def __init__(self, folder: Path, *, whole: bool) -> None:
        from PySide6.QtWidgets import QApplication

        from circuitscope.app.application import Application
        from circuitscope.app.theme import app_icon
        from circuitscope.engine.client import InProcessEngine
        from circuitscope.session.session import Session

        self.app = QApplication(sys.argv[:1])
        self.app.setStyle("Fusion")
        self.app.setWindowIcon(app_icon())
        self.folder, self._whole = folder, whole
        self.started = Application(self.app, Session(InProcessEngine()))
        self.session = self.started.session
        self.prefix = ""
        self.copies = Path(os.environ["CIRCUITSCOPE_HOME"]).parent / "projects"
        self.show()

    @property
    def window(self):
        """The main window, made anew when the colours change."""
        return self.started.window

    def show(self) -> None:
        self.window.setGeometry(0, 0, *SIZE)
        self.window.show()
        self.settle()

    def settle(self, ms: int = _SETTLE_MS) -> None:
        """Let everything be drawn, and every job end."""
        from PySide6.QtTest import QTest

        QTest.qWait(ms)
        while not all(job.is_over for job in self.session.jobs.jobs):
            QTest.qWait(50)
        QTest.qWait(100)

    def look(self, theme: str, scale: float = 1.0) -> None:
        self.session.preferences.change("appearance", theme=theme, text_scale=scale)
        self.settle()
        self.show()

    def take(self, name: str, ms: int = _SETTLE_MS) -> None:
        """Take a picture of the screen, or of the window in front."""
        self.settle(ms)
        front = self.app.activePopupWidget() or self.app.activeModalWidget()
        if self._whole:
            picture = self.app.primaryScreen().grabWindow(0)
        else:
            picture = (front or self.dialog() or self.window).grab()
        target = self.folder / f"{self.prefix}{name}.png"
        picture.save(str(target))
        sys.stdout.write(f"{target}\n")

    def dialog(self):
        """The dialog in front, if any."""
        from PySide6.QtWidgets import QDialog

        open_ones = [w for w in self.app.topLevelWidgets() if isinstance(w, QDialog)]
        return next((w for w in reversed(open_ones) if w.isVisible()), None)

    def close_dialogs(self) -> None:
        while (dialog := self.dialog()) is not None:
            dialog.reject() if not dialog.isModal() else dialog.done(0)
            self.settle(50)

    def run(self, action: str) -> None:
        self.window.desk.trigger(action)
        self.settle()
        if (dialog := self.dialog()) is not None:
            around = self.window.geometry()
            dialog.move(around.center() - dialog.rect().center())
            self.settle(100)

    def open(self, name: str) -> None:
        """Open a copy of a bundled project."""
        self.copies.mkdir(exist_ok=True)
        (found,) = (ROOT / "projects").glob(f"**/{name}.circuitscope")
        target = self.copies / found.name
        if not target.exists():
            shutil.copy(found, target)
        self.session.close()
        self.window.open_path(target)
        self.settle()

    def group(self, label: str) -> None:
        """Select the members of a group."""
        from circuitscope.app.commands.edits import select_group

        rows = self.session.drawing.of_kind("group")
        select_group(self.window.desk, next(k for k, r in rows.items() if r["label"] == label))
        self.settle()


def start_page(stage: Stage) -> None:
    stage.session.close()
    stage.take("start")


def link_graph(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.show_view("link")
    stage.take("link-graph")
    stage.group("Texas")
    stage.take("selected")
    stage.window.statusBar().show_reasons()
    stage.take("why-hidden")
    stage.app.activePopupWidget().close()


def circuit_view(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.show_view("circuit")
    stage.take("circuit")
    stage.window.show_view("link")


def search(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.search.start()
    stage.take("search-empty")
    for name, text in (("search", "layer:0-2 kind:feature texas"), ("search-problem", "layer:top"),
                       ("search-none", "kind:feature zebra")):  # fmt: skip
        stage.window.search.setText(text)
        stage.take(name)
    stage.window.search.clear()
    stage.window.canvas().setFocus()


def command_palette(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("edit.commands")
    stage.take("palette")
    stage.dialog().field.setText("sel")
    stage.take("palette-typed")
    stage.close_dialogs()


def preferences(stage: Stage) -> None:
    stage.run("edit.preferences")
    from PySide6.QtWidgets import QScrollArea

    stage.take("preferences")
    bar = stage.dialog().findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    stage.take("preferences-end")
    stage.close_dialogs()


def empty_project(stage: Stage) -> None:
    stage.session.new_project()
    stage.take("empty-project")
    stage.session.close()


def trace_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("trace.new")
    dialog = stage.dialog()
    stage.take("trace", 1500)
    dialog.prompt.field.setPlainText(PROMPT)
    stage.settle(1500)
    dialog.prompt.generate()
    stage.take("trace-generated", 1500)
    dialog.prompt.field.setPlainText("the capital of Dalas")
    stage.take("trace-problem", 1500)
    stage.close_dialogs()


def try_it(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("trace.try")
    dialog = stage.dialog()
    stage.take("try", 1500)
    dialog.mode.setCurrentIndex(dialog.mode.findData("group"))
    dialog.run()
    stage.take("try-swapped", 1500)
    stage.close_dialogs()


def logits_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("trace.logits")
    dialog = stage.dialog()
    dialog.answer.setText("Austin")
    dialog.against.setText("Sacramento")
    dialog.run()
    stage.take("logits", 2500)
    dialog.component.setCurrentIndex(1)
    dialog.run()
    stage.take("logits-sources", 2500)
    stage.close_dialogs()


def attention_sweep(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("verify.sweep")
    dialog = stage.dialog()
    dialog.component.setCurrentIndex(dialog.component.findData("pattern"))
    dialog.answer.setText("Austin")
    dialog.against.setText("Sacramento")
    dialog.key.setValue(7)
    dialog.run()
    stage.take("sweep-attention", 2500)
    stage.close_dialogs()


def attention_trial(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.app.dialogs.trial import TrialDialog

    dialog = TrialDialog(stage.window.desk, "2.3:8<-7 x 0; 2.5:8<-7 x 0")
    dialog.show()
    dialog.run()
    stage.take("try-attention", 2500)
    stage.close_dialogs()


def information_flow(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.core.settings import TraceSettings

    stage.session.load_model(ROOT / "projects" / "atlas" / "model")
    stage.session.trace(TraceSettings(PROMPT, "information_flow"), "flow")
    stage.take("information-flow", 4000)
    stage.window.show_view("circuit")
    stage.take("information-flow-circuit")
    stage.window.show_view("link")


def test_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("verify.test")
    stage.take("test", 1500)
    stage.close_dialogs()


def compare_overlay(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("verify.compare")
    stage.take("compare-before", 1500)
    dialog, names = stage.dialog(), {c.name: c.id for c in stage.session.project.findings()}
    floor = next((names[name] for name in names if "rephrased" in name), "")
    dialog.choose(replace(dialog.chosen, floor=floor))
    dialog.run()
    stage.take("compare-overlay", 800)
    stage.dialog().classes.buttons["both"].setChecked(False)
    stage.dialog().tables.setCurrentIndex(1)
    stage.take("compare-filtered", 500)
    stage.close_dialogs()


def split_view(stage: Stage) -> None:
    stage.open("capitals")
    stage.session.activate(stage.session.project.finding("Dallas").id)
    stage.window.split.show_beside(stage.session.project.finding("Oakland").id)
    stage.group("Texas")
    stage.session.select(stage.session.selection[:1])
    node = stage.session.circuit.nodes.find("token/embed/-1/7/34") or int(
        stage.session.circuit.roots[0]
    )
    stage.session.select([node])
    stage.take("split-view", 1200)
    stage.window.split.swap()
    stage.take("split-swapped", 800)
    stage.window.split.unsplit()


def dialogs_of_actions(stage: Stage) -> None:
    stage.open("capitals")
    for action, name in (
        ("trace.model", "model"), ("trace.lens", "lens"), ("trace.words", "words"),
        ("trace.heads", "heads"), ("file.export", "export"), ("help.manual", "manual"),
        ("help.shortcuts", "shortcuts"), ("help.about", "about"),
    ):  # fmt: skip
        if stage.window.desk.actions[action].isEnabled():
            stage.run(action)
            stage.take(name, 1200)
            stage.close_dialogs()


def attention(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("bring Texas to “is”")
    stage.session.select(stage.session.selection[:1])
    stage.run("trace.why")
    stage.take("why-there", 1500)
    stage.close_dialogs()


def feature_pages(stage: Stage) -> None:
    from PySide6.QtWidgets import QScrollArea

    from circuitscope.app.panels.feature_page import FeatureBox
    from circuitscope.app.panels.inspector import InspectorPanel
    from circuitscope.evidence.records import concepts_of
    from circuitscope.session import feature_work

    for name in ("capitals", "othello"):
        stage.open(name)
        stage.session.load_model(
            ROOT / "projects" / ("atlas" if name == "capitals" else name) / "model"
        )
        stage.settle()
        circuit = stage.session.circuit
        order = (-circuit.nodes.influence).argsort().tolist()
        pages = (n for n in order if (p := feature_work.page(stage.session, n)) and p.examples)
        stage.session.select([next(pages)])
        stage.settle(1200)
        scroll = stage.window.findChild(InspectorPanel).findChild(QScrollArea)
        box = stage.window.findChild(FeatureBox)
        bar = scroll.verticalScrollBar()
        top = box.mapTo(scroll.widget(), box.rect().topLeft()).y()
        for part in range(4):
            bar.setValue(top + part * (scroll.height() - 40))
            stage.take(f"feature-{name}-{part + 1}")
            if bar.value() == bar.maximum():
                break
        several = [
            n for n in order
            if (p := feature_work.page(stage.session, n))
            and any(one.score for label in p.labels for one in concepts_of(label))
        ]  # fmt: skip
        if several:
            stage.session.select(several[:1])
            stage.settle(1200)
            box = stage.window.findChild(FeatureBox)
            bar.setValue(box.mapTo(scroll.widget(), box.rect().topLeft()).y())
            stage.take(f"feature-{name}-concepts")
        if name == "othello":
            from circuitscope.app.panels.board import BoardPanel

            board = stage.window.findChild(BoardPanel).findChild(QScrollArea).verticalScrollBar()
            board.setValue(board.maximum())
            stage.take("feature-boards")


def collect(stage: Stage) -> None:
    stage.open("capitals")
    stage.session.load_model(ROOT / "projects" / "atlas" / "model")
    stage.settle()
    stage.run("trace.collect")
    stage.take("collect", 1500)
    dialog = stage.dialog()
    texts = stage.copies / "texts.txt"
    texts.write_text("the capital of the state containing Dallas is Austin\n" * 4000)
    dialog.corpus.setText(str(texts))
    stage.take("collect-estimate", 2500)
    stage.close_dialogs()


def other_examples(stage: Stage) -> None:
    for name in sorted(path.stem for path in (ROOT / "projects").glob("**/*.circuitscope")):
        if name != "capitals":
            stage.open(name)
            stage.take(f"example-{name}", 1200)


def jobs(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.engine.requests import Ping

    for title, request in (("A job that counts", Ping(40, 0.05)), ("A job that waits", Ping())):
        stage.session.jobs.add(title, request)
    stage.take("jobs-done", 100)
    from circuitscope.app.panels.jobs import JobRow

    rows = [row for row in stage.window.findChildren(JobRow) if row.job.log]
    if rows:
        rows[0].log_button.click()
        stage.take("job-log")
    stage.close_dialogs()


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


def name_dialog(stage: Stage) -> None:
    from circuitscope.app.dialogs.name import NameDialog

    NameDialog(stage.window.desk, "Group 3 nodes", "What they stand for.", "Texas", "Group").open()
    stage.take("name")
    stage.close_dialogs()


def looks(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("graph.look")
    dialog = stage.dialog()
    for query, color, shape in (("kind:attention", "violet", "triangle"), ("sign:-", "brick", "")):
        dialog.query.setText(query)
        dialog.rule.color.setCurrentIndex(dialog.rule.color.findData(color))
        dialog.rule.shape.setCurrentIndex(dialog.rule.shape.findData(shape))
        dialog.add_rule()
    stage.take("looks")
    stage.close_dialogs()
    stage.window.show_view("circuit")
    stage.take("looks-circuit")
    stage.window.show_view("link")
    stage.session.undo()
    stage.session.undo()


def edge(stage: Stage) -> None:
    from circuitscope.app.commands.files import why_edge

    stage.open("capitals")
    stage.group("bring Texas to “is”")
    node = stage.session.selection[0]
    stage.session.select([node])
    why_edge(stage.window.desk, stage.session.circuit.inputs(node)[0].index)
    stage.take("why-edge", 1500)
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


def exports(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("file.export")
    dialog = stage.dialog()
    for suffix in ("pdf", "png", "json"):
        at = dialog.suffix.findData(f".{suffix}")
        if at >= 0:
            dialog.suffix.setCurrentIndex(at)
            stage.take(f"export-{suffix}", 800)
    stage.close_dialogs()


def tour(stage: Stage) -> None:
    from circuitscope.app.tour import Tour

    stage.session.close()
    stage.run("help.tour")
    stage.take("tour-1")
    stage.open("capitals")
    stage.take("tour-2", 800)
    found = stage.window.findChild(Tour)
    if found is not None:
        found.end()


SCENES: tuple[Callable[[Stage], None], ...] = (
    start_page, link_graph, circuit_view, search, command_palette, preferences, empty_project,
    trace_dialog, try_it, test_dialog, logits_dialog, attention_trial, attention_sweep,
    information_flow, compare_overlay, split_view, dialogs_of_actions, attention, feature_pages,
    collect, other_examples, jobs, errors, name_dialog, looks, edge, files, exports, tour,
)  # fmt: skip
AT_EVERY_SIZE = (start_page, link_graph, circuit_view, search, command_palette, preferences)


def play(stage: Stage, wanted: str) -> list[str]:
    """Play the scenes; return what went wrong, so that one fault does not hide the rest."""
    faults = []
    for theme, scale in (*((theme, 1.0) for theme in THEMES), ("light", 1.5)):
        stage.look(theme, scale)
        stage.prefix = f"{theme}-" if scale == 1 else "large-"
        for scene in SCENES if scale == 1.0 else AT_EVERY_SIZE:
            if wanted not in scene.__name__:
                continue
            try:
                scene(stage)
            except Exception as error:  # noqa: BLE001 - told at the end
                faults.append(f"{stage.prefix}{scene.__name__}: {type(error).__name__}: {error}")
                stage.close_dialogs()
    return faults


def main(arguments: list[str]) -> int:
    """Take the pictures; return how many scenes failed."""
    folder = Path(arguments[0] if arguments else ROOT / "build" / "screenshots").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, screen() as whole:
        os.environ.update(CIRCUITSCOPE_HOME=str(Path(place) / "home"), HF_HUB_OFFLINE="1",
                          HF_HUB_CACHE=str(Path(place) / "cache"))  # fmt: skip
        stage = Stage(folder, whole=whole)
        faults = play(stage, arguments[1] if len(arguments) > 1 else "")
        stage.close_dialogs()
        stage.started.finish()
    for fault in faults:
        sys.stdout.write(f"FAILED {fault}\n")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
