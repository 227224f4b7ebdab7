"""What a feature means: its labels, how often it is active, examples, tokens, and its relatives."""

import math
from html import escape

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.meanings import explain
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import button, clear, elided, hairline, section, text_label
from circuitscope.app.words import DOT, count, error_words, percent, plain, shown_token, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey
from circuitscope.evidence.records import Companion, Example, FeaturePage, Histogram, Label
from circuitscope.session import feature_jobs, feature_work
from circuitscope.session.jobs import Job

_SHOWN = 6
BANDS = ("top", "75–100 %", "50–75 %", "25–50 %", "0–25 %")


class FeatureBox(QWidget):
    """Show a feature's evidence.

    Args:
        desk: Session and colours.
        circuit: The circuit that is shown.
        node: A feature node of it.
        page: What is known of it.
    """

    def __init__(self, desk: Desk, circuit: Circuit, node: int, page: FeaturePage) -> None:
        super().__init__()
        self._desk, self._page = desk, page
        self._key = circuit.nodes.key(node)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self._add_labels(column)
        if page.n_tokens or page.frequency or page.histogram.counts:
            self._add_counts(column)
            self._add_examples(column)
            self._add_tokens(column)
            self._add_relatives(column)
        self._add_places(column, circuit, node)
        self._add_trial(column)

    # ---- labels and counts ---------------------------------------------------------------------
    def _add_labels(self, column: QVBoxLayout) -> None:
        column.addWidget(section(tr("What it may mean")))
        for label in shown_labels(self._page):
            column.addWidget(text_label(label.text, "", wrap=True))
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
            self._await_labels(feature_jobs.label(
                self._desk.session, str(found[0]), [found[1]], only=[self._page.feature]
            ))  # fmt: skip

    def _explain(self) -> None:
        session = self._desk.session
        found = feature_work.evidence_file(session, self._page.feature)
        choice = feature_jobs.language_choice(session.preferences.now)
        if found is not None and choice is not None:
            self._await_labels(
                feature_jobs.explain(session, choice, str(found[0]), [self._page.feature])
            )

    def _await_labels(self, job: Job) -> None:
        buttons = [one for one in (self.suggest_button, self.explain_button) if one.isEnabled()]
        for one in buttons:
            one.setEnabled(False)
        self._say_labels(tr("Looking for labels…"))

        def hear(job: Job) -> None:
            if job.is_over:
                for one in buttons:
                    one.setEnabled(True)
                self._say_labels("" if job.error is None else error_words(job.error))

        to_gui(job.changed, hear, self)

    def _say_labels(self, words: str) -> None:
        self._told.setText(words)
        self._told.setVisible(bool(words))

    def _add_counts(self, column: QVBoxLayout) -> None:
        page = self._page
        column.addWidget(section(tr("On a corpus")))
        often = tr("Active on {0} of {1} tokens").format(
            percent(page.frequency, 3), count(page.n_tokens)
        )
        if not page.n_tokens:
            often = tr("Active on {0} of the tokens").format(percent(page.frequency, 3))
        if page.is_dead:
            often = tr("Never active on {0} tokens").format(count(page.n_tokens))
        elif page.is_dense:
            often += tr("; so often that it can hardly mean one thing")
        column.addWidget(text_label(often + ".", "", wrap=True))
        if page.is_dead:
            return
        chart = HistogramView(self._desk.palette, page.histogram)
        column.addWidget(chart)
        quantiles = DOT.join(
            f"{percent(q)}\N{NO-BREAK SPACE}{plain(value)}" for q, value in page.quantiles
        )
        words = tr("Activation where active: mean {0}, largest {1}; quantiles {2}").format(
            plain(page.mean), plain(page.maximum), quantiles
        )
        if not page.n_tokens:
            words = tr("Largest activation {0}").format(plain(page.maximum))
        column.addWidget(text_label(words, "small", wrap=True))
        if page.corpus:
            column.addWidget(text_label(page.corpus, "note", wrap=True))

    # ---- examples ------------------------------------------------------------------------------
    def _add_examples(self, column: QVBoxLayout) -> None:
        if not self._page.examples:
            return
        column.addWidget(section(tr("Examples")))
        self.bands = QTabBar()
        self.bands.setAccessibleName(tr("Which part of its activations"))
        self.bands.setExpanding(False)
        self.bands.setDrawBase(False)
        self.bands.setProperty("look", "small")
        there = {example.band for example in self._page.examples}
        for band in (band for band in BANDS if band in there):
            at = self.bands.addTab(tr("Top") if band == "top" else band.removesuffix(" %"))
            words = tr("The strongest") if band == "top" else tr("{0} of all, by strength")
            self.bands.setTabToolTip(at, words.format(band))
            self.bands.setTabData(at, band)
        column.addWidget(self.bands)
        self._examples = QVBoxLayout()
        self._examples.setSpacing(6)
        column.addLayout(self._examples)
        self.bands.currentChanged.connect(lambda at: self.show_band(self.bands.tabData(at)))
        self.show_band(self.bands.tabData(0))

    def show_band(self, band: str) -> None:
        """Show the examples of one quarter of the activations, or the strongest."""
        clear(self._examples)
        found = [example for example in self._page.examples if example.band == band]
        # Texts that repeat in the corpus are shown once.
        different = {example.tokens[: example.peak + 1]: example for example in reversed(found)}
        for example in list(reversed(different.values()))[:_SHOWN]:
            words = QLabel(example_html(self._desk.palette, example, self._page.maximum))
            words.setTextFormat(Qt.TextFormat.RichText)
            words.setWordWrap(True)
            words.setAccessibleName("".join(example.tokens))
            words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            words.setToolTip(tr("{0} at “{1}”").format(
                plain(example.activation), shown_token(example.tokens[example.peak])
            ))  # fmt: skip
            self._examples.addWidget(words)

    # ---- tokens and relatives ------------------------------------------------------------------
    def _add_tokens(self, column: QVBoxLayout) -> None:
        if not self._page.promoted:
            return
        column.addWidget(section(tr("Direct effect on tokens")))
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(1)
        pairs = ((self._page.promoted, tr("promotes")), (self._page.suppressed, tr("suppresses")))
        for side, (tokens, title) in enumerate(pairs):
            grid.addWidget(text_label(title, "small"), 0, 2 * side)
            for at, token in enumerate(tokens[:_SHOWN], start=1):
                grid.addWidget(elided(shown_token(token.text)), at, 2 * side)
                grid.addWidget(text_label(plain(token.weight), "small"), at, 2 * side + 1)
            grid.setColumnStretch(2 * side, 1)
        column.addLayout(grid)

    def _add_relatives(self, column: QVBoxLayout) -> None:
        for title, others, least in (
            (tr("Writes like"), self._page.similar, 0.3),
            (tr("Fires together with"), self._page.companions, 0.2),
        ):
            near = [other for other in others if other.similarity >= least][:_SHOWN]
            if near:
                column.addWidget(section(title))
                column.addWidget(text_label(_named(near), "small", wrap=True))

    def _add_places(self, column: QVBoxLayout, circuit: Circuit, node: int) -> None:
        here = [at for at in places_in(circuit, self._key) if at != node]
        others = self._other_circuits()
        if not here and not others:
            return
        column.addWidget(section(tr("Also in")))
        for at in here[:_SHOWN]:
            where = int(circuit.nodes.position[at])
            words = tr("this circuit, at {0} “{1}”").format(
                where, shown_token(circuit.tokens[where])
            )
            column.addWidget(button(words, "link", lambda at=at: self._desk.session.select([at])))
        for name, finding_id in others[:_SHOWN]:
            column.addWidget(
                button(name, "link", lambda i=finding_id: self._desk.session.activate(i))
            )

    def _other_circuits(self) -> list[tuple[str, str]]:
        session = self._desk.session
        if session.project is None:
            return []
        found = feature_work.circuits_with(session.project, self._page.feature)
        return [(name, finding_id) for name, finding_id in found if finding_id != session.active]

    # ---- a text of one's own -------------------------------------------------------------------
    def _add_trial(self, column: QVBoxLayout) -> None:
        column.addWidget(section(tr("On a text of your own")))
        self.own_text = QLineEdit()
        self.own_text.setAccessibleName(tr("Text to read this feature on"))
        ready = self._desk.session.model.state == "ready"
        self.own_text.setEnabled(ready)
        self.own_text.setPlaceholderText(
            tr("Type a text and press Enter") if ready else tr("Load the model to try a text")
        )
        self.own_text.returnPressed.connect(self._read)
        column.addWidget(self.own_text)
        self.own_reading = QLabel()
        self.own_reading.setTextFormat(Qt.TextFormat.RichText)
        self.own_reading.setWordWrap(True)
        self.own_reading.hide()
        column.addWidget(self.own_reading)

    def _read(self) -> None:
        text = self.own_text.text().strip()
        if not text:
            return
        session = self._desk.session
        try:
            job = feature_jobs.read_feature(session, text, self._key, self._page.feature.digest)
        except CircuitScopeError as error:
            self._say(escape(error.message))
            return

        def hear(job: Job) -> None:
            if job.state == "done" and job.result is not None:
                self._show_reading(job)
            elif job.state == "failed" and job.error is not None:
                self._say(escape(job.error.message))

        to_gui(job.changed, hear, self)

    def _show_reading(self, job: Job) -> None:
        tokens, acts = job.result.tokens, job.result.activations
        peak = max(range(len(acts)), key=lambda at: acts[at])
        example = Example((), tokens, acts, peak if acts[peak] else -1, acts[peak])
        words = tr("largest {0}").format(plain(acts[peak])) if acts[peak] else tr("not active")
        most = max(self._page.maximum, acts[peak])
        self._say(f"{example_html(self._desk.palette, example, most)}<br>{escape(words)}")

    def _say(self, html: str) -> None:
        self.own_reading.setText(html)
        self.own_reading.show()


