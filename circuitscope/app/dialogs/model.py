"""The model dialog: recent, cached and bundled models, what is inside, and how to hold it."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.model_choice import bundled_models, check_words
from circuitscope.app.error_box import ErrorBox
from circuitscope.app.naming import model_name
from circuitscope.app.panels.jobs import job_words
from circuitscope.app.theme import px
from circuitscope.app.widgets import button, elided, give_size, hairline, section, text_label
from circuitscope.app.words import DOT, count, gigabytes, large, plural, tr
from circuitscope.core.errors import ModelError
from circuitscope.engine.requests import Inspected
from circuitscope.session.jobs import Job

DTYPES = ("float32", "bfloat16", "float16")
_PATH = Qt.ItemDataRole.UserRole


class ModelDialog(QDialog):
    """Choose a model by what is in its folder; nothing is loaded before Load is pressed.

    Attributes:
        found: What the chosen folder holds; None while it is looked at, and where it is no model.
        path: The chosen folder, "" before one is chosen.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("ModelDialog")
        self.setWindowTitle(tr("Choose a model"))
        give_size(self, 820, 600)
        self.found: Inspected | None = None
        self.path = ""
        self._looking: Job | None = None
        self._loading: Job | None = None
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        both = QHBoxLayout()
        both.setContentsMargins(24, 24, 24, 16)
        both.setSpacing(24)
        both.addLayout(self._left(), 2)
        both.addLayout(self._right(), 3)
        outer.addLayout(both, 1)
        outer.addWidget(hairline())
        outer.addLayout(self._foot())
        self._fill(())
        self._listen(desk.session.list_models(), self._cache_listed)
        self._listen(desk.session.list_devices(), self._devices_listed)
        first = self._first()
        if first is not None:
            self.list.setCurrentItem(first)
        self.list.setFocus()
        self._refresh()

    # ---- making -----------------------------------------------------------------------------
    def _left(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(8)
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Models"))
        self.list.setMinimumWidth(250)
        self.list.currentItemChanged.connect(self._chosen)
        self.list.itemActivated.connect(lambda *_: self.load())
        column.addWidget(self.list, 1)
        self._cache_told = text_label(
            tr("Looking into the Hugging Face cache…"), "small", wrap=True
        )
        column.addWidget(self._cache_told)
        folder = button(tr("Choose a folder…"), "", self._ask_folder)
        folder.setToolTip(tr("A folder with config.json and safetensors files"))
        column.addWidget(folder)
        return column

    def _right(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(8)
        self._name = text_label("", "name")
        self._where = elided("", "quiet")
        column.addWidget(self._name)
        column.addWidget(self._where)
        self.error = ErrorBox()
        column.addWidget(self.error)
        self._facts = QWidget()
        self._form = QFormLayout(self._facts)
        self._form.setContentsMargins(0, 8, 0, 0)
        self._form.setHorizontalSpacing(16)
        self._form.setVerticalSpacing(6)
        column.addWidget(self._facts)
        column.addStretch()
        column.addWidget(self._ways())
        return column

    def _ways(self) -> QWidget:
        self._how = QWidget()
        column = QVBoxLayout(self._how)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(section(tr("Hold it")))
        row = QHBoxLayout()
        row.setSpacing(8)
        chosen = self._desk.session.preferences.now.engine
        self.device = QComboBox()
        self.device.addItem(tr("automatic device"), "auto")
        if chosen.device != "auto":
            self.device.addItem(chosen.device, chosen.device)
        self.device.setCurrentIndex(self.device.count() - 1)
        self.device.setAccessibleName(tr("Device"))
        self.dtype = QComboBox()
        for name in DTYPES:
            self.dtype.addItem(name, name)
        self.dtype.setCurrentIndex(max(0, self.dtype.findData(chosen.dtype)))
        self.dtype.setAccessibleName(tr("Precision of the weights"))
        self.dtype.setToolTip(
            tr("How the weights are held. Attribution is computed in float32 in any case.")
        )
        self.dtype.currentIndexChanged.connect(self._refresh)
        row.addWidget(self.device, 1)
        row.addWidget(self.dtype)
        column.addLayout(row)
        self._room = text_label("", "small", wrap=True)
        column.addWidget(self._room)
        return self._how

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(24, 12, 24, 12)
        row.setSpacing(8)
        told = QVBoxLayout()
        told.setSpacing(4)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.hide()
        self._phase = text_label("", "quiet")
        told.addWidget(self._phase)
        told.addWidget(self._bar)
        row.addLayout(told, 1)
        self._cancel = button(tr("Cancel"), "", self._give_up)
        row.addWidget(self._cancel)
        self.load_button = button(tr("Load"), "primary", self.load)
        self.load_button.setDefault(True)
        row.addWidget(self.load_button)
        return row

    def _fill(self, cached: tuple[Any, ...]) -> None:
        """List recent, cached and bundled models, each once, below a title."""
        chosen = self.path
        self.list.blockSignals(True)
        self.list.clear()
        shipped = bundled_models()
        recent = [Path(path) for path in self._desk.session.preferences.now.recent.models]
        hub = {model.path: model for model in cached}
        listed = [path for path in recent if path.is_dir() and path not in shipped]
        self._add_group(tr("Recent"), [(self._called(path), "", str(path)) for path in listed])
        others = [model for path, model in hub.items() if Path(path) not in listed]
        self._add_group(
            tr("Hugging Face cache"),
            [(model.name, gigabytes(model.n_bytes), model.path) for model in others],
        )
        self._add_group(tr("Bundled"), [(model_name(path), "", str(path)) for path in shipped])
        for at in range(self.list.count()):
            if chosen and self.list.item(at).data(_PATH) == chosen:
                self.list.setCurrentRow(at)
        self.list.blockSignals(False)

    @staticmethod
    def _called(path: Path) -> str:
        hub = next((part for part in path.parts if part.startswith("models--")), "")
        return hub.removeprefix("models--").replace("--", "/") or model_name(path)

    def _add_group(self, title: str, entries: list[tuple[str, str, str]]) -> None:
        if not entries:
            return
        head = QListWidgetItem(title.upper())
        head.setFlags(Qt.ItemFlag.NoItemFlags)
        font = self.list.font()
        font.setPixelSize(px(10.5))
        font.setWeight(font.Weight.DemiBold)
        font.setLetterSpacing(font.SpacingType.AbsoluteSpacing, 0.8)
        head.setFont(font)
        head.setForeground(QColor(self._desk.palette.secondary))
        self.list.addItem(head)
        for name, size, path in entries:
            item = QListWidgetItem(name + (DOT + size if size else ""))
            item.setData(_PATH, path)
            item.setToolTip(path)
            self.list.addItem(item)

    def _first(self) -> QListWidgetItem | None:
        held = self._desk.session.model.path
        items = [self.list.item(at) for at in range(self.list.count())]
        models = [item for item in items if item.data(_PATH)]
        kept = [item for item in models if held is not None and item.data(_PATH) == str(held)]
        return next(iter((*kept, *models)), None)

    # ---- asking the engine ---------------------------------------------------------------------
    def _listen(self, job: Job, slot: Any) -> Job:
        to_gui(job.changed, lambda job: slot(job) if job.is_over else None, self)
        return job

    def _cache_listed(self, job: Job) -> None:
        if job.state != "done" or job.result is None:
            self._cache_told.setText(tr("The Hugging Face cache cannot be read."))
            return
        n_models = len(job.result.models)
        words = plural(n_models, "model", "models") if n_models else tr("no models")
        self._cache_told.setText(tr("{0} in {1}").format(words, job.result.folder))
        self._fill(job.result.models)

    def _devices_listed(self, job: Job) -> None:
        if job.state != "done" or job.result is None:
            return
        chosen = self.device.currentData()
        self.device.clear()
        first = job.result.devices[0]
        self.device.addItem(tr("automatic: {0}").format(first.title), "auto")
        for device in job.result.devices:
            room = tr("{0} free").format(gigabytes(device.free))
            self.device.addItem(DOT.join((device.title, device.name, room)), device.name)
        self.device.setCurrentIndex(max(0, self.device.findData(chosen)))

    def _ask_folder(self) -> None:
        start = str(Path(self.path).parent) if self.path else str(Path.home())
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a model folder"), start)
        if folder:
            self.look_at(folder)

    def _chosen(self, item: QListWidgetItem | None, _before: object = None) -> None:
        if item is not None and item.data(_PATH):
            self.look_at(item.data(_PATH))

    def look_at(self, path: str | Path) -> None:
        """Show what a folder holds, read from its headers."""
        self.path, self.found = str(path), None
        self._mark()
        self.error.forget()
        self._name.setText(self._called(Path(path)))
        self._where.setText(str(path))
        self._where.setToolTip(str(path))
        if self._looking is not None and not self._looking.is_over:
            self._desk.session.jobs.cancel(self._looking)
        self._looking = self._listen(self._desk.session.inspect_model(path), self._looked)
        self._refresh()

    def _mark(self) -> None:
        """Select the chosen folder in the list; where it is not listed, nothing."""
        rows = [
            at for at in range(self.list.count()) if self.list.item(at).data(_PATH) == self.path
        ]
        self.list.blockSignals(True)
        self.list.setCurrentRow(rows[0] if rows else -1)
        self.list.blockSignals(False)

    def _looked(self, job: Job) -> None:
        if job is not self._looking:
            return
        if job.state == "failed" and job.error is not None:
            self.error.show_error(job.error)
        elif job.state == "done":
            self.found = job.result
        self._refresh()

    # ---- loading ----------------------------------------------------------------------------
    def load(self) -> None:
        """Load the chosen model; the dialog closes once it is there."""
        if not self.load_button.isEnabled():
            return
        self.error.forget()
        device, dtype = self.device.currentData(), self.dtype.currentData()
        self._desk.session.preferences.change("engine", device=device, dtype=dtype)
        self._loading = self._desk.session.load_model(self.path, device=device, dtype=dtype)
        to_gui(self._loading.changed, self._heard, self)
        self._refresh()

    def _heard(self, job: Job) -> None:
        if job is not self._loading:
            return
        self._phase.setText(job_words(job) if not job.is_over else "")
        self._bar.setRange(0, job.total)
        self._bar.setValue(job.done if job.total else 0)
        if job.is_over:
            self._loading = None
            untraced = self._desk.session.model.why_untraced
            if job.state == "done" and not untraced:
                self.accept()
                return
            if untraced:
                self.error.show_error(_only_run(untraced))
            if job.error is not None:
                self.error.show_error(job.error)
        self._refresh()

    def _give_up(self) -> None:
        if self._loading is not None:
            self._desk.session.jobs.cancel(self._loading)
        else:
            self.reject()

    def _refresh(self, *_: object) -> None:
        """Bring facts, room and buttons in line with what is chosen and what is going on."""
        found, loading = self.found, self._loading is not None
        while self._form.rowCount():
            self._form.removeRow(0)
        if found is not None:
            for caption, value in facts(found) + self._checked():
                self._form.addRow(text_label(caption, "quiet"), text_label(value, wrap=True))
        self._facts.setVisible(found is not None)
        self._how.setVisible(found is not None)
        self._bar.setVisible(loading)
        self.list.setEnabled(not loading)
        self._room.setText(self._room_words())
        self.load_button.setEnabled(found is not None and not loading)
        self.load_button.setToolTip("" if found is not None else tr("Choose a model first."))
        is_held = self._is_held()
        self._cancel.setText(tr("Stop") if loading else tr("Close") if is_held else tr("Cancel"))

    def _is_held(self) -> bool:
        """Say whether the chosen model is the one that is loaded."""
        status = self._desk.session.model
        return status.state == "ready" and str(status.path) == self.path

    def _checked(self) -> list[tuple[str, str]]:
        """Return what the self-check found where the chosen model is the one that is loaded."""
        status = self._desk.session.model
        if not self._is_held() or status.check is None:
            return []
        return [(tr("Self-check"), check_words(status))]

    def _room_words(self) -> str:
        found = self.found
        if found is None:
            return ""
        needed = found.memory.get(self.dtype.currentData(), 0)
        words = tr("Needs about {0}").format(gigabytes(needed))
        if found.free:
            words += ", " + tr("{0} of memory are free.").format(gigabytes(found.free))
        return words

    def done(self, result: int) -> None:
        """Stop what nobody waits for any more."""
        for job in (self._looking, self._loading):
            if job is not None and not job.is_over:
                self._desk.session.jobs.cancel(job)
        super().done(result)


def _only_run(why: str) -> ModelError:
    """Return what to tell of a model that is loaded but cannot be traced."""
    return ModelError(
        tr("The model is loaded, but it cannot be traced. {0}").format(why),
        hint=tr(
            "It runs, generates, is changed and shows its lens. Close this dialog to work with it, "
            "or choose another model."
        ),
    )


def facts(found: Inspected) -> list[tuple[str, str]]:
    """Return what a model's headers tell, caption and value."""
    anatomy = found.anatomy
    heads = count(anatomy.n_heads)
    if anatomy.n_kv_heads != anatomy.n_heads:
        heads += " " + tr("({0} for keys and values)").format(count(anatomy.n_kv_heads))
    files = plural(found.n_files, "file", "files") + ", " + gigabytes(found.n_bytes)
    tokenizer = found.tokenizer or tr("none: prompts are token ids")
    if found.has_chat_template:
        tokenizer += DOT + tr("chat template")
    family = anatomy.architecture
    if not found.traceable:
        family += DOT + tr("runs, but cannot be traced")
    return [
        (tr("Family"), family),
        (tr("Parameters"), large(found.n_parameters)),
        (tr("Layers"), count(anatomy.n_layers)),
        (tr("Heads"), heads),
        (tr("Width (d_model)"), count(anatomy.d_model)),
        (tr("Vocabulary"), tr("{0} tokens").format(count(anatomy.d_vocab))),
        (tr("Context length"), tr("{0} tokens").format(count(anatomy.n_ctx))),
        (tr("On disk"), f"{found.dtype_on_disk}{DOT}{files}"),
        (tr("Tokenizer"), tokenizer),
    ]
