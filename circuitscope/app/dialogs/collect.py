"""Collect evidence of features from a corpus: what, from where, how much, and how long it takes.

The work is a job of the engine: it goes on when the dialog is closed, and what was counted when it
is stopped is kept for the next time.
"""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.dictionary_choice import DictionaryChoiceBox
from circuitscope.app.dialogs.model_choice import ModelChoiceBox
from circuitscope.app.panels.jobs import job_words
from circuitscope.app.widgets import (
    SpinBox,
    button,
    give_size,
    hairline,
    scrolled,
    section,
    text_label,
)
from circuitscope.app.words import DOT, error_words, gigabytes, large, plural, seconds, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.evidence.records import CollectEstimate
from circuitscope.session import feature_jobs
from circuitscope.session.jobs import Job
from circuitscope.session.session import ModelStatus

_QUIET_MS = 600
_MOST_TOKENS = 2_000_000_000
_LONGEST = 100_000
_FILES = "*.txt *.md *.jsonl *.csv *.npy *.npz"


class CollectDialog(QDialog):
    """Ask for model, dictionaries, corpus and budget; tell time and size; then collect.

    Attributes:
        found: What the last estimate said, or None.
        job: The collection that was started here, or None.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self._asked: Job | None = None
        self.job: Job | None = None
        self.found: CollectEstimate | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("CollectDialog")
        self.setWindowTitle(tr("Collect evidence"))
        give_size(self, 720, 620)
        self.model = ModelChoiceBox(desk)
        self.dictionaries = DictionaryChoiceBox(desk, checks=False)
        inside = QWidget()
        inside.setObjectName("Desk")
        column = QVBoxLayout(inside)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(12)
        for widget in (self.model, hairline(), self.dictionaries, hairline()):
            column.addWidget(widget)
        column.addWidget(section(tr("Corpus")))
        column.addLayout(self._form())
        column.addStretch()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(scrolled(inside), 1)
        outer.addWidget(hairline())
        outer.addLayout(self._foot())
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_QUIET_MS)
        self._pause.timeout.connect(self.estimate)
        self._ticks = QTimer(self)
        self._ticks.setInterval(500)
        self._ticks.timeout.connect(self._refresh)
        self.model.changed.connect(self._follow)
        self.dictionaries.changed.connect(self._changed)
        self.model.begin()
        self._follow(desk.session.model)

    # ---- what is asked -------------------------------------------------------------------------
    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.corpus = QLineEdit()
        self.corpus.setPlaceholderText(
            tr("Text, JSONL, CSV, npy or npz; a folder; or othello:1000")
        )
        source = QHBoxLayout()
        source.setContentsMargins(0, 0, 0, 0)
        source.addWidget(self.corpus, 1)
        source.addWidget(button(tr("File…"), "", self._browse_file))
        source.addWidget(button(tr("Folder…"), "", self._browse_folder))
        holder = QWidget()
        holder.setLayout(source)
        self.field = QLineEdit()
        self.field.setPlaceholderText(tr("text; only for JSONL and CSV"))
        self.context = SpinBox()
        self.context.setRange(0, _LONGEST)
        self.context.setSpecialValueText(tr("the model's, at most 128"))
        self.budget = SpinBox()
        self.budget.setRange(0, _MOST_TOKENS)
        self.budget.setSingleStep(100_000)
        self.budget.setGroupSeparatorShown(True)
        self.budget.setSpecialValueText(tr("all of the corpus"))
        self.label_after = QCheckBox(tr("Suggest labels when it is done"))
        self.label_after.setChecked(True)
        rows: tuple[tuple[str, QWidget, QWidget], ...] = (
            (tr("Read"), holder, self.corpus),
            (tr("Field or column"), self.field, self.field),
            (tr("Tokens of a sequence"), self.context, self.context),
            (tr("Tokens in all"), self.budget, self.budget),
            ("", self.label_after, self.label_after),
        )  # fmt: skip
        for name, shown, field in rows:
            field.setAccessibleName(name or self.label_after.text())
            form.addRow(text_label(name, "quiet"), shown)
        for line in (self.corpus, self.field):
            line.textChanged.connect(self._changed)
        self.context.valueChanged.connect(self._changed)
        self.budget.valueChanged.connect(lambda *_: self._refresh())
        return form

    def _foot(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setContentsMargins(24, 12, 24, 12)
        column.setSpacing(8)
        self._told = text_label("", "quiet", wrap=True)
        column.addWidget(self._told)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        column.addWidget(self._bar)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        self.run_button = button(tr("Collect"), "primary", self.run)
        row.addWidget(self.run_button)
        column.addLayout(row)
        return column

    def _browse_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, tr("Choose a corpus"), "", tr("Corpora") + f" ({_FILES})"
        )
        if name:
            self.corpus.setText(name)

    def _browse_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, tr("Choose a folder of texts"))
        if name:
            self.corpus.setText(name)

    def _follow(self, status: ModelStatus) -> None:
        self.dictionaries.follow(status)
        self._changed()

    # ---- the estimate --------------------------------------------------------------------------
    def reason(self) -> str:
        """Return why nothing can be collected yet, "" where it can."""
        if self._desk.session.model.state != "ready":
            return tr("Choose a model first.")
        if not self.dictionaries.chosen():
            return tr("Choose the dictionaries whose features are to be looked at.")
        return "" if self.corpus.text().strip() else tr("Name a corpus.")

    def _options(self) -> dict[str, Any]:
        chosen = self.dictionaries.chosen()
        # The folder of a set also where it holds a single dictionary: pages are looked for there.
        out = chosen[0] if len(chosen) == 1 and Path(chosen[0]).is_dir() else ""
        return {
            "out": out, "context": self.context.value() or None,
            "text_field": self.field.text().strip(),
        }  # fmt: skip

    def _changed(self, *_: object) -> None:
        """Forget the estimate, and ask again when nothing has changed for a moment."""
        self.found = None
        self._give_up()
        if not self.reason() and not self._is_busy():
            self._pause.start()
        self._refresh()

    def estimate(self) -> None:
        """Ask how much work it is."""
        if self.reason() or self._is_busy():
            return
        session = self._desk.session
        self._asked = feature_jobs.estimate_collection(
            session, self.dictionaries.chosen(), self.corpus.text().strip(), **self._options()
        )
        to_gui(self._asked.changed, self._heard, self)
        self._refresh()

    def _heard(self, job: Job) -> None:
        if job is not self._asked or not job.is_over:
            return
        self._asked = None
        self.found = job.result if job.state == "done" else None
        self._refresh()
        if job.error is not None:
            self._told.setText(error_words(job.error))

    def _give_up(self) -> None:
        job, self._asked = self._asked, None
        if job is not None and not job.is_over:
            self._desk.session.jobs.cancel(job)

    # ---- the work ------------------------------------------------------------------------------
    def _is_busy(self) -> bool:
        return self.job is not None and not self.job.is_over

    def run(self) -> None:
        """Collect, or stop."""
        session = self._desk.session
        if self.job is not None and self._is_busy():
            session.jobs.cancel(self.job)
            return
        if self.reason():
            return
        self._pause.stop()
        self._give_up()
        chosen = self.dictionaries.chosen()
        expected = self.found.n_tokens if self.found is not None else 0
        try:
            self.job = feature_jobs.collect(
                session, chosen, self.corpus.text().strip(),
                most_tokens=self.budget.value() or None, expected_tokens=expected,
                then_label=self.label_after.isChecked(), **self._options(),
            )  # fmt: skip
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            return
        if session.model.path is not None:
            session.preferences.add_dictionaries(str(session.model.path), chosen)
        to_gui(self.job.changed, lambda *_: self._refresh(), self)
        self._ticks.start()
        self._refresh()

    def _refresh(self) -> None:
        busy, reason = self._is_busy(), self.reason()
        self.run_button.setEnabled(busy or not reason)
        self.run_button.setText(tr("Stop") if busy else tr("Collect"))
        self._bar.setVisible(busy)
        self._told.setText(
            self._words() if busy or self.job is not None else reason or self._size()
        )
        if self.job is None:
            return
        self._bar.setRange(0, self.job.total)
        self._bar.setValue(min(self.job.done, self.job.total) if self.job.total else 0)
        if not busy:
            self._ticks.stop()

    def _size(self) -> str:
        """Return what the estimate says."""
        if self.found is None:
            return tr("Looking at the corpus…") if self._asked is not None else ""
        found, budget = self.found, self.budget.value()
        n = min(budget, found.n_tokens) if budget else found.n_tokens
        left = max(found.n_tokens - found.n_done, 1)
        time = found.seconds * max(n - found.n_done, 0) / left
        number = large(n) if found.is_exact or n < found.n_tokens else tr("about ") + large(n)
        lines = [DOT.join((
            tr("{0} tokens, {1}").format(number, plural(found.n_features, "feature", "features")),
            tr("less than a second") if time < 1 else tr("about {0}").format(seconds(time)),
            tr("a file of about {0}").format(gigabytes(found.n_bytes)),
        ))]  # fmt: skip
        if found.n_done:
            words = tr("Goes on after {0} tokens that were counted before.")
            lines.append(words.format(large(found.n_done)))
        elif found.is_there:
            lines.append(tr("Replaces {0}; labels and pages that were imported stay.").format(
                found.path
            ))  # fmt: skip
        else:
            lines.append(tr("Written to {0}.").format(found.path))
        return "\n".join(lines)

    def _words(self) -> str:
        """Return how far the collection is, or how it ended."""
        job = self.job
        assert job is not None, "asked for a job that is there"
        if not job.is_over:
            return job_words(job) + "\n" + tr("It goes on when this window is closed.")
        if job.error is not None:
            return error_words(job.error)
        if job.state == "cancelled":
            return tr("Stopped. What was counted is kept; Collect goes on from there.")
        found = job.result
        alive = sum(found.n_alive.values())
        words = tr("Collected {0} tokens: {1} of the features are alive. Written to {2}.")
        whole = "" if found.is_whole else "\n" + tr("The corpus goes on; Collect continues.")
        return words.format(large(found.n_tokens), large(alive), found.path) + whole

    def done(self, result: int) -> None:
        """Give up an estimate; a collection goes on."""
        self._pause.stop()
        self._give_up()
        super().done(result)
