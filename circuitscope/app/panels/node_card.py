"""All of one node: what it is, its numbers, what feeds it, what it feeds."""

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.meanings import explain
from circuitscope.app.naming import is_named, kind_line, list_name
from circuitscope.app.panels.edge_list import (
    EdgeList,
    conservation_label,
    gross,
    inputs_of,
    line_count,
    outputs_of,
)
from circuitscope.app.panels.feature_page import add_page
from circuitscope.app.panels.label_history import add_label_history
from circuitscope.app.panels.node_numbers import node_cells
from circuitscope.app.panels.overview import number_grid
from circuitscope.app.theme import swatch
from circuitscope.app.widgets import (
    MARGIN,
    elided,
    hairline,
    section,
    text_label,
)
from circuitscope.app.words import DOT, plain, signed, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.graph.evidence import runs_of
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.project import verbs
from circuitscope.session import feature_work

_ONE_LINE = 18
_UNHURRIED_MS = 300
RARELY = 0.1
"""Below this share of its maximum a feature's label is greyed."""
NO_GROUP = "none"
NEW_GROUP = "new"


class NodeCard(QWidget):
    """Everything about one node: name and numbers at once, its edges in the next moments."""

    def __init__(self, desk: Desk, circuit: Circuit, node: int) -> None:
        super().__init__()
        self._desk, self._circuit, self._node = desk, circuit, node
        self._key = str(circuit.nodes.key(node))
        is_feature = circuit.nodes.key(node).kind is NodeKind.FEATURE
        self._page = feature_work.page(desk.session, node) if is_feature else None
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        column.setSpacing(8)
        self._add_name(column)
        self._add_fields(column)
        cells = node_cells(desk.session, circuit, node, self._share_of_maximum())
        column.addLayout(number_grid(cells))
        self._rest = QVBoxLayout()
        self._rest.setSpacing(column.spacing())
        column.addLayout(self._rest)
        column.addStretch()
        self._parts = [self._add_inputs, self._add_outputs, self._add_end]
        self._next = Later(self, self._add_part)
        self._next.within()

    def complete(self) -> None:
        """Add now what would have come in the next moments."""
        while self._parts:
            self._add_part()

    def _add_part(self) -> None:
        if self._parts and self._desk.session.circuit is self._circuit:
            self._parts.pop(0)(self._rest)
            self._next.within()

    def _add_end(self, column: QVBoxLayout) -> None:
        self._add_tests(column)
        add_label_history(column, self._desk, self._circuit, self._node, self._page)
        if self._circuit.nodes.key(self._node).kind is NodeKind.FEATURE:
            # What is known of it is long and lies below the fold: it comes when the click is over.
            self._below = QVBoxLayout()
            column.addLayout(self._below)
            QTimer.singleShot(_UNHURRIED_MS, self, self._add_page)
        column.addWidget(hairline())
        column.addWidget(section(tr("Provenance")))
        column.addWidget(text_label(_provenance_words(self._circuit), "small", wrap=True))

    def _add_page(self) -> None:
        if self._desk.session.circuit is self._circuit:
            add_page(self._below, self._desk, self._circuit, self._node, self._page)

    # ---- name, label, group ----------------------------------------------------------------
    def _label_row(self) -> dict[str, Any] | None:
        row = self._desk.session.drawing.row("label", self._key)
        return dict(row) if row else None

    def _add_name(self, column: QVBoxLayout) -> None:
        row, automatic = self._label_row(), self._circuit.labels[self._node]
        top = QVBoxLayout()
        top.setSpacing(2)
        top.addWidget(elided(kind_line(self._circuit, self._node), "small"))
        line = QHBoxLayout()
        line.setSpacing(8)
        named = is_named(self._desk.session, self._node)
        style = "name" if named else "name-automatic"
        words = list_name(self._desk.session, self._node)
        short = len(words) <= _ONE_LINE
        name = text_label(words, style, wrap=not short)
        name.setMinimumWidth(40)
        share = self._share_of_maximum()
        rare = share is not None and share < RARELY and self._circuit.nodes.activation[self._node]
        name.setEnabled(not rare)
        line.addWidget(name, 0 if short else 1)
        if row:
            source = {"person": tr("yours"), "imported": tr("imported")}
            badge = text_label(source.get(row.get("source", ""), tr("suggested")), "badge")
            line.addWidget(badge, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addStretch(1 if short else 0)
        top.addLayout(line)
        if rare:
            note = text_label(tr("rarely this weak: the label may not hold here"), "note")
            explain(note, "share of max")
            top.addWidget(note)
        if automatic and automatic != list_name(self._desk.session, self._node):
            text = tr("was: {0}").format(automatic) if row else automatic
            top.addWidget(elided(text, "note"))
        column.addLayout(top)

    def _add_fields(self, column: QVBoxLayout) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self.label_field = QLineEdit()
        row = self._label_row()
        self.label_field.setText(row["text"] if row else "")
        self.label_field.setPlaceholderText(tr("Your own name for it"))
        self.label_field.setAccessibleName(tr("Label of this node"))
        self.label_field.editingFinished.connect(self._commit_label)
        self.group_box = self._group_chooser()
        for at, (words, field) in enumerate(
            ((tr("Label"), self.label_field), (tr("Group"), self.group_box))
        ):
            caption = text_label(words, "small")
            caption.setBuddy(field)
            grid.addWidget(caption, at, 0)
            grid.addWidget(field, at, 1)
        column.addLayout(grid)

    def _commit_label(self) -> None:
        text, row = self.label_field.text().strip(), self._label_row()
        if text != (row["text"] if row else ""):
            self._desk.session.edit(verbs.label, self._key, text)
            feature_work.name_feature(self._circuit, self._node, text)

    def _group_chooser(self) -> QComboBox:
        box, drawing = QComboBox(), self._desk.session.drawing
        box.setAccessibleName(tr("Group of this node"))
        box.addItem(tr("No group"), NO_GROUP)
        for group_id, row in drawing.of_kind("group").items():
            color = self._desk.palette.group(str(row.get("color", "")))
            box.addItem(swatch(color), str(row["label"]), group_id)
        box.addItem(tr("New group…"), NEW_GROUP)
        member = drawing.row("member", self._key)
        at = box.findData(member["group"]) if member else 0
        box.setCurrentIndex(max(at, 0))
        box.activated.connect(self._choose_group)
        return box

    def _choose_group(self, at: int) -> None:
        choice, session = self.group_box.itemData(at), self._desk.session
        if choice == NEW_GROUP:
            self._desk.trigger("graph.group")
        elif choice == NO_GROUP:
            session.edit(verbs.remove_from_group, [self._key])
        else:
            session.edit(verbs.add_to_group, choice, [self._key])

    # ---- numbers -----------------------------------------------------------------------------
    def _share_of_maximum(self) -> float | None:
        most = self._page.maximum if self._page is not None else 0.0
        return float(self._circuit.nodes.activation[self._node]) / most if most > 0 else None

    def _add_tests(self, column: QVBoxLayout) -> None:
        """Say what tests on the model found of this node; nothing where it was not tested."""
        runs = [run for run in runs_of(self._desk.session.drawing.rows)
                if self._key in run.tested.subject]  # fmt: skip
        if not runs:
            return
        column.addWidget(hairline())
        column.addWidget(section(tr("Tested on the model")))
        for run in reversed(runs):
            words = tr("{0}: effect {1}, controls ±{2}").format(
                tr(run.badge.value), signed(run.tested.effect), plain(run.tested.band)
            )
            line = text_label(words, "", wrap=True)
            explain(line, "effect")
            column.addWidget(line)

    # ---- what feeds it and what it feeds --------------------------------------------------
    def _add_inputs(self, column: QVBoxLayout) -> None:
        desk, circuit, node = self._desk, self._circuit, self._node
        kind = NodeKind(int(circuit.nodes.kind[node]))
        sources = (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.BIAS, NodeKind.ERROR)
        into = circuit.edges.into(node)
        if kind not in sources:
            column.addWidget(hairline())
            self._add_list(column, tr("Fed by"), partial(inputs_of, desk, circuit, node),
                           line_count(circuit, node))  # fmt: skip
            if into.stop > into.start and not (is_relevance(circuit) or is_flow(circuit)):
                raised, lowered, net = gross(circuit, node)
                column.addLayout(number_grid([
                    (tr("raised by"), signed(raised), "raised"),
                    (tr("lowered by"), signed(lowered), "lowered"),
                    (tr("net"), signed(net), "net"),
                ]))  # fmt: skip
            column.addWidget(conservation_label(circuit, node))
        if kind is NodeKind.ERROR:
            words = tr("What the dictionaries here do not explain: the module's true output minus "
                       "their reconstruction. It has no inputs of its own.")  # fmt: skip
            column.addWidget(text_label(words, "note", wrap=True))

    def _add_outputs(self, column: QVBoxLayout) -> None:
        desk, circuit, node = self._desk, self._circuit, self._node
        kind = NodeKind(int(circuit.nodes.kind[node]))
        n_out = len(circuit.edges.out_of(node))
        if n_out or kind is not NodeKind.LOGIT:
            column.addWidget(hairline())
            self._add_list(column, tr("Feeds"), partial(outputs_of, desk, circuit, node), n_out)

    def _add_list(
        self, column: QVBoxLayout, title: str, lines: Callable[[int], list], total: int
    ) -> None:
        note = "" if total else tr("nothing in this circuit")
        made = EdgeList(self._desk, title, lines, total, note)
        made.walked.connect(lambda node: self._desk.session.select([node]))
        column.addWidget(made)


def _provenance_words(circuit: Circuit) -> str:
    record = circuit.provenance
    model = str(record.model.get("name", "")) or tr("unknown model")
    n = len(record.dictionaries)
    dictionaries = tr("{0} dictionaries").format(n) if n else tr("no dictionaries")
    first = DOT.join(part for part in (record.method, model, dictionaries) if part)
    second = DOT.join(
        part for part in (record.dtype, record.device, tr("seed {0}").format(record.seed),
                          circuit.digest[:8]) if part
    )  # fmt: skip
    return "\n".join([first, second, *record.remarks])
