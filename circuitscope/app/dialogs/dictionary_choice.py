"""Choose the dictionaries of a trace among those found for the model."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.widgets import button, clear, section, text_label
from circuitscope.app.words import DOT, plural, tr
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.session.jobs import Job
from circuitscope.session.session import ModelStatus

_BESIDE = ("dictionaries", "transcoders", "saes")


def candidate_folders(model: Path, remembered: list[str]) -> list[Path]:
    """Return folders that may hold a model's dictionaries: used before, or lying beside it."""
    found = [Path(folder) for folder in remembered]
    found += [folder / name for folder in (model, model.parent) for name in _BESIDE]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def summary(cards: tuple[DictionaryCard, ...]) -> str:
    """Return "12 dictionaries · 4 transcoders, 8 autoencoders · layers 0–3"."""
    transcoders = sum(card.is_transcoder for card in cards)
    others = len(cards) - transcoders
    layers = sorted({layer for card in cards for layer in card.layers})
    kinds = [plural(transcoders, "transcoder", "transcoders") if transcoders else "",
             plural(others, "autoencoder", "autoencoders") if others else ""]  # fmt: skip
    span = f"{layers[0]}–{layers[-1]}" if len(layers) > 1 else "".join(map(str, layers))
    parts = [", ".join(kind for kind in kinds if kind), tr("layers {0}").format(span)]
    return DOT.join(parts)


class DictionaryChoiceBox(QWidget):
    """Check boxes of dictionary folders; what does not fit the model says why."""

    changed = Signal()

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._model: Path | None = None
        self._rows: dict[str, QCheckBox] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(section(tr("Dictionaries")))
        self._list = QVBoxLayout()
        self._list.setSpacing(0)
        column.addLayout(self._list)
        waiting = tr("Looked for beside the model as soon as it is loaded.")
        self._none = text_label(waiting, "quiet", wrap=True)
        column.addWidget(self._none)
        self._add = button(tr("Add a folder…"), "link", self._ask)
        column.addWidget(self._add)

    def follow(self, status: ModelStatus) -> None:
        """Look for dictionaries of another model."""
        path = status.path
        if path == self._model or status.state != "ready":
            return
        self._model = path
        clear(self._list)
        self._rows.clear()
        self._none.setText(tr("None found beside the model: neurons, heads and tokens are traced."))
        self._none.show()
        if path is not None:
            remembered = self._desk.session.preferences.now.recent.dictionaries.get(str(path), [])
            for folder in candidate_folders(path, remembered):
                self.look_at(folder)
        self.changed.emit()

    def look_at(self, folder: Path) -> None:
        """Add a folder to the list, once the engine has read its cards."""
        if str(folder) in self._rows:
            return
        row = QCheckBox(folder.name)
        row.setToolTip(str(folder))
        row.setEnabled(False)
        row.toggled.connect(lambda *_: self.changed.emit())
        self._rows[str(folder)] = row
        self._list.addWidget(row)
        self._none.hide()
        job = self._desk.session.inspect_dictionaries(folder)
        to_gui(job.changed, lambda job: self._heard(folder, job), row)

    def _heard(self, folder: Path, job: Job) -> None:
        row = self._rows.get(str(folder))
        if row is None or not job.is_over:
            return
        cards: Any = job.result.cards if job.state == "done" and job.result is not None else ()
        reason = str(job.error.message) if job.error else self._unfit(cards)
        name = f"{folder.parent.name} / {folder.name}"
        row.setText(f"{name}    {reason or summary(cards)}")
        row.setEnabled(not reason)
        row.setChecked(not reason)

    def _unfit(self, cards: tuple[DictionaryCard, ...]) -> str:
        anatomy = self._desk.session.model.anatomy
        if not cards:
            return tr("holds no dictionaries")
        wrong = [card for card in cards if anatomy is not None and card.d_in != anatomy.d_model]
        if len(wrong) == len(cards) and anatomy is not None:
            words = tr("made for width {0}, but the model has {1}")
            return words.format(wrong[0].d_in, anatomy.d_model)
        return ""

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a folder of dictionaries"))
        if folder:
            self.look_at(Path(folder))

    def chosen(self) -> tuple[str, ...]:
        """Return the folders that are checked."""
        return tuple(path for path, row in self._rows.items() if row.isChecked())
