"""Measure the circuit over prompts, and look at the reports that are kept."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import RunDialog
from circuitscope.app.meanings import explain_text
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import error_words, plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Curves
from circuitscope.exchange.measurement_page import numbers_of, plots_of
from circuitscope.exchange.plots import HEIGHT, WIDTH, Look
from circuitscope.session.jobs import Job
from circuitscope.session.measuring import (
    measurements,
    read_measurement,
    save_report,
    start_measuring,
)
from circuitscope.session.prompt_pairs import read_pairs

_LEVELS = (("edge", "edges: of heads, MLPs and words, or of features"), ("node", "nodes"))
_ABLATIONS = (
    ("auto", "the corrupted prompt, else the mean; features 0"), ("resample", "the corrupted "
     "prompt"), ("mean", "the mean"), ("zero", "0"),
)  # fmt: skip


class PlotView(QWidget):
    """Show one plot, as large as there is room."""

    def __init__(self, picture: str, words: str) -> None:
        super().__init__()
        self._picture = QSvgRenderer(QByteArray(picture.encode()))
        self.setAccessibleName(words)
        self.setToolTip(words)
        self.setMinimumSize(QSize(WIDTH, HEIGHT))

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        scale = min(self.width() / WIDTH, self.height() / HEIGHT)
        wide, high = WIDTH * scale, HEIGHT * scale
        place = QRectF((self.width() - wide) / 2, (self.height() - high) / 2, wide, high)
        self._picture.render(painter, place)
        painter.end()


def look_of(palette: Palette) -> Look:
    """Return the window's colours for plots."""
    return Look(
        palette.panel, palette.ink, palette.secondary, palette.hairline, palette.accent,
        palette.negative,
    )  # fmt: skip


class MeasureDialog(RunDialog):
    """Ask how the circuit is measured; the report is kept in the project and shown here.

    Args:
        desk: Session and colours.
        report: Id of a kept report that is shown first; "" for the newest.
    """

    def __init__(self, desk: Desk, report: str = "") -> None:
        words = tr("Measure"), tr("Measuring…")
        super().__init__(desk, tr("Measure the circuit"), (900, 760), words)
        circuit = desk.session.circuit
        assert circuit is not None, "the action asks for a circuit"
        self.found: Curves | None = None
        self._column.addLayout(self._form())
        self._add_run_row()
        self._body = QScrollArea()
        self._body.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is in it has the focus
        self._body.setWidgetResizable(True)
        self._body.setFrameShape(QScrollArea.Shape.NoFrame)
        self._column.addWidget(self._body, 1)
        self._column.addLayout(self._foot())
        self.model.begin()
        self._list_reports()
        for at in range(self.reports.count()):
            if report and self.reports.itemData(at).id == report:
                self.reports.setCurrentIndex(at)
        self._refresh()

    def _form(self) -> QFormLayout:
        self.level = QComboBox()
        for name, words in _LEVELS:
            self.level.addItem(tr(words), name)
        circuit = self._desk.session.circuit
        method = circuit.provenance.method if circuit is not None else ""
        self.level.setCurrentIndex(0 if method in ("eap", "eap_ig", "path_patching") else 1)
        self.ablation = QComboBox()
        for name, words in _ABLATIONS:
            self.ablation.addItem(tr(words), name)
        self.file = QLineEdit()
        self.file.setPlaceholderText(tr("CSV or JSON lines; empty: the circuit's own prompt"))
        files = QHBoxLayout()
        files.addWidget(self.file, 1)
        files.addWidget(button(tr("Browse…"), "", self._browse))
        holder = QWidget()
        holder.setLayout(files)
        files.setContentsMargins(0, 0, 0, 0)
        self.reports = QComboBox()
        self.reports.currentIndexChanged.connect(lambda *_: self._show_kept())
        self.file.setAccessibleName(tr("Prompts"))
        return self._form_of((
            (tr("Measure"), self.level), (tr("The rest holds"), self.ablation),
            (tr("Prompts"), holder), (tr("Report"), self.reports),
        ))  # fmt: skip

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.save_button = button(tr("Save report…"), "", self._save)
        row.addWidget(self.save_button)
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        return row

    def _refresh(self) -> None:
        super()._refresh()
        self.save_button.setEnabled(self.found is not None)
        self.save_button.setToolTip("" if self.found is not None else tr("Measure first."))

    def _start(self) -> Job:
        path = self.file.text().strip()
        pairs = read_pairs(Path(path)) if path else []
        return start_measuring(
            self._desk.session, pairs, level=self.level.currentData(),
            ablation=self.ablation.currentData(),
        )  # fmt: skip

    def _heard(self, job: Job) -> None:
        super()._heard(job)
        if job is self._job and not job.is_over and job.total:
            self._told.setText(
                tr("Measuring: {0} of {1}.").format(
                    job.done, plural(job.total, "prompt", "prompts")
                )
            )

    def _answered(self, result: Any) -> None:
        del result
        self._list_reports()

    def _list_reports(self) -> None:
        session = self._desk.session
        self.reports.blockSignals(True)
        self.reports.clear()
        for info in measurements(session):
            self.reports.addItem(f"{info.name} · {info.added[:16].replace('T', ' ')}", info)
        if not self.reports.count():
            self.reports.addItem(tr("none yet"), None)
        self.reports.setEnabled(self.reports.itemData(0) is not None)
        self.reports.blockSignals(False)
        self._show_kept()

    def _show_kept(self) -> None:
        info = self.reports.currentData()
        self.found = None if info is None else read_measurement(self._desk.session, info)
        self._body.setWidget(self._page())
        self._refresh()

    def _page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 8, 0, 8)
        column.setSpacing(12)
        if self.found is None:
            words = tr(
                "Everything outside the circuit is replaced, and what is left of the answer is "
                "measured: alone, without it, and with single parts taken out."
            )
            column.addWidget(text_label(words, "note", wrap=True))
            column.addStretch()
            return page
        for remark in self.found.provenance.remarks:
            column.addWidget(text_label(remark, "note", wrap=True))
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setColumnStretch(2, 1)
        for row, (title, value, words) in enumerate(numbers_of(self.found)):
            number = text_label(value)
            explain_text(number, tr(words))
            number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for place, label in enumerate(
                (text_label(tr(title)), number, text_label(tr(words), "quiet", wrap=True))
            ):
                grid.addWidget(label, row, place)
        column.addLayout(grid)
        look = look_of(self._desk.palette)
        for picture, words in plots_of(self.found, look):
            column.addWidget(PlotView(picture, words))
            column.addWidget(text_label(words, "quiet", wrap=True))
        column.addStretch()
        return page

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, tr("Prompts to measure on"), "", tr("Prompts (*.csv *.jsonl *.json *.txt)")
        )
        if path:
            self.file.setText(path)

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, tr("Save report"), f"{self.reports.currentText().split(' · ')[0]}.html",
            tr("Web page (*.html)"),
        )  # fmt: skip
        if path:
            self.save_to(path)

    def save_to(self, path: str) -> None:
        """Write the report that is shown."""
        assert self.found is not None, "the button is disabled without a report"
        try:
            save_report(self.found, path, self.reports.currentText().split(" · ")[0])
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            return
        self._told.setText(tr("Written to {0}.").format(path))
