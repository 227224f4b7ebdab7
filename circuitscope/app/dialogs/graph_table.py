"""The graph as tables of nodes and edges, for keyboards and screen readers."""

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QTabWidget, QVBoxLayout

from circuitscope.app.commands.files import why_edge
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.naming import kind_words, list_name
from circuitscope.app.table import Cell, Column, Table, TableRow
from circuitscope.app.widgets import MARGIN, STEP, button, give_size, text_label
from circuitscope.app.words import plain, plural, shown_token, signed, tr
from circuitscope.core.circuit import Circuit

MOST_EDGES = 5000


class GraphTableDialog(QDialog):
    """Mirror what the link graph shows; it stays open beside the work and follows it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Graph as tables"))
        self.setObjectName("GraphTable")
        give_size(self, 980, 560)
        self._desk, self._following = desk, False
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.setSpacing(STEP)
        self._told = text_label("", "quiet", wrap=True)
        column.addWidget(self._told)
        self.nodes = Table(tr("Nodes"), (
            Column(tr("Node")), Column(tr("Kind")),
            Column(tr("Layer"), "layer", number=True),
            Column(tr("Position"), "position", number=True), Column(tr("Token")),
            Column(tr("Activation"), "activation", number=True),
            Column(tr("Influence"), "influence", number=True),
        ), desk.palette)  # fmt: skip
        self.edges = Table(tr("Edges"), (
            Column(tr("From")), Column(tr("To")),
            Column(tr("Share"), "share of row", number=True, bar=True),
            Column(tr("Weight"), "weight", number=True),
        ), desk.palette)  # fmt: skip
        self._tabs = QTabWidget()
        self._tabs.setAccessibleName(tr("Nodes or edges"))
        self._tabs.tabBar().setAccessibleName(tr("Nodes or edges"))
        self._tabs.addTab(self.nodes, tr("Nodes"))
        self._tabs.addTab(self.edges, tr("Edges"))
        column.addWidget(self._tabs, 1)
        column.addWidget(button(tr("Close"), "", self.accept), 0, Qt.AlignmentFlag.AlignRight)
        self.nodes.itemSelectionChanged.connect(self._choose_nodes)
        self.edges.itemSelectionChanged.connect(self._choose_ends)
        self.edges.menu_wanted.connect(self._fill_menu)
        self._later = Later(self, self.rebuild)
        for signal in (desk.watch.active, desk.watch.project, desk.watch.edited):
            signal.connect(self._soon)  # Qt drops a method's connection with the dialog
        desk.watch.selection.connect(self._follow)
        self.rebuild()

    def rebuild(self) -> None:
        """Read what the view shows again."""
        session, self._following = self._desk.session, True
        circuit, view = session.circuit, session.shown()
        for table in (self.nodes, self.edges):
            table.setSortingEnabled(False)
            table.clear()
        if circuit is None or view is None:
            self._told.setText(tr("No circuit is open."))
        else:
            shown = np.flatnonzero(view.nodes)
            for node in shown[np.argsort(-circuit.nodes.influence[shown], kind="stable")].tolist():
                self.nodes.add(self._node_cells(circuit, node), node)
            ends = view.nodes[circuit.edges.source] & view.nodes[circuit.edges.target]
            between = np.flatnonzero(ends)
            order = np.argsort(-np.abs(circuit.edges.weight[between]), kind="stable")
            for edge in between[order][:MOST_EDGES].tolist():
                self.edges.add(self._edge_cells(circuit, edge), edge)
            cut = tr(", the strongest {0}").format(MOST_EDGES) if len(order) > MOST_EDGES else ""
            nodes = plural(len(shown), "node", "nodes")
            edges = plural(len(order), "edge", "edges")
            words = tr("{0} and {1} between them{2}. What is selected here is selected there.")
            self._told.setText(words.format(nodes, edges, cut))
        for table in (self.nodes, self.edges):
            table.setSortingEnabled(True)
        self._following = False
        self._follow()

    def _node_cells(self, circuit: Circuit, node: int) -> tuple[Cell, ...]:
        key, view = circuit.nodes.key(node), circuit.node(node)
        return (
            Cell(list_name(self._desk.session, node)), Cell(kind_words(key)),
            Cell(str(key.layer) if key.layer >= 0 else "–", key.layer),
            Cell(str(key.position), key.position), Cell(shown_token(view.token)),
            Cell(plain(view.activation), view.activation),
            Cell(plain(view.influence), view.influence),
        )  # fmt: skip

    def _edge_cells(self, circuit: Circuit, index: int) -> tuple[Cell, ...]:
        edge, session = circuit.edge(index), self._desk.session
        return (
            Cell(list_name(session, edge.source.index)),
            Cell(list_name(session, edge.target.index)),
            Cell(signed(edge.share), edge.share), Cell(signed(edge.weight, 3), edge.weight),
        )  # fmt: skip

    # ---- selection, both ways ------------------------------------------------------------------
    def _soon(self, *_news: object) -> None:
        self._later.within(200)

    def _follow(self, *_news: object) -> None:
        chosen = set(self._desk.session.selection)
        rows = [row for row in self.nodes.rows() if row.thing in chosen]
        if self._following or {row.thing for row in rows if row.isSelected()} == chosen == {
            row.thing for row in self.nodes.rows() if row.isSelected()
        }:
            return
        self._following = True
        self.nodes.clearSelection()
        for row in rows:
            row.setSelected(True)
        if rows:
            self.nodes.scrollToItem(rows[0])
        self._following = False

    def _choose_nodes(self) -> None:
        self._choose([row.thing for row in self.nodes.selected_rows()])

    def _choose_ends(self) -> None:
        circuit = self._desk.session.circuit
        if circuit is not None:
            found = [row for row in self.edges.selectedItems() if isinstance(row, TableRow)]
            ends = [circuit.edge(row.thing) for row in found]
            self._choose([n.index for edge in ends for n in (edge.source, edge.target)])

    def _choose(self, nodes: list[int]) -> None:
        if not self._following:
            self._following = True
            self._desk.session.select(nodes)
            self._following = False

    def _fill_menu(self, menu: object, edge: int | None) -> None:
        if edge is not None:
            ask = menu.addAction(tr("Why is this edge here?…"))  # type: ignore[attr-defined]
            ask.triggered.connect(lambda: why_edge(self._desk, edge))
