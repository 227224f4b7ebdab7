"""Start the window: fonts, colours, crash dialog, recovery, and the clock that hears the engine."""

import sys
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from circuitscope.app.bridge import to_gui
from circuitscope.app.commands import files
from circuitscope.app.dialogs.errors import excepthook
from circuitscope.app.dialogs.preferences import PreferencesDialog
from circuitscope.app.dialogs.recovery import offer_recovery
from circuitscope.app.main_window import MainWindow
from circuitscope.app.theme import app_icon, apply_theme, load_fonts, palette_for
from circuitscope.session.logs import start_logging, stop_logging
from circuitscope.session.session import Session

POLL_MS = 30
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
        for dialog in old.findChildren(PreferencesDialog):
            dialog.move_to(self.window.desk)
        old.hide()
        old.deleteLater()

    def warm_engine(self) -> None:
        """Start the engine process soon after the window is up, where the user wants that."""
        QTimer.singleShot(WARM_MS, self._clock, self.session.warm_up)

    def finish(self) -> None:
        """Stop the timers, end the engine, close the project."""
        self._clock.stop()
        self._clock.deleteLater()
        self.session.shut_down()


def run(project_path: Path | str | None = None) -> int:
    """Open the window and return the exit code when it is closed.

    Args:
        project_path: A project, graph file or model folder to open first.
    """
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("CircuitScope")
    app.setDesktopFileName("circuitscope")
    app.setStyle("Fusion")
    app.setWindowIcon(app_icon())
    start_logging()
    before, sys.excepthook = sys.excepthook, excepthook
    started = Application(app, Session())
    try:
        started.window.show()
        if project_path is not None:
            started.window.open_path(project_path)
        else:
            offer_recovery(started.window.desk)
        started.warm_engine()
        return app.exec()
    finally:
        started.finish()
        sys.excepthook = before
        stop_logging()
