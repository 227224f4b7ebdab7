"""The inspector: what the selected node is, what feeds it, what it feeds."""

from typing import Any

from PySide6.QtCore import Qt
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
from circuitscope.app.naming import is_named, kind_line, list_name, root_share
from circuitscope.app.panels.edge_list import EdgeList, conservation_label, inputs_of, outputs_of
from circuitscope.app.panels.feature_page import add_page
from circuitscope.app.panels.overview import CircuitOverview, SelectionOverview
from circuitscope.app.theme import swatch
from circuitscope.app.widgets import (
    MARGIN,
    elided,
    hairline,
    scrolled,
    section,
    show_in,
    text_label,
)
from circuitscope.app.words import DOT, percent, plain, signed, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.graph.influence import is_relevance
from circuitscope.project import verbs
from circuitscope.project.edit import Edit
from circuitscope.session import feature_work

_ONE_LINE = 18
_UNHURRIED_MS = 300
NO_GROUP = "none"
NEW_GROUP = "new"


class InspectorPanel(QWidget):
    """Show the selected node, several nodes, or the circuit when nothing is selected."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("PanelBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(tr("Inspector"))
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self._scroll = scrolled(QWidget())
        outer.addWidget(self._scroll)
        self._later = Later(self, self.rebuild)
        watch = desk.watch
        for signal in (watch.selection, watch.active, watch.project):
            signal.connect(lambda *_: self._rebuild_from_top())
        watch.edited.connect(self._edited)
        watch.contents.connect(lambda *_: self._later.within())
        self.rebuild()

    def _edited(self, edit: Edit) -> None:
        only_view = all(key.kind in ("view", "place") for key in edit.after)
        if only_view and len(self._desk.session.selection) != 1:
            return  # neither the circuit as a whole nor a list of nodes depends on thresholds
        self._later.within(_UNHURRIED_MS if only_view else 0)

    def _rebuild_from_top(self) -> None:
        self._scroll.verticalScrollBar().setValue(0)
        self._later.within()

    def rebuild(self) -> None:
        """Show the selection as it is now; the place scrolled to is kept."""
        at = self._scroll.verticalScrollBar().value()
        show_in(self._scroll, self._content())
        self._scroll.verticalScrollBar().setValue(at)

    def _content(self) -> QWidget:
        circuit, chosen = self._desk.session.circuit, self._desk.session.selection
        if circuit is None:
            return _Hint(
                tr("Open a project or trace a sentence; what you click is explained here.")
            )
        if not chosen:
            return CircuitOverview(self._desk, circuit)
        if len(chosen) > 1:
            return SelectionOverview(self._desk, circuit, chosen)
        return NodeCard(self._desk, circuit, int(chosen[0]))

    def edit_label(self) -> None:
        """Put the cursor into the label field of the selected node."""
        self._later.stop()
        self.rebuild()
        content = self._scroll.widget()
        if isinstance(content, NodeCard):
            content.label_field.setFocus(Qt.FocusReason.ShortcutFocusReason)
            content.label_field.selectAll()


class _Hint(QWidget):
    def __init__(self, text: str) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.addWidget(text_label(text, "quiet", wrap=True))
        column.addStretch()


class NodeCard(QWidget):
    """Everything about one node."""

    def __init__(self, desk: Desk, circuit: Circuit, node: int) -> None:
        super().__init__()
        self._desk, self._circuit, self._node = desk, circuit, node
        self._key = str(circuit.nodes.key(node))
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        column.setSpacing(8)
        self._add_name(column)
        self._add_fields(column)
        column.addLayout(self._numbers())
        self._add_flow(column)
        if circuit.nodes.key(node).kind is NodeKind.FEATURE:
            add_page(column, desk, circuit, node)
        column.addWidget(hairline())
        column.addWidget(section(tr("Provenance")))
        column.addWidget(text_label(_provenance_words(circuit), "small", wrap=True))
        column.addStretch()

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
        line.addWidget(name, 0 if short else 1)
        if row:
            source = {"person": tr("yours"), "imported": tr("imported")}
            badge = text_label(source.get(row.get("source", ""), tr("suggested")), "badge")
            line.addWidget(badge, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addStretch(1 if short else 0)
        top.addLayout(line)
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
    def _numbers(self) -> QGridLayout:
        nodes, circuit = self._circuit.nodes, self._circuit
        target, weight, share = _contribution(circuit, self._node)
        kind = NodeKind(int(nodes.kind[self._node]))
        is_root = self._node in circuit.roots.tolist()
        first = (tr("activation"), plain(float(nodes.activation[self._node])))
        if kind is NodeKind.LOGIT:
            first = (tr("logit"), plain(float(nodes.activation[self._node])))
        whole = float(circuit.root_weights.sum()) or 1.0
        influence = plain(float(nodes.influence[self._node]) / whole)
        cells = [
            (*first, tr("What the node holds in this run of the model.")),
            (tr("influence"), influence,
             tr("Share of the explanation that passes through it, over all paths; unsigned.")),
        ]  # fmt: skip
        if is_relevance(circuit):
            cells = _relevance_cells(circuit, self._node, is_root=is_root)
        elif is_root and (share := root_share(circuit, self._node)):
            cells[1] = (tr("probability"), share, tr("What the model gives this token here."))
        elif is_root:
            cells.pop()
        else:
            where = self._desk.session.label(target) if target >= 0 else ""
            caption = tr("direct to {0}").format(where) if where else tr("direct to target")
            none = tr("It reaches the explained token only through other nodes.")
            cells += [
                (caption, signed(weight) if where else "–",
                 tr("Its edge into the explained node.") if where else none),
                (tr("share of that row"), percent(share, 1) if where else "–",
                 tr("This edge / sum of the sizes of all edges into the target.")),
            ]  # fmt: skip
        grid = QGridLayout()
        grid.setContentsMargins(0, 4, 0, 4)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(8)
        for at, (caption, value, help_text) in enumerate(cells):
            cell = QVBoxLayout()
            cell.setSpacing(0)
            small, large = elided(caption, "small"), text_label(value, "value")
            for label in (small, large):
                label.setToolTip(help_text)
                cell.addWidget(label)
            grid.addLayout(cell, at // 2, at % 2)
            grid.setColumnStretch(at % 2, 1)
        return grid

    # ---- what feeds it and what it feeds --------------------------------------------------
    def _add_flow(self, column: QVBoxLayout) -> None:
        kind = NodeKind(int(self._circuit.nodes.kind[self._node]))
        fed_by = inputs_of(self._desk, self._circuit, self._node)
        sources = (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.BIAS, NodeKind.ERROR)
        if kind not in sources:
            column.addWidget(hairline())
            self._add_list(column, tr("Fed by"), fed_by)
            column.addWidget(conservation_label(self._circuit, self._node))
        if kind is NodeKind.ERROR:
            words = tr("What the dictionaries here do not explain: the module's true output minus "
                       "their reconstruction. It has no inputs of its own.")  # fmt: skip
            column.addWidget(text_label(words, "note", wrap=True))
        feeds = outputs_of(self._desk, self._circuit, self._node)
        if feeds or kind is not NodeKind.LOGIT:
            column.addWidget(hairline())
            self._add_list(column, tr("Feeds"), feeds)

    def _add_list(self, column: QVBoxLayout, title: str, lines: list) -> None:
        made = EdgeList(self._desk, title, lines, "" if lines else tr("nothing in this circuit"))
        made.walked.connect(lambda node: self._desk.session.select([node]))
        column.addWidget(made)


def _contribution(circuit: Circuit, node: int) -> tuple[int, float, float]:
    """Return the strongest direct edge into a root: target, weight and share of its row."""
    roots = set(circuit.roots.tolist())
    edges = [e for e in circuit.outputs(node) if int(circuit.edges.target[e.index]) in roots]
    if not edges:
        return -1, 0.0, 0.0
    weights = dict(zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True))
    best = max(edges, key=lambda e: weights[int(circuit.edges.target[e.index])])
    return int(circuit.edges.target[best.index]), best.weight, best.share


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


def _relevance_cells(circuit: Circuit, node: int, *, is_root: bool) -> list[tuple[str, str, str]]:
    """Return the numbers of a node of a circuit of relevances."""
    held = float(circuit.nodes.activation[node])
    if is_root:
        whole = (tr("metric"), plain(held), tr("Of the model itself, averaged over the prompts."))
        return [whole]
    told = tr("What of the metric follows from it along all paths, averaged over the prompts.")
    metric = abs(float(circuit.preactivation[circuit.roots[0]])) or 1.0
    return [
        (tr("relevance"), signed(held), told),
        (tr("of the whole"), percent(held / metric, 1), tr("Relevances do not add up to it.")),
    ]
