"""What the inspector shows when no single node is selected: the circuit, or several nodes."""

from collections.abc import Sequence
from functools import partial

from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.meanings import explain
from circuitscope.app.naming import is_named, list_name, root_share, short_line
from circuitscope.app.theme import px
from circuitscope.app.widgets import (
    MARGIN,
    Clickable,
    button,
    elided,
    hairline,
    section,
    text_label,
)
from circuitscope.app.words import percent, plain, plural, shown_token, signed, significant, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.model_check import HELD
from circuitscope.graph.influence import is_flow, is_relevance, scores, strengths

LISTED_AT_MOST = 40
MOST_UNEXPLAINED = 0.5
"""An error share above this is said in a banner."""


def number_grid(cells: Sequence[tuple[str, str, str]]) -> QGridLayout:
    """Make a two-column grid of captions over numbers, each with its entry of `MEANINGS`."""
    grid = QGridLayout()
    grid.setContentsMargins(0, 4, 0, 4)
    grid.setHorizontalSpacing(16)
    grid.setVerticalSpacing(8)
    for at, (caption, value, name) in enumerate(cells):
        cell = QVBoxLayout()
        cell.setSpacing(0)
        for label in (elided(caption, "small"), text_label(value, "value")):
            explain(label, name, f"{caption}: {value}")
            cell.addWidget(label)
        grid.addLayout(cell, at // 2, at % 2)
        grid.setColumnStretch(at % 2, 1)
    return grid


class NodeRow(Clickable):
    """A node in a list: name over its description, a number at the right."""

    def __init__(self, desk: Desk, node: int, detail: str, number: str) -> None:
        super().__init__()
        name, named = list_name(desk.session, node), is_named(desk.session, node)
        self.setFixedHeight(px(38))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addStretch()
        words.addWidget(elided(name, "strong" if named else "automatic"))
        words.addWidget(elided(detail, "small"))
        words.addStretch()
        row.addLayout(words, 1)
        row.addWidget(text_label(number, "quiet"))
        self.setToolTip(f"{name}\n{detail}")
        self.setAccessibleName(f"{name}, {number}")


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
    column.setSpacing(8)
    return column


def _banner(words: str) -> QFrame:
    frame = QFrame()
    frame.setProperty("look", "warning")
    around = QVBoxLayout(frame)
    around.setContentsMargins(12, 8, 12, 8)
    around.addWidget(text_label(words, wrap=True))
    return frame


class CircuitOverview(QWidget):
    """The circuit as a whole: what is explained, and how much of it the dictionaries carry."""

    def __init__(self, desk: Desk, circuit: Circuit) -> None:
        super().__init__()
        column = _column(self)
        column.addWidget(text_label(tr("circuit"), "small"))
        column.addWidget(text_label(circuit.prompt, "heading", wrap=True))
        column.addSpacing(4)
        column.addWidget(section(tr("Explains")))
        for root in circuit.roots.tolist():
            row = NodeRow(desk, root, _root_words(circuit, root), root_share(circuit, root))
            row.clicked.connect(lambda node=root: desk.session.select([node]))
            column.addWidget(row)
        column.addWidget(hairline())
        remarks = circuit.provenance.remarks
        for remark in remarks:
            if HELD in remark:
                column.addWidget(_banner(remark))
        if is_relevance(circuit):
            column.addLayout(number_grid(_relevance_cells(circuit)))
        elif is_flow(circuit):
            followed = percent(circuit.provenance.scores.get("followed", 0.0))
            column.addLayout(number_grid([(tr("followed to the words"), followed, "followed")]))
        else:
            self._add_scores(column, circuit)
        column.addWidget(hairline())
        column.addWidget(section(tr("Strongest")))
        for node in _strongest(circuit):
            row = NodeRow(desk, node, short_line(circuit, node), _strength(circuit, node))
            row.clicked.connect(lambda node=node: desk.session.select([node]))
            column.addWidget(row)
        column.addWidget(hairline())
        hint = tr("Click a node; Ctrl-click pins; Shift-click or drag selects several; G groups.")
        column.addWidget(text_label(hint, "note", wrap=True))
        others = [remark for remark in remarks if HELD not in remark]
        if others:
            column.addWidget(section(tr("Remarks")))
        for remark in others:
            column.addWidget(text_label(remark, "note", wrap=True))
        column.addStretch()

    def _add_scores(self, column: QVBoxLayout, circuit: Circuit) -> None:
        found = scores(circuit)
        if found["error_share"] > MOST_UNEXPLAINED:
            words = tr("Most of this logit is carried by parts the dictionaries do not explain.")
            column.addWidget(_banner(words))
        names = {"replacement": tr("replacement"), "completeness": tr("completeness"),
                 "error_share": tr("error share")}  # fmt: skip
        column.addLayout(
            number_grid([
                *((names[key], percent(found[key]), key.replace("_", " ")) for key in names),
                (tr("nodes in all"), plural(len(circuit.nodes), "node", "nodes"), "nodes"),
            ])
        )  # fmt: skip


def _relevance_cells(circuit: Circuit) -> list[tuple[str, str, str]]:
    """Return the numbers of a circuit of relevances, the sum of the parts beside the whole."""
    found = circuit.provenance.scores
    names = {
        "faithfulness": (tr("faithfulness"), "faithfulness"),
        "circuit": (tr("circuit alone"), "circuit alone"),
        "whole": (tr("whole"), "whole"),
        "sum_of_parts": (tr("sum of the parts"), "sum of parts"),
    }
    return [(*_pair(name, found[key]), told) for key, (name, told) in names.items()
            if key in found]  # fmt: skip


def _pair(name: str, value: float) -> tuple[str, str]:
    return name, plain(value)


def _strength(circuit: Circuit, node: int) -> str:
    """Return the number by which nodes are listed: influence, or relevance for the metric."""
    if is_relevance(circuit):
        return signed(float(circuit.nodes.activation[node]))
    return significant(float(circuit.nodes.influence[node]))


def _root_words(circuit: Circuit, root: int) -> str:
    token = circuit.node(root).token
    kind = NodeKind(int(circuit.nodes.kind[root]))
    words = tr("logit after “{0}”") if kind is NodeKind.LOGIT else tr("at “{0}”")
    return words.format(shown_token(token))


def _strongest(circuit: Circuit, most: int = 5) -> list[int]:
    nodes = circuit.nodes
    usable = nodes.of_kind(NodeKind.FEATURE, NodeKind.NEURON, NodeKind.HEAD)
    order = (-strengths(circuit) * usable).argsort(kind="stable")[:most]
    return [int(node) for node in order if usable[node]]


class SelectionOverview(QWidget):
    """Several nodes: what can be done with them, their summed influence, and the list."""

    def __init__(self, desk: Desk, circuit: Circuit, chosen: Sequence[int]) -> None:
        super().__init__()
        column = _column(self)
        column.addWidget(text_label(tr("selection"), "small"))
        column.addWidget(text_label(plural(len(chosen), "node", "nodes"), "name"))
        row = QHBoxLayout()
        row.setSpacing(8)
        for words, action in ((tr("Group"), "graph.group"), (tr("Pin"), "graph.pin"),
                              (tr("Hide"), "graph.hide")):  # fmt: skip
            made = button(words, on_click=partial(desk.trigger, action))
            row.addWidget(made)
        row.addStretch()
        column.addLayout(row)
        column.addWidget(hairline())
        order = sorted(chosen, key=(-strengths(circuit)).__getitem__)
        for node in order[:LISTED_AT_MOST]:
            line = NodeRow(desk, node, short_line(circuit, node), _strength(circuit, node))
            line.clicked.connect(lambda node=node: desk.session.select([node]))
            column.addWidget(line)
        if len(order) > LISTED_AT_MOST:
            column.addWidget(
                text_label(tr("{0} more").format(len(order) - LISTED_AT_MOST), "small")
            )
        relevant = is_relevance(circuit)
        words = tr("the numbers are relevances") if relevant else tr("the numbers are influences")
        if is_flow(circuit):
            words = tr("the numbers are importances: shares of the last state")
        column.addWidget(text_label(words, "note"))
        column.addStretch()
