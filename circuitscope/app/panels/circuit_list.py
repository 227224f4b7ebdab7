"""The parts of the active circuit that the user has named: groups, then single pinned nodes."""

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QColor, QResizeEvent
from PySide6.QtWidgets import QHeaderView, QMenu, QTreeWidget, QTreeWidgetItem

from circuitscope.app.commands import edits
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.naming import kind_words
from circuitscope.app.theme import px, swatch
from circuitscope.app.words import plural, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.nesting import parents_of, upwards
from circuitscope.core.rows import GROUP_COLORS
from circuitscope.project import verbs
from circuitscope.project.edit import Edit

GROUP = Qt.ItemDataRole.UserRole
NODE = Qt.ItemDataRole.UserRole + 1
_COUNTS_FROM = 170


class CircuitList(QTreeWidget):
    """Groups with their colour and size; a click selects the members."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._filling = False
        self.setColumnCount(2)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(False)
        self.setIndentation(12)
        self.setIconSize(QSize(10, 10))
        self.setUniformRowHeights(True)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setAccessibleName(tr("Groups and pinned nodes"))
        self.setEditTriggers(QTreeWidget.EditTrigger.EditKeyPressed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.header().setStretchLastSection(False)
        self.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.customContextMenuRequested.connect(self._menu)
        self.itemClicked.connect(self._chosen)
        self.itemActivated.connect(self._chosen)
        self.itemChanged.connect(self._renamed)
        self._later = Later(self, self.rebuild)
        desk.watch.edited.connect(self._edited)
        for signal in (desk.watch.active, desk.watch.project):
            signal.connect(lambda *_: self._later.within())
        self.rebuild()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leave out the counts where they would take the names' room."""
        super().resizeEvent(event)
        self.setColumnHidden(1, self.viewport().width() < px(_COUNTS_FROM))

    def _edited(self, edit: Edit) -> None:
        if any(key.kind in ("group", "member", "pin", "label") for key in edit.after):
            self._later.within()

    def rebuild(self) -> None:
        """Read groups and pins of the active drawing again."""
        drawing, circuit = self._desk.session.drawing, self._desk.session.circuit
        self._filling = True
        self.clear()
        if drawing is not None and circuit is not None:
            members, groups = drawing.of_kind("member"), drawing.of_kind("group")
            parents, items = parents_of(groups), dict[str, QTreeWidgetItem]()
            for group_id in sorted(groups, key=lambda name: len(upwards(name, parents))):
                row, keys = groups[group_id], verbs.nodes_in(drawing, group_id)
                color = self._desk.palette.group(str(row.get("color", "")))
                above = items.get(parents.get(group_id, ""))
                item = self._line(str(row["label"]), _member_words(keys), color, above)
                items[group_id] = item
                if row.get("source") == "machine":
                    font = item.font(0)
                    font.setItalic(True)
                    item.setFont(0, font)
                    item.setToolTip(0, tr("Suggested by the program; rename it to make it yours"))
                item.setData(0, GROUP, group_id)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                item.setExpanded(True)
            for key in drawing.of_kind("pin"):
                if key not in members:
                    self._add_pin(circuit, key)
            if not self.topLevelItemCount():
                self._line(tr("nothing pinned or grouped"), "", "").setDisabled(True)
        self._filling = False

    def _add_pin(self, circuit: Circuit, key: str) -> None:
        node = circuit.nodes.find(key)
        if node is None:
            return
        name = NodeKey.parse(key)
        palette = self._desk.palette
        colors = {NodeKind.TOKEN: palette.token, NodeKind.LOGIT: palette.logit}
        word = name.kind.text if name.kind in colors else kind_words(name).split()[-2]
        color = colors.get(name.kind, palette.accent)
        item = self._line(self._desk.session.label(node), word, color)
        item.setData(0, NODE, node)

    def _line(
        self, name: str, size: str, color: str, above: QTreeWidgetItem | None = None
    ) -> QTreeWidgetItem:
        item = QTreeWidgetItem(self if above is None else above, [name, size])
        if color:
            item.setIcon(0, swatch(color))
        item.setToolTip(0, name)
        item.setForeground(1, QColor(self._desk.palette.secondary))
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if not color:
            item.setForeground(0, QColor(self._desk.palette.secondary))
        return item

    def _chosen(self, item: QTreeWidgetItem) -> None:
        if group_id := item.data(0, GROUP):
            edits.select_group(self._desk, group_id)
        elif (node := item.data(0, NODE)) is not None:
            self._desk.session.select([node])

    def _renamed(self, item: QTreeWidgetItem) -> None:
        if not self._filling and item.data(0, GROUP):
            edits.rename_group(self._desk, item.data(0, GROUP), item.text(0))
            self._later.within()

    def _menu(self, at: QPoint) -> None:
        item = self.itemAt(at)
        group_id = item.data(0, GROUP) if item is not None else None
        if not group_id:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(tr("Rename"), lambda: self.editItem(item))
        colors = menu.addMenu(tr("Colour"))
        for color in GROUP_COLORS:
            made = colors.addAction(swatch(self._desk.palette.group(color)), color)
            made.triggered.connect(
                lambda *_, color=color: edits.color_group(self._desk, group_id, color)
            )
        menu.addSeparator()
        is_open = bool((self._desk.session.drawing.row("group", group_id) or {}).get("open"))
        menu.addAction(
            tr("Fold") if is_open else tr("Unfold"),
            lambda: self._desk.session.edit(verbs.open_group, group_id, not is_open),
        )
        menu.addAction(tr("Ungroup"), lambda: self._desk.session.edit(verbs.ungroup, group_id))
        menu.popup(self.viewport().mapToGlobal(at))


def _member_words(keys: list[str]) -> str:
    """Return "6 features", "2 heads", or "3 nodes" where the kinds differ."""
    kinds = {NodeKey.parse(key).kind for key in keys}
    names = {
        NodeKind.FEATURE: ("feature", "features"), NodeKind.HEAD: ("head", "heads"),
        NodeKind.NEURON: ("neuron", "neurons"), NodeKind.TOKEN: ("token", "tokens"),
        NodeKind.LOGIT: ("logit", "logits"),
    }  # fmt: skip
    one, many = names.get(kinds.pop(), ("node", "nodes")) if len(kinds) == 1 else ("node", "nodes")
    return plural(len(keys), one, many)
