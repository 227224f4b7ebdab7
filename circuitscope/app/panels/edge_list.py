"""The lists "fed by" and "feeds" of the inspector: names, share bars, shares, splits by head."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QMenu, QTreeWidgetItem, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.commands.files import why_edge, why_there
from circuitscope.app.conditions import traced_here
from circuitscope.app.desk import Desk
from circuitscope.app.naming import (
    head_words,
    is_attention,
    is_constant,
    is_named,
    list_name,
    short_line,
)
from circuitscope.app.table import Cell, Column, Table, TableRow
from circuitscope.app.widgets import button, look, section, text_label
from circuitscope.app.words import percent, plain, signed, tr
from circuitscope.core.circuit import Circuit, Edge
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKind
from circuitscope.engine.reasons import AttentionReasons
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.session.jobs import Job

SHOWN_FIRST = 8
SHOWN_AT_MOST = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list.

    Attributes:
        share: Signed share of the target's row, -1 to 1.
        weight: Signed contribution to the target's pre-activation.
        node: Index of the node a click walks to, -1 for sums of constants.
        muted: Whether the view hides the node; named: whether its name is not automatic.
        edge: The edge it stands for, -1 for sums.
    """

    name: str
    detail: str
    share: float
    weight: float
    node: int = -1
    muted: bool = False
    named: bool = True
    edge: int = -1


def _row_sizes(circuit: Circuit) -> NDArray[np.float64]:
    """Return what shares are of: whole rows; of relevances the metric, or all a head holds."""
    if not is_relevance(circuit):
        return circuit.row_sizes
    sizes = np.ones(len(circuit.nodes))
    sizes[circuit.roots] = np.abs(circuit.preactivation[circuit.roots])
    return sizes


def _edge_line(desk: Desk, circuit: Circuit, edge: Edge, node: int, size: float) -> Line:
    view = desk.session.shown()
    muted = view is not None and not bool(view.nodes[node])
    share = edge.weight / size if size else 0.0
    name, detail = list_name(desk.session, node), short_line(circuit, node)
    named = is_named(desk.session, node)
    return Line(name, detail, share, edge.weight, node, muted, named, edge.index)


def inputs_of(desk: Desk, circuit: Circuit, node: int, most: int = SHOWN_AT_MOST) -> list[Line]:
    """Return what feeds a node, strongest first; constants are summed into one line.

    Shares are of the whole row, so that with the line of what the node budget left out they add
    up in size to one.

    Args:
        desk: The window's desk.
        circuit: The circuit.
        node: The node.
        most: How many edges are made lines of.
    """
    size = float(_row_sizes(circuit)[node])
    lines: list[Line] = []
    constant, n_constants = 0.0, 0
    for edge in circuit.inputs(node):
        source = int(circuit.edges.source[edge.index])
        if is_constant(circuit, source):
            constant, n_constants = constant + edge.weight, n_constants + 1
        elif len(lines) < most:
            lines.append(_edge_line(desk, circuit, edge, source, size))
    if n_constants:
        share = constant / size if size else 0.0
        lines.append(Line(tr("position & biases"), tr("constant"), share, constant))
    left_out = float(circuit.unexplained[node])
    if left_out:
        detail = tr("sources beyond the node budget, summed")
        lines.append(Line(tr("left out"), detail, left_out / size, left_out))
    return sorted(lines, key=lambda line: -abs(line.share))


def outputs_of(desk: Desk, circuit: Circuit, node: int, most: int = SHOWN_AT_MOST) -> list[Line]:
    """Return what a node feeds, by its share of each target's row, largest first."""
    edges = circuit.edges
    found = edges.out_of(node)
    target, size = edges.target[found], np.abs(edges.weight[found])
    whole = _row_sizes(circuit)[target]
    whole = np.where(whole > 0, whole, 1.0)
    order = np.lexsort((-size, -size / whole))[:most]
    return [
        _edge_line(desk, circuit, circuit.edge(int(found[i])), int(target[i]), float(whole[i]))
        for i in order
    ]


