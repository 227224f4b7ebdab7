"""Start, crash, recover; and what the window never loads."""

import subprocess
import sys
from pathlib import Path

from PySide6.QtWidgets import QApplication, QLabel, QPlainTextEdit, QPushButton
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs import errors
from circuitscope.app.dialogs.recovery import offer_recovery
from circuitscope.app.main_window import MainWindow
from circuitscope.core.errors import CircuitScopeError
from circuitscope.project import verbs


def test_the_window_never_imports_torch() -> None:
    code = (
        "import sys, circuitscope.app.application as a\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch came in'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_window_comes_up_without_what_it_needs_later() -> None:
    code = (
        "import sys\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from circuitscope.app.application import Application\n"
        "from circuitscope.engine.client import InProcessEngine\n"
        "from circuitscope.session.session import Session\n"
        "app = QApplication([])\n"
        "started = Application(app, Session(InProcessEngine()))\n"
        "started.window.show()\n"
        "app.processEvents()\n"
        "came = {'superqt', 'qtpy', 'networkx', 'fontTools', 'torch'} & set(sys.modules)\n"
        "assert not came, came\n"
        "started.finish()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fault_opens_a_report_that_can_be_copied(window: MainWindow, qapp: QApplication) -> None:
    errors.excepthook(ZeroDivisionError, ZeroDivisionError("by zero"), None)
    dialog = next(w for w in qapp.topLevelWidgets() if isinstance(w, errors.CrashDialog))
    assert "ZeroDivisionError: by zero" in dialog.report
    heading, field = dialog.findChildren(QLabel)[1], dialog.findChild(QPlainTextEdit)
    places = [widget.mapTo(dialog, widget.rect().topLeft()).y() for widget in (heading, field)]
    assert places == sorted(places)
    next(b for b in dialog.findChildren(QPushButton) if "Copy" in b.text()).click()
    assert "ZeroDivisionError" in QApplication.clipboard().text()
    dialog.accept()


def test_an_error_of_the_users_world_opens_no_report(window: MainWindow, opened) -> None:
    error = CircuitScopeError("It broke.", kept="All safe.", hint="Try again.")
    errors.excepthook(type(error), error, None)
    dialog = opened("ErrorDialog")
    assert dialog.height() == dialog.heightForWidth(dialog.width())  # no higher than its words
    dialog.accept()


def test_work_that_a_crash_left_is_offered(drawn: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    crashed = tmp_path / "crashed.py"
    crashed.write_text(
        "import os\n"
        "from circuitscope.session.session import Session\n"
        "from circuitscope.engine.client import InProcessEngine\n"
        "from circuitscope.project import verbs\n"
        "session = Session(InProcessEngine())\n"
        f"session.open_project({str(tmp_path / 'copy.circuitscope')!r})\n"
        "session.edit(verbs.pin, str(session.circuit.nodes.key(3)))\n"
        "os._exit(1)\n"
    )
    (tmp_path / "copy.circuitscope").write_bytes((tmp_path / "dallas.circuitscope").read_bytes())
    subprocess.run([sys.executable, str(crashed)], check=False)
    drawn.session.close()
    dialog = offer_recovery(drawn.desk)
    assert dialog is not None
    next(b for b in dialog.findChildren(QPushButton) if b.text() == "Recover").click()
    assert drawn.session.project.path.name == "copy.circuitscope"
    assert len(drawn.session.drawing.of_kind("pin")) == 1
    assert drawn.session.undo_text


def test_nothing_is_offered_where_nothing_was_lost(drawn: MainWindow) -> None:
    drawn.session.edit(verbs.pin, str(drawn.session.circuit.nodes.key(3)))
    assert offer_recovery(drawn.desk) is None
