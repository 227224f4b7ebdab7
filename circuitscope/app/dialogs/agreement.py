"""A dictionary circuit and one of contextual decomposition side by side, head by head."""

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QStackedWidget,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import EmptyState, button, section, text_label
from circuitscope.app.words import percent, plain, signed, tr
from circuitscope.core.agreement import Agreement, HeadRow
from circuitscope.engine.decomposing import Compared
from circuitscope.session.decomposing import compare_heads, contextual_circuits

_CELL, _MARGIN = 22, 30


class HeadMap(QWidget):
    """Layers by heads, the last layer on top; colour by size, a ring around a circuit's heads."""

    def __init__(self, palette: Palette, name: str) -> None:
        super().__init__()
        self._palette, self._name = palette, name
        self._rows: tuple[HeadRow, ...] = ()
        self._values: list[float] = []
        self._ringed: set[tuple[int, int]] = set()
        self.setAccessibleName(name)

    def show_heads(
        self, rows: Sequence[HeadRow], values: Sequence[float], ringed: Sequence[HeadRow]
    ) -> None:
        """Show other heads.

        Args:
            rows: All heads.
            values: What each is coloured by.
            ringed: Heads of the circuit.
        """
        self._rows, self._values = tuple(rows), list(values)
        self._ringed = {(row.layer, row.head) for row in ringed}
        self.setFixedSize(self.sizeHint())
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for a cell for each head, and room for numbers."""
        n_layers = 1 + max((row.layer for row in self._rows), default=0)
        n_heads = 1 + max((row.head for row in self._rows), default=0)
        return QSize(_MARGIN + _CELL * n_heads + 4, _CELL * n_layers + _MARGIN)

    def _frame(self, row: HeadRow) -> QRectF:
        top = 2 + _CELL * (max(one.layer for one in self._rows) - row.layer)
        return QRectF(_MARGIN + _CELL * row.head, top, _CELL - 2, _CELL - 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the cells."""
        painter, palette = QPainter(self), self._palette
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        largest = max((abs(value) for value in self._values), default=0.0) or 1.0
        for row, value in zip(self._rows, self._values, strict=True):
            frame = self._frame(row)
            hue = palette.positive if value >= 0 else palette.negative
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(palette.mix(hue, abs(value) / largest, palette.field)))
            painter.drawRoundedRect(frame, 3, 3)
            if (row.layer, row.head) in self._ringed:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(QColor(palette.ink), 2))
                painter.drawRoundedRect(frame.adjusted(1, 1, -1, -1), 3, 3)
            painter.setPen(QColor(palette.secondary))
            if row.head == 0:
                words = QRectF(0, frame.top(), _MARGIN - 6, frame.height())
                painter.drawText(words, Qt.AlignmentFlag.AlignRight | _MIDDLE, f"L{row.layer}")
            if row.layer == 0:
                words = QRectF(frame.left(), frame.bottom() + 2, frame.width(), _MARGIN - 8)
                painter.drawText(words, Qt.AlignmentFlag.AlignCenter, str(row.head))
        painter.end()

    def event(self, event: object) -> bool:
        """Tell a head's number where the mouse rests."""
        if isinstance(event, QHelpEvent):
            for row, value in zip(self._rows, self._values, strict=True):
                if self._frame(row).contains(event.pos()):
                    words = tr("head {0}.{1}: {2}").format(row.layer, row.head, plain(value, 3))
                    QToolTip.showText(event.globalPos(), words, self)
                    return True
            QToolTip.hideText()
            return True
        return bool(super().event(event))  # type: ignore[arg-type] # Qt passes its own events


_MIDDLE = Qt.AlignmentFlag.AlignVCenter


