"""Logits by component: what heads, MLPs, words and states add to one word, as a heat map."""

from typing import Any

from PySide6.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLineEdit

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import RunDialog
from circuitscope.app.panels.heat_map import HeatMap
from circuitscope.app.widgets import button, text_label
from circuitscope.app.words import signed, tr
from circuitscope.core.finding import Grid
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.session.evidence import inspect_logits, inspections
from circuitscope.session.jobs import Job

COMPONENTS = (
    ("parts", "heads and MLPs, at the last word"), ("sources", "words that heads look at"),
    ("attn_out", "attention, by layer and word"), ("mlp_out", "MLPs, by layer and word"),
    ("resid_post", "the lens: states, by layer and word"),
)  # fmt: skip
_HELP = (
    "What each component writes is read as a logit, with the last norm's size as it was. Added up "
    "they are the logit. It is what a part says itself, not what later parts make of it."
)


class LogitsDialog(RunDialog):
    """Ask for a prompt and one or two words; results are kept in the project.

    Args:
        desk: The window's desk.
        kept: Id of a result to show first.
    """

    def __init__(self, desk: Desk, kept: str = "") -> None:
        words = tr("Read"), tr("Reading…")
        super().__init__(desk, tr("Logits by component"), (860, 720), words)
        self.grid: Grid | None = None
        self._column.addLayout(self._form())
        self._column.addWidget(text_label(tr(_HELP), "note", wrap=True))
        self._add_run_row()
        self.map = HeatMap(desk.palette)
        self.map.pointed.connect(self._tell_cell)
        self._column.addWidget(self.map, 1)
        foot = QHBoxLayout()
        foot.addStretch()
        foot.addWidget(button(tr("Close"), "", self.reject))
        self._column.addLayout(foot)
        self.model.begin()
        self._fill_as_traced({"prompt": self.prompt}, self.answer, self.against)
        self._refresh()
        self._list_kept(kept)

    def _form(self) -> QFormLayout:
        self.prompt, self.answer, self.against = QLineEdit(), QLineEdit(), QLineEdit()
        self.answer.setPlaceholderText(tr("empty: the likeliest next word"))
        self.against.setPlaceholderText(tr("empty: the answer's logit alone"))
        self.component, self.kept = QComboBox(), QComboBox()
        for name, words in COMPONENTS:
            self.component.addItem(tr(words), name)
        self.kept.activated.connect(lambda *_: self._show_kept())
        return self._form_of((
            (tr("Prompt"), self.prompt), (tr("Answer"), self.answer),
            (tr("Against"), self.against), (tr("Read"), self.component), (tr("Kept"), self.kept),
        ))  # fmt: skip

    def reason(self) -> str:
        """Return why nothing can be read yet, "" where it can."""
        if reason := super().reason():
            return reason
        if not self.prompt.text().strip():
            return tr("Write a prompt.")
        alone = self.against.text().strip() and not self.answer.text().strip()
        return tr("Write the word that answers.") if alone else ""

    def _start(self) -> Job:
        answer, against = self.answer.text().strip(), self.against.text().strip()
        metric = LogitDifference(answer, against) if against else Logit(answer or None)
        return inspect_logits(
            self._desk.session, self.prompt.text().strip(), metric, self.component.currentData()
        )

    def _answered(self, result: Any) -> None:
        self._list_kept()
        self._show(result)

    def _list_kept(self, chosen: str = "") -> None:
        self.kept.clear()
        names = {name: tr(words) for name, words in COMPONENTS}
        project = self._desk.session.project
        for info in inspections(self._desk.session):
            assert project is not None, "kept results are in a project"
            grid = project.read_finding(info.id)
            what = names.get(str(grid.provenance.settings.get("component")), "")
            self.kept.addItem(f"{info.name} · {what} · {info.added[11:16]}", info.id)
        self.kept.setEnabled(self.kept.count() > 0)
        if not self.kept.count():
            self.kept.addItem(tr("none yet"), "")
        elif chosen:
            self.kept.setCurrentIndex(max(0, self.kept.findData(chosen)))
            self._show_kept()

    def _show_kept(self) -> None:
        project, chosen = self._desk.session.project, self.kept.currentData()
        if project is not None and chosen:
            found = project.read_finding(chosen)
            assert isinstance(found, Grid), "inspections are grids"
            self._fill(found.provenance.settings)
            self._show(found)

    def _fill(self, settings: dict[str, Any]) -> None:
        """Ask again what was asked for a kept result."""
        metric = settings["metric"]
        if isinstance(settings["prompt"], str):
            self.prompt.setText(settings["prompt"])
        answer, against = metric.get("token") or metric.get("a"), metric.get("b")
        self.answer.setText("" if answer is None else str(answer))
        self.against.setText("" if against is None else str(against))
        self.component.setCurrentIndex(self.component.findData(settings["component"]))

    def _show(self, grid: Grid) -> None:
        self.grid = grid
        self.map.show_grid(grid)
        scores, words = grid.provenance.scores, grid.provenance.settings["words"]
        name = " − ".join(words)
        if grid.provenance.settings["component"] in ("parts", "sources"):
            told = tr("{0}: the model says {1}; all cells add up to {2}.")
            self._told.setText(told.format(name, signed(scores["whole"]), signed(scores["sum"])))
        else:
            told = tr("{0}: the model says {1} at the last word.")
            self._told.setText(told.format(name, signed(scores["whole"])))

    def _tell_cell(self, row: int, column: int) -> None:
        if self.grid is None:
            return
        ticks, value = self.grid.ticks, signed(float(self.grid.values[row, column]))
        words = tr("Layer {0}, {1} {2}: {3}.")
        self._told.setText(words.format(ticks[0][row], tr(self.grid.axes[1]), ticks[1][column],
                                        value))  # fmt: skip
