"""What a feature may mean: its labels with their worth, and more of them when asked for."""

from PySide6.QtWidgets import (
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.meanings import explain
from circuitscope.app.panels.concept_lines import label_widget
from circuitscope.app.widgets import button, section, text_label
from circuitscope.app.words import DOT, error_words, plain, tr
from circuitscope.evidence.records import FeaturePage, Label, concepts_of
from circuitscope.session import feature_jobs, feature_work
from circuitscope.session.jobs import Job


class LabelsBox(QWidget):
    """Show a feature's labels, and have them suggested.

    Args:
        desk: Session and colours.
        page: What is known of the feature.
    """

    def __init__(self, desk: Desk, page: FeaturePage) -> None:
        super().__init__()
        self._desk, self._page = desk, page
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(section(tr("What it may mean")))
        for label in shown_labels(page):
            column.addWidget(label_widget(label))
            note = text_label(label_source(label), "note", wrap=True)
            if label.scored_by in MEASURED_BY:
                explain(note, MEASURED_BY[label.scored_by], detail_words(label))
            column.addWidget(note)
        self.suggest_button = button(tr("Suggest labels"), "link", self._suggest)
        reason = self._why_no_labels()
        self.suggest_button.setEnabled(not reason)
        self.suggest_button.setToolTip(reason or tr(
            "Look for what its examples share, and raise it in the model to see which tokens "
            "become likelier; each label is scored on held-out texts."
        ))  # fmt: skip
        column.addWidget(self.suggest_button)
        self._add_explain(column)
        self._told = text_label(reason, "note", wrap=True)
        self._told.setVisible(bool(reason))
        column.addWidget(self._told)

    def _why_no_labels(self) -> str:
        session = self._desk.session
        if session.model.state != "ready":
            return tr("Load the model to have labels suggested.")
        if feature_work.evidence_file(session, self._page.feature) is None:
            return tr("Labels need evidence beside the dictionaries; collect it first.")
        return ""

    def _add_explain(self, column: QVBoxLayout) -> None:
        """Offer an explanation where the user has turned a language model on."""
        choice = feature_jobs.language_choice(self._desk.session.preferences.now)
        self.explain_button = button(
            tr("Explain with {0}").format(choice.title if choice else ""), "link", self._explain
        )
        self.explain_button.setVisible(choice is not None)
        if choice is not None:
            where = tr("Sends the texts of its examples to {0}.").format(choice.url)
            here = tr("The model runs here; nothing is sent.")
            self.explain_button.setToolTip(where if choice.url else here)
        has_file = feature_work.evidence_file(self._desk.session, self._page.feature) is not None
        self.explain_button.setEnabled(has_file)
        column.addWidget(self.explain_button)

    def _suggest(self) -> None:
        found = feature_work.evidence_file(self._desk.session, self._page.feature)
        if found is not None:
            self._await(feature_jobs.label(
                self._desk.session, str(found[0]), [found[1]], only=[self._page.feature]
            ))  # fmt: skip

    def _explain(self) -> None:
        session = self._desk.session
        found = feature_work.evidence_file(session, self._page.feature)
        choice = feature_jobs.language_choice(session.preferences.now)
        if found is not None and choice is not None:
            self._await(feature_jobs.explain(session, choice, str(found[0]), [self._page.feature]))

    def _await(self, job: Job) -> None:
        buttons = [one for one in (self.suggest_button, self.explain_button) if one.isEnabled()]
        for one in buttons:
            one.setEnabled(False)
        self._say(tr("Looking for labels…"))

        def hear(job: Job) -> None:
            if job.is_over:
                for one in buttons:
                    one.setEnabled(True)
                self._say("" if job.error is None else error_words(job.error))

        to_gui(job.changed, hear, self)

    def _say(self, words: str) -> None:
        self._told.setText(words)
        self._told.setVisible(bool(words))


MEASURED_BY = {
    "detection": "detection", "output": "output", "F1": "F1", "input and output": "both scores",
}  # fmt: skip
"""What a label's score is, as an entry of `meanings`."""


def shown_labels(page: FeaturePage) -> list[Label]:
    """Return the labels in use: a person's first, then imported ones, then by score."""
    order = ("person", "imported", "machine")
    found = [label for label in page.labels if not label.replaced and label.text]
    return sorted(found, key=lambda one: (order.index(one.source), -(one.score or 0.0)))


def detail_words(label: Label) -> str:
    """Return the numbers behind a score, or "" where they stand beside its concepts."""
    if concepts_of(label):
        return ""
    return DOT.join(f"{tr(name)} {plain(value)}" for name, value in (label.detail or {}).items())


def label_source(label: Label) -> str:
    """Say where a label comes from and what it is worth: a machine's is never shown as a fact."""
    if label.source == "person":
        return tr("yours")
    where = tr("imported") if label.source == "imported" else tr("suggested")
    parts = [where, label.method]
    if label.score is not None:
        parts.append(tr("{0} {1}").format(label.scored_by or tr("score"), plain(label.score)))
    elif label.source == "machine":
        parts.append(tr("not scored"))
    return DOT.join(parts)
