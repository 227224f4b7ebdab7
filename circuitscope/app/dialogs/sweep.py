"""Sweep activation patching over a prompt, as a heat map whose cells become nodes."""

from typing import Any

from PySide6.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import RunDialog
from circuitscope.app.panels.heat_map import HeatMap
from circuitscope.app.widgets import RealBox, SpinBox, button, text_label
from circuitscope.app.words import error_words, plural, signed, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Grid
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.graph.cells import MADE_OF
from circuitscope.session.evidence import keep_cells, sweep
from circuitscope.session.jobs import Job

ATTENTION = "pattern"
_COMPONENTS = (
    ("resid_pre", "the residual stream, by layer and word"), ("head_z", "heads, by layer"),
    ("attn_out", "attention, by layer and word"), ("mlp_out", "MLPs, by layer and word"),
    (ATTENTION, "nothing: multiply how heads look at a word"),
)  # fmt: skip
_HELP = (
    "The corrupted prompt is run once for each cell, which holds there what the clean prompt has. "
    "0 brings nothing of the clean answer back, 1 all of it."
)


_LOOKS = (
    "The clean prompt is run once for each head, with what it looks at that word from the last one "
    "multiplied. A cell is how the answer's logit changes."
)


class SweepDialog(RunDialog):
    """Ask for two prompts and two words; chosen cells become a circuit."""

    KEEPS = False

    def __init__(self, desk: Desk) -> None:
        words = tr("Sweep"), tr("Running…")
        super().__init__(desk, tr("Sweep of activation patching"), (820, 720), words)
        self.grid: Grid | None = None
        self._column.addLayout(self._form())
        self._help = text_label(tr(_HELP), "note", wrap=True)
        self._column.addWidget(self._help)
        self._add_run_row()
        self.map = HeatMap(desk.palette)
        self.map.pointed.connect(self._tell_cell)
        self.map.chosen_changed.connect(self._refresh)
        self._column.addWidget(self.map, 1)
        self._column.addLayout(self._foot())
        self.model.begin()
        prompts = {"prompt": self.clean, "corrupted": self.corrupted}
        self._fill_as_traced(prompts, self.answer, self.against)
        self._refresh()

    def _form(self) -> QFormLayout:
        self.clean, self.corrupted = QLineEdit(), QLineEdit()
        self.answer, self.against = QLineEdit(), QLineEdit()
        self.against.setPlaceholderText(tr("empty: the answer's logit alone"))
        self.component = QComboBox()
        for name, words in _COMPONENTS:
            self.component.addItem(tr(words), name)
        self.key, self.factor = SpinBox(), RealBox()
        self.key.setRange(0, 100_000)
        self.factor.setRange(-100, 100)
        self.factor.setSingleStep(0.5)
        self.factor.setPrefix("× ")
        self.component.currentIndexChanged.connect(lambda *_: self._refresh())
        self.form = self._form_of((
            (tr("Clean prompt"), self.clean), (tr("Corrupted prompt"), self.corrupted),
            (tr("Answer"), self.answer), (tr("Against"), self.against),
            (tr("Patch"), self.component), (tr("Looked at"), self.key),
            (tr("Factor"), self.factor),
        ))  # fmt: skip
        return self.form

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.make_button = button(tr("Make a circuit"), "", self.make)
        self.clear_button = button(tr("Clear choice"), "", lambda: self.map.choose(()))
        row.addWidget(self.make_button)
        row.addWidget(self.clear_button)
        row.addStretch()
        row.addWidget(button(tr("Close"), "", self.reject))
        return row

    @property
    def multiplies(self) -> bool:
        """Return whether attention is multiplied instead of anything patched."""
        return bool(self.component.currentData() == ATTENTION)

    def reason(self) -> str:
        """Return why nothing can be swept yet, "" where it can."""
        if reason := super().reason():
            return reason
        if self.multiplies and not self.clean.text().strip():
            return tr("Write a prompt.")
        if not (self.multiplies or (self.clean.text().strip() and self.corrupted.text().strip())):
            return tr("Write a clean and a corrupted prompt of as many tokens.")
        return "" if self.answer.text().strip() else tr("Write the word that answers.")

    def why_not_made(self) -> str:
        """Return why no circuit can be made, "" where it can."""
        if self.grid is None:
            return tr("Sweep first.")
        if self.grid.provenance.settings.get("component") not in MADE_OF:
            return tr("Only heads and MLPs become nodes; patch one of these.")
        return "" if self.map.chosen else tr("Click cells, or use arrows and Space.")

    def _refresh(self) -> None:
        self._help.setText(tr(_LOOKS) if self.multiplies else tr(_HELP))
        for field, shown in ((self.corrupted, not self.multiplies), (self.key, self.multiplies),
                             (self.factor, self.multiplies)):  # fmt: skip
            self.form.setRowVisible(field, shown)
        super()._refresh()
        why = self.why_not_made()
        self.make_button.setEnabled(not why)
        self.make_button.setToolTip(why)
        self.clear_button.setEnabled(bool(self.map.chosen))

    def _start(self) -> Job:
        answer, against = self.answer.text().strip(), self.against.text().strip()
        metric = LogitDifference(answer, against) if against else Logit(answer)
        options: dict[str, Any] = {}
        if self.multiplies:
            options = {"key": self.key.value(), "factor": self.factor.value()}
        return sweep(
            self._desk.session, self.clean.text().strip(), self.corrupted.text().strip(),
            metric, self.component.currentData(), **options,
        )  # fmt: skip

    def _answered(self, result: Any) -> None:
        self.grid = result
        self.map.show_grid(result)
        self._refresh()
        scores, settings = result.provenance.scores, result.provenance.settings
        if settings["component"] == ATTENTION:
            words = tr("The model says {0}; cells are changes as heads look at “{1}”.")
            self._told.setText(words.format(signed(scores["whole"]), settings["looked_at"]))
            return
        words = tr("Clean {0}, corrupted {1}.")
        self._told.setText(words.format(signed(scores["clean"]), signed(scores["corrupted"])))

    def _tell_cell(self, row: int, column: int) -> None:
        if self.grid is None:
            return
        ticks = self.grid.ticks
        words = tr("Layer {0}, {1} {2}: {3} of the answer comes back.")
        if self.grid.provenance.settings["component"] == ATTENTION:
            words = tr("Layer {0}, {1} {2}: the answer changes by {3}.")
        value = signed(float(self.grid.values[row, column]))
        self._told.setText(
            words.format(ticks[0][row], tr(self.grid.axes[1]), ticks[1][column], value)
        )

    def make(self) -> None:
        """Add the chosen cells to the project as a circuit, and show it."""
        assert self.grid is not None, "the button is disabled without a sweep"
        number = plural(len(self.map.chosen), "cell", "cells")
        try:
            keep_cells(self._desk.session, self.grid, self.map.chosen)
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            return
        self._told.setText(tr("Made a circuit of {0}.").format(number))
