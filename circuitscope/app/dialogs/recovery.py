"""Offer the work that a crash left behind."""

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.whereabouts import go_back, recall
from circuitscope.app.widgets import button, hairline, section, text_label
from circuitscope.app.words import plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.project.recovery import LeftOver

_LISTED = 10


class RecoveryDialog(QDialog):
    """Show the last edits of left-over work, and let the user take or discard it."""

    def __init__(self, desk: Desk, left_over: LeftOver) -> None:
        super().__init__(desk.window)
        self._desk, self._left_over = desk, left_over
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Recover work"))
        self.setMinimumWidth(480)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(8)
        name = Path(left_over.document).name if left_over.document else tr("a new project")
        column.addWidget(text_label(tr("CircuitScope was not closed properly"), "heading"))
        words = tr("{0} has {1} that no file holds. Nothing is lost; go on where you stopped?")
        changes = plural(left_over.unsaved, "change", "changes")
        column.addWidget(text_label(words.format(name, changes), "quiet", wrap=True))
        column.addSpacing(8)
        column.addWidget(section(tr("Last changes")))
        for edit in left_over.last_edits[: min(_LISTED, left_over.unsaved)]:
            column.addWidget(text_label(edit))
        column.addSpacing(8)
        column.addWidget(hairline())
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(button(tr("Discard it"), "", self._discard))
        row.addStretch()
        row.addWidget(button(tr("Later"), "", self.reject))
        take = button(tr("Recover"), "primary", self._take)
        take.setDefault(True)
        row.addWidget(take)
        column.addLayout(row)

    def _take(self) -> None:
        self.accept()
        place = recall(self._left_over.document)
        self._try(self._desk.session.recover)
        go_back(self._desk, place)

    def _discard(self) -> None:
        self.accept()
        self._try(self._desk.session.discard)

    def _try(self, act: object) -> None:
        try:
            act(self._left_over)  # type: ignore[operator]
        except CircuitScopeError as error:
            show_error(self._desk.window, error)


def offer_recovery(desk: Desk) -> RecoveryDialog | None:
    """Open the offer for the newest left-over work, if there is any."""
    found = desk.session.recoverable()
    if not found:
        return None
    dialog = RecoveryDialog(desk, found[0])
    dialog.open()
    return dialog
