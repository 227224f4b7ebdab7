"""The trace dialog: model, prompt, word, contrast, dictionaries, method, and off it goes."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.dictionary_choice import DictionaryChoiceBox
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.dialogs.means_choice import MeansChoiceBox
from circuitscope.app.dialogs.model_choice import ModelChoiceBox
from circuitscope.app.dialogs.prompt import PromptBox
from circuitscope.app.dialogs.prompt_set import PromptSetBox
from circuitscope.app.dialogs.score_choice import ScoreChoiceBox
from circuitscope.app.dialogs.targets import TargetsBox
from circuitscope.app.forms import SettingsForm, set_value
from circuitscope.app.theme import icon
from circuitscope.app.widgets import button, give_size, hairline, section, text_label
from circuitscope.app.words import gigabytes, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.registry import Registry
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.session.jobs import Job
from circuitscope.session.session import ModelStatus

PLAIN = ("max_nodes", "units")
ADVANCED = (
    "mlp", "gated", "weights", "conventions", "least_share", "logit_mass", "max_logits",
    "batch_size", "update_interval", "dtype", "seed",
)  # fmt: skip

_ROOM_MS = 500


METHODS = {
    "direct": ("Direct contributions",
               "Direct effects through the frozen attention patterns and norms of this run, "
               "strongest first, every row checked to add up."),
    "attribution": ("Attribution graph",
                    "Effects of transcoder features on one another and on the words, through "
                    "frozen attention and norms; needs transcoders."),
    "contextual": ("Contextual decomposition (heads)",
                   "The attention heads that one word, or one word against another, depends on "
                   "along all paths. Relevances do not add up; faithfulness is measured."),
    "eap": ("Attribution patching (EAP)",
            "Edges between heads, MLPs and words, each by its first-order effect against a "
            "corrupted prompt. Quick, and rough where gradients are flat."),
    "eap_ig": ("Integrated attribution patching (EAP-IG)",
               "The same with gradients averaged between the corrupted and the clean prompt."),
    "path_patching": ("Path patching",
                      "Edges back from the answer, each run with the corrupted prompt's value: "
                      "exact, one run an edge."),
    "information_flow": ("Information flow routes",
                         "What the last state consists of, back through heads and MLPs to the "
                         "words. One run; says nothing of effects on the answer."),
}  # fmt: skip
"""Names and words for the methods that come with the program."""
PATCHING = ("eap", "eap_ig", "path_patching")
"""Methods that a corrupted prompt is for."""


def _order(name: str) -> tuple[bool, int, str]:
    names = list(METHODS)
    return name not in names, names.index(name) if name in names else 0, name


class TraceDialog(QDialog):
    """Ask what to trace; the work itself is a job of the session."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("TraceDialog")
        self.setWindowTitle(tr("New trace"))
        give_size(self, 780, 840)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        scroll = QScrollArea()
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is in it has the focus
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inside = QWidget()
        inside.setObjectName("Desk")
        column = QVBoxLayout(inside)
        column.setContentsMargins(24, 24, 24, 24)
        column.setSpacing(16)
        self.model = ModelChoiceBox(desk)
        self.prompt = PromptBox(desk)
        self.score = ScoreChoiceBox(desk, self.prompt)
        self.targets = TargetsBox(self.prompt, self.score)
        self.further = PromptSetBox()
        self.dictionaries = DictionaryChoiceBox(desk)
        for widget in (
            self.model, hairline(), self.prompt, self.further, self.score, self.targets,
            hairline(), self.dictionaries,
        ):  # fmt: skip
            column.addWidget(widget)
        self._add_method(column)
        column.addStretch()
        scroll.setWidget(inside)
        outer.addWidget(scroll, 1)
        outer.addWidget(hairline())
        outer.addLayout(self._foot())
        self.model.changed.connect(self._model_changed)
        self.prompt.changed.connect(self._refresh)
        self.score.changed.connect(self._refresh)
        self.targets.changed.connect(self._refresh)
        self.further.changed.connect(self._refresh)
        self.dictionaries.changed.connect(self._fit_rule)
        self.dictionaries.check_asked.connect(self._check_dictionaries)
        self._held: tuple[Any, str] | None = None
        self._room = ""
        self._by_transcoders = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_ROOM_MS)
        self._pause.timeout.connect(self._asks_room)
        fields: dict[str, Any] = self._form.fields
        fields["max_nodes"].valueChanged.connect(lambda *_: self._refresh())
        fields["units"].currentIndexChanged.connect(lambda *_: self._refresh())
        self._begin()

    def _begin(self) -> None:
        self.model.begin()
        circuit = self._desk.session.circuit
        written = circuit.provenance.settings.get("prompt") if circuit is not None else None
        if isinstance(written, str):
            self.prompt.field.setPlainText(written)
        self.prompt.field.setFocus()
        self.prompt.field.selectAll()
        self._refresh()

    def fill(self, circuit: Circuit) -> None:
        """Set everything as a circuit was traced, as far as this machine still has it."""
        settings = TraceSettings.from_json(circuit.provenance.settings)
        self.setWindowTitle(tr("Trace again with changes"))
        words = settings.prompt if isinstance(settings.prompt, str) else circuit.prompt
        target, named = settings.targets[0], circuit.labels[int(circuit.roots[0])]
        if isinstance(target, Logit) and target.token is None:
            named = tr("the likeliest next tokens")
        self.prompt.explain(words, target, named)
        self.method.setCurrentIndex(max(0, self.method.findData(settings.method)))
        values = {name: getattr(settings, name) for name in (*PLAIN, *ADVANCED)}
        self._form.fill(values)
        self._advanced.fill(values)
        for place in settings.dictionaries:
            if Path(place).exists():
                self.dictionaries.look_at(place)
        self._refresh()

    def _add_method(self, column: QVBoxLayout) -> None:
        chosen = self._desk.session.preferences.now.trace
        start = {"max_nodes": chosen.max_nodes, "units": chosen.units, "mlp": chosen.mlp}
        column.addWidget(hairline())
        column.addWidget(section(tr("Method")))
        self.method = QComboBox()
        self.method.setAccessibleName(tr("Method"))
        for name in sorted(Registry("circuitscope.methods").names(), key=_order):
            self.method.addItem(tr(METHODS[name][0]) if name in METHODS else name, name)
        self.method.currentIndexChanged.connect(self._method_changed)
        column.addWidget(self.method)
        self._words = text_label("", "small", wrap=True)
        column.addWidget(self._words)
        self.means = MeansChoiceBox(self._desk)
        column.addWidget(self.means)
        self.corrupted = QLineEdit()
        self.corrupted.setAccessibleName(tr("Corrupted prompt"))
        self.corrupted.setPlaceholderText(
            tr("Corrupted prompt of as many tokens; empty: the mean over the prompt")
        )
        column.addWidget(self.corrupted)
        self._form = SettingsForm(TraceSettings, PLAIN, start)
        column.addWidget(self._form)
        self._more = QToolButton()
        self._more.setText(tr("Advanced settings"))
        self._more.setProperty("look", "link")
        self._more.setCheckable(True)
        self._more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._more.toggled.connect(self._unfold)
        column.addWidget(self._more)
        self._advanced = SettingsForm(TraceSettings, ADVANCED, start)
        column.addWidget(self._advanced)
        self._unfold(unfolded=False)
        self._method_changed()

    def _method_changed(self) -> None:
        known = METHODS.get(self.method.currentData())
        self._words.setText(tr(known[1]) if known else "")
        self.means.setVisible(self.method.currentData() == "contextual")
        self.corrupted.setVisible(self.method.currentData() in PATCHING)

    def _unfold(self, unfolded: bool) -> None:
        palette = self._desk.palette
        name = "chevron-down" if unfolded else "chevron-right"
        self._more.setIcon(icon(name, palette, palette.accent_ink, 14))
        self._advanced.setVisible(unfolded)

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(24, 12, 24, 12)
        row.setSpacing(8)
        self._summary = text_label("", "quiet", wrap=True)
        row.addWidget(self._summary, 1)
        row.addWidget(button(tr("Cancel"), "", self.reject))
        self.trace_button = button(tr("Trace"), "primary", self.trace)
        row.addWidget(self.trace_button)
        return row

    # ---- keeping the parts together -------------------------------------------------------
    def _model_changed(self, status: ModelStatus) -> None:
        held = (status.path, status.state)
        if held != self._held:
            self._held = held
            if status.state == "ready":
                self.prompt.follow_model()
            self.dictionaries.follow(status)
            self.score.follow(status)
        self._refresh()

    def reason(self) -> str:
        """Return why the trace cannot start yet, "" where it can."""
        status = self._desk.session.model
        if status.state in ("none", "failed"):
            return tr("Choose a model first.")
        if status.why_untraced:
            return tr("This model cannot be traced. {0}").format(status.why_untraced)
        if not self.prompt.text:
            return tr("Type a prompt; Generate shows what the model would say.")
        if not self.prompt.prompt():
            return tr("The conversation has not been read yet.")
        return self.prompt.problem.message if self.prompt.problem is not None else ""

    def _refresh(self) -> None:
        reason, self._room = self.reason(), ""
        self._pause.start()
        self.trace_button.setEnabled(not reason)
        self.trace_button.setToolTip(reason)
        self._summary.setText(reason or self._plan() + self._room)

    def _fit_rule(self) -> None:
        """Read MLPs through transcoders where nothing else is chosen; no other rule uses them."""
        only = self.dictionaries.only_transcoders()
        if only != self._by_transcoders:
            self._by_transcoders = only
            kept = self._desk.session.preferences.now.trace.mlp
            set_value(self._advanced.fields["mlp"], "transcoder" if only else kept)
        self._refresh()

    def _asks_room(self) -> None:
        """Ask what memory the trace would need, once nothing has been changed for a while."""
        if self.reason() or self._desk.session.model.state != "ready":
            return
        settings = self.settings()
        job = self._desk.session.estimate(settings)
        to_gui(job.changed, lambda job: self._room_told(job, settings), self)

    def _room_told(self, job: Job, asked: TraceSettings) -> None:
        if not job.is_over or self.reason() or self.settings() != asked:
            return
        self._room = ""
        if job.state == "done" and job.result is not None:
            needed, free = gigabytes(job.result.total), gigabytes(job.result.free)
            self._room = " " + tr("Needs about {0}; {1} are free.").format(needed, free)
            if job.result.seconds:
                seconds = max(1.0, job.result.seconds)
                self._room += " " + tr("Takes about {0:.0f} s.").format(seconds)
        self._summary.setText(self._plan() + self._room)

    def _plan(self) -> str:
        name = self.prompt.name()
        if self.targets.several():
            return tr("Explains {0}.").format(self.targets.several())
        if self.score.target() is not None:
            return tr("Explains the attention score of {0}.").format(self.score.name())
        if not name:
            return tr("Explains the likeliest next tokens; Generate lets you choose one.")
        if " − " in name:
            return tr("Explains why {0} rather than {1}.").format(*name.split(" − ", 1))
        return tr("Explains the logit of {0}.").format(name)

    def _check_dictionaries(self) -> None:
        reason = self.reason()
        if reason:
            self._summary.setText(reason)
            return
        job = self._desk.session.check_dictionaries(
            self.prompt.prompt(), self.dictionaries.chosen(), self.dictionaries.read_at()
        )
        to_gui(job.changed, self.dictionaries.show_checks, self.dictionaries)

    def settings(self) -> TraceSettings:
        """Return what is asked for."""
        return TraceSettings(
            prompt=self.prompt.prompt(), targets=self.targets.targets(),
            dictionaries=self.dictionaries.chosen(), read_at=self.dictionaries.read_at(),
            method=self.method.currentData(),
            means=self.means.chosen() if self.method.currentData() == "contextual" else None,
            corrupted=self._corrupted(), **self._form.values(), **self._advanced.values(),
        )  # fmt: skip

    def _corrupted(self) -> str:
        asked = self.method.currentData() in PATCHING
        return self.corrupted.text().strip() if asked else ""

    def trace(self) -> None:
        """Start the job and close the dialog."""
        settings = self.settings()
        try:
            further = self.further.prompts()
            prompts = (settings.prompt, *further) if further else ()
            name, share = self.targets.name(), self.further.share.value()
            self._desk.session.trace(settings, name, prompts, share)
        except CircuitScopeError as error:
            show_error(self, error)
            return
        values: dict[str, Any] = {"max_nodes": settings.max_nodes, "units": settings.units}
        if not self._by_transcoders:
            values["mlp"] = settings.mlp
        self._desk.session.preferences.change("trace", **values)
        self.accept()

    def done(self, result: int) -> None:
        """Give up unanswered questions when the dialog closes."""
        self.prompt.stop()
        self._pause.stop()
        super().done(result)
