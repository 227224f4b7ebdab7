"""What a feature means: its labels, how often it is active, examples, tokens, and its relatives."""

from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QGridLayout,
    QLabel,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.panels.example_text import example_html
from circuitscope.app.panels.feature_labels import LabelsBox
from circuitscope.app.panels.histogram import HistogramView
from circuitscope.app.panels.own_text import OwnText
from circuitscope.app.panels.relatives import add_relatives, places_in
from circuitscope.app.widgets import button, clear, elided, hairline, section, text_label
from circuitscope.app.words import DOT, count, percent, plain, shown_token, tr
from circuitscope.core.circuit import Circuit
from circuitscope.evidence.records import FeaturePage
from circuitscope.session import feature_work

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
        self.labels = LabelsBox(desk, page)
        column.addWidget(self.labels)
        if page.n_tokens or page.frequency or page.histogram.counts:
            self._add_counts(column)
            self._add_examples(column)
            self._add_tokens(column)
            add_relatives(column, desk, circuit, self._key, page)
        self._add_places(column, circuit, node)
        self.trial = OwnText(desk, self._key, page)
        column.addWidget(self.trial)

    # ---- counts ---------------------------------------------------------------------------------
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
            column.addWidget(button(words, "link", partial(self._desk.session.select, [at])))
        for name, finding_id in others[:_SHOWN]:
            column.addWidget(button(name, "link", partial(self._desk.session.activate, finding_id)))

    def _other_circuits(self) -> list[tuple[str, str]]:
        session = self._desk.session
        if session.project is None:
            return []
        found = feature_work.circuits_with(session.project, self._page.feature)
        return [(name, finding_id) for name, finding_id in found if finding_id != session.active]


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
