"""Suggested groups, one after the other: seen on the canvas, named, taken or passed over."""

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QListWidget, QVBoxLayout

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, section, text_label
from circuitscope.app.words import DOT, percent, plural, tr
from circuitscope.graph.suggest import Suggestion, suggest_groups
from circuitscope.graph.view import nodes_named
from circuitscope.project import verbs
from circuitscope.project.wording import short


class SuggestionsDialog(QDialog):
    """List the suggestions; the one chosen is selected on the canvas behind the dialog."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.suggestions: list[Suggestion] = []
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("SuggestionsDialog")
        self.setWindowTitle(tr("Suggest groups"))
        self.resize(400, 460)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(8)
        self._told = text_label("", "quiet", wrap=True)
        column.addWidget(self._told)
        column.addWidget(section(tr("Suggestions")))
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Suggested groups"))
        self.list.currentRowChanged.connect(self._preview)
        self.list.itemActivated.connect(lambda *_: self.take())
        column.addWidget(self.list, 1)
        self.name = QLineEdit()
        self.name.setAccessibleName(tr("Name of the group"))
        self.name.setPlaceholderText(tr("a name of yours; left empty, it stays a suggestion"))
        self.name.returnPressed.connect(self.take)
        column.addWidget(self.name)
        row = QHBoxLayout()
        row.setSpacing(8)
        self.skip_button = button(tr("Pass over"), "", self.skip)
        self.take_button = button(tr("Group these"), "primary", self.take)
        self.take_button.setDefault(True)
        row.addWidget(self.skip_button)
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        row.addWidget(self.take_button)
        column.addLayout(row)
        for signal in (desk.session.active_changed, desk.session.project_closed):
            to_gui(signal, lambda *_: self.reject(), self)
        self._fill()

    def _fill(self) -> None:
        session = self._desk.session
        circuit, drawing, view = session.circuit, session.drawing, session.shown()
        assert circuit is not None
        assert drawing is not None
        assert view is not None
        grouped = nodes_named(circuit, dict(drawing.rows), "member")
        self.suggestions = suggest_groups(circuit, view.nodes, grouped)
        for one in self.suggestions:
            size = plural(len(one.members), "node", "nodes")
            layers = circuit.nodes.layer[list(one.members)]
            span = f"L{layers.min()}" + (f"–L{layers.max()}" if np.ptp(layers) else "")
            alike = tr("{0} alike").format(percent(one.similarity))
            self.list.addItem(DOT.join([self._called(one), size, span, alike]))
        self._refresh()
        self.list.setCurrentRow(0)

    def _refresh(self) -> None:
        any_left = bool(self.suggestions)
        for made in (self.take_button, self.skip_button, self.name):
            made.setEnabled(any_left)
        self._told.setText(
            tr("Features whose edges are alike, in layers near each other. The one chosen is "
               "selected on the canvas. Alike edges need not mean one concept: a group stays "
               "marked as suggested until you name it.") if any_left
            else tr("No shown features outside groups have edges enough alike. Show more nodes, "
                    "or group by hand (G).")
        )  # fmt: skip

    def _called(self, one: Suggestion) -> str:
        """Return the word that the members share, or the label of the most influential one."""
        session = self._desk.session
        if one.name or session.circuit is None:
            return one.name
        influence = session.circuit.nodes.influence
        first = max(one.members, key=lambda node: (float(influence[node]), -node))
        return short(session.label(first), 24)

    def _preview(self, at: int) -> None:
        if 0 <= at < len(self.suggestions):
            self._desk.session.select(self.suggestions[at].members)
            self.name.clear()

    def take(self) -> None:
        """Group the members of the suggestion chosen; undoable like any grouping."""
        at, session = self.list.currentRow(), self._desk.session
        if not 0 <= at < len(self.suggestions) or session.circuit is None:
            return
        one, name = self.suggestions[at], self.name.text().strip()
        keys = [str(session.circuit.nodes.key(node)) for node in one.members]
        text, source = name or self._called(one), "person" if name else "machine"
        session.edit(verbs.group, keys, text, source=source)
        self.skip()

    def skip(self) -> None:
        """Take the suggestion chosen off the list."""
        at = self.list.currentRow()
        if 0 <= at < len(self.suggestions):
            del self.suggestions[at]
            self.list.takeItem(at)
            self._refresh()
            self._preview(self.list.currentRow())
