"""The list of tests on the model: what was changed, what followed, against which controls."""

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.canvas.badge_paint import paint_badge
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import MARGIN, button, text_label
from circuitscope.app.words import percent, plain, shown_token, signed, tr
from circuitscope.core.badges import Badge, Outcome
from circuitscope.graph.evidence import Run, runs_of
from circuitscope.project.runs import remove_runs
from circuitscope.session.evidence import run_again

_COLUMNS = ("Badge", "What", "Effect", "Predicted", "Controls", "q", "Answer", "KL",
            "Changed to")  # fmt: skip
_HELP = "\n".join(
    (
        "supported: the total effect has the predicted sign and is beyond the controls",
        "compensated: the frozen effect is real, but the model makes up for it",
        "contradicted: beyond the controls, of the other sign",
        "inconclusive: nothing stands out from the controls",
    )
)


def badge_icon(badge: Badge, palette: Palette) -> QIcon:
    """Return a badge as an icon."""
    picture = QPixmap(32, 32)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(2, 2)
    paint_badge(painter, badge, QPointF(8, 8), palette)
    painter.end()
    return QIcon(picture)


class VerifyPanel(QWidget):
    """Show the active drawing's tests, newest first; a click selects what was tested."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.setObjectName("PanelBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.runs: tuple[Run, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, 4, MARGIN, 8)
        column.setSpacing(6)
        self._none = text_label(
            tr("Nothing tested yet. Select nodes and press V: they are changed in the model, and "
               "everything else follows."), "quiet", wrap=True,
        )  # fmt: skip
        column.addWidget(self._none)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels([tr(name) for name in _COLUMNS])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.verticalHeader().hide()
        self.table.setIconSize(QSize(16, 16))
        self.table.setAccessibleName(tr("Tests"))
        self.table.setToolTip(tr(_HELP))
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(1, QHeaderView.ResizeMode.Interactive)
        head.resizeSection(1, 220)
        head.setStretchLastSection(True)
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.itemSelectionChanged.connect(self._show_subject)
        column.addWidget(self.table, 1)
        row = QHBoxLayout()
        self.again = button(tr("Run again"), "", self.run_again)
        self.remove = button(tr("Remove"), "", self.remove_chosen)
        row.addWidget(self.again)
        row.addWidget(self.remove)
        row.addWidget(button(tr("Select untested"), "", lambda: desk.trigger("verify.untested")))
        row.addStretch()
        column.addLayout(row)
        self._later = Later(self, self.rebuild)
        for signal in (desk.watch.active, desk.watch.project, desk.watch.edited):
            signal.connect(lambda *_: self._later.within())
        self.rebuild()

    def rebuild(self) -> None:
        """Show the tests as they are now."""
        drawing = self._desk.session.drawing
        runs = tuple(reversed(runs_of(drawing.rows))) if drawing is not None else ()
        if runs == self.runs and self.table.rowCount() == len(runs):
            self._show_empty()
            return
        self.runs = runs
        self.table.blockSignals(True)
        self.table.setRowCount(len(runs))
        for row, run in enumerate(runs):
            for column, text in enumerate(self._cells(run)):
                item = QTableWidgetItem(text)
                if column in (2, 3, 4, 5, 7):
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
            self.table.item(row, 0).setIcon(badge_icon(run.badge, self._desk.palette))
            self.table.item(row, 1).setToolTip(
                "\n".join((*run.tested.subject, *run.tested.remarks))
            )
        self.table.clearSelection()
        self.table.blockSignals(False)
        self._show_empty()

    def _show_empty(self) -> None:
        self._none.setVisible(not self.runs)
        self.table.setVisible(bool(self.runs))
        for made in (self.again, self.remove):
            made.setEnabled(bool(self.runs))

    def _cells(self, run: Run) -> tuple[str, ...]:
        tested = run.tested
        before, after = tested.chances
        said = f"{percent(before)} → {percent(after)}" if before >= 0 else _tops(tested)
        return (
            tr(run.badge.value), self._name(tested), signed(tested.effect),
            signed(tested.predicted),
            f"±{plain(tested.band)}", plain(run.q), said, plain(tested.divergence), tested.ablation,
        )  # fmt: skip

    def _name(self, tested: Outcome) -> str:
        session = self._desk.session
        circuit = session.circuit
        names = []
        for key in tested.subject[:3]:
            node = circuit.nodes.find(key) if circuit is not None else None
            names.append(shown_token(session.label(node)) if node is not None else key)
        if tested.kind == "edge":
            return " → ".join(names)
        more = len(tested.subject) - len(names)
        return ", ".join(names) + (f" + {more}" if more else "")

    def chosen(self) -> list[Run]:
        """Return the tests selected in the list."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self.runs[row] for row in rows if row < len(self.runs)]

    def _show_subject(self) -> None:
        circuit = self._desk.session.circuit
        if circuit is None:
            return
        found = [circuit.nodes.find(key) for run in self.chosen() for key in run.tested.subject]
        self._desk.session.select([node for node in found if node is not None])

    def run_again(self) -> None:
        """Repeat the selected tests, or all, each as it was."""
        for run in self.chosen() or self.runs:
            run_again(self._desk.session, run.tested)

    def remove_chosen(self) -> None:
        """Take the selected tests away; undo brings them back."""
        if ids := [run.id for run in self.chosen()]:
            self._desk.session.edit(remove_runs, ids)


def _tops(tested: Outcome) -> str:
    before, after = tested.top
    if not before or not after:
        return ""
    return f"{shown_token(before[0][0])} → {shown_token(after[0][0])}"