class HistogramView(QWidget):
    """Draw how often a feature is how active; both axes are logarithmic."""

    def __init__(self, palette: Palette, histogram: Histogram) -> None:
        super().__init__()
        self._palette, self._histogram = palette, histogram
        self.setFixedHeight(56)
        words = tr("Histogram of activations")
        if histogram.edges:
            ends = plain(histogram.edges[0]), plain(histogram.edges[-1])
            words = tr("Histogram of activations from {0} to {1}, both axes logarithmic").format(
                *ends
            )
        self.setAccessibleName(words)
        self.setToolTip(words)

    def paintEvent(self, event: QPaintEvent) -> None:
        counts = self._histogram.counts
        if not counts:
            return
        painter = QPainter(self)
        text = 14.0
        height, n = self.height() - text, len(counts)
        most = max(counts).bit_length()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._palette.accent))
        wide = min(self.width() / n, 14.0)
        gap = 1 if wide >= 4 else 0
        for at, number in enumerate(counts):
            if number:
                tall = max(2.0, height * (math.log2(number) + 1) / max(most, 1))
                painter.drawRect(QRectF(at * wide, height - tall, wide - gap, tall))
        painter.setPen(QColor(self._palette.hairline))
        painter.drawLine(0, int(height), self.width(), int(height))
        painter.setPen(QColor(self._palette.secondary))
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        edges = self._histogram.edges
        box = QRectF(0, height, max(n * wide, 90), text)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft, plain(edges[0]))
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, plain(edges[-1]))
        painter.end()


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
    """Return the numbers behind a score, or ""."""
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


