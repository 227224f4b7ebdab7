"""Test on the model: what is changed, into what, and against how many controls."""

from PySide6.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.widgets import SpinBox, button, text_label
from circuitscope.app.words import error_words, plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.graph.evidence import FIXED
from circuitscope.session.evidence import group_keys, start_tests
from circuitscope.session.jobs import Job

EACH, WHOLE, EDGES, GROUPS = "each", "whole", "edges", "groups"
_ABLATIONS = (
    ("auto", "features off, the rest as in the other prompt or on average"),
    ("zero", "everything off"),
    ("mean", "features off, the rest on average"),
)
_HELP = (
    "Everything else in the model follows the change: nothing is held fixed. What is measured is "
    "compared with as much of something else at the same place."
)


class VerifyDialog(AskingDialog):
    """Ask how the selection is tested; the tests are a job of the session, and end as badges."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, tr("Test on the model"), (640, 420))
        circuit, drawing = desk.session.circuit, desk.session.drawing
        assert circuit is not None, "the action asks for a circuit"
        assert drawing is not None
        self._circuit = circuit
        chosen = desk.session.selection
        fixed = circuit.nodes.of_kind(*FIXED) | (circuit.nodes.position == 0)
        self.nodes = [str(circuit.nodes.key(node)) for node in chosen if not fixed[node]]
        inside = set(chosen)
        self.edges = [
            edge for node in chosen for edge in circuit.edges.out_of(node).tolist()
            if int(circuit.edges.target[edge]) in inside and not fixed[node]
        ]  # fmt: skip
        self.groups = group_keys(drawing.rows, self.nodes)
        column = self._column
        self.model = self._add_model_choice()
        column.addLayout(self._form(len(chosen)))
        column.addWidget(text_label(tr(_HELP), "note", wrap=True))
        column.addStretch()
        column.addLayout(self._foot())
        self.model.changed.connect(lambda *_: self._refresh())
        self.model.begin()
        self._refresh()

    def _form(self, n_chosen: int) -> QFormLayout:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.what = QComboBox()
        if self.nodes:
            number = plural(len(self.nodes), "node", "nodes")
            self.what.addItem(tr("each selected node ({0})").format(number), EACH)
            if len(self.nodes) > 1:
                self.what.addItem(tr("the selected nodes together"), WHOLE)
        elif not n_chosen:
            self.what.addItem(tr("the 20 strongest nodes, each"), EACH)
        if self.groups:
            number = plural(len(self.groups), "group", "groups")
            self.what.addItem(tr("the groups of the selection ({0})").format(number), GROUPS)
        if self.edges:
            number = plural(len(self.edges), "edge", "edges")
            self.what.addItem(tr("the edges between them ({0})").format(number), EDGES)
        self.change = QComboBox()
        for name, words in _ABLATIONS:
            self.change.addItem(tr(words), name)
        self.other = QLineEdit()
        self.other.setPlaceholderText(tr("a prompt of as many tokens; empty: the average"))
        self.draws = SpinBox()
        self.draws.setRange(100, 10_000)
        self.draws.setSingleStep(100)
        self.draws.setValue(200)
        fields: tuple[tuple[str, QWidget], ...] = (
            (tr("Test"), self.what), (tr("Changed to"), self.change),
            (tr("Other prompt"), self.other), (tr("Controls"), self.draws),
        )  # fmt: skip
        for name, field in fields:
            field.setAccessibleName(name)
            form.addRow(text_label(name, "quiet"), field)
        return form

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._told = text_label("", "quiet", wrap=True)
        row.addWidget(self._told, 1)
        row.addWidget(button(tr("Close"), "", self.reject))
        self.run_button = button(tr("Test"), "primary", self.run)
        row.addWidget(self.run_button)
        return row

    def reason(self) -> str:
        """Return why nothing can be tested yet, "" where it can."""
        if self._desk.session.model.state in ("none", "failed"):
            return tr("Choose a model first.")
        if not self.what.count():
            return tr("Logits, constants and the first position cannot be changed.")
        return ""

    def _refresh(self) -> None:
        reason = self.reason()
        self.run_button.setEnabled(not reason)
        self._told.setText(reason)

    def run(self) -> Job | None:
        """Queue the tests and close; the badges appear when they are done."""
        what = self.what.currentData()
        groups = [self.nodes] if what == WHOLE else self.groups if what == GROUPS else []
        try:
            job = start_tests(
                self._desk.session, self.nodes if what == EACH else (),
                self.edges if what == EDGES else (), groups, ablation=self.change.currentData(),
                counterfactual=self.other.text().strip(), draws=self.draws.value(),
            )  # fmt: skip
        except CircuitScopeError as error:
            self._told.setText(error_words(error))
            return None
        self.accept()
        return job
