"""The list of tests on the model: what was changed, what followed, against which controls."""

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QHBoxLayout, QHeaderView, QVBoxLayout, QWidget

from circuitscope.app.canvas.badge_paint import paint_badge
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.naming import name_of_test
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import Palette, px
from circuitscope.app.widgets import MARGIN, STEP, button, text_label
from circuitscope.app.words import percent, plain, shown_token, signed, tr
from circuitscope.core.badges import Badge, Outcome
from circuitscope.graph.evidence import Run, runs_of
from circuitscope.project.runs import remove_runs
from circuitscope.session.evidence import run_again

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
        self.setProperty("look", "desk")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.runs: tuple[Run, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, STEP, MARGIN, STEP)
        column.setSpacing(6)
        self._none = text_label(
            tr("Nothing tested yet. Select nodes and press V: they are changed in the model, and "
               "everything else follows."), "quiet", wrap=True,
        )  # fmt: skip
        column.addWidget(self._none)
        self.table = Table(tr("Tests"), (
            Column(tr("What")), Column(tr("Badge")), Column(tr("Effect"), "effect", number=True),
            Column(tr("Predicted"), "predicted", number=True),
            Column(tr("Controls"), "controls", number=True), Column(tr("q"), "q", number=True),
            Column(tr("Answer"), "answer"), Column(tr("KL"), "divergence", number=True),
            Column(tr("Changed to")),
        ), desk.palette)  # fmt: skip
        self.table.headerItem().setToolTip(1, tr(_HELP))
        self.table.headerItem().setWhatsThis(1, tr(_HELP))
        self.table.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        self.table.header().resizeSection(0, px(152))
        self.table.itemSelectionChanged.connect(self._show_subject)
        column.addWidget(self.table, 1)
        column.addStretch()
        row = QHBoxLayout()
        row.setSpacing(STEP)
        self.again = button(tr("Run again"), "", self.run_again)
        self.remove = button(tr("Remove"), "", self.remove_chosen)
        row.addWidget(self.again)
        row.addWidget(self.remove)
        row.addSpacing(STEP)
        row.addWidget(
            button(tr("Select untested"), "link", lambda: desk.trigger("verify.untested"))
        )
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
        if runs == self.runs:
            self._show_empty()
            return
        self.runs = runs
        self.table.blockSignals(True)
        self.table.setSortingEnabled(False)
        self.table.clear()
        for run in runs:
            tip = "\n".join((*run.tested.subject, *run.tested.remarks))
            row = self.table.add(self._cells(run), run, tip)
            row.setIcon(1, badge_icon(run.badge, self._desk.palette))
        self.table.setSortingEnabled(True)
        self.table.blockSignals(False)
        self._show_empty()

    def _show_empty(self) -> None:
        self._none.setVisible(not self.runs)
        self.table.setVisible(bool(self.runs))
        for made in (self.again, self.remove):
            made.setEnabled(bool(self.runs))

    def _cells(self, run: Run) -> tuple[Cell, ...]:
        tested = run.tested
        before, after = tested.chances
        said = f"{percent(before)} → {percent(after)}" if before >= 0 else _tops(tested)
        return (
            Cell(name_of_test(self._desk.session, tested)), Cell(tr(run.badge.value)),
            Cell(signed(tested.effect), tested.effect),
            Cell(signed(tested.predicted), tested.predicted),
            Cell(f"±{plain(tested.band)}", tested.band), Cell(plain(run.q), run.q), Cell(said),
            Cell(plain(tested.divergence), tested.divergence), Cell(tested.ablation),
        )  # fmt: skip

    def chosen(self) -> list[Run]:
        """Return the tests selected in the list."""
        return [row.thing for row in self.table.selected_rows()]

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
