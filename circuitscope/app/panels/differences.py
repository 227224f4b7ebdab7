"""The table of what differs between two circuits, and the filter by class above it."""

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QTabWidget, QVBoxLayout, QWidget

from circuitscope.app.canvas.diagram_things import screen_theme
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import text_label
from circuitscope.app.words import count, plain, signed, tr
from circuitscope.exchange.comparison import SHAPES, ComparisonReport, class_colors
from circuitscope.exchange.comparison_table import Difference, differences
from circuitscope.exchange.figure import Shape, dashes, outline
from circuitscope.graph.compare import WHERES, Where

MOST_ROWS = 1_000
"""Rows of a table at most; an export has all."""
_SIGN = QSize(34, 14)


class ClassFilter(QWidget):
    """One switch for each class, with its sign, its line and how many there are."""

    changed = Signal(object)
    """The classes that are shown now."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        colors = class_colors(screen_theme(palette))
        self.buttons: dict[Where, QPushButton] = {}
        for at, where in enumerate(WHERES):
            made = QPushButton()
            made.setCheckable(True)
            made.setChecked(True)
            made.setProperty("look", "class")
            made.setIcon(_sign(SHAPES[where], at, colors[at], self.devicePixelRatioF()))
            made.setIconSize(_SIGN)
            made.toggled.connect(lambda *_: self.changed.emit(self.shown()))
            self.buttons[where] = made
            row.addWidget(made)
        row.addWidget(text_label(tr("nodes / edges"), "small"))
        row.addStretch()

    def shown(self) -> tuple[Where, ...]:
        """Return the classes that are switched on."""
        return tuple(where for where, made in self.buttons.items() if made.isChecked())

    def show_counts(self, report: ComparisonReport) -> None:
        """Say how many nodes and edges each class has."""
        counts = report.found.counts()
        for where, made in self.buttons.items():
            nodes, edges = counts["nodes"][where], counts["edges"][where]
            name = tr(report.class_name(where))
            made.setText(f"{name}  {count(nodes)} / {count(edges)}")
            told = tr("{0}: {1} nodes, {2} edges; click to show or hide them").format(
                name, count(nodes), count(edges)
            )
            made.setToolTip(told)
            made.setAccessibleName(told)


def _sign(shape: Shape, line: int, color: str, ratio: float) -> QIcon:
    """Return a class's node on its line."""
    picture = QPixmap(_SIGN * ratio)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = QPen(QColor(color), 1.6)
    if line:
        pen.setDashPattern([length / 1.6 for length in dashes(1.6, line)])
    painter.setPen(pen)
    middle = _SIGN.height() / 2
    painter.drawLine(QPointF(13, middle), QPointF(_SIGN.width(), middle))
    at, corners = QPointF(6, middle), outline(shape, 10)
    points = [at + QPointF(x, y) for x, y in corners]
    if shape is Shape.SALTIRE:
        painter.setPen(QPen(QColor(color), 1.8))
        painter.drawLine(points[0], points[1])
        painter.drawLine(points[2], points[3])
    else:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(color))
        if points:
            painter.drawPolygon(QPolygonF(points))
        else:
            painter.drawEllipse(at, 5, 5)
    painter.end()
    return QIcon(picture)


class DifferenceTables(QTabWidget):
    """Nodes and edges that differ; a click emits the nodes that a row is about."""

    chosen = Signal(object)
    """Places in `Comparison.nodes` of what was clicked."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self.setDocumentMode(True)
        self.tabBar().setAccessibleName(tr("Differences"))
        self._palette = palette
        self._report: ComparisonReport | None = None
        self._all: list[Difference] = []
        self._shown: tuple[Where, ...] = WHERES
        self.tables: dict[str, Table] = {}

    def show_report(self, report: ComparisonReport, shown: Sequence[Where]) -> None:
        """Show another comparison."""
        self._report, self._all = report, differences(report)
        at = max(self.currentIndex(), 0)
        self.clear()
        for thing, text, meaning in (
            ("node", tr("Nodes"), "influence"), ("edge", tr("Edges"), "share"),
        ):  # fmt: skip
            table = self._table(report, text, meaning)
            table.opened.connect(self.chosen)
            self.tables[thing] = table
            page = QWidget()
            column = QVBoxLayout(page)
            column.setContentsMargins(0, 8, 0, 0)
            column.addWidget(table)
            self.addTab(page, text)
        self.setCurrentIndex(at)
        self.show_classes(shown)

    @property
    def report(self) -> ComparisonReport | None:
        """Return what is shown."""
        return self._report

    def _table(self, report: ComparisonReport, name: str, meaning: str) -> Table:
        a, b = report.names[:2]
        columns = (
            Column(tr("Name")), Column(tr("Class"), told=False), Column(a, meaning, number=True),
            Column(b, meaning, number=True), Column(tr("Change"), "change", number=True),
            Column(tr("Key"), told=False), Column(tr("Remark"), told=False),
        )  # fmt: skip
        return Table(tr("{0} that differ").format(name), columns, self._palette)

    def show_classes(self, shown: Sequence[Where]) -> None:
        """Show only rows of some classes."""
        report = self._report
        if report is None:
            return
        self._shown = tuple(shown)
        for thing, table in self.tables.items():
            table.clear()
            rows = [one for one in self._all if one.thing == thing and one.where in shown]
            for one in rows[:MOST_ROWS]:
                table.add(self._cells(report, one), list(one.nodes), _tip(one))
            at = list(self.tables).index(thing)
            words = tr("Nodes ({0})") if thing == "node" else tr("Edges ({0})")
            self.setTabText(at, words.format(count(len(rows))))
            if len(rows) > MOST_ROWS:
                words = tr("The strongest {0} are listed; an export has all.")
                self.setTabToolTip(at, words.format(count(MOST_ROWS)))

    def _cells(self, report: ComparisonReport, one: Difference) -> list[Cell]:
        first, second = one.values
        where = tr(report.class_name(one.where))
        number: Any = plain if one.thing == "node" else signed
        return [
            Cell(one.name, None, where + (f" · {one.remark}" if one.remark else "")), Cell(where),
            *(Cell(number(value) if value else "", value) for value in (first, second)),
            Cell(signed(one.change), one.change), Cell(one.key), Cell(one.remark),
        ]  # fmt: skip


def _tip(one: Difference) -> str:
    return f"{one.name}\n{one.key}" + (f"\n{one.remark}" if one.remark else "")
