"""The export dialog writes what its preview shows."""

from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QFileDialog

from circuitscope.app.dialogs.export import ExportDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.project import verbs


@pytest.fixture
def dialog(drawn: MainWindow) -> ExportDialog:
    session = drawn.session
    for node in (1, 3, 4, 7):
        session.edit(verbs.pin, str(session.circuit.nodes.key(node)))
    QApplication.processEvents()
    drawn.desk.trigger("file.export")
    return drawn.findChild(ExportDialog)


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
@pytest.mark.parametrize("what", ["link", "circuit"])
def test_every_figure_and_format_is_written(
    dialog: ExportDialog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, what: str
) -> None:
    dialog.what.setCurrentIndex(dialog.what.findData(what))
    dialog.suffix.setCurrentIndex(dialog.suffix.findData(suffix))
    dialog.preview.grab()
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_, **__: (str(tmp_path / "figure"), "")
    )
    dialog.save()
    assert (tmp_path / f"figure{suffix}").stat().st_size > 500
    assert dialog._desk.session.preferences.now.export.suffix == suffix


def test_pixels_are_told_for_png_only(dialog: ExportDialog) -> None:
    dialog.suffix.setCurrentIndex(dialog.suffix.findData(".svg"))
    assert "px" not in dialog.size_words.text()
    assert not dialog.dpi.isEnabled()
    dialog.suffix.setCurrentIndex(dialog.suffix.findData(".png"))
    assert "px" in dialog.size_words.text()


def test_a_path_that_cannot_be_written_is_told(
    dialog: ExportDialog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened
) -> None:
    target = tmp_path / "missing" / "figure"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    dialog.save()
    opened("ErrorDialog").accept()
    assert dialog.isVisible()
