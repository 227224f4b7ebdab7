"""Test on the model, and find what was not tested yet."""

import numpy as np
from PySide6.QtWidgets import QDialog

from circuitscope.app.desk import Desk
from circuitscope.core.transfer import Chosen
from circuitscope.graph.evidence import marks_of, untested
from circuitscope.session.measuring import measured_circuit


def test_on_model(desk: Desk) -> QDialog:
    """Open the dialog that tests the selection, or the strongest nodes."""
    from circuitscope.app.dialogs.verify import VerifyDialog

    dialog = VerifyDialog(desk)
    dialog.open()
    return dialog


def measure(desk: Desk, finding_id: str = "") -> QDialog:
    """Open the dialog that measures the circuit and shows its reports.

    Args:
        desk: Session and window.
        finding_id: A report that is kept, whose circuit is brought onto the screen.
    """
    from circuitscope.app.dialogs.measure import MeasureDialog

    if finding_id:
        desk.session.activate(measured_circuit(desk.session, finding_id))
    dialog = MeasureDialog(desk, finding_id)
    dialog.open()
    return dialog


def compare(desk: Desk, a: str = "", b: str = "") -> QDialog:
    """Open the window that compares two circuits.

    Args:
        desk: Session and window.
        a: Id of the first circuit; left out, the one on screen.
        b: Id of the second; left out, the next one.
    """
    from circuitscope.app.dialogs.comparison import ComparisonDialog

    dialog = ComparisonDialog(desk, Chosen(a, b) if a and b else None)
    dialog.show()
    return dialog


def open_comparison(desk: Desk, finding_id: str) -> QDialog:
    """Open a comparison that the project keeps."""
    from circuitscope.app.dialogs.comparison import ComparisonDialog

    dialog = ComparisonDialog(desk, kept=finding_id)
    dialog.show()
    return dialog


def sweep(desk: Desk) -> QDialog:
    """Open the dialog that sweeps activation patching."""
    from circuitscope.app.dialogs.sweep import SweepDialog

    dialog = SweepDialog(desk)
    dialog.open()
    return dialog


def collect(desk: Desk) -> QDialog:
    """Open the dialog that collects examples of features from a corpus."""
    from circuitscope.app.dialogs.collect import CollectDialog

    dialog = CollectDialog(desk)
    dialog.open()
    return dialog


def logits(desk: Desk, finding: str = "") -> QDialog:
    """Open the dialog that reads logits by component, on a kept result where one is named."""
    from circuitscope.app.dialogs.logits import LogitsDialog

    dialog = LogitsDialog(desk, finding)
    dialog.show()
    return dialog


def select_untested(desk: Desk) -> None:
    """Select every shown node that could be tested and was not."""
    session = desk.session
    marks = marks_of(session.circuit, session.drawing.rows)
    missing = untested(session.circuit, marks, session.pruned().node_mask)
    session.select(np.flatnonzero(missing).tolist())
