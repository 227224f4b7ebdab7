"""Colour and shape of nodes: of the selected ones by hand, of others by rules."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QComboBox, QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.canvas.link_paint import paint_glyph
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import swatch
from circuitscope.app.widgets import button, give_size, hairline, look, section, text_label
from circuitscope.app.words import count, plural, tr
from circuitscope.core.errors import CircuitScopeError, QueryError
from circuitscope.core.rows import GROUP_COLORS, LOOK_SHAPES
from circuitscope.exchange.theme import NAMED_SHAPES
from circuitscope.graph.looks import rules_of
from circuitscope.graph.query import Matcher, parse_query
from circuitscope.project import looks as verbs

_OWN = ""


class LooksDialog(QDialog):
    """Give nodes colours and shapes; every change is seen behind the dialog and can be undone."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("LooksDialog")
        self.setWindowTitle(tr("Colour and shape"))
        give_size(self, 560, 520)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(8)
        column.addWidget(section(tr("Selected nodes, by hand")))
        self._selected = text_label("", "quiet", wrap=True)
        column.addWidget(self._selected)
        self.hand = LookChoice(desk)
        self.apply_button = button(tr("Apply"), "", self.apply)
        column.addWidget(_row(self.hand, self.apply_button))
        column.addWidget(hairline())
        column.addWidget(section(tr("Rules, the first that a node meets counts")))
        self.rules = Table(tr("Rules"), (
            Column(tr("Nodes that are")), Column(tr("Colour")), Column(tr("Shape")),
            Column(tr("Found"), "nodes", number=True),
        ), desk.palette)  # fmt: skip
        self.rules.setSelectionMode(Table.SelectionMode.SingleSelection)
        self.rules.itemSelectionChanged.connect(self._refresh)
        column.addWidget(self.rules, 1)
        self.query = QLineEdit()
        self.query.setAccessibleName(tr("Condition of a new rule"))
        self.query.setPlaceholderText(
            tr("kind:attention · layer:2-5 · group:Texas · label:capital · sign:-")
        )
        self.query.returnPressed.connect(self.add_rule)
        column.addWidget(self.query)
        self.rule = LookChoice(desk)
        self.add_button = button(tr("Add rule"), "", self.add_rule)
        column.addWidget(_row(self.rule, self.add_button))
        self.told = text_label("", "quiet", wrap=True)
        column.addWidget(self.told)
        foot = QHBoxLayout()
        self.remove_button = button(tr("Remove rule"), "", self.remove_rule)
        foot.addWidget(self.remove_button)
        foot.addStretch()
        close = button(tr("Close"), "primary", self.accept)
        close.setDefault(True)
        foot.addWidget(close)
        column.addLayout(foot)
        for made in (self.apply_button, self.add_button, self.remove_button):
            made.setAutoDefault(False)
        self._later = Later(self, self._fill)
        desk.watch.edited.connect(self._edited)
        desk.watch.selection.connect(self._refresh)
        for signal in (desk.session.active_changed, desk.session.project_closed):
            to_gui(signal, lambda *_: self.reject(), self)
        self.told.setText(tr("A condition is in the words of the search (Ctrl+F)."))
        self._fill()

    def _fill(self) -> None:
        circuit, drawing = self._desk.session.circuit, self._desk.session.drawing
        if circuit is None or drawing is None:
            return
        rows, palette = dict(drawing.rows), self._desk.palette
        matcher = Matcher(circuit, rows)
        self.rules.setSortingEnabled(False)
        self.rules.clear()
        for name, row in rules_of(rows):
            color, shape = str(row.get("color", "")), str(row.get("shape", ""))
            try:
                found = int(matcher.find(parse_query(str(row["query"]))).sum())
            except QueryError:
                found = 0
            cells = (Cell(str(row["query"])), Cell(tr(color) or "–"), Cell(tr(shape) or "–"),
                     Cell(count(found), found))  # fmt: skip
            made = self.rules.add(cells, name)
            if color:
                made.setIcon(1, swatch(palette.group(color)))
            if shape:
                made.setIcon(2, shape_icon(self._desk, shape))
        self._refresh()

    def _edited(self, *_: object) -> None:
        self._later.within()

    def _refresh(self, *_: object) -> None:
        number = len(self._desk.session.selection)
        told = tr("Select nodes on the canvas; the dialog stays open.")
        self._selected.setText(plural(number, "node", "nodes") if number else told)
        self.apply_button.setEnabled(bool(number))
        self.remove_button.setEnabled(bool(self.rules.selected_rows()))

    def apply(self) -> None:
        """Give the selected nodes the look chosen for them."""
        session = self._desk.session
        if session.selection:
            session.edit(verbs.look, session.selected_keys(), *self.hand.chosen())

    def add_rule(self) -> None:
        """Add the rule that was written, or say what is wrong with it."""
        try:
            self._desk.session.edit(verbs.look_rule, self.query.text(), *self.rule.chosen())
        except CircuitScopeError as error:
            self.told.setText(str(error))
            look(self.told, "error")
            return
        self.query.clear()
        look(self.told, "quiet")
        self.told.setText(tr("Added; the legend names it."))

    def remove_rule(self) -> None:
        """Take the selected rule away."""
        for made in self.rules.selected_rows():
            self._desk.session.edit(verbs.remove_look_rule, made.thing)


class LookChoice(QWidget):
    """Choose a colour and a shape, each with "its own"."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        self.color, self.shape = QComboBox(), QComboBox()
        self.color.setAccessibleName(tr("Colour"))
        self.shape.setAccessibleName(tr("Shape"))
        self.color.addItem(tr("its own colour"), _OWN)
        self.shape.addItem(tr("its own shape"), _OWN)
        for name in GROUP_COLORS:
            self.color.addItem(swatch(desk.palette.group(name)), tr(name), name)
        for name in LOOK_SHAPES:
            self.shape.addItem(shape_icon(desk, name), tr(name), name)
        row.addWidget(self.color, 1)
        row.addWidget(self.shape, 1)

    def chosen(self) -> tuple[str, str]:
        """Return the names of colour and shape, "" for its own."""
        return str(self.color.currentData()), str(self.shape.currentData())


def shape_icon(desk: Desk, name: str) -> QIcon:
    """Return the picture of a shape."""
    ratio = desk.window.devicePixelRatioF()
    made = QPixmap(round(16 * ratio), round(16 * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    at = made.rect().toRectF().center() / ratio
    paint_glyph(painter, NAMED_SHAPES[name], at, desk.palette, desk.palette.secondary)
    painter.end()
    return QIcon(made)


def _row(*widgets: QWidget) -> QWidget:
    made = QWidget()
    row = QHBoxLayout(made)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(8)
    for number, widget in enumerate(widgets):
        row.addWidget(widget, 1 if not number else 0)
    return made
