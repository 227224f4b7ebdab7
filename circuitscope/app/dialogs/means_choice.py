"""What the heads hold that a circuit leaves out: 0, or means kept in the project."""

from pathlib import Path

from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import error_words, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.sources import MeanActivations
from circuitscope.session.decomposing import kept_means, measure_means, read_means
from circuitscope.session.jobs import Job
from circuitscope.session.prompt_file import read_prompts


class MeansChoiceBox(QWidget):
    """A list of means, and a button that measures others over a file of prompts."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._held: tuple[str, MeanActivations] | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(text_label(tr("Heads left out hold"), "quiet"))
        self.box = QComboBox()
        self.box.setAccessibleName(tr("What heads hold that the circuit leaves out"))
        self.box.setMinimumWidth(220)
        row.addWidget(self.box)
        self.measure_button = button(tr("Measure means…"), "", self._ask)
        self.measure_button.setToolTip(
            tr("Average over the prompts of a text file, one a line; kept in the project")
        )
        row.addWidget(self.measure_button)
        row.addStretch()
        column.addLayout(row)
        self._told = text_label("", "small", wrap=True)
        self._told.hide()
        column.addWidget(self._told)
        self._fill("")

    def _fill(self, chosen: str) -> None:
        self.box.clear()
        self.box.addItem(tr("0"), None)
        for info in kept_means(self._desk.session):
            self.box.addItem(tr("means: {0}").format(info.name), info)
            if info.id == chosen:
                self.box.setCurrentIndex(self.box.count() - 1)

    def chosen(self) -> MeanActivations | None:
        """Return the means chosen, None for 0."""
        info = self.box.currentData()
        if info is None:
            return None
        if self._held is None or self._held[0] != info.id:
            self._held = (info.id, read_means(self._desk.session, info))
        return self._held[1]

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, tr("Prompts, one a line"), str(Path.home()), tr("Text (*.txt)")
        )
        if path:
            self.measure(Path(path))

    def measure(self, path: Path) -> None:
        """Measure means over the lines of a file and choose them."""
        if self._desk.session.model.choice is None:
            self._tell(tr("Choose a model first."))
            return
        try:
            prompts = read_prompts(path)
        except CircuitScopeError as error:
            self._tell(error_words(error))
            return
        self._tell(tr("measuring…"))
        job = measure_means(self._desk.session, prompts, path.stem)
        to_gui(job.changed, self._heard, self)

    def _heard(self, job: Job) -> None:
        if not job.is_over:
            return
        self._tell("")
        if job.state == "failed" and job.error is not None:
            self._tell(error_words(job.error))
        if job.state == "done":
            self._fill(job.result_id)

    def _tell(self, text: str) -> None:
        self._told.setText(text)
        self._told.setVisible(bool(text))