class AgreementDialog(AskingDialog):
    """Choose the other circuit, compare, and show where they disagree."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, tr("Compare by heads"), (900, 720))
        self.found: Agreement | None = None
        column = self._column
        column.addLayout(self._choice())
        self._told = text_label("", "small", wrap=True)
        column.addWidget(self._told)
        self._stack = QStackedWidget()
        self._stack.addWidget(EmptyState(
            desk.palette, "git-compare", tr("Two circuits of one prompt"),
            tr("The dictionary circuit’s attention features are split by head; contextual "
               "decomposition says how relevant each head is."),
        ))  # fmt: skip
        self._stack.addWidget(self._result())
        column.addWidget(self._stack, 1)
        row = QHBoxLayout()
        note = tr("Influence counts direct effects along frozen attention, relevance all paths "
                  "together: they may differ and both be right.")  # fmt: skip
        row.addWidget(text_label(note, "note", wrap=True), 1)
        row.addWidget(button(tr("Close"), "", self.reject))
        column.addLayout(row)
        if self.other.count() > 1:
            self.compare()

    def _choice(self) -> QHBoxLayout:
        session, row = self._desk.session, QHBoxLayout()
        project = session.project
        name = project.finding(session.active).name if project is not None else ""
        row.addWidget(text_label(tr("“{0}” against").format(name), "strong"))
        self.other = QComboBox()
        self.other.setAccessibleName(tr("Circuit of contextual decomposition"))
        self.other.setMinimumWidth(240)
        for info in contextual_circuits(session):
            self.other.addItem(info.name, info)
        self.other.addItem(tr("a new trace of the same word"), None)
        row.addWidget(self.other, 1)
        self.compare_button = button(tr("Compare"), "primary", self.compare)
        row.addWidget(self.compare_button)
        return row

    def _result(self) -> QWidget:
        page, palette = QWidget(), self._desk.palette
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        self._numbers = text_label("", "strong", wrap=True)
        column.addWidget(self._numbers)
        maps = QHBoxLayout()
        maps.setSpacing(32)
        self.maps = (
            HeadMap(palette, tr("Dictionary circuit: influence by head")),
            HeadMap(palette, tr("Contextual decomposition: relevance")),
        )
        for shown in self.maps:
            side = QVBoxLayout()
            side.addWidget(section(shown.accessibleName()))
            side.addWidget(shown, 0, Qt.AlignmentFlag.AlignTop)
            side.addStretch()
            maps.addLayout(side)
        maps.addStretch()
        column.addLayout(maps)
        self._differ = QLabel()
        self._differ.setTextFormat(Qt.TextFormat.PlainText)
        self._differ.setWordWrap(True)
        column.addWidget(self._differ)
        self.table = Table(tr("Heads"), (
            Column(tr("Head")), Column(tr("Influence"), "influence", number=True),
            Column(tr("Relevance"), "relevance", number=True), Column(tr("At the top of")),
        ), self._desk.palette)  # fmt: skip
        column.addWidget(self.table, 1)
        return page

    def compare(self) -> None:
        """Ask the engine."""
        self._told.setText(tr("comparing…"))
        self.compare_button.setEnabled(False)
        self._await(compare_heads(self._desk.session, self.other.currentData()))

    def _came_back(self) -> None:
        super()._came_back()
        self.compare_button.setEnabled(True)

    def _answered(self, result: Any) -> None:
        if isinstance(result, Compared):
            if result.traced is not None:
                self._told.setText(tr("The circuit of heads was added to the project."))
            self.show_agreement(result.agreement)

    def show_agreement(self, found: Agreement) -> None:
        """Show a comparison."""
        self.found = found
        rows = found.heads
        self.maps[0].show_heads(rows, [row.dictionary for row in rows], found.top)
        discovered = [row for row in rows if row.discovered]
        self.maps[1].show_heads(rows, [row.relevance for row in rows], discovered)
        self._numbers.setText(
            tr("Spearman {0} over {1} heads.  ROC AUC {2} for the {3} heads discovered.  "
               "{4} of attention’s influence belongs to heads; the rest is unexplained.").format(
                signed(found.spearman), len(rows), plain(found.auc), found.n_discovered,
                percent(found.projected),
            )
        )  # fmt: skip
        self._differ.setText(
            tr("Only the dictionary circuit has at the top: {0}\n"
               "Only contextual decomposition has: {1}").format(
                _names(found.only_dictionary), _names(found.only_contextual)
            )
        )  # fmt: skip
        self.table.setSortingEnabled(False)
        self.table.clear()
        top, only = set(found.top), set(found.only_dictionary) | set(found.only_contextual)
        for row in sorted(rows, key=lambda row: -max(row.dictionary, 1e-9 * abs(row.relevance))):
            where = [tr("dictionary circuit")] * (row in top)
            where += [tr("contextual decomposition")] * row.discovered
            style = "strong" if row in only else ""
            self.table.add((
                Cell(f"{row.layer}.{row.head}", None, "", style),
                Cell(plain(row.dictionary, 3), row.dictionary),
                Cell(signed(row.relevance, 3), row.relevance),
                Cell(tr(" and ").join(where) + (tr(", disagree") if row in only else ""), None, "",
                     style),
            ), row)  # fmt: skip
        self.table.setSortingEnabled(True)
        self._stack.setCurrentIndex(1)


def _names(rows: Sequence[HeadRow]) -> str:
    return ", ".join(f"{row.layer}.{row.head}" for row in rows) or tr("none")
