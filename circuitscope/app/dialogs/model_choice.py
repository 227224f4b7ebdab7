"""Choose the model of a trace: a recent folder, a bundled one, or another one."""

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.desk import Desk
from circuitscope.app.naming import model_name
from circuitscope.app.widgets import Dot, section, text_label
from circuitscope.app.words import DOT, error_words, tr
from circuitscope.core.shipped import shipped_path
from circuitscope.session.session import ModelStatus


def bundled_models() -> list[Path]:
    """Return the model folders that ship with the program."""
    return sorted(file.parent for file in shipped_path("projects").glob("*/model/config.json"))


class ModelChoiceBox(QWidget):
    """A list of known model folders and, below, what the engine says of the chosen one."""

    changed = Signal(object)
    """Emitted with the `ModelStatus` when the model or its state changes."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(section(tr("Model")))
        row = QHBoxLayout()
        row.setSpacing(12)
        self.box = QComboBox()
        self.box.setMinimumWidth(260)
        self.box.setAccessibleName(tr("Model"))
        self.box.activated.connect(self._chosen)
        row.addWidget(self.box)
        self._dot = Dot(desk.palette.faint, 8)
        row.addWidget(self._dot)
        self._state = text_label("", "quiet", wrap=True)
        row.addWidget(self._state, 1)
        column.addLayout(row)
        desk.watch.model.connect(self._show)
        self._fill()

    def begin(self) -> None:
        """Load the model most likely wanted, unless one is held already."""
        if self._desk.session.model.state == "none" and self.box.itemData(0):
            self._chosen(0)
        self._show(self._desk.session.model)

    def _fill(self) -> None:
        self.box.clear()
        held = self._desk.session.model.path
        recent = [Path(path) for path in self._desk.session.preferences.now.recent.models]
        shipped = bundled_models()
        circuit = self._desk.session.circuit
        own = circuit.provenance.model.get("name") if circuit is not None else None
        known = [path for path in (*recent, *shipped) if path.is_dir()]
        known.sort(key=lambda path: model_name(path) != own)  # what the circuit was traced in first
        for path in dict.fromkeys(known if held is None else [held, *known]):
            words = model_name(path)
            self.box.addItem(words + DOT + tr("bundled") if path in shipped else words, str(path))
            self.box.setItemData(self.box.count() - 1, str(path), 3)
        if not self.box.count():
            self.box.addItem(tr("no model chosen yet"), "")
        self.box.addItem(tr("Another model…"), None)
        self.box.setCurrentIndex(0)

    def _chosen(self, at: int) -> None:
        folder = self.box.itemData(at)
        if folder is None:
            self._desk.trigger("trace.model")
        elif folder:
            self._desk.session.load_model(folder)
        self._fill()

    def _show(self, status: ModelStatus) -> None:
        palette = self._desk.palette
        path = str(status.path) if status.path is not None else ""
        if path and self.box.currentData() != path:
            self._fill()
        colors = {"none": palette.faint, "loading": palette.accent, "ready": palette.supported,
                  "failed": palette.error}  # fmt: skip
        color = palette.error if status.why_untraced else colors[status.state]
        self._dot.set_color(color)
        self._state.setText(_status_words(status))
        self.changed.emit(status)


def check_words(status: ModelStatus) -> str:
    """Return what the self-check of a model that is ready found, and what follows from it."""
    if not status.why_untraced:
        worst = f"{status.check.worst:.0e}" if status.check is not None else ""
        return tr("passed: its parts give back the whole to {0}").format(worst)
    return status.why_untraced + " " + tr("It runs and is changed, but cannot be traced.")


def check_line(status: ModelStatus) -> str:
    """Return the same as a line of its own."""
    return tr("Self-check {0}").format(check_words(status)) if status.check else check_words(status)


def _status_words(status: ModelStatus) -> str:
    if status.state == "ready" and status.anatomy is not None:
        anatomy = status.anatomy
        size = tr("{0} layers, width {1}, {2} heads").format(
            anatomy.n_layers, anatomy.d_model, anatomy.n_heads
        )
        return DOT.join((size, status.dtype, status.device.upper())) + "\n" + check_line(status)
    if status.state == "failed" and status.error is not None:
        return error_words(status.error)
    if status.state == "loading":
        return tr("loading…")
    return tr("A folder with config.json and safetensors, as Hugging Face writes it.")
