"""The program on a private screen, and what scenes do with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QPoint

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1440, 900)
PROMPT = "the capital of the state containing Oakland is"
LOOKS: dict[str, tuple[str, float, tuple[int, int]]] = {
    "light": ("light", 1.0, SIZE), "dark": ("dark", 1.0, SIZE), "contrast": ("contrast", 1.0, SIZE),
    "large": ("light", 1.5, SIZE), "small": ("light", 1.0, (1100, 700)),
}  # fmt: skip
"""Theme, text scale and window size by name."""
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
        self._size = SIZE
        self.show()

    @property
    def window(self):
        """The main window, made anew when the colours change."""
        return self.started.window

    def show(self) -> None:
        from PySide6.QtGui import QCursor

        self.window.setGeometry(0, 0, *self._size)
        self.window.show()
        QCursor.setPos(SIZE[0] - 1, SIZE[1] - 1)  # where nothing is lit up by it
        self.settle()

    def settle(self, ms: int = _SETTLE_MS) -> None:
        """Let everything be drawn, and every job end."""
        from PySide6.QtTest import QTest

        QTest.qWait(ms)
        while not all(job.is_over for job in self.session.jobs.jobs):
            QTest.qWait(50)
        QTest.qWait(100)

    def look(self, name: str) -> None:
        """Wear one of `LOOKS`, which names the pictures too."""
        theme, scale, self._size = LOOKS[name]
        self.prefix = f"{name}-"
        self.session.preferences.change("appearance", theme=theme, text_scale=scale)
        self.settle()
        self.show()

    def take(self, name: str, ms: int = _SETTLE_MS) -> None:
        """Take a picture of the screen, or of the window in front."""
        self.settle(ms)
        front = self.app.activePopupWidget() or self.app.activeModalWidget()
        if self._whole:
            picture = self.app.primaryScreen().grabWindow(0, 0, 0, *self._size)
            self._frame(picture)
        else:
            picture = (front or self.dialog() or self.window).grab()
        target = self.folder / f"{self.prefix}{name}.png"
        picture.save(str(target))
        sys.stdout.write(f"{target}\n")

    def _frame(self, picture) -> None:
        """Draw the line that a window manager would draw around dialogs."""
        from PySide6.QtGui import QColor, QPainter
        from PySide6.QtWidgets import QDialog

        painter = QPainter(picture)
        painter.setPen(QColor(self.started.palette.border))
        for dialog in self.app.topLevelWidgets():
            if isinstance(dialog, QDialog) and dialog.isVisible():
                painter.drawRect(dialog.geometry().adjusted(-1, -1, 0, 0))
        painter.end()

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
            self.centre(dialog)

    def asked(self, action: str, name: str) -> None:
        """Take a picture of a question that waits for its answer, and leave it by Escape."""
        from PySide6.QtCore import QTimer

        def leave() -> None:
            question = self.app.activeModalWidget()
            self.centre(question)
            self.take(name)
            question.reject()

        QTimer.singleShot(300, self.window, leave)
        self.window.desk.trigger(action)
        self.settle(100)

    def centre(self, dialog) -> None:
        """Put a dialog into the middle of the window, as window managers do."""
        dialog.move(self.window.geometry().center() - dialog.rect().center())
        self.settle(100)

    def load(self, name: str) -> None:
        """Load a bundled model, where another one is loaded."""
        folder = ROOT / "projects" / name / "model"
        if self.session.model.path != folder or self.session.model.state != "ready":
            self.session.load_model(folder)
            self.settle()

    def menu(self, menu, x: int, y: int, name: str) -> None:
        """Take a picture of a menu that pops up in the window."""
        menu.popup(self.window.mapToGlobal(self.window.rect().topLeft()) + QPoint(x, y))
        self.take(name)
        menu.close()

    def open(self, name: str) -> None:
        """Open a copy of a bundled project, with no model that could not be loaded."""
        self.copies.mkdir(exist_ok=True)
        (found,) = (ROOT / "projects").glob(f"**/{name}.circuitscope")
        target = self.copies / found.name
        if not target.exists():
            shutil.copy(found, target)
        if name == "capitals" and self.session.model.state != "none":
            self.load("atlas")
        self.session.close()
        self.window.open_path(target)
        self.settle()

    def group(self, label: str) -> None:
        """Select the members of a group."""
        from circuitscope.app.commands.edits import select_group

        rows = self.session.drawing.of_kind("group")
        select_group(self.window.desk, next(k for k, r in rows.items() if r["label"] == label))
        self.settle()


Scene = Callable[[Stage], None]
