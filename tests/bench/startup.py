"""Cold start: from the command to a window that has painted and answers, in a new process.

The baseline is the promise: 1.5 s on two quiet cores. The second row says how much of it is the
interpreter importing Qt and numpy, which no program with a window can avoid.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

N_STARTS = 5
PROMISE = 1.5

_WINDOW = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from circuitscope.app import application
app = QApplication([])
def usable():
    app.processEvents()
    sys.stdout.write("usable\\n")
    sys.stdout.flush()
    app.quit()
QTimer.singleShot(0, usable)
application.run()
"""
_BARE = """
import sys, numpy
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication([])
window = QMainWindow()
window.show()
app.processEvents()
sys.stdout.write("usable\\n")
sys.stdout.flush()
"""


def _seconds(code: str, home: Path) -> float:
    """Return the time from starting a process to its first word."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "CIRCUITSCOPE_HOME": str(home)}
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        taken = time.perf_counter() - start
        process.wait()
    assert said == "usable\n", "the window did not come up"
    return taken


def run() -> list[dict[str, Any]]:
    """Measure starts of the window and of an empty one, in turn, after one of each to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        pairs = [(_seconds(_WINDOW, home), _seconds(_BARE, home)) for _ in range(N_STARTS + 1)]
    window = statistics.median(pair[0] for pair in pairs[1:])
    bare = statistics.median(pair[1] for pair in pairs[1:])
    return [
        {"name": "startup.window_s", "value": window, "unit": "s", "baseline": PROMISE,
         "ratio": window / PROMISE},
        {"name": "startup.over_empty_window", "value": window, "unit": "s", "baseline": bare,
         "ratio": window / bare},
    ]  # fmt: skip
