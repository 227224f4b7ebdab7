"""Start the window: fonts, colours, crash dialog, recovery, and the clock that hears the engine."""

import gc
import logging
import sys
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from circuitscope.app.bridge import to_gui
from circuitscope.app.commands import files
from circuitscope.app.dialogs.errors import excepthook
from circuitscope.app.dialogs.preferences import PreferencesDialog
from circuitscope.app.dialogs.recovery import offer_recovery
from circuitscope.app.handover import Listener, hand_over
from circuitscope.app.main_window import MainWindow
from circuitscope.app.theme import app_icon, apply_theme, load_fonts, palette_for
from circuitscope.app.tour import Tour, begin_tour
from circuitscope.session.logs import start_logging, stop_logging
from circuitscope.session.session import Session

log = logging.getLogger(__name__)

POLL_MS = 30
_ASK_AGAIN_MS = 500
_SMALLEST, _LARGEST = 0.8, 2.0
WARM_MS = 800


class Application:
    """One session and its window; the window is made anew when the colours change.

    Args:
        app: The running QApplication.
        session: What is open; ended by `finish`.
    """

    def __init__(self, app: QApplication, session: Session) -> None:
        self.app, self.session = app, session
        load_fonts()
        self._look: tuple[str, float] = ("", 1.0)
        self._dress()
        self.window = self._new_window()
        self._clock = QTimer(app)
        self._clock.setInterval(POLL_MS)
        self._clock.timeout.connect(session.poll)
        self._clock.start()
        self._saver = QTimer(self._clock)
        self._saver.timeout.connect(lambda: files.save_unasked(self.window.desk))
        to_gui(session.preferences.changed, lambda *_: self._follow_preferences(), self._clock)
        hints = app.styleHints()
        for news in (hints.colorSchemeChanged, hints.accessibility().contrastPreferenceChanged):
            news.connect(self._follow_system)
        self._follow_preferences()

    def _wanted(self) -> tuple[str, float]:
        appearance = self.session.preferences.now.appearance
        return appearance.theme, min(_LARGEST, max(_SMALLEST, appearance.text_scale))

    def _dress(self) -> None:
        theme, scale = self._look = self._wanted()
        self.palette = palette_for(theme)
        apply_theme(self.app, self.palette, scale)

    def _new_window(self) -> MainWindow:
        return MainWindow(self.session, self.palette)

    def _follow_preferences(self) -> None:
        if self._wanted() != self._look:
            QTimer.singleShot(0, self._clock, self._change_look)
        minutes = self.session.preferences.now.projects.save_every
        if self._saver.interval() != minutes * 60_000:
            self._saver.setInterval(minutes * 60_000)
        if bool(minutes) != self._saver.isActive():
            self._saver.start() if minutes else self._saver.stop()

    def _follow_system(self) -> None:
        if self._look[0] == "system" and palette_for("system") is not self.palette:
            QTimer.singleShot(0, self._clock, self._change_look)

    def _change_look(self) -> None:
        old, shown = self.window, self.window.shown_view()
        old.keep_layout()
        self._dress()
        self.window = self._new_window()
        self.window.setGeometry(old.geometry())
        self.window.show_view(shown)
        self.window.show()
        self.window.split.take(old.split.kept())
        if (tour := old.findChild(Tour)) is not None:
            begin_tour(self.window, tour.at)
        for dialog in old.findChildren(PreferencesDialog):
            dialog.move_to(self.window.desk)
        old.hide()
        old.deleteLater()

    def begin(self, path: Path | str | None = None) -> None:
        """Open what the program was started with, else what a crash or the last time left."""
        chosen = self.session.preferences.now
        if chosen.learning.tour == "new" and path is None:
            begin_tour(self.window)
        if path is not None:
            self.window.open_path(path)
        elif chosen.projects.offer_recovery and offer_recovery(self.window.desk):
            return
        elif chosen.projects.reopen:
            last = next((Path(name) for name in chosen.recent.projects), None)
            if last is not None and last.is_file():
                self.window.open_path(last)

    def come_forward(self, path: str = "") -> None:
        """Show the window, and open what a later start was given, once no question is open."""
        window = self.window
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.raise_()
        window.activateWindow()
        if path and self.app.activeModalWidget() is not None:
            QTimer.singleShot(_ASK_AGAIN_MS, self._clock, lambda: self.come_forward(path))
        elif path:
            window.open_path(path)

    def warm_engine(self) -> None:
        """Start the engine process soon after the window is up, where the user wants that."""
        QTimer.singleShot(WARM_MS, self._clock, self.session.warm_up)

    def finish(self) -> None:
        """Stop the timers, end the engine, close the project."""
        self._clock.stop()
        self._clock.deleteLater()
        self.session.shut_down()


def run(project_path: Path | str | None = None, *, apart: bool = False) -> int:
    """Open the window and return the exit code when it is closed.

    Where a window is open already it is given the path instead, and this returns at once.

    Args:
        project_path: A project, graph file or model folder to open first.
        apart: Open a window of its own whatever is open.
    """
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("CircuitScope")
    app.setDesktopFileName("circuitscope")
    app.setStyle("Fusion")
    app.setWindowIcon(app_icon())
    start_logging()
    listener = Listener() if apart else hand_over(project_path)
    if listener is None:
        log.info("handed %s to the window that is open", project_path or "nothing")
        stop_logging()
        return 0
    before, sys.excepthook = sys.excepthook, excepthook
    started = Application(app, Session())
    listener.wanted.connect(started.come_forward)
    try:
        started.window.show()
        started.begin(project_path)
        started.warm_engine()
        # Modules and the window live to the end: the collector need not go over them every time,
        # which holds up the event loop for some 50 ms.
        gc.freeze()
        return app.exec()
    finally:
        listener.close()
        started.finish()
        sys.excepthook = before
        stop_logging()