def line_count(circuit: Circuit, node: int) -> int:
    """Return how many lines `inputs_of` makes when it leaves none out."""
    sources = circuit.edges.source[circuit.edges.into(node)]
    constants = int(circuit.nodes.of_kind(NodeKind.BIAS, NodeKind.POSITION)[sources].sum())
    return len(sources) - constants + bool(constants) + bool(circuit.unexplained[node])


def gross(circuit: Circuit, node: int) -> tuple[float, float, float]:
    """Return what raises a node, what lowers it, and both together: its row's total.

    Constants and what the node budget left out are part of it, so that the net is the
    pre-activation as far as the row's arithmetic holds.
    """
    row = circuit.edges.weight[circuit.edges.into(node)].astype(np.float64)
    row = np.append(row, float(circuit.unexplained[node]))
    return float(row[row > 0].sum()), float(row[row < 0].sum()), float(row.sum())


class EdgeList(QWidget):
    """A titled table of lines; a click walks to the node, a fold shows an edge by heads.

    Args:
        desk: The window's desk.
        title: Its heading.
        lines: Gives the lines of so many edges.
        total: How many lines there are in all.
        note: What is said below.
    """

    walked = Signal(int)

    def __init__(
        self, desk: Desk, title: str, lines: Callable[[int], list[Line]], total: int, note: str = ""
    ) -> None:
        super().__init__()
        self._desk, self._lines, self._total = desk, lines, total
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(section(title))
        self.table = Table(title, (
            Column(tr("Node")), Column(tr("Share"), "share", number=True, bar=True),
            Column(tr("Weight"), "weight", number=True, told=False),
        ), desk.palette)  # fmt: skip
        self.table.opened.connect(self._walk)
        self.table.menu_wanted.connect(self._fill_menu)
        self.table.itemExpanded.connect(self._split)
        self.table.itemCollapsed.connect(lambda *_: self.table.fit_height())
        self.table.header().sortIndicatorChanged.connect(lambda *_: self._fill(SHOWN_AT_MOST))
        column.addWidget(self.table)
        self._more = button("", "link", lambda: self._fill(SHOWN_AT_MOST))
        column.addWidget(self._more)
        if note:
            column.addWidget(text_label(note, "note", wrap=True))
        self._shown = 0
        self._fill(SHOWN_FIRST)

    def _fill(self, limit: int) -> None:
        if self._shown >= min(limit, self._total) and self._shown:
            return
        table = self.table
        table.setSortingEnabled(False)
        table.clear()
        lines = self._lines(limit)[:limit]
        folds = any(self._folds(line) for line in lines)
        table.setRootIsDecorated(folds)
        table.setIndentation(14 if folds else 0)
        for line in lines:
            style = ("quiet" if line.muted else "strong") if line.named else "automatic"
            cells = (
                Cell(line.name, None, line.detail, style),
                Cell(signed(line.share), line.share),
                Cell(plain(line.weight), line.weight),
            )
            row = table.add(cells, line, _tip(line))
            if self._folds(line):
                row.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
        self._shown = len(lines)
        table.setSortingEnabled(True)
        table.fit_height()
        table.setVisible(bool(lines))
        rest = self._total - self._shown
        self._more.setVisible(rest > 0 and limit < SHOWN_AT_MOST)
        self._more.setText(tr("{0} more").format(rest))

    def _folds(self, line: Line) -> bool:
        if line.edge < 0:
            return False
        circuit = self._desk.session.circuit
        return circuit is not None and is_attention(circuit, circuit.edge(line.edge).target.index)

    def _walk(self, line: Any) -> None:
        if isinstance(line, Line) and line.node >= 0:
            self.walked.emit(line.node)

    # ---- by heads ------------------------------------------------------------------------------
    def _split(self, row: TableRow) -> None:
        """Ask how the edge divides over heads, and fold it out below."""
        if not row.childCount():
            heads = self._desk.session.edge_heads
            reason, job = traced_here(self._desk.session), None
            if not reason:
                try:
                    job = heads.ask(row.thing.edge)
                except CircuitScopeError as error:
                    reason = error.message
            row.addChild(_note_row(reason or tr("Computing…")))
            if job is not None:
                to_gui(job.changed, partial(self._heard, row.thing.edge), self)
            elif not reason:
                self._fold_out(row, heads.known(row.thing.edge))
        self.table.fit_height()

    def _heard(self, edge: int, job: Job) -> None:
        if not job.is_over:
            return
        row = next((r for r in self.table.rows() if r.thing and r.thing.edge == edge), None)
        if row is None or self._desk.session.circuit is None:
            return
        if job.state == "done":
            self._fold_out(row, job.result)
        else:
            row.takeChildren()
            row.addChild(_note_row(job.error.message if job.error else tr("Cancelled.")))
        self.table.fit_height()

    def _fold_out(self, row: TableRow, found: AttentionReasons | None) -> None:
        circuit = self._desk.session.circuit
        assert found is not None, "the heads of the edge are known"
        assert circuit is not None, "an edge is shown"
        row.takeChildren()
        size = row.thing.weight / row.thing.share if row.thing.share else 0.0
        for part in found.parts[:SHOWN_FIRST]:
            detail = tr("attention {0}").format(percent(part.pattern))
            share = part.weight / size if size else 0.0
            row.addChild(TableRow((Cell(head_words(circuit, part), None, detail),
                                   Cell(signed(share), share),
                                   Cell(plain(part.weight), part.weight))))  # fmt: skip

    def _fill_menu(self, menu: QMenu, line: Any) -> None:
        if not isinstance(line, Line) or line.edge < 0:
            return
        session = self._desk.session
        menu.addAction(tr("Why is this edge here?…")).triggered.connect(
            lambda: why_edge(self._desk, line.edge)
        )
        why = menu.addAction(tr("Why did it look there?…"))
        reason = traced_here(session) if self._folds(line) else tr("This edge passes no attention.")
        why.setEnabled(not reason)
        why.setToolTip(reason or tr("Split the edge by head, and show the pairs behind the score."))
        why.triggered.connect(lambda: why_there(self._desk, line.edge))


