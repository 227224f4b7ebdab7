"""Measuring in the window: asked, shown with plots, kept, written as a page."""

from collections.abc import Callable
from pathlib import Path

from circuitscope.app.dialogs.measure import MeasureDialog, PlotView
from circuitscope.app.main_window import MainWindow
from circuitscope.core.settings import LogitDifference, TraceSettings

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"


def test_a_circuit_is_measured_and_its_report_is_shown(
    window: MainWindow, tiny_gpt2: Path, tmp_path: Path, finish_jobs: Callable
) -> None:
    session = window.session
    session.load_model(tiny_gpt2, device="cpu")
    settings = TraceSettings(
        CLEAN, method="eap", targets=(LogitDifference("Austin", "Sacramento"),),
        corrupted=OTHER, max_nodes=4,
    )  # fmt: skip
    session.trace(settings)
    finish_jobs(session)
    window.desk.trigger("verify.measure")
    dialog = window.findChild(MeasureDialog)
    assert dialog.level.currentData() == "edge"
    assert not dialog.reports.isEnabled()
    assert not dialog.save_button.isEnabled()
    dialog.file.setText(str(tmp_path / "missing.csv"))
    dialog.run()
    assert "cannot be read" in dialog._told.text()
    dialog.file.setText("")
    dialog.run()
    finish_jobs(session)
    assert dialog.found is not None
    plots = dialog.findChildren(PlotView)
    assert len([plot for plot in plots if plot.accessibleName()]) == 3
    assert dialog.grab().toImage().width() > 0
    dialog.save_to(str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text().count("<svg") == 3
    dialog.close()
    window.desk.trigger("verify.measure")
    again = [d for d in window.findChildren(MeasureDialog) if d.isVisible()][-1]
    assert again.found is not None
    assert again.reports.isEnabled()
    again.close()
