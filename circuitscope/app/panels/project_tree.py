"""The project panel: the tree of what a project holds, the circuit's groups, the note."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import (
    QMenu,
    QPlainTextEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.commands import contents, edits
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.later import Later
from circuitscope.app.panels.circuit_list import CircuitList
from circuitscope.app.panels.tree_lines import PROJECT_NOTE, Line, sections
from circuitscope.app.theme import icon, px
from circuitscope.app.widgets import MARGIN, STEP, hairline, section
from circuitscope.app.words import tr
from circuitscope.core.binding import Binding
from circuitscope.core.errors import CircuitScopeError
from circuitscope.project.edit import Edit

FINDING = Qt.ItemDataRole.UserRole
KIND = Qt.ItemDataRole.UserRole + 1
THING = Qt.ItemDataRole.UserRole + 2
SHOWN = Qt.ItemDataRole.UserRole + 3
_COPIED = ("finding", "drawing", "text", "note")
_OPENS = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_CONTROL = Qt.KeyboardModifier.ControlModifier
_FEW_LINES = 120


class ProjectPanel(QWidget):
    """Show what the project holds; a click on a circuit shows it, F2 renames, Del deletes."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setMinimumWidth(px(150))  # below, no name can be read
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
        self.setFixedHeight(px(72))
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
        row = project.contents.row("text", PROJECT_NOTE) if project is not None else None
        return str(row["text"]) if row else ""

    def focusOutEvent(self, event: Any) -> None:
        """Write what was typed."""
        if self._desk.session.project is not None and self.toPlainText() != self._stored():
            edits.write_note(self._desk, self.toPlainText())
        super().focusOutEvent(event)


