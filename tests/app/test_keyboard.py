"""The main flow works with keys alone: walk, pin, label, group, export."""

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QDialog, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs import export
from circuitscope.app.main_window import MainWindow


def test_the_main_flow_needs_no_mouse(
    window: MainWindow, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copy(Path(__file__).parents[2] / "projects/atlas/capitals.circuitscope",
                          tmp_path / "capitals.circuitscope")  # fmt: skip
    window.open_path(project)
    session = window.session
    QApplication.processEvents()
    canvas = window.canvas()
    window.activateWindow()
    canvas.setFocus()

    def press(key: Qt.Key, *, shift: bool = False, on: QWidget | None = None) -> None:
        held = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        qtbot.keyClick(on or canvas, key, held)
        QApplication.processEvents()

    session.select(session.circuit.roots[:1].tolist())
    QApplication.processEvents()
    assert canvas.hasFocus(), QApplication.focusWidget()
    press(Qt.Key.Key_BracketLeft)
    (walked,) = session.selection
    feeding = session.circuit.inputs(int(session.circuit.roots[0]))
    assert walked in {edge.source.index for edge in feeding}
    key = str(session.circuit.nodes.key(walked))
    pinned = session.drawing.row("pin", key) is not None
    press(Qt.Key.Key_P)
    assert (session.drawing.row("pin", key) is not None) is not pinned
    press(Qt.Key.Key_F2)
    field = QApplication.focusWidget()
    assert isinstance(field, QLineEdit)
    field.selectAll()
    qtbot.keyClicks(field, "says it")
    press(Qt.Key.Key_Return, on=field)
    assert session.label(walked) == "says it"
    window.activateWindow()
    canvas.setFocus()

    def name_group() -> None:
        dialog = QApplication.activeModalWidget()
        assert dialog is not None, "the name of the group is asked for"
        named = dialog.findChild(QLineEdit)
        named.selectAll()
        qtbot.keyClicks(named, "Texas too")
        qtbot.keyClick(named, Qt.Key.Key_Return)

    QTimer.singleShot(100, name_group)
    press(Qt.Key.Key_G)
    assert "Texas too" in {row["label"] for row in session.drawing.of_kind("group").values()}
    target = tmp_path / "figure.svg"
    monkeypatch.setattr(export.QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    window.activateWindow()
    canvas.setFocus()
    QApplication.processEvents()
    qtbot.keyClick(canvas, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    QApplication.processEvents()
    dialog = next(
        d for d in QApplication.topLevelWidgets() if d.isVisible() and isinstance(d, QDialog)
    )
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(target.is_file, timeout=20_000)
