"""Why did it look there? An edge by heads, and the pairs of sources behind one score."""

from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.dialogs.head_parts import HeadParts
from circuitscope.app.dialogs.trial import TrialDialog
from circuitscope.app.naming import bias_words, list_name, module_name, short_line
from circuitscope.app.table import Cell, Column, Table, TableRow
from circuitscope.app.widgets import (
    button,
    hairline,
    look,
    section,
    text_label,
)
from circuitscope.app.words import DOT, percent, plain, shown_token, signed, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import AttentionScore
from circuitscope.engine.reasons import AttentionReasons, HeadPart
from circuitscope.session.jobs import Job

_NO_CONTRAST = -1


class AttentionDialog(AskingDialog):
    """Show why a head looked where it did.

    Args:
        desk: The window's desk.
        edge: An edge of the active circuit that passes attention; None where a score is given.
        score: The score to begin with.
    """

    def __init__(
        self, desk: Desk, edge: int | None = None, score: AttentionScore | None = None
    ) -> None:
        super().__init__(desk, tr("Why did it look there?"), (760, 680))
        self._edge = edge
        circuit = desk.session.circuit
        assert circuit is not None, "the dialog explains a circuit's attention"
        self._circuit: Circuit = circuit
        self.reasons: AttentionReasons | None = None
        column = self._column
        self._told = text_label("", "quiet", wrap=True)
        column.addWidget(self._told)
        self._by_head = section(tr("This edge by attention head"))
        self._by_head.setVisible(edge is not None)
        column.addWidget(self._by_head)
        self._parts = HeadParts(desk.palette, circuit)
        self._parts.chosen.connect(lambda part: self._ask(score_of(part)))
        column.addWidget(self._parts)
        column.addWidget(hairline())
        self._heading = text_label("", "heading", wrap=True)
        column.addWidget(self._heading)
        column.addLayout(self._contrast_row())
        self.pairs = self._pair_list()
        column.addWidget(self.pairs, 1)
        self._note = text_label("", "note", wrap=True)
        column.addWidget(self._note)
        column.addLayout(self._foot())
        self._ask(score)

    def _contrast_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        caption = text_label(tr("rather than at"), "quiet")
        self.contrast = QComboBox()
        self.contrast.setAccessibleName(tr("Another key to set it against"))
        self.contrast.setMinimumWidth(320)
        self.contrast.activated.connect(self._contrast_chosen)
        caption.setBuddy(self.contrast)
        row.addWidget(caption)
        row.addWidget(self.contrast)
        row.addStretch()
        return row

    def _pair_list(self) -> Table:
        made = Table(tr("Pairs of sources"), (
            Column(tr("Where it looks from")), Column(tr("Where it looks")),
            Column(tr("Brings"), "pair", number=True),
        ), self._desk.palette)  # fmt: skip
        made.setSelectionMode(Table.SelectionMode.SingleSelection)
        made.header().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        made.itemDoubleClicked.connect(self._walk)
        made.itemSelectionChanged.connect(self._refresh)
        return made

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.further = button(tr("Trace source further"), "", self._trace_source)
        self.further.setToolTip(tr("Add the selected pair's missing source to the circuit."))
        row.addWidget(self.further)
        self.without = button(tr("Try without it…"), "", self._try_without)
        self.without.setToolTip(tr("Multiply this entry of the pattern, and see what follows."))
        row.addWidget(self.without)
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        self.trace_button = button(tr("Trace this score"), "primary", self._trace_score)
        self.trace_button.setToolTip(tr("Add the score to the circuit, with all that feeds it."))
        row.addWidget(self.trace_button)
        return row

    # ---- asking --------------------------------------------------------------------------
    def _ask(self, score: AttentionScore | None, contrast: int | None = None) -> None:
        self.stop()
        session = self._desk.session
        # The split of the edge does not change with the score looked at.
        edge = self._edge if self.reasons is None else None
        try:
            job = session.explain_attention(edge, score, contrast)
        except CircuitScopeError as error:
            self._tell(str(error), bad=True)
            return
        self._tell(tr("Computing…"))
        self._await(job)
        self._refresh()

    def _heard(self, job: Job) -> None:
        if job is not self._job or not job.is_over:
            return
        if job.state == "failed":
            self._tell(str(job.error), bad=True)
        elif job.state == "done":
            found: AttentionReasons = job.result
            if self.reasons is None and self._edge is not None:
                self._parts.show_parts(found)
            self.reasons = found
            self._show_score(found)
        self._refresh()

    def _contrast_chosen(self) -> None:
        if self.reasons is not None and self.reasons.score is not None:
            other = int(self.contrast.currentData())
            self._ask(self.reasons.score, None if other == _NO_CONTRAST else other)

    # ---- showing -------------------------------------------------------------------------
    def _tell(self, text: str, *, bad: bool = False) -> None:
        self._told.setText(text)
        look(self._told, "error" if bad else "quiet")

    def _show_score(self, found: AttentionReasons) -> None:
        self.pairs.clear()
        self.contrast.clear()
        score = found.score
        if score is None:
            self._tell(tr("This edge passes no attention: all of it is direct."))
            return
        edge = None if self._edge is None else self._circuit.edge(self._edge)
        if edge is None:
            self._tell("")
        else:
            ends = (list_name(self._desk.session, end.index) for end in (edge.source, edge.target))
            words = tr("{0} contributes {1} to {2}.")
            source, target = ends
            self._tell(words.format(source, signed(edge.weight, 4), target))
        words = tr("Head {0}.{1} looks from {2} at {3}: score {4}, attention {5}")
        self._heading.setText(
            words.format(
                score.layer, score.head, self._token(score.query), self._token(score.key),
                plain(found.scores[score.key]), percent(found.patterns[score.key]),
            )
        )  # fmt: skip
        self._fill_contrast(found, score)
        self.pairs.setSortingEnabled(False)
        for pair in found.pairs:
            names = [self._source_words(key) for key in (pair.query, pair.key)]
            made = self.pairs.add((Cell(names[0]), Cell(names[1]),
                                   Cell(signed(pair.weight, 4), pair.weight)), pair)  # fmt: skip
            for at, key in enumerate((pair.query, pair.key)):
                made.setToolTip(at, f"{names[at]}\n{key}")
        self.pairs.setSortingEnabled(True)
        words = tr("All pairs add up to {0}; pairs not listed bring {1}.")
        if found.contrast is not None:
            words = tr("All pairs add up to the difference of scores, {0}; "
                       "pairs not listed bring {1}.")  # fmt: skip
        self._note.setText(words.format(signed(found.value, 4), signed(found.rest, 4)))

    def _fill_contrast(self, found: AttentionReasons, score: AttentionScore) -> None:
        self.contrast.addItem(tr("nowhere in particular"), _NO_CONTRAST)
        others = sorted(range(len(found.scores)), key=lambda key: -found.scores[key])
        words = tr("{0}: score {1}, attention {2}")
        for key in others:
            if key != score.key:
                text = words.format(
                    self._token(key), plain(found.scores[key]), percent(found.patterns[key])
                )
                self.contrast.addItem(text, key)
        at = self.contrast.findData(found.contrast if found.contrast is not None else _NO_CONTRAST)
        self.contrast.setCurrentIndex(max(at, 0))

    def _source_words(self, text: str) -> str:
        if text.count("/") != 4:
            return tr("all other sources")
        key = NodeKey.parse(text)
        index = self._circuit.nodes.find(key)
        if key.kind is NodeKind.BIAS:
            return f"{bias_words(key.unit)}{DOT}L{key.layer} {module_name(key.site)}"
        if index is None:
            names = {NodeKind.FEATURE: "#{0}", NodeKind.HEAD: tr("head {0}"),
                     NodeKind.NEURON: tr("neuron {0}"),
                     NodeKind.ERROR: tr("unexplained")}  # fmt: skip
            name = names.get(key.kind, "{0}").format(key.unit)
            where = f"L{key.layer} {module_name(key.site)}"
            return DOT.join((f"{where} {name}", self._token(key.position)))
        return DOT.join((list_name(self._desk.session, index), short_line(self._circuit, index)))

    def _token(self, position: int) -> str:
        return f"“{shown_token(self._circuit.tokens[position])}”"

    # ---- going on ------------------------------------------------------------------------
    def _missing(self) -> str:
        """Return the key of the selected pair's source that the circuit does not hold."""
        chosen = self.pairs.selected_rows()
        keys = [chosen[0].thing.query, chosen[0].thing.key] if chosen else []
        growing = ("feature/", "head/", "neuron/")
        return next(
            (key for key in keys if key.startswith(growing)
             and self._circuit.nodes.find(key) is None), "",
        )  # fmt: skip

    def _refresh(self) -> None:
        busy = self._job is not None and not self._job.is_over
        score = None if self.reasons is None else self.reasons.score
        self.trace_button.setEnabled(score is not None and not busy)
        self.without.setEnabled(score is not None and not busy)
        self.further.setEnabled(bool(self._missing()) and not busy)
        self.contrast.setEnabled(score is not None and not busy)

    def _walk(self, item: TableRow, at: int) -> None:
        index = self._circuit.nodes.find(item.thing.key if at else item.thing.query)
        if index is not None and self._desk.session.circuit is self._circuit:
            self._desk.session.select([index])

    def _trace_source(self) -> None:
        self._grow(self._missing())

    def _trace_score(self) -> None:
        if self.reasons is None or self.reasons.score is None:
            return
        anatomy = self._desk.session.model.anatomy
        assert anatomy is not None, "the model has answered"
        score = self.reasons.score
        unit = score.head * anatomy.n_ctx + score.key
        self._grow(f"score/pattern/{score.layer}/{score.query}/{unit}")

    def _try_without(self) -> None:
        if self.reasons is not None and (score := self.reasons.score) is not None:
            entry = f"{score.layer}.{score.head}:{score.query}<-{score.key} x 0"
            TrialDialog(self._desk, entry).show()

    def _grow(self, key: str) -> None:
        try:
            self._desk.session.grow(key)
        except CircuitScopeError as error:
            self._tell(str(error), bad=True)
            return
        self.accept()


def score_of(part: HeadPart) -> AttentionScore:
    """Return the score behind a part of an edge."""
    return AttentionScore(part.layer, part.head, part.query, part.key)
