"""The project panel: prompts with their circuits, the active circuit's groups, the note."""

from typing import Any

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import (
    QMenu,
    QPlainTextEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.commands import edits, files
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.panels.circuit_list import CircuitList
from circuitscope.app.theme import icon
from circuitscope.app.widgets import MARGIN, STEP, hairline, section
from circuitscope.app.words import DOT, plural, tr
from circuitscope.session.decomposing import is_importance

FINDING = Qt.ItemDataRole.UserRole
_NOTE = "project"
_PICTURES = {"circuit": "route", "ranking": "type"}
_OTHERS = {"importance": "words by weight", "means": "mean activations, for traces"}


class ProjectPanel(QWidget):
    """Show what the project holds; a click on a circuit shows it, F2 renames, Del deletes."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("PanelBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, STEP)
        column.setSpacing(STEP)
        self.tree = ProjectTree(desk)
        self.circuit = CircuitList(desk)
        column.addWidget(self._inset(self.tree), 3)
        column.addWidget(hairline())
        head = section(tr("Circuit"))
        head.setContentsMargins(MARGIN, STEP, MARGIN, 0)
        column.addWidget(head)
        column.addWidget(self._inset(self.circuit), 2)
        column.addWidget(hairline())
        head = section(tr("Notes"))
        head.setContentsMargins(MARGIN, STEP, MARGIN, 0)
        column.addWidget(head)
        self._note = NoteField(desk)
        column.addWidget(self._inset(self._note, STEP), 0)

    def _inset(self, widget: QWidget, extra: int = 0) -> QWidget:
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(STEP + extra, 0, STEP + extra, 0)
        column.addWidget(widget)
        return box


class NoteField(QPlainTextEdit):
    """The note of the whole project; written when the field is left."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.setPlaceholderText(tr("What you found out, and what is still open"))
        self.setAccessibleName(tr("Notes on this project"))
        self.setTabChangesFocus(True)
        self.setFixedHeight(72)
        desk.watch.contents.connect(self.refresh)
        desk.watch.project.connect(lambda *_: self.refresh())
        self.refresh()

    def refresh(self) -> None:
        """Show the note as the project holds it."""
        project = self._desk.session.project
        self.setEnabled(project is not None)
        text = self._stored()
        if text != self.toPlainText():
            self.setPlainText(text)

    def _stored(self) -> str:
        project = self._desk.session.project
        row = project.contents.row("text", _NOTE) if project is not None else None
        return str(row["text"]) if row else ""

    def focusOutEvent(self, event: Any) -> None:
        """Write what was typed."""
        if self._desk.session.project is not None and self.toPlainText() != self._stored():
            edits.write_note(self._desk, self.toPlainText())
        super().focusOutEvent(event)


class ProjectTree(QTreeWidget):
    """Prompts and, below each, the circuits computed for it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._filling = False
        self.setHeaderHidden(True)
        self.setIndentation(16)
        self.setIconSize(QSize(14, 14))
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setUniformRowHeights(True)
        self.setAccessibleName(tr("Project"))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setEditTriggers(QTreeWidget.EditTrigger.EditKeyPressed)
        self.customContextMenuRequested.connect(self._menu)
        self.itemChanged.connect(self._renamed)
        self.currentItemChanged.connect(self._chosen)
        self._later = Later(self, self.rebuild)
        for signal in (desk.watch.contents, desk.watch.project, desk.watch.active):
            signal.connect(lambda *_: self._later.within())
        self.rebuild()

    def rebuild(self) -> None:
        """Show the project's contents as they are now; folded prompts stay folded."""
        project = self._desk.session.project
        folded = {
            item.text(0) for item in self._items() if item.childCount() and not item.isExpanded()
        }
        self._filling = True
        self.clear()
        if project is not None:
            self._fill(project.findings(), folded)
        self._filling = False

    def _fill(self, findings: list[Any], folded: set[str]) -> None:
        root = self._heading(tr("Prompts"))
        prompts: dict[str, QTreeWidgetItem] = {}
        for info in findings:
            words = " ".join(info.prompt.split()) or tr("without a prompt")
            if words not in prompts:
                made = QTreeWidgetItem(root, [words])
                made.setToolTip(0, info.prompt)
                made.setFlags(Qt.ItemFlag.ItemIsEnabled)
                prompts[words] = made
            self._add_finding(prompts[words], info)
        for item in self._items():
            item.setExpanded(item.text(0) not in folded)
        if not findings:
            empty = QTreeWidgetItem(root, [tr("none yet")])
            empty.setFlags(Qt.ItemFlag.NoItemFlags)
            empty.setForeground(0, QColor(self._desk.palette.secondary))
            root.setExpanded(True)

    def _heading(self, text: str) -> QTreeWidgetItem:
        made = QTreeWidgetItem(self, [text])
        font = made.font(0)
        font.setWeight(font.Weight.DemiBold)
        made.setFont(0, font)
        made.setFlags(Qt.ItemFlag.ItemIsEnabled)
        return made

    def _add_finding(self, prompt: QTreeWidgetItem, info: Any) -> None:
        palette = self._desk.palette
        item = QTreeWidgetItem(prompt, [info.name])
        item.setData(0, FINDING, info.id)
        item.setIcon(
            0, icon(_PICTURES.get(info.kind, "file-text"), palette, palette.accent_ink, 14)
        )
        size = plural(info.n_nodes, "node", "nodes") + DOT + plural(info.n_edges, "edge", "edges")
        size = size if info.kind == "circuit" else tr(_OTHERS.get(info.method, ""))
        item.setToolTip(0, f"{info.name}\n{info.method}{DOT}{size}")
        item.setFlags(
            Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable
        )
        if info.id == self._desk.session.active:
            self.setCurrentItem(item)

    def _items(self) -> list[QTreeWidgetItem]:
        found, waiting = [], [self.topLevelItem(i) for i in range(self.topLevelItemCount())]
        while waiting:
            item = waiting.pop()
            found.append(item)
            waiting += [item.child(i) for i in range(item.childCount())]
        return found

    def _chosen(self, item: QTreeWidgetItem | None) -> None:
        finding = item.data(0, FINDING) if item is not None else None
        project = self._desk.session.project
        if not finding or self._filling or project is None:
            return
        info = project.finding(finding)
        if is_importance(info):
            files.weigh_words(self._desk, finding)
        elif info.kind == "circuit" and finding != self._desk.session.active:
            self._desk.session.activate(finding)

    def _renamed(self, item: QTreeWidgetItem) -> None:
        finding = item.data(0, FINDING)
        if self._filling or not finding:
            return
        try:
            edits.rename_circuit(self._desk, finding, item.text(0))
        finally:
            self._later.within()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete takes the chosen circuit out of the project."""
        item = self.currentItem()
        if event.key() == Qt.Key.Key_Delete and item is not None and item.data(0, FINDING):
            edits.delete_circuit(self._desk, item.data(0, FINDING))
            return
        super().keyPressEvent(event)

    def _menu(self, at: QPoint) -> None:
        item = self.itemAt(at)
        finding = item.data(0, FINDING) if item is not None else None
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if finding:
            menu.addAction(tr("Rename"), lambda: self.editItem(item))
            menu.addAction(tr("Delete"), lambda: edits.delete_circuit(self._desk, finding))
            menu.addSeparator()
        menu.addAction(self._desk.actions["trace.new"])
        menu.addAction(self._desk.actions["file.import"])
        menu.popup(self.viewport().mapToGlobal(at))
