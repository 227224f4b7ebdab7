"""The jobs panel: what is being computed, how far it is, and how it ended."""

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.meanings import explain
from circuitscope.app.theme import icon, pixmap, px
from circuitscope.app.widgets import MARGIN, button, elided, give_size, scrolled, text_label
from circuitscope.app.words import DOT, count, error_words, seconds, tr
from circuitscope.engine.features import EstimateCollection, ReadFeature
from circuitscope.engine.reasons import ExplainAttention
from circuitscope.engine.requests import (
    EstimateTrace,
    Generate,
    InspectDictionaries,
    InspectModel,
    ListDevices,
    ListModels,
    Predict,
    PreviewPrompt,
)
from circuitscope.session.jobs import Job

KEPT = 50
QUIET = (
    PreviewPrompt, Generate, Predict, InspectDictionaries, InspectModel, ListModels, ListDevices,
    EstimateTrace, ExplainAttention, EstimateCollection, ReadFeature,
)  # fmt: skip
"""Short questions of dialogs and panels; these show their answers and their errors themselves."""


class JobsPanel(QWidget):
    """List the jobs of this session, newest first."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setMinimumWidth(px(95))  # a title's beginning, and how the job ended
        self.setObjectName("PanelBody")
        self.setProperty("look", "desk")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(tr("Jobs"))
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(MARGIN, 0, MARGIN, MARGIN)
        self._column.setSpacing(8)
        self._empty = text_label(
            tr("Nothing is running. Traces and imports show their progress here."), "quiet",
            wrap=True,
        )  # fmt: skip
        self._column.addWidget(self._empty)
        self._column.addStretch()
        outer.addWidget(scrolled(inside))
        desk.watch.job_added.connect(self.add)
        for job in desk.session.jobs.jobs:
            self.add(job)

    def add(self, job: Job) -> None:
        """Show one more job at the top."""
        if isinstance(job.request, QUIET):
            return
        self._empty.hide()
        self._column.insertWidget(0, JobRow(self._desk, job))
        while self._column.count() > KEPT + 2:
            item = self._column.takeAt(self._column.count() - 3)
            if (row := item.widget()) is not None:
                row.deleteLater()


class JobRow(QWidget):
    """One job: title, phase and count, time left, cancel; afterwards how it ended."""

    def __init__(self, desk: Desk, job: Job) -> None:
        super().__init__()
        self._desk, self.job = desk, job
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        row = QHBoxLayout()
        row.setSpacing(8)
        self._mark = QLabel()
        self._mark.setFixedSize(16, 16)
        self._title = elided(job.title)
        self._title.setMinimumHeight(px(22))  # rows are as high without a button
        self._state = text_label("", "quiet")
        explain(self._state, "job")
        self._cancel = QToolButton()
        self._cancel.setProperty("look", "close")
        self._cancel.setIcon(icon("x", desk.palette, desk.palette.secondary))
        self._cancel.setFixedSize(22, 22)
        self._cancel.setToolTip(tr("Cancel"))
        self._cancel.setAccessibleName(tr("Cancel {0}").format(job.title))
        self._cancel.clicked.connect(lambda: desk.session.jobs.cancel(job))
        self.log_button = button(tr("Log"), "link", self._show_log)
        for widget in (self._mark, self._title, self._state, self.log_button, self._cancel):
            row.addWidget(widget, 1 if widget is self._title else 0)
        column.addLayout(row)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        column.addWidget(self._bar)
        self._error = text_label("", "small", wrap=True)
        self._error.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._error.setContentsMargins(24, 0, 0, 4)
        column.addWidget(self._error)
        self._clock = QTimer(self)
        self._clock.setInterval(500)
        self._clock.timeout.connect(self.refresh)
        to_gui(job.changed, self.refresh, self)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show the job as it is now."""
        job, palette = self.job, self._desk.palette
        running = job.state in ("queued", "running")
        if running and not self._clock.isActive():
            self._clock.start()
        elif not running:
            self._clock.stop()
        marks = {"done": ("check", palette.supported), "failed": ("x", palette.error),
                 "cancelled": ("minus", palette.secondary)}  # fmt: skip
        name, color = marks.get(job.state, ("loader", palette.accent_ink))
        self._mark.setPixmap(pixmap(name, color, 16))
        font = self._title.font()
        font.setBold(running)
        self._title.setFont(font)
        self._state.setText(job_words(job))
        self._cancel.setVisible(running)
        self.log_button.setVisible(bool(job.log))
        self._bar.setVisible(job.state == "running")
        self._bar.setRange(0, job.total)
        self._bar.setValue(job.done if job.total else 0)
        error = job.error
        told = error_words(error) if error else ""
        self._error.setText(told)
        self._error.setVisible(bool(told))
        self.setAccessibleName(f"{job.title}, {job_words(job)}")

    def _show_log(self) -> None:
        dialog = QDialog(self._desk.window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(tr("Log of “{0}”").format(self.job.title))
        give_size(dialog, 640, 400)
        column = QVBoxLayout(dialog)
        column.setContentsMargins(24, 24, 24, MARGIN)
        text = QPlainTextEdit("\n".join(self.job.log))
        text.setReadOnly(True)
        text.setAccessibleName(tr("Log"))
        column.addWidget(text)

        def follow(job: Job) -> None:
            for line in job.log[text.blockCount() if text.toPlainText() else 0 :]:
                text.appendPlainText(line)

        to_gui(self.job.changed, follow, dialog)
        close = button(tr("Close"), on_click=dialog.accept)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)
        dialog.open()


def job_words(job: Job) -> str:
    """Return how far a job is: "rows 640 of 1 024 · 2 s left", or how it ended."""
    if job.state == "queued":
        return tr("waiting")
    if job.state == "done":
        return seconds(job.seconds)
    if job.state == "failed":
        return tr("failed")
    if job.state == "cancelled":
        return tr("cancelled")
    parts = [job.phase or tr("starting")]
    if job.total:
        parts[0] += " " + tr("{0} of {1}").format(count(job.done), count(job.total))
    if job.eta is not None:
        parts.append(tr("{0} left").format(seconds(job.eta)))
    return DOT.join(parts)
