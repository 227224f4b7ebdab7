"""Two circuits compared: drawn over each other, what differs, and what carries over."""

from dataclasses import replace
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QSplitter,
    QVBoxLayout,
)

from circuitscope.app.canvas.overlay_view import OverlayView
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.meanings import explain
from circuitscope.app.panels.differences import ClassFilter, DifferenceTables
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import error_words, plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.transfer import Chosen, Transfer
from circuitscope.exchange.comparison import ComparisonReport, headline, noise
from circuitscope.project.file import ProjectFile
from circuitscope.session import comparing
from circuitscope.session.jobs import Job
from circuitscope.session.work import file_name

_ANOTHER, _AGAIN = "another project", "trace again"
_ALIGNMENTS = (("edit", "likest words"), ("end", "from the end"))
_SHARES = (0.6, 0.8, 0.9, 0.95, 1.0)
_FILTERS = (
    "SVG drawing (*.svg);;PDF (*.pdf);;PNG picture (*.png);;Web page (*.html);;TikZ (*.tex);;"
    "CSV table (*.csv);;Markdown report (*.md)"
)


class ComparisonDialog(AskingDialog):
    """Choose two circuits and show how they differ.

    Args:
        desk: Session and colours.
        chosen: What is compared at first; None takes the circuit on screen and the next one.
        kept: Id of the finding that holds it, "" while it is not kept.
    """

    def __init__(self, desk: Desk, chosen: Chosen | None = None, kept: str = "") -> None:
        super().__init__(desk, tr("Comparison"), (1240, 840))
        self.setWindowFlags(self.windowFlags() | Qt.WindowType.WindowMinMaxButtonsHint)
        self.report: ComparisonReport | None = None
        self.kept = kept
        transfer = None
        if kept:
            chosen, report = comparing.read_kept(desk.session, kept)
            transfer = report.transfer
        self.chosen = chosen or _first(desk)
        self._kept_state = self.chosen, transfer
        self.model = self._add_model_choice()
        self._column.addLayout(self._choices())
        self._column.addLayout(self._findings())
        self.classes = ClassFilter(desk.palette)
        self._column.addWidget(self.classes)
        self.overlay = OverlayView(desk.session, desk.palette, self)
        self.tables = DifferenceTables(desk.palette)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.setChildrenCollapsible(False)
        for part in (self.overlay, self.tables):
            self._splitter.addWidget(part)
        self._splitter.setSizes([720, 470])
        self._column.addWidget(self._splitter, 1)
        self._column.addLayout(self._foot())
        self.classes.changed.connect(self._show_classes)
        self.tables.chosen.connect(self._centre)
        self.model.changed.connect(lambda *_: self._refresh())
        desk.watch.project.connect(self._leave)
        desk.watch.contents.connect(self._fill)
        self._fill()
        self.model.begin()
        self.compare(transfer)

    def _leave(self, *_: Any) -> None:
        """Close with the project that the circuits belong to."""
        self.reject()

    # ---- building ----------------------------------------------------------------------------
    def _choices(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.first, self.second, self.floor = QComboBox(), QComboBox(), QComboBox()
        self.align, self.share = QComboBox(), QComboBox()
        for name, words in _ALIGNMENTS:
            self.align.addItem(tr(words), name)
        for share in _SHARES:
            self.share.addItem(f"{100 * share:.0f} %", share)
        for name, box, before in (
            (tr("First circuit"), self.first, ""), (tr("Second circuit"), self.second,
             tr("against")), (tr("Noise floor"), self.floor, tr("noise floor")),
            (tr("Tokens are paired by"), self.align, tr("tokens by")),
            (tr("Influence kept"), self.share, tr("influence")),
        ):  # fmt: skip
            box.setAccessibleName(name)
            box.setToolTip(name)
            box.activated.connect(lambda *_, box=box: self._picked(box))
            if before:
                row.addWidget(text_label(before, "quiet"))
            row.addWidget(box, 1 if box in (self.first, self.second, self.floor) else 0)
        self.floor.setToolTip(tr(
            "A circuit that should be the same as the first: the same prompt in other words, "
            "another seed or another budget. Differences smaller than from it mean nothing."
        ))  # fmt: skip
        return row

    def _findings(self) -> QHBoxLayout:
        row, column = QHBoxLayout(), QVBoxLayout()
        column.setSpacing(4)
        self.headline = text_label("", "heading", wrap=True)
        self._told = text_label("", "quiet", wrap=True)
        self.noise = text_label("", "", wrap=True)
        explain(self.headline, "transfer")
        explain(self.noise, "shared")
        for label in (self.headline, self._told, self.noise):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            column.addWidget(label)
        row.addLayout(column, 1)
        self.run_button = button(tr("Run crosswise"), "primary", self.run)
        self.run_button.setToolTip(
            tr("Run each circuit alone on the other’s prompt, in the unfrozen model.")
        )
        row.addWidget(self.run_button, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.beside_button = button(tr("Side by side"), "", self.side_by_side)
        self.beside_button.setToolTip(tr("Show both in the window’s two halves, selection linked."))
        self.keep_button = button(tr("Keep in the project"), "", self.keep)
        self.export_button = button(tr("Export…"), "", self._ask_export)
        for made in (self.beside_button, self.keep_button, self.export_button):
            row.addWidget(made)
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        return row

    def _fill(self) -> None:
        """List the project's circuits, and choose those compared."""
        infos = comparing.circuits_of(self._desk.session)
        names = {info.id: info.name for info in infos}
        own = names.get(self.chosen.a, "")
        for box, more in (
            (self.first, ()), (self.second, ((tr("of another project…"), _ANOTHER),)),
            (self.floor, ((tr("{0} again, half the budget").format(own), _AGAIN),)),
        ):  # fmt: skip
            box.clear()
            if box is self.floor:
                box.addItem(tr("none"), "")
            for info in infos:
                if box is not self.floor or info.id not in (self.chosen.a, self.chosen.b):
                    box.addItem(info.name, info.id)
            for words, value in more:
                box.addItem(words, value)
        held: tuple[tuple[QComboBox, str | float], ...] = (
            (self.first, self.chosen.a), (self.second, self.chosen.b),
            (self.floor, self.chosen.floor), (self.align, self.chosen.align),
            (self.share, self.chosen.node_threshold),
        )  # fmt: skip
        for box, choice in held:
            box.setCurrentIndex(max(box.findData(choice), 0))

    # ---- what is compared --------------------------------------------------------------------
    def _picked(self, box: QComboBox) -> None:
        value = box.currentData()
        try:
            if value == _ANOTHER:
                value = self._bring()
            elif value == _AGAIN:
                self._trace_floor()
                return
        except CircuitScopeError as error:
            show_error(self, error)
            value = None
        field = {self.first: "a", self.second: "b", self.floor: "floor", self.align: "align",
                 self.share: "node_threshold"}[box]  # fmt: skip
        if value is None or value == getattr(self.chosen, field):
            self._fill()
            return
        self.choose(replace(self.chosen, **{field: value}))

    def choose(self, chosen: Chosen) -> None:
        """Compare something else; what the model said of both circuits stays where it holds."""
        before, transfer = self.chosen, self.report.transfer if self.report is not None else None
        if transfer is not None and replace(chosen, floor=before.floor) == before:
            transfer = replace(transfer, circuits=transfer.circuits[:3], kept=transfer.kept[:, :3])
        else:
            transfer = None
        self.chosen = chosen
        self._fill()
        self.compare(transfer)

    def compare(self, transfer: Transfer | None = None) -> None:
        """Align both circuits and show what was found."""
        self.report = comparing.report_of(self._project(), self.chosen, transfer)
        self.setWindowTitle(
            tr("{0} against {1}").format(*self.report.names[:2]) + " — " + tr("Comparison")
        )
        self.classes.show_counts(self.report)
        self.overlay.show_report(self.report, (self.chosen.a, self.chosen.b))
        self._show_classes(self.classes.shown())
        self._refresh()

    def _show_classes(self, shown: Any) -> None:
        if self.report is not None:
            self.overlay.show_classes(shown)
            if self.tables.report is self.report:
                self.tables.show_classes(shown)
            else:
                self.tables.show_report(self.report, shown)

    def _centre(self, nodes: Any) -> None:
        self.overlay.centre_on([node for node in nodes if node >= 0])

    # ---- what the model says -----------------------------------------------------------------
    def reason(self) -> str:
        """Return why the circuits cannot be run crosswise yet, "" where they can."""
        if self._desk.session.model.state in ("none", "failed"):
            return tr("No model is loaded: what is shared is known, not what carries over.")
        return ""

    def _refresh(self) -> None:
        if self.report is None:
            return
        busy, reason = self.is_busy, self.reason()
        said = headline(self.report, tr)
        self.headline.setText("\n".join(said))
        self.headline.setVisible(bool(said))
        self.noise.setText("\n".join(noise(self.report, tr)))
        self.run_button.setEnabled(busy or not reason)
        self.run_button.setText(tr("Stop") if busy else tr("Run crosswise"))
        if not busy:
            remarks = self.report.transfer.remarks if self.report.transfer is not None else ()
            ask = tr("Does one circuit do the other’s work? Run both on each other’s prompts.")
            self._told.setText(reason if reason and not said else "\n".join(remarks) or
                               ("" if said else ask))  # fmt: skip
        self._told.setVisible(bool(self._told.text()))
        writable = self._desk.session.project is not None and (
            not self._desk.session.project.read_only
        )
        known = self.kept and self._state() == self._kept_state
        self.keep_button.setEnabled(writable and not known)
        self.keep_button.setText(tr("Kept") if known else tr("Keep in the project"))
        self.keep_button.setToolTip("" if writable else tr("The project is read only."))

    def _project(self) -> ProjectFile:
        project = self._desk.session.project
        assert project is not None, "the window closes with its project"
        return project

    def _state(self) -> tuple[Chosen, Transfer | None]:
        return self.chosen, self.report.transfer if self.report is not None else None

    def run(self) -> None:
        """Run both circuits on each other's prompts, or stop doing so."""
        if self.is_busy:
            self.stop()
            self._refresh()
            return
        self._ask(lambda: comparing.start_cross_test(self._desk.session, self.chosen))

    def _trace_floor(self) -> None:
        self._ask(lambda: comparing.start_floor(self._desk.session, self.chosen.a))
        self._fill()

    def _ask(self, start: Any) -> None:
        try:
            self._await(start())
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            self._told.show()
            return
        self._told.setText(tr("Working…"))
        self._refresh()
        self._told.show()

    def _heard(self, job: Job) -> None:
        super()._heard(job)
        if job is self._job and not job.is_over and job.total:
            steps = plural(job.total, "step", "steps")
            self._told.setText(tr("{0}: {1} of {2}").format(tr(job.phase), job.done, steps))

    def _came_back(self) -> None:
        self._refresh()

    def _answered(self, result: Any) -> None:
        if isinstance(result, Transfer):
            self.compare(result)
        elif self._job is not None and self._job.result_id:
            self.choose(replace(self.chosen, floor=self._job.result_id))

    # ---- out of the dialog -------------------------------------------------------------------
    def side_by_side(self) -> None:
        """Show both circuits in the two halves of the window."""
        self._desk.session.activate(self.chosen.a)
        self._desk.window.split.show_beside(self.chosen.b)
        self.lower()
        self._desk.window.raise_()

    def keep(self) -> None:
        """Keep the comparison in the project."""
        if self.report is None:
            return
        try:
            self.kept = comparing.keep(self._project(), self.chosen, self.report)
        except CircuitScopeError as error:
            show_error(self, error)
            return
        self._kept_state = self._state()
        self._refresh()

    def _ask_export(self) -> None:
        assert self.report is not None
        name = file_name(" against ".join(self.report.names[:2]))
        path, _ = QFileDialog.getSaveFileName(
            self, tr("Export comparison"), f"{name}.svg", tr(_FILTERS)
        )
        if path:
            self.export_to(path)

    def export_to(self, path: str) -> None:
        """Write the comparison; the suffix says whether as a figure or a table."""
        assert self.report is not None
        try:
            comparing.export_comparison(self.report, path, shown=self.classes.shown())
        except CircuitScopeError as error:
            show_error(self, error)

    def _bring(self) -> str | None:
        """Ask for a circuit of another project's file and copy it into this one."""
        path, _ = QFileDialog.getOpenFileName(
            self, tr("Project with the other circuit"), "", tr("Projects (*.circuitscope)")
        )
        if not path:
            return None
        names = comparing.circuits_in(path)
        name = names[0] if len(names) == 1 else ""
        if len(names) > 1:
            name, sure = QInputDialog.getItem(
                self, tr("Circuit"), tr("Copy into this project:"), names, 0, False
            )
            name = name if sure else ""
        return comparing.bring(self._desk.session, path, name) if name else None


def _first(desk: Desk) -> Chosen:
    """Return the circuit on screen and the one picked beside it, or else the next."""
    ids = [info.id for info in comparing.circuits_of(desk.session)]
    a = desk.session.active or ids[0]
    others = [one for one in ids if one != a]
    others.sort(key=lambda one: one != desk.second)
    return Chosen(a, others[0] if others else a)
