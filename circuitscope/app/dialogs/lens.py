"""The lens: what the model would say after each layer, at each position of a prompt."""

from typing import Any

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.dialogs.tokens import ProbabilityBar, PromptField
from circuitscope.app.panels.lens_table import LensTable
from circuitscope.app.theme import px
from circuitscope.app.widgets import EmptyState, button, clear, section, text_label
from circuitscope.app.words import shown_token, tr
from circuitscope.core.settings import Logit
from circuitscope.engine.requests import Alternative
from circuitscope.session.session import ModelStatus


class LensDialog(AskingDialog):
    """Ask for a prompt, show the lens, and take a cell as the target of a trace."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, tr("Lens"), (1140, 600))
        self._asked: str | tuple[int, ...] = ""
        column = self._column
        self.model = self._add_model_choice()
        column.addLayout(self._prompt_row())
        self._told = text_label("", "small", wrap=True)
        column.addWidget(self._told)
        column.addWidget(self._center(), 1)
        column.addWidget(button(tr("Close"), "", self.reject), 0, Qt.AlignmentFlag.AlignRight)
        self.model.changed.connect(self._model_changed)
        self._begin()

    def _prompt_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.field = PromptField()
        self.field.generate_wanted.connect(self.read)
        self.field.textChanged.connect(self._refresh)
        row.addWidget(self.field, 1)
        self.read_button = button(tr("Read"), "primary", self.read)
        self.read_button.setToolTip(tr("Read every layer through the model's own head  (Return)"))
        row.addWidget(self.read_button, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _center(self) -> QStackedWidget:
        palette = self._desk.palette
        self._stack = QStackedWidget()
        self._no_model = EmptyState(
            palette, "cpu", tr("No model is loaded"),
            tr("The lens sends every layer's state through the model's own head."),
        )  # fmt: skip
        choose = button(tr("Choose model…"), "primary", lambda: self._desk.trigger("trace.model"))
        self._no_model.add_button(choose)
        self._waiting = EmptyState(
            palette, "layers", tr("Type a prompt and press Return"),
            tr("Each cell shows the token that this layer's state promotes most."),
        )  # fmt: skip
        self._stack.addWidget(self._no_model)
        self._stack.addWidget(self._waiting)
        self._stack.addWidget(self._result())
        return self._stack

    def _result(self) -> QWidget:
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(24)
        self.table = LensTable(self._desk.palette)
        self.table.activated.connect(self.trace_cell)
        self.table.selectionModel().currentChanged.connect(lambda now, _: self._show_cell(now))
        row.addWidget(self.table, 1)
        side = QVBoxLayout()
        side.setSpacing(6)
        self._where = section("")
        side.addWidget(self._where)
        self._bars = QVBoxLayout()
        self._bars.setSpacing(0)
        side.addLayout(self._bars)
        self.trace_button = button(
            tr("Trace this token…"), "", lambda: self.trace_cell(self.table.currentIndex())
        )
        self.trace_button.setToolTip(tr("Explain its logit at this position  (Return)"))
        side.addWidget(self.trace_button)
        hint = tr("Rows are the residual stream after each block; the top row is what the model "
                  "says. Early rows say little: later blocks expect other states.")  # fmt: skip
        side.addWidget(text_label(hint, "small", wrap=True))
        side.addStretch()
        holder = QWidget()
        holder.setLayout(side)
        holder.setFixedWidth(px(312))
        row.addWidget(holder)
        return page

    def _begin(self) -> None:
        circuit = self._desk.session.circuit
        written = circuit.provenance.settings.get("prompt") if circuit is not None else None
        if isinstance(written, str):
            self.field.setPlainText(written)
        self.model.begin()
        self.field.setFocus()
        self.field.selectAll()
        self._refresh()

    # ---- asking ------------------------------------------------------------------------------
    def _model_changed(self, status: ModelStatus) -> None:
        if status.state == "ready" and self.field.toPlainText().strip() and self._job is None:
            self.read()
        if status.state != "ready":
            self.table.cells.show_grid(None)
            self._job = None
        self._refresh()

    def _refresh(self) -> None:
        has_model = self._desk.session.model.state in ("ready", "loading")
        self.read_button.setEnabled(has_model and bool(self.field.toPlainText().strip()))
        has_grid = self.table.cells.grid is not None
        page = 2 if has_grid else (1 if has_model else 0)
        self._stack.setCurrentIndex(page)

    def read(self) -> None:
        """Ask the engine; the answer replaces the table."""
        text = self.field.toPlainText().strip()
        if not text or self._desk.session.model.choice is None:
            return
        self.stop()
        self._told.setText(tr("reading…"))
        self._asked = text
        self._await(self._desk.session.lens(text))

    def _answered(self, result: Any) -> None:
        self.table.cells.show_grid(result)
        last = self.table.cells.columnCount() - 1
        self.table.setCurrentIndex(self.table.cells.index(0, last))
        self.table.scrollTo(self.table.currentIndex())
        self.table.setFocus()
        self._refresh()

    def _show_cell(self, index: QModelIndex) -> None:
        clear(self._bars)
        self.trace_button.setEnabled(index.isValid())
        if not index.isValid() or self.table.cells.grid is None:
            return
        layer, position = self.table.cells.place(index)
        grid = self.table.cells.grid
        tick, token = grid.ticks[0][layer], shown_token(grid.ticks[1][position])
        words = tr("After layer {0}, at “{1}”") if tick.isdecimal() else tr("Embedding, at “{1}”")
        self._where.setText(words.format(tick, token))
        for at, (token_id, text, chance) in enumerate(self.table.cells.listed(index)):
            bar = ProbabilityBar(self._desk, Alternative(token_id, text, chance), strong=at == 0)
            self._bars.addWidget(bar)

    def trace_cell(self, index: QModelIndex) -> None:
        """Open the trace dialog on the cell's likeliest token at the cell's position."""
        from circuitscope.app.dialogs.trace import TraceDialog

        if not index.isValid():
            return
        _, position = self.table.cells.place(index)
        token_id, text, _ = self.table.cells.listed(index)[0]
        name, here = shown_token(text), shown_token(self.table.cells.columns()[position])
        if position < len(self.table.cells.columns()) - 1:
            name = tr("{0} after “{1}”").format(name, here)
        dialog = TraceDialog(self._desk)
        dialog.prompt.explain(str(self._asked), Logit(token_id, position), name)
        dialog.open()
