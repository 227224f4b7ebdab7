"""Test on the model, and find what was not tested yet."""

import numpy as np
from PySide6.QtWidgets import QDialog

from circuitscope.app.desk import Desk
from circuitscope.graph.evidence import marks_of, untested


def test_on_model(desk: Desk) -> QDialog:
    """Open the dialog that tests the selection, or the strongest nodes."""
    from circuitscope.app.dialogs.verify import VerifyDialog

    dialog = VerifyDialog(desk)
    dialog.open()
    return dialog


def measure(desk: Desk) -> QDialog:
    """Open the dialog that measures the circuit and shows its reports."""
    from circuitscope.app.dialogs.measure import MeasureDialog

    dialog = MeasureDialog(desk)
    dialog.open()
    return dialog


def sweep(desk: Desk) -> QDialog:
    """Open the dialog that sweeps activation patching."""
    from circuitscope.app.dialogs.sweep import SweepDialog

    dialog = SweepDialog(desk)
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
