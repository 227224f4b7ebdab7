"""The lists "fed by" and "feeds" of the inspector: names, share bars and signed shares."""

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QVBoxLayout, QWidget

from circuitscope.app.commands.files import why_there
from circuitscope.app.conditions import traced_here
from circuitscope.app.desk import Desk
from circuitscope.app.naming import is_attention, is_constant, is_named, list_name, short_line
from circuitscope.app.widgets import (
    Clickable,
    ShareBar,
    button,
    clear,
    elided,
    look,
    section,
    text_label,
)
from circuitscope.app.words import percent, plain, signed, tr
from circuitscope.core.circuit import Circuit, Edge
from circuitscope.graph.influence import is_relevance

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


def _row_size(circuit: Circuit, node: int) -> float:
    """Return what shares are of: the whole row; of relevances the metric, or all a head holds."""
    if is_relevance(circuit):
        whole = abs(float(circuit.preactivation[node]))
        return whole if node in circuit.roots.tolist() else 1.0
    row = circuit.edges.weight[circuit.edges.into(node)]
    return float(np.abs(row).sum()) + abs(float(circuit.unexplained[node]))


def _edge_line(desk: Desk, circuit: Circuit, edge: Edge, node: int, size: float) -> Line:
    view = desk.session.shown()
    muted = view is not None and not bool(view.nodes[node])
    share = edge.weight / size if size else 0.0
    name, detail = list_name(desk.session, node), short_line(circuit, node)
    named = is_named(desk.session, node)
    return Line(name, detail, share, edge.weight, node, muted, named, edge.index)


def inputs_of(desk: Desk, circuit: Circuit, node: int) -> list[Line]:
    """Return what feeds a node, strongest first; constants are summed into one line.

    Shares are of the whole row, so that with the line of what the node budget left out they add
    up in size to one.
    """
    size = _row_size(circuit, node)
    lines, constant, n_constants = [], 0.0, 0
    for edge in circuit.inputs(node):
        source = int(circuit.edges.source[edge.index])
        if is_constant(circuit, source):
            constant, n_constants = constant + edge.weight, n_constants + 1
        else:
            lines.append(_edge_line(desk, circuit, edge, source, size))
    if n_constants:
        share = constant / size if size else 0.0
        lines.append(Line(tr("position & biases"), tr("constant"), share, constant))
    left_out = float(circuit.unexplained[node])
    if left_out:
        detail = tr("sources beyond the node budget, summed")
        lines.append(Line(tr("left out"), detail, left_out / size, left_out))
    return sorted(lines, key=lambda line: -abs(line.share))


def outputs_of(desk: Desk, circuit: Circuit, node: int) -> list[Line]:
    """Return what a node feeds, by its share of each target's row, largest first."""
    lines = []
    for edge in circuit.outputs(node)[:SHOWN_AT_MOST]:
        target = int(circuit.edges.target[edge.index])
        lines.append(_edge_line(desk, circuit, edge, target, _row_size(circuit, target)))
    return sorted(lines, key=lambda line: -abs(line.share))


class EdgeRow(Clickable):
    """One line: name over its description, a bar, and the signed share at the right."""

    def __init__(self, desk: Desk, line: Line) -> None:
        super().__init__()
        self._desk, self.line = desk, line
        self.setFixedHeight(38)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(0)
        style = ("quiet" if line.muted else "strong") if line.named else "automatic"
        name = elided(line.name, style)
        words.addStretch()
        words.addWidget(name)
        words.addWidget(elided(line.detail, "small"))
        words.addStretch()
        bar = ShareBar(desk.palette)
        bar.set_share(line.share)
        text = signed(line.share)
        sign = "negative" if line.share < 0 else "positive"
        number = text_label(text, sign if text[0] in "+−" else "quiet")
        number.setFixedWidth(40)
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addLayout(words, 1)
        row.addWidget(bar)
        row.addWidget(number)
        hint = tr("contributes {0} to the pre-activation, {1} of its row").format(
            signed(line.weight, 4), percent(line.share, 1)
        )
        hidden = "\n" + tr("hidden in this view") if line.muted else ""
        self.setToolTip(f"{line.name}\n{line.detail}\n{hint}{hidden}")
        self.setAccessibleName(f"{line.name}, {signed(line.share)}")
        if line.node < 0:
            self.setCursor(Qt.CursorShape.ArrowCursor)
            self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Offer to explain the attention that an edge passes."""
        if self.line.edge < 0:
            return
        session, menu = self._desk.session, QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.setToolTipsVisible(True)
        edge = session.circuit.edge(self.line.edge)
        why = menu.addAction(tr("Why did it look there?…"))
        reason = traced_here(session)
        if not is_attention(session.circuit, edge.target.index):
            reason = tr("This edge passes no attention.")
        why.setEnabled(not reason)
        why.setToolTip(reason or tr("Split the edge by head, and show the pairs behind the score."))
        why.triggered.connect(lambda *_: why_there(self._desk, self.line.edge))
        menu.popup(event.globalPos())


class EdgeList(QWidget):
    """A titled list of lines; a click walks to the node."""

    walked = Signal(int)

    def __init__(self, desk: Desk, title: str, lines: list[Line], note: str = "") -> None:
        super().__init__()
        self._desk, self._lines = desk, lines
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        head = QHBoxLayout()
        head.addWidget(section(title))
        head.addStretch()
        head.addWidget(text_label(tr("share"), "small"))
        column.addLayout(head)
        self._rows = QVBoxLayout()
        self._rows.setSpacing(0)
        column.addLayout(self._rows)
        self._more = button("", "link", self._show_all)
        column.addWidget(self._more)
        if note:
            column.addWidget(text_label(note, "note", wrap=True))
        self._fill(SHOWN_FIRST)

    def _show_all(self) -> None:
        self._fill(SHOWN_AT_MOST)

    def _fill(self, limit: int) -> None:
        clear(self._rows)
        for line in self._lines[:limit]:
            row = EdgeRow(self._desk, line)
            if line.node >= 0:
                row.clicked.connect(lambda node=line.node: self.walked.emit(node))
            self._rows.addWidget(row)
        rest = len(self._lines) - limit
        self._more.setVisible(rest > 0)
        self._more.setText(tr("{0} more").format(rest))


def conservation_label(circuit: Circuit, node: int) -> QLabel:
    """Make the line that says whether a row adds up, and what that does not say."""
    if is_relevance(circuit):
        words = tr("relevances along all paths; they do not add up to the whole")
        return text_label(words, "note", wrap=True)
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