def _note_row(text: str) -> TableRow:
    return TableRow((Cell(text, None, "", "quiet"), Cell(""), Cell("")))


def _tip(line: Line) -> str:
    hint = tr("contributes {0} to the pre-activation, {1} of its row").format(
        signed(line.weight, 4), percent(line.share, 1)
    )
    hidden = "\n" + tr("hidden in this view") if line.muted else ""
    return f"{line.name}\n{line.detail}\n{hint}{hidden}"


def conservation_label(circuit: Circuit, node: int) -> QLabel:
    """Make the line that says whether a row adds up, and what that does not say."""
    if is_relevance(circuit):
        words = tr("relevances along all paths; they do not add up to the whole")
        return text_label(words, "note", wrap=True)
    if is_flow(circuit) and circuit.expanded[node]:
        words = tr("shares of what it reads; with {0} that were left out they make 1")
        left = percent(float(circuit.unexplained[node]), 1)
        return text_label(words.format(left), "note", wrap=True)
    if not circuit.expanded[node]:
        made = text_label(tr("its inputs were not computed in this trace"), "note", wrap=True)
        made.setToolTip(tr("Rows are computed strongest first, up to the node budget."))
        return made
    error = float(circuit.conservation[node])
    text = tr("sums exactly to the pre-activation {0} (off by {1})")
    made = text_label(
        text.format(plain(float(circuit.preactivation[node])), plain(error)),
        "note", wrap=True,
    )  # fmt: skip
    made.setToolTip(
        tr("Sources, constants and what was left out add up to the number in the forward pass.\n"
           "This says that the arithmetic is right. It is no evidence that the model works so.")
    )  # fmt: skip
    look(made, "note")
    return made