class ProjectTree(QTreeWidget):
    """Prompts with their circuits, the drawings of the one shown, runs and notes.

    A click shows a line's thing, F2 renames it, Ctrl+D duplicates it, Del deletes it. Ctrl and a
    click on a circuit take it as the second one of a comparison.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._filling = False
        self._folded: set[tuple[str, str]] = set()
        self._left = ""
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
        self.itemClicked.connect(lambda item, _at: self._open(item))
        self.itemCollapsed.connect(lambda item: self._fold(item, folded=True))
        self.itemExpanded.connect(lambda item: self._fold(item, folded=False))
        self._later = Later(self, self.rebuild)
        for signal in (desk.watch.contents, desk.watch.project, desk.watch.active):
            signal.connect(lambda *_: self._later.within())
        desk.watch.edited.connect(self._edited)
        self.rebuild()

    def _edited(self, edit: Edit) -> None:
        if any(key.kind in ("note", "run", "label") for key in edit.after):
            self._later.within()

    def rebuild(self) -> None:
        """Show the project's contents as they are now; what was folded stays folded."""
        kept = self._line(self.currentItem())
        wanted = kept[0] if kept is not None else "finding"
        kept = None if wanted in ("finding", "drawing") else kept
        self._filling = True
        self.clear()
        for heading, lines in sections(self._desk.session, self._desk.second):
            root = self._parent(self, heading)
            prompts: dict[str, QTreeWidgetItem] = {}
            for line in lines:
                if line.under and line.under not in prompts:
                    prompts[line.under] = self._parent(root, line.under)
                self._add(prompts.get(line.under, root), line)
            if not lines:
                self._add(root, Line("", "", tr("none yet")))
        for item in self._items():
            item.setExpanded(_place(item) not in self._folded)
            its = self._line(item)
            # Of circuits and drawings the one on screen is the current one, whoever chose it.
            on_screen = its is not None and item.data(0, SHOWN) and its[0] == wanted
            if on_screen or (its is not None and its == kept):
                self.setCurrentItem(item)
        self._filling = False

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Look from the top once there is room: the current line was shown in a line or two."""
        super().resizeEvent(event)
        if event.oldSize().height() < px(_FEW_LINES) < event.size().height():
            self.verticalScrollBar().setValue(0)
            if (current := self.currentItem()) is not None:
                self.scrollToItem(current)

    def _parent(self, above: "QTreeWidget | QTreeWidgetItem", text: str) -> QTreeWidgetItem:
        made = QTreeWidgetItem(above, [text])
        made.setToolTip(0, text)
        made.setFlags(Qt.ItemFlag.ItemIsEnabled)
        if above is self:
            font = made.font(0)
            font.setWeight(font.Weight.DemiBold)
            made.setFont(0, font)
        return made

    def _add(self, above: QTreeWidgetItem, line: Line) -> None:
        palette = self._desk.palette
        item = QTreeWidgetItem(above, [line.text])
        item.setToolTip(0, line.tip)
        if not line.kind:
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setForeground(0, QColor(palette.secondary))
            return
        item.setData(0, KIND, line.kind)
        item.setData(0, FINDING if line.kind == "finding" else THING, line.id)
        item.setData(0, SHOWN, line.is_shown)
        color = palette.accent_ink if line.is_shown or line.kind == "finding" else palette.secondary
        item.setIcon(0, icon(line.picture, palette, color, 14))
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if line.renamable else flags)
        if line.is_shown:
            font = item.font(0)
            font.setWeight(font.Weight.Medium)
            item.setFont(0, font)

    def _items(self) -> list[QTreeWidgetItem]:
        found, waiting = [], [self.topLevelItem(i) for i in range(self.topLevelItemCount())]
        while waiting:
            item = waiting.pop()
            found.append(item)
            waiting += [item.child(i) for i in range(item.childCount())]
        return found

    def _fold(self, item: QTreeWidgetItem, *, folded: bool) -> None:
        if not self._filling:
            (self._folded.add if folded else self._folded.discard)(_place(item))

    def _line(self, item: QTreeWidgetItem | None) -> tuple[str, str] | None:
        """Return kind and id of what a line stands for."""
        kind = item.data(0, KIND) if item is not None else None
        return (kind, item.data(0, FINDING) or item.data(0, THING)) if kind else None

    def _chosen(self, item: QTreeWidgetItem | None) -> None:
        line, session = self._line(item), self._desk.session
        if line is None or self._filling or session.project is None:
            return
        kind, name = line
        if kind == "finding":
            if not self._is_result(line) and name != session.active:
                self._left = session.active
                session.activate(name)
        elif kind == "drawing":
            contents.show_drawing(self._desk, name)
        elif kind == "run":
            row = session.drawing.row("run", name) or {}
            self._select([str(key) for key in row.get("subject", ())])
        elif kind == "note":
            row = session.drawing.row("note", name) or {}
            self._select(list(Binding.parse(str(row.get("about", ""))).ends))

    def _open(self, item: QTreeWidgetItem) -> None:
        """Open a result that is no circuit; every click does, also on the line chosen already."""
        line = self._line(item)
        if line is not None and self._is_result(line):
            try:
                contents.open_result(self._desk, line[1])
            except CircuitScopeError as error:
                show_error(self._desk.window, error)

    def _select(self, keys: list[str]) -> None:
        circuit = self._desk.session.circuit
        found = [circuit.nodes.find(key) for key in keys if "/" in key]
        if any(node is not None for node in found):
            self._desk.session.select([node for node in found if node is not None])

    def _renamed(self, item: QTreeWidgetItem) -> None:
        line = self._line(item)
        if self._filling or line is None:
            return
        try:
            contents.rename(self._desk, *line, item.text(0))
        except CircuitScopeError as error:
            show_error(self._desk.window, error)
        finally:
            self._later.within()

    def _do(self, command: Callable[..., None], line: tuple[str, str]) -> None:
        try:
            command(self._desk, *line)
        except CircuitScopeError as error:
            show_error(self._desk.window, error)
        self._later.within()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take a circuit as the second one of a comparison where Ctrl is held, or no more."""
        line = self._line(self.itemAt(event.position().toPoint()))
        picks = event.modifiers() & _CONTROL and line is not None and line[0] == "finding"
        if not picks or line is None or self._is_result(line):
            super().mousePressEvent(event)
        elif line[1] != self._desk.session.active:
            self._desk.second = "" if self._desk.second == line[1] else line[1]
            self.rebuild()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return opens a result, Delete takes a line out of the project, Ctrl+D copies it."""
        line = self._line(self.currentItem())
        copies = event.key() == Qt.Key.Key_D and event.modifiers() == _CONTROL
        if line is not None and event.key() == Qt.Key.Key_Delete:
            self._do(contents.delete, line)
        elif line is not None and copies and line[0] in _COPIED:
            self._do(contents.duplicate, line)
        elif line is not None and event.key() in _OPENS and self._is_result(line):
            self._open(self.currentItem())
        else:
            super().keyPressEvent(event)

    def _menu(self, at: QPoint) -> None:
        self.menu_of(self.itemAt(at)).popup(self.viewport().mapToGlobal(at))

    def menu_of(self, item: QTreeWidgetItem | None) -> QMenu:
        """Return the menu of a line, or of the empty part below them."""
        line, desk = self._line(item), self._desk
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.setToolTipsVisible(True)
        if line is not None and item is not None:
            kind, name = line
            if item.flags() & Qt.ItemFlag.ItemIsEditable:
                menu.addAction(tr("Rename"), lambda: self.editItem(item))
            if kind in _COPIED and not self._is_result(line):
                text = tr("Duplicate drawing") if kind == "finding" else tr("Duplicate")
                menu.addAction(text, lambda: self._do(contents.duplicate, line))
            menu.addAction(tr("Delete"), lambda: self._do(contents.delete, line))
            menu.addSeparator()
            if kind == "finding" and not self._is_result(line):
                other = desk.actions["verify.compare"]
                entry = menu.addAction(
                    tr("Compare with…"), lambda: contents.compare_with(desk, name, self._before())
                )
                entry.setEnabled(other.isEnabled())
                entry.setToolTip(other.toolTip())
                again = menu.addAction(
                    tr("Trace again with changes…"), lambda: contents.trace_again(desk, name)
                )
                if "targets" not in desk.session.project.circuit(name).provenance.settings:
                    again.setEnabled(False)
                    again.setToolTip(tr("This circuit was not traced here."))
        for action in ("project.new_drawing", "project.note", "trace.new", "file.import"):
            menu.addAction(desk.actions[action])
        return menu

    def _before(self) -> str:
        """Return the second circuit, or what was on screen before a click, also a right one."""
        session, second = self._desk.session, self._desk.second
        known = [info.id for info in session.project.findings()] if session.project else []
        chosen = second if second in known and second != session.active else self._left
        return chosen if chosen in known else ""

    def _is_result(self, line: tuple[str, str]) -> bool:
        """Say whether a line is a finding that is no circuit."""
        project = self._desk.session.project
        return line[0] == "finding" and project.finding(line[1]).kind != "circuit"


def _place(item: QTreeWidgetItem) -> tuple[str, str]:
    above = item.parent()
    return (above.text(0) if above is not None else "", item.text(0))