def places_in(circuit: Circuit, key: NodeKey) -> list[int]:
    """Return the nodes of a circuit that are the same feature, at any position."""
    nodes = circuit.nodes
    same = (
        (nodes.kind == int(key.kind)) & (nodes.site == int(key.site))
        & (nodes.layer == key.layer) & (nodes.unit == key.unit)
    )  # fmt: skip
    found: list[int] = same.nonzero()[0].tolist()
    return found


def example_html(palette: Palette, example: Example, maximum: float) -> str:
    """Write an example with its tokens shaded by activation and the peak in bold."""
    spaced = any(token[:1].isspace() for token in example.tokens)
    parts = []
    for at, (token, act) in enumerate(zip(example.tokens, example.activations, strict=True)):
        text = escape(token).replace(" ", "&nbsp;" if not token.strip() else " ")
        if at == example.peak:
            text = f"<b>{text}</b>"
        if act > 0:
            back = palette.mix(palette.accent, 0.12 + 0.5 * min(act / (maximum or 1), 1))
            text = f'<span style="background-color:{back}">{text}</span>'
        parts.append(text)
    return ("" if spaced else " ").join(parts)


def _named(others: list[Companion]) -> str:
    return ", ".join(f"#{other.unit} ({plain(other.similarity)})" for other in others)


def add_page(
    column: QVBoxLayout, desk: Desk, circuit: Circuit, node: int, page: FeaturePage | None
) -> None:
    """Add a feature's page to a panel, or say how to collect what it would show."""
    column.addWidget(hairline())
    if page is not None:
        column.addWidget(FeatureBox(desk, circuit, node, page))
        return
    column.addWidget(section(tr("Examples")))
    words = tr("None are stored for this feature: they are collected once from a corpus of yours.")
    column.addWidget(text_label(words, "note", wrap=True))
    column.addWidget(button(tr("Collect evidence…"), "link", lambda: desk.trigger("trace.collect")))
