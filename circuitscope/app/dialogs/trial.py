"""Try it on the model: change the selected nodes, and see what the model says before and after."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.dialogs.shifts import ShiftTable
from circuitscope.app.naming import short_line
from circuitscope.app.theme import px
from circuitscope.app.widgets import (
    EmptyState,
    RealBox,
    SpinBox,
    button,
    hairline,
    scrolled,
    section,
    text_label,
)
from circuitscope.app.words import plural, shown_token, tr
from circuitscope.core.attention_text import EXAMPLE, attention_changes
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKind
from circuitscope.engine.trials import Tried
from circuitscope.session.trials import (
    CHANGEABLE,
    change_of,
    digest_for,
    stand_ins,
    swap_in,
    unique_changes,
)

_MODES = (
    ("zero", "switch off"), ("scale", "multiply by"), ("set", "set to"), ("add", "add"),
    ("mean", "its mean over the prompt"), ("swap", "as in another prompt"),
    ("group", "replace by another circuit's group"),
)  # fmt: skip
_NUMBERED = ("scale", "set", "add")
_LISTED = 8


class TrialDialog(AskingDialog):
    """Hold the nodes that were selected when it opened; the work is a job of the session.

    Args:
        desk: The window's desk.
        attention: Entries of attention patterns to begin with, in place of the selected nodes.
    """

    def __init__(self, desk: Desk, attention: str = "") -> None:
        super().__init__(desk, tr("Try it on the model"), (860, 800))
        circuit = desk.session.circuit
        assert circuit is not None, "the action asks for a circuit"
        self._circuit = circuit
        self.found: Tried | None = None
        chosen = () if attention else desk.session.selection
        kinds = {index: NodeKind(int(circuit.nodes.kind[index])) for index in chosen}
        self.nodes = [index for index in chosen if kinds[index] in CHANGEABLE]
        self._skipped = len(chosen) - len(self.nodes)
        column = self._column
        self.model = self._add_model_choice()
        self._add_nodes(column)
        self._add_change(column)
        column.addWidget(hairline())
        column.addWidget(scrolled(self._results()), 1)
        column.addLayout(self._foot())
        self.model.changed.connect(lambda *_: self._refresh())
        self.attention.setText(attention)
        for field in (self.mode, self.where):
            field.setEnabled(bool(self.nodes))
        self.model.begin()
        self._refresh()

    def _add_nodes(self, column: QVBoxLayout) -> None:
        column.addWidget(section(tr("What is changed")))
        names = [
            f"{shown_token(self._desk.session.label(index))}  ({short_line(self._circuit, index)})"
            for index in self.nodes[:_LISTED]
        ]
        more = len(self.nodes) - len(names)
        if more:
            names.append(tr("and {0} more").format(more))
        words = ";  ".join(names) or tr("Only the entries of attention patterns named below.")
        column.addWidget(text_label(words, "", wrap=True))
        if self._skipped:
            words = tr("{0} left out: unexplained parts, constants and logits cannot be changed.")
            left = plural(self._skipped, "selected node is", "selected nodes are")
            column.addWidget(text_label(words.format(left), "small", wrap=True))

    def _add_change(self, column: QVBoxLayout) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        self.mode = QComboBox()
        for name, words in _MODES:
            self.mode.addItem(tr(words), name)
        self.value = RealBox()
        self.value.setRange(-1e6, 1e6)
        self.value.setValue(2.0)
        self.other = QLineEdit()
        self.other.setPlaceholderText(tr("a prompt of as many tokens"))
        self._values = QStackedWidget()
        for page in (QWidget(), self.value, self.other, self._group_choice()):
            self._values.addWidget(page)
        self._values.setFixedHeight(px(30))
        self.where = QComboBox()
        self.where.addItem(tr("where the nodes are"), False)
        self.where.addItem(tr("at every position, new tokens too"), True)
        self.patterns = QCheckBox(tr("Keep attention patterns"))
        self.norms = QCheckBox(tr("Keep norm denominators"))
        self.patterns.toggled.connect(lambda *_: self._refresh())
        for box in (self.patterns, self.norms):
            box.setToolTip(tr("As the unchanged model has them on the same tokens."))
        self.length, self.seed, self.heat = SpinBox(), SpinBox(), RealBox()
        self.length.setRange(0, 400)
        self.length.setValue(20)
        self.heat.setRange(0, 5)
        self.heat.setSingleStep(0.1)
        self.heat.setToolTip(tr("0 takes the likeliest token each time."))
        self.seed.setRange(0, 2**31 - 1)
        fields: tuple[tuple[str, QWidget, int, int], ...] = (
            (tr("Change"), self.mode, 0, 0), (tr("Value"), self._values, 0, 2),
            (tr("Positions"), self.where, 1, 0), (tr("New tokens"), self.length, 1, 2),
            (tr("Temperature"), self.heat, 2, 0), (tr("Seed"), self.seed, 2, 2),
        )  # fmt: skip
        for name, field, row, at in fields:
            label = text_label(name, "quiet")
            if field is self._values:
                self._value_name = label
            field.setAccessibleName(name)
            grid.addWidget(label, row, at)
            grid.addWidget(field, row, at + 1)
        self.attention = QLineEdit()
        self.attention.setPlaceholderText(
            tr("{0}; several with semicolons, all for any head, query or key").format(EXAMPLE)
        )
        self.attention.setToolTip(
            tr("LAYER.HEAD:QUERY<-KEY x FACTOR multiplies what a head's softmax gives that key.\n"
               "Patterns are not made to sum to 1 again.")
        )  # fmt: skip
        label = text_label(tr("Attention"), "quiet")
        self.attention.setAccessibleName(tr("Attention entries to multiply"))
        label.setBuddy(self.attention)
        grid.addWidget(label, 3, 0)
        grid.addWidget(self.attention, 3, 1, 1, 3)
        self.attention.textChanged.connect(lambda *_: self._refresh())
        grid.addWidget(self.patterns, 4, 1)
        grid.addWidget(self.norms, 4, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        column.addLayout(grid)
        self.mode.currentIndexChanged.connect(self._mode_changed)
        self._value_name.hide()
        self.other.textChanged.connect(lambda *_: self._refresh())

    def _group_choice(self) -> QWidget:
        """Make the page that chooses what stands in for the nodes, and how strongly."""
        project = self._desk.session.project
        self._stand_ins = stand_ins(project, self._desk.session.active) if project else []
        self.group, self.strength = QComboBox(), RealBox()
        for at, found in enumerate(self._stand_ins):
            self.group.addItem(f"{found.name} ({found.of})", at)
        self.group.setAccessibleName(tr("Group that stands in"))
        self.strength.setRange(0.1, 10)
        self.strength.setSingleStep(0.5)
        self.strength.setValue(1.0)
        self.strength.setPrefix("× ")
        self.strength.setAccessibleName(tr("Strength"))
        self.strength.setToolTip(tr("Factor on the values that the features have in their circuit"))
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.group, 1)
        row.addWidget(self.strength)
        return page

    def _results(self) -> QStackedWidget:
        palette = self._desk.palette
        self._stack = QStackedWidget()
        no_model = EmptyState(
            palette, "cpu", tr("No model is loaded"),
            tr("Load the model that the circuit was traced in to see what the change does."),
        )  # fmt: skip
        choose = button(tr("Choose model…"), "primary", lambda: self._desk.trigger("trace.model"))
        no_model.add_button(choose)
        waiting = EmptyState(
            palette, "scissors", tr("Nothing tried yet"),
            tr("Everything else in the model follows the change, unless it is kept above."),
        )  # fmt: skip
        page = QWidget()
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(8)
        inside.addWidget(section(tr("Next token, before and after")))
        self.shifts = ShiftTable(self._desk)
        inside.addWidget(self.shifts)
        both = QHBoxLayout()
        both.setSpacing(24)
        self.before, self.after = text_label("", "", wrap=True), text_label("", "", wrap=True)
        for words, label in ((tr("Before"), self.before), (tr("After"), self.after)):
            side = QVBoxLayout()
            side.setSpacing(4)
            side.addWidget(section(words))
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            side.addWidget(label)
            side.addStretch()
            both.addLayout(side, 1)
        inside.addLayout(both)
        inside.addStretch()
        for widget in (no_model, waiting, page):
            self._stack.addWidget(widget)
        return self._stack

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._told = text_label("", "quiet", wrap=True)
        row.addWidget(self._told, 1)
        row.addWidget(button(tr("Close"), "", self.reject))
        self.try_button = button(tr("Try"), "primary", self.run)
        row.addWidget(self.try_button)
        return row

    # ---- asking ------------------------------------------------------------------------------
    def changes(self) -> tuple[Intervention, ...]:
        """Return what is to be changed: the nodes, then entries of attention patterns."""
        return self._node_changes() + attention_changes(self.attention.text())

    def _node_changes(self) -> tuple[Intervention, ...]:
        mode: Any = self.mode.currentData()
        value: Any = self.value.value() if mode in _NUMBERED else None
        if mode == "swap":
            value = self.other.text().strip()
        keys = [self._circuit.nodes.key(index) for index in self.nodes]
        if mode == "group":
            chosen = self._stand_ins[self.group.currentIndex()]
            return swap_in(self._circuit, keys, chosen, self.strength.value())
        return unique_changes(
            change_of(
                key, mode, value, everywhere=bool(self.where.currentData()),
                dictionary=digest_for(self._circuit, key),
            )
            for key in keys
        )  # fmt: skip

    def reason(self) -> str:
        """Return why nothing can be tried yet, "" where it can."""
        status = self._desk.session.model
        if status.state in ("none", "failed"):
            return tr("Choose a model first.")
        for name in ("d_model", "n_layers", "d_vocab"):
            known = self._circuit.provenance.model.get(name)
            here = getattr(status.anatomy, name, known)
            if known is not None and known != here:
                words = tr("The circuit was traced in a model with {0} {1}; this one has {2}.")
                return words.format(name, known, here)
        if reason := self._attention_reason():
            return reason
        if self.mode.currentData() == "swap" and self.nodes and not self.other.text().strip():
            return tr("Type the prompt to swap from.")
        if self.mode.currentData() == "group" and not self._stand_ins:
            return tr("No other circuit of this project has a group of features.")
        return ""

    def _attention_reason(self) -> str:
        try:
            named = attention_changes(self.attention.text())
        except CircuitScopeError as error:
            return f"{error.message} {error.hint}"
        if self.patterns.isChecked() and named:
            return tr("Patterns that are kept cannot be multiplied.")
        return "" if self.nodes or named else tr("Name an entry of an attention pattern.")

    def _mode_changed(self) -> None:
        mode = self.mode.currentData()
        pages = {"swap": 2, "group": 3}
        page = 1 if mode in _NUMBERED else pages.get(mode, 0)
        self._value_name.setVisible(page > 0)
        self._values.setCurrentIndex(page)
        # Another circuit's features come in where the nodes are.
        self.where.setEnabled(mode != "group" and bool(self.nodes))
        self._refresh()

    def _refresh(self) -> None:
        reason = self.reason()
        self.try_button.setEnabled(not reason)
        self._told.setText(reason)
        if self._desk.session.model.state in ("none", "failed"):
            self._stack.setCurrentIndex(0)
        elif self._stack.currentIndex() == 0:
            self._stack.setCurrentIndex(1)

    def run(self) -> None:
        """Ask the engine; the answer replaces what is shown."""
        self.stop()
        kept = ((self.patterns, "patterns"), (self.norms, "norms"))
        job = self._desk.session.try_changes(
            self._circuit.token_ids, self.changes(), n_tokens=self.length.value(),
            seed=self.seed.value(), temperature=self.heat.value(),
            freeze=tuple(name for box, name in kept if box.isChecked()),
        )  # fmt: skip
        self._told.setText(tr("running…"))
        self.try_button.setEnabled(False)
        self._await(job)

    def _came_back(self) -> None:
        self._refresh()

    def _answered(self, result: Any) -> None:
        self.show_result(result)

    def show_result(self, found: Tried) -> None:
        """Show probabilities and texts side by side."""
        self.shifts.show_shifts(found.shifts)
        for label, tokens in ((self.before, found.before), (self.after, found.after)):
            label.setText(" ".join(shown_token(token) for token in tokens) or "∅")
        self.found = found
        self._stack.setCurrentIndex(2)
