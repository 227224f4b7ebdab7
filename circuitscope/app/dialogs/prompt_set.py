"""Choose a file of further prompts, to be traced as one job and kept where they agree."""

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QWidget

from circuitscope.app.widgets import RealBox, button, text_label
from circuitscope.app.words import error_words, plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.session.prompt_file import read_prompts


class PromptSetBox(QWidget):
    """A button for a file of prompts; with one, how many appear and the share that must agree."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._prompts: list[str] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        self._told = text_label("", "small", wrap=True)
        row.addWidget(self._told)
        self.share = RealBox()
        self.share.setRange(0.0, 1.0)
        self.share.lineEdit().setTextMargins(6, 0, 6, 0)
        self.share.setSingleStep(0.05)
        self.share.setValue(0.8)
        self.share.setAccessibleName(tr("Least part of the prompts that a node appears in"))
        self.share.setToolTip(self.share.accessibleName())
        row.addWidget(self.share)
        self.remove_button = button(tr("This prompt only"), "link", self.forget)
        row.addWidget(self.remove_button)
        self.choose_button = button(tr("Trace further prompts with it…"), "link", self._ask)
        self.choose_button.setToolTip(
            tr("A text file, one prompt a line; the circuit is what the prompts have in common")
        )
        row.addWidget(self.choose_button)
        row.addStretch()
        self._show("")

    def _show(self, problem: str) -> None:
        n = len(self._prompts)
        words = tr("{0}; kept is what appears in at least this part of them:")
        further = plural(n, "further prompt", "further prompts")
        self._told.setText(problem or (words.format(further) if n else ""))
        self._told.setVisible(bool(n or problem))
        for part in (self.share, self.remove_button):
            part.setVisible(bool(n))
        self.choose_button.setVisible(not n)

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, tr("Further prompts, one a line"), str(Path.home()), tr("Text (*.txt)")
        )
        if path:
            self.read(Path(path))

    def read(self, file: Path) -> None:
        """Take the prompts of a file."""
        try:
            self._prompts = read_prompts(file)
        except CircuitScopeError as error:
            self._show(error_words(error))
            return
        self._show("")
        self.changed.emit()

    def forget(self) -> None:
        """Trace one prompt alone."""
        self._prompts = []
        self._show("")
        self.changed.emit()

    def prompts(self) -> tuple[str, ...]:
        """Return the further prompts, none where one is traced alone."""
        return tuple(self._prompts)
