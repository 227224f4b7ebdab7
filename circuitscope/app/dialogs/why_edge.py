"""Why is this edge here? The terms that make its weight, the check of its row, its provenance."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.commands.files import why_there
from circuitscope.app.conditions import traced_here
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.attention import score_of
from circuitscope.app.dialogs.head_parts import HeadParts
from circuitscope.app.naming import is_attention, list_name, short_line
from circuitscope.app.panels.edge_list import gross
from circuitscope.app.panels.overview import number_grid
from circuitscope.app.widgets import (
    MARGIN,
    button,
    give_size,
    hairline,
    scrolled,
    section,
    text_label,
)
from circuitscope.app.words import percent, plain, signed, tr
from circuitscope.core.circuit import Circuit, Edge, Route
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKind
from circuitscope.engine.reasons import HeadPart
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.session.jobs import Job

_ROUTES = {
    Route.DIRECT: "straight through the residual stream, through no other node",
    Route.VALUE: "through the values that attention heads moved, their patterns held fixed",
    Route.QUERY: "through the query side of an attention score",
    Route.KEY: "through the key side of an attention score",
    Route.RELEVANCE: "along all paths, by the rules of contextual decomposition",
    Route.FLOW: "in the stream: it is the share of what the target reads that the source wrote",
    Route.MEASURED: "measured by changing the source in the model",
}


class EdgeDialog(QDialog):
    """Say in plain words how an edge came about.

    Args:
        desk: The window's desk.
        index: An edge of the active circuit.
    """

    def __init__(self, desk: Desk, index: int) -> None:
        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Why is this edge here?"))
        give_size(self, 560, 640)
        circuit = desk.session.circuit
        assert circuit is not None, "the dialog explains an edge of a circuit"
        edge = circuit.edge(index)
        self._desk, self._edge = desk, index
        outer = QVBoxLayout(self)
        outer.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        outer.setSpacing(8)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(8)
        names = [list_name(desk.session, node.index) for node in (edge.source, edge.target)]
        column.addWidget(text_label(" → ".join(names), "heading", wrap=True))
        small = [short_line(circuit, node.index) for node in (edge.source, edge.target)]
        column.addWidget(text_label(" → ".join(small), "small", wrap=True))
        cells = [(tr("weight"), signed(edge.weight, 4), "weight"),
                 (tr("share of that row"), percent(edge.share, 1), "share of row")]  # fmt: skip
        if edge.source.kind is NodeKind.FEATURE:
            cells.append((tr("activation"), plain(edge.source.activation), "activation"))
        column.addLayout(number_grid(cells))
        if is_attention(circuit, edge.target.index):
            self._add_heads(column, circuit)
        for title, lines in (
            (tr("Its terms"), term_lines(circuit, edge)),
            (tr("Check of the row"), check_lines(circuit, edge.target.index)),
            (tr("Provenance"), origin_lines(circuit)),
        ):
            column.addWidget(hairline())
            column.addWidget(section(title))
            words = text_label("\n".join(lines), "", wrap=True)
            words.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse
                | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            column.addWidget(words)
        column.addStretch()
        outer.addWidget(scrolled(inside), 1)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(button(tr("Close"), "primary", self.accept))
        outer.addLayout(row)

    # ---- by heads --------------------------------------------------------------------------
    def _add_heads(self, column: QVBoxLayout, circuit: Circuit) -> None:
        """Name the heads it passes, the word each looked at and how much; a click asks why."""
        column.addWidget(hairline())
        column.addWidget(section(tr("Through attention")))
        self._told = text_label("", "quiet", wrap=True)
        column.addWidget(self._told)
        self.parts = HeadParts(self._desk.palette, circuit)
        self.parts.chosen.connect(self._why)
        column.addWidget(self.parts)
        job, reason = None, traced_here(self._desk.session)
        if not reason:
            try:
                job = self._desk.session.edge_heads.ask(self._edge)
            except CircuitScopeError as error:
                reason = str(error)
        self._told.setText(reason or tr("Computing…"))
        if job is not None:
            to_gui(job.changed, self._heard, self)
        elif not reason:
            self._show_heads()

    def _heard(self, job: Job) -> None:
        if job.state == "done":
            self._show_heads()
        elif job.is_over:
            self._told.setText(str(job.error) if job.error else tr("Cancelled."))

    def _show_heads(self) -> None:
        found = self._desk.session.edge_heads.known(self._edge)
        if found is None:
            return  # another circuit is shown by now
        self.parts.show_parts(found)
        told = tr("Click one: why did it look there?")
        self._told.setText(told if found.parts else tr("All of it passes no head."))

    def _why(self, part: HeadPart) -> None:
        self.accept()
        why_there(self._desk, self._edge, score_of(part))


def term_lines(circuit: Circuit, edge: Edge) -> list[str]:
    """Say what was multiplied: what the source holds, and what one unit of it brings."""
    source, weight = edge.source, edge.weight
    route = edge.route
    if route is Route.DIRECT and is_attention(circuit, edge.target.index):
        route = Route.VALUE  # what feeds a head or attention feature is moved by its heads
    lines = [tr("It travels {0}.").format(tr(_ROUTES[route]))]
    if edge.route in (Route.RELEVANCE, Route.MEASURED, Route.FLOW):
        return lines
    held = source.activation
    if source.kind is NodeKind.FEATURE and held:
        lines += [
            tr("source activation {0} × one unit’s effect {1} = weight {2}").format(
                plain(held, 4), signed(weight / held, 4), signed(weight, 4)
            ),
            tr("One unit’s effect is the source’s decoder row, carried along the path (the "
               "value and output matrices of heads times their pattern weights, where it passes "
               "any; the scales of norms as they were in this run), read by the target’s encoder."),
        ]  # fmt: skip
    else:
        lines.append(
            tr("What the source writes, carried along the path with patterns and the scales of "
               "norms as they were in this run, read by the target: {0}.").format(signed(weight, 4))
        )  # fmt: skip
    lines.append(tr("Held fixed: attention patterns and norms. It is arithmetic; whether the "
                    "model works so is asked by a test."))  # fmt: skip
    return lines


def check_lines(circuit: Circuit, target: int) -> list[str]:
    """Say whether everything into the target gives what the forward pass has there."""
    if is_relevance(circuit):
        return [tr("Relevances do not add up to the whole.")]
    if is_flow(circuit) and circuit.expanded[target]:
        left = percent(float(circuit.unexplained[target]), 1)
        return [tr("All shares of what the target reads add up to 1; constants and what was left "
                   "out have {0}.").format(left)]  # fmt: skip
    if not circuit.expanded[target]:
        return [tr("The target’s inputs were not all computed.")]
    raised, lowered, net = gross(circuit, target)
    return [
        tr("All that feeds the target, with constants and what was left out: {0} and {1}, "
           "together {2}.").format(signed(raised, 4), signed(lowered, 4), signed(net, 4)),
        tr("The forward pass has {0} there; off by {1} of the row’s size.").format(
            signed(float(circuit.preactivation[target]), 4),
            plain(float(circuit.conservation[target])),
        ),
    ]  # fmt: skip


def origin_lines(circuit: Circuit) -> list[str]:
    """Say with what the edge was computed."""
    record = circuit.provenance
    digest = str(record.model.get("digest", ""))[:12]
    model = " ".join(part for part in (str(record.model.get("name", "")), digest) if part)
    found = [
        (tr("method"), record.method), (tr("model"), model),
        (tr("dictionaries"), str(len(record.dictionaries) or "")),
        (tr("precision"), record.dtype), (tr("device"), record.device),
        (tr("seed"), str(record.seed)), (tr("circuit"), circuit.digest[:12]),
        (tr("made with"), f"CircuitScope {record.app_version}"),
    ]  # fmt: skip
    return [f"{name}: {value}" for name, value in found if value]
