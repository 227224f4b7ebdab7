"""The preferences: every choice acts at once and is kept in one file."""

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.commands.views import theme_names
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.export import SIZES
from circuitscope.app.dialogs.model import DTYPES
from circuitscope.app.theme import px
from circuitscope.app.widgets import (
    MARGIN,
    STEP,
    button,
    give_size,
    hairline,
    scrolled,
    section,
    text_label,
)
from circuitscope.app.words import percent, plural, tr
from circuitscope.core.places import state_home
from circuitscope.exchange.theme import PRESETS

_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0)
_THREADS = (0, 1, 2, 4, 6, 8, 12, 16, 24, 32)
_MINUTES = (0, 5, 10, 30)
_DEVICES = ("auto", "cpu", "cuda", "mps")


CONSENT = (
    "When you press “Explain” on a feature's page, the texts of that feature's examples, up to 40 "
    "short pieces of your corpus, are sent to this address and to no other; with a model in a "
    "folder nothing leaves the machine. Nothing is sent at any other time. The key is read from "
    "the environment when it is needed and is stored nowhere."
)
"""What turning a language model on means."""


class PreferencesDialog(QDialog):
    """Sections of fields; there is nothing to confirm, and one button restores the defaults."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self._file = desk.session.preferences
        self._fields: list[tuple[Callable[[], object], Callable[[Any], None]]] = []
        self._captions: list[QWidget] = []
        self.setObjectName("PreferencesDialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Preferences"))
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(24, 24, 24, MARGIN)
        self._column.setSpacing(STEP)
        self._add_appearance()
        self._add_figures()
        self._add_engine()
        self._add_projects()
        self._add_language()
        self._add_promise()
        self._column.addStretch()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(scrolled(inside), 1)
        outer.addWidget(hairline())
        row = QHBoxLayout()
        row.setContentsMargins(24, 12, 24, 12)
        self.restore = button(tr("Restore defaults"), "", self._file.reset)
        self.restore.setToolTip(tr("Recent files are kept."))
        row.addWidget(self.restore)
        row.addStretch()
        close = button(tr("Close"), "primary", self.accept)
        close.setDefault(True)
        row.addWidget(close)
        outer.addLayout(row)
        self._fit()
        to_gui(self._file.changed, lambda *_: self.refresh(), self)

    def _fit(self) -> None:
        for caption in self._captions:
            caption.setMinimumWidth(px(132))
        give_size(self, 560, 720)

    def move_to(self, desk: Desk) -> None:
        """Belong to another window, as the colours or the text size change."""
        self._desk = desk
        place = self.pos()
        self.setParent(desk.window, self.windowFlags())
        self._fit()
        self.move(place)
        self.show()

    def refresh(self) -> None:
        """Show what the file holds now."""
        for read, show in self._fields:
            show(read())

    # ---- sections --------------------------------------------------------------------------
    def _add_appearance(self) -> None:
        form = self._section(tr("Appearance"))
        self.theme = self._choice(form, tr("Colours"), "appearance", "theme", theme_names())
        scales = [(scale, percent(scale)) for scale in _SCALES]
        self.text_scale = self._choice(form, tr("Text size"), "appearance", "text_scale", scales)

    def _add_figures(self) -> None:
        form = self._section(tr("Figures"))
        sizes = [(name, tr(SIZES.get(name, name))) for name in PRESETS]
        self.preset = self._choice(form, tr("Size of exports"), "export", "preset", sizes)
        self.author = self._line(form, tr("Your name"), "projects", "author")
        self.author.setPlaceholderText(tr("not named"))
        self._note(form, tr("Your name is written into exported figures, into nothing else."))

    def _add_engine(self) -> None:
        form = self._section(tr("Engine"))
        kept = self._file.now.engine.device
        names = _DEVICES if kept in _DEVICES else (*_DEVICES, kept)
        devices = [(name, tr("automatic") if name == "auto" else name) for name in names]
        self.device = self._choice(form, tr("Device"), "engine", "device", devices)
        kinds = [(name, name) for name in DTYPES]
        self.dtype = self._choice(form, tr("Hold weights in"), "engine", "dtype", kinds)
        threads = [(n, plural(n, "thread", "threads") if n else tr("all cores")) for n in _THREADS]
        self.threads = self._choice(form, tr("Processor"), "engine", "threads", threads)
        shares = [(share, tr("{0} of what is free").format(percent(share))) for share in _SHARES]
        self.memory = self._choice(form, tr("Memory"), "engine", "memory_share", shares)
        self.early = self._switch(
            form, tr("Get ready as soon as the window is up"), "engine", "start_early"
        )
        self._note(form, tr("Device and precision count when a model is loaded next, the rest at "
                            "the next request."))  # fmt: skip

    def _add_projects(self) -> None:
        form = self._section(tr("Projects"))
        minutes = [(n, tr("every {0} minutes").format(n) if n else tr("never")) for n in _MINUTES]
        self.save_every = self._choice(form, tr("Save unasked"), "projects", "save_every", minutes)
        self.recovery = self._switch(
            form, tr("After a crash, offer what was not saved"), "projects", "offer_recovery"
        )
        self.reopen = self._switch(
            form, tr("Open the last project at the start"), "projects", "reopen"
        )
        self._note(form, tr("Every change is kept in a working copy at once, so that a crash "
                            "loses nothing; saving writes it to the project's file."))  # fmt: skip

    def _add_language(self) -> None:
        form = self._section(tr("Language model for explanations"))
        self.use_language = self._switch(
            form, tr("Offer to have features explained by a language model"), "language", "use"
        )
        places = [("address", tr("at an address")), ("folder", tr("in a folder of this machine"))]
        self.language_where = self._choice(form, tr("It is"), "language", "where", places)
        self.language_url = self._line(form, tr("Address"), "language", "url")
        self.language_url.setPlaceholderText("http://localhost:11434/v1")
        self.language_model = self._line(form, tr("Its name there"), "language", "model")
        self.language_key = self._line(form, tr("Key is in"), "language", "key_variable")
        self.language_key.setPlaceholderText(tr("environment variable; empty: no key"))
        self.language_folder = self._line(form, tr("Folder"), "language", "folder")
        self.language_folder.setPlaceholderText(tr("a Hugging Face model with its tokenizer"))
        self._note(form, tr(CONSENT))

    def _add_promise(self) -> None:
        self._column.addSpacing(STEP)
        self._column.addWidget(section(tr("Privacy")))
        told = tr("CircuitScope sends nothing anywhere on its own: no usage data, no reports, no "
                  "update checks. These choices, logs and working copies lie in {0}.")  # fmt: skip
        promise = text_label(told.format(state_home()), "quiet", wrap=True)
        promise.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._column.addWidget(promise)

    # ---- fields ----------------------------------------------------------------------------
    def _section(self, title: str) -> QFormLayout:
        if self._column.count():
            self._column.addSpacing(STEP)
        self._column.addWidget(section(title))
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(MARGIN)
        form.setVerticalSpacing(STEP)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        self._column.addLayout(form)
        return form

    def _row(self, form: QFormLayout, words: str, made: QWidget) -> None:
        caption = text_label(words, "quiet")
        self._captions.append(caption)
        caption.setBuddy(made)
        made.setAccessibleName(words)
        form.addRow(caption, made)

    def _keep(self, part: str, name: str, show: Callable[[Any], None]) -> None:
        def now() -> object:
            return getattr(getattr(self._file.now, part), name)

        self._fields.append((now, show))
        show(now())

    def _choice(
        self, form: QFormLayout, words: str, part: str, name: str,
        entries: Sequence[tuple[Any, str]],
    ) -> QComboBox:  # fmt: skip
        box = QComboBox()
        for data, text in entries:
            box.addItem(text, data)

        def show(value: Any) -> None:
            box.blockSignals(True)
            if box.findData(value) < 0:
                box.addItem(percent(value) if isinstance(value, float) else str(value), value)
            box.setCurrentIndex(box.findData(value))
            box.blockSignals(False)

        self._keep(part, name, show)
        box.currentIndexChanged.connect(
            lambda *_: self._file.change(part, **{name: box.currentData()})
        )
        self._row(form, words, box)
        return box

    def _switch(self, form: QFormLayout, words: str, part: str, name: str) -> QCheckBox:
        made = QCheckBox(words)

        def show(value: Any) -> None:
            made.blockSignals(True)
            made.setChecked(value)
            made.blockSignals(False)

        self._keep(part, name, show)
        made.toggled.connect(lambda on: self._file.change(part, **{name: on}))
        form.addRow("", made)
        return made

    def _line(self, form: QFormLayout, words: str, part: str, name: str) -> QLineEdit:
        made = QLineEdit()

        def show(value: Any) -> None:
            if made.text() != value:
                made.setText(value)

        self._keep(part, name, show)

        def keep() -> None:
            if made.text().strip() != getattr(getattr(self._file.now, part), name):
                self._file.change(part, **{name: made.text().strip()})

        made.editingFinished.connect(keep)
        self._row(form, words, made)
        return made

    def _note(self, form: QFormLayout, words: str) -> None:
        form.addRow(text_label(words, "note", wrap=True))
