"""Choose the dictionaries of a trace among those found for the model, and check them."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.site_offer import SiteOffer
from circuitscope.app.widgets import button, clear, section, text_label
from circuitscope.app.words import DOT, plural, tr
from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.catalogue import PublishedSet, sets_for
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.dictionary_check import DictionaryCheck
from circuitscope.session.dictionaries import cached_repositories
from circuitscope.session.jobs import Job
from circuitscope.session.session import ModelStatus

_BESIDE = ("dictionaries", "transcoders", "saes")
_MOST_CACHED = 40
_MOST_CHECKS = 8


def candidate_folders(model: Path, remembered: list[str]) -> list[str]:
    """Return what may hold a model's dictionaries: used before, or lying beside it."""
    beside = [folder / name for folder in (model, model.parent) for name in _BESIDE]
    used = [text for text in remembered if not Path(text).is_absolute() or Path(text).is_dir()]
    return list(dict.fromkeys([*used, *(str(folder) for folder in beside if folder.is_dir())]))


def summary(cards: tuple[DictionaryCard, ...]) -> str:
    """Return "12 dictionaries · 4 transcoders, 8 autoencoders · layers 0–3"."""
    across = sum(len(card.layers) > 1 for card in cards)
    transcoders = sum(card.is_transcoder for card in cards) - across
    others = len(cards) - transcoders - across
    layers = sorted({layer for card in cards for layer in card.layers})
    kinds = [plural(across, "cross-layer transcoder", "cross-layer transcoders") if across else "",
             plural(transcoders, "transcoder", "transcoders") if transcoders else "",
             plural(others, "autoencoder", "autoencoders") if others else ""]  # fmt: skip
    span = f"{layers[0]}–{layers[-1]}" if len(layers) > 1 else "".join(map(str, layers))
    parts = [", ".join(kind for kind in kinds if kind), tr("layers {0}").format(span)]
    return DOT.join(parts)


def misfit(cards: tuple[DictionaryCard, ...], anatomy: ModelAnatomy | None) -> str:
    """Return why none of these dictionaries fits a model, "" where one does."""
    if not cards:
        return tr("holds no dictionaries")
    if anatomy is None:
        return ""

    def width(card: DictionaryCard) -> int:
        heads = card.read_site is Site.HEAD_Z
        return anatomy.n_heads * anatomy.d_head if heads else anatomy.d_model

    wrong = [card for card in cards if card.d_in != width(card)]
    if len(wrong) == len(cards):
        words = tr("made for width {0}, but the model has {1}")
        return words.format(wrong[0].d_in, width(wrong[0]))
    deep = [card for card in cards if card.layers[-1] >= anatomy.n_layers]
    if len(deep) + len(wrong) == len(cards):
        words = tr("made for layer {0}, but the model has {1} layers")
        return words.format(deep[0].layers[-1], anatomy.n_layers)
    return ""


class DictionaryChoiceBox(QWidget):
    """Check boxes of dictionary sets, fitting ones first; what does not fit the model says why.

    Args:
        desk: Session and colours.
        checks: Whether there is a prompt to check them on.
    """

    changed = Signal()
    check_asked = Signal()

    def __init__(self, desk: Desk, parent: QWidget | None = None, *, checks: bool = True) -> None:
        super().__init__(parent)
        self._desk, self._checks_prompts = desk, checks
        self._model: Path | None = None
        self._rows: dict[str, QCheckBox] = {}
        self._cards: dict[str, tuple[DictionaryCard, ...]] = {}
        self._n_fitting = 0
        self._asked: tuple[str, ...] = ()
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
        column.addLayout(self._adding())
        self._published = text_label("", "small", wrap=True)
        self._checks = text_label("", "small", wrap=True)
        for label in (self._published, self._checks):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.hide()
            column.addWidget(label)
        self.offer = SiteOffer()
        self.offer.changed.connect(self._moved)
        column.addWidget(self.offer)

    def _adding(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(12)
        self.reference = QLineEdit()
        self.reference.setPlaceholderText(tr("Folder, organisation/name or hf://…"))
        self.reference.setToolTip(tr("Repositories are looked for in the local cache only."))
        self.reference.setAccessibleName(tr("Folder or repository of dictionaries"))
        self.reference.returnPressed.connect(self.add_reference)
        row.addWidget(self.reference, 1)
        row.addWidget(button(tr("Add a folder…"), "link", self._ask))
        self._check = button(tr("Check on this prompt"), "link", self._ask_check)
        self._check.setEnabled(False)
        self._check.setVisible(self._checks_prompts)
        row.addWidget(self._check)
        return row

    def follow(self, status: ModelStatus) -> None:
        """Look for dictionaries of another model."""
        path = status.path
        if path == self._model or status.state != "ready":
            return
        self._model = path
        clear(self._list)
        self._rows.clear()
        self._cards.clear()
        self._n_fitting = 0
        self._checks.hide()
        self.offer.forget()
        without = tr("None found beside the model: neurons, heads and tokens are traced.")
        self._none.setText(without if self._checks_prompts else tr("None found beside the model."))
        self._none.show()
        if path is not None:
            remembered = self._desk.session.preferences.now.recent.dictionaries.get(str(path), [])
            for place in candidate_folders(path, remembered):
                self.look_at(place)
            for repo in cached_repositories()[:_MOST_CACHED]:
                self._look_at(repo, found=True)
        self._show_published(status)
        self.changed.emit()

    def look_at(self, place: Path | str) -> None:
        """Add a folder or repository to the list, once the engine has read its cards."""
        self._look_at(str(place), found=False)

    def _look_at(self, place: str, *, found: bool) -> None:
        """Look at a place; what was merely found is listed only if it holds dictionaries."""
        if place in self._rows:
            return
        row = QCheckBox(Path(place).name)
        row.setToolTip(place)
        row.setEnabled(False)
        row.setVisible(not found)
        row.toggled.connect(self._toggled)
        self._rows[place] = row
        self._list.addWidget(row)
        # Keys reach it where it stands, before the field for another place.
        self.setTabOrder(self.reference.previousInFocusChain(), row)
        self._none.setVisible(self._none.isVisible() and found)
        job = self._desk.session.inspect_dictionaries(place)
        to_gui(job.changed, lambda job: self._heard(place, job, found=found), row)

    def _heard(self, place: str, job: Job, *, found: bool) -> None:
        row = self._rows.get(place)
        if row is None or not job.is_over:
            return
        cards: Any = job.result.cards if job.state == "done" and job.result is not None else ()
        if found and not cards:
            return
        self._cards[place] = cards
        reason = str(job.error.message) if job.error else self._unfit(cards)
        path = Path(place)
        name = f"{path.parent.name} / {path.name}" if path.is_absolute() else place
        row.setText(f"{name}    {reason or summary(cards)}")
        if job.error is not None and job.error.hint:
            row.setToolTip(f"{place}\n{job.error.hint}")
        row.setEnabled(not reason)
        row.setChecked(not reason and not found)
        self._none.hide()
        row.show()
        if not reason:
            self._list.removeWidget(row)
            self._list.insertWidget(self._n_fitting, row)
            self._n_fitting += 1

    def _unfit(self, cards: tuple[DictionaryCard, ...]) -> str:
        return misfit(cards, self._desk.session.model.anatomy)

    def _show_published(self, status: ModelStatus) -> None:
        """Name the sets that are published for the model and how to get them."""
        name = status.anatomy.name if status.anatomy is not None else ""
        sets = [entry for entry in sets_for(name) if entry.repo not in self._rows]
        lines = [_offer(entry) for entry in sets]
        title = tr("Published for this model, to be downloaded once:")
        self._published.setText("\n".join([title, *lines]))
        self._published.setVisible(bool(lines))

    def _moved(self) -> None:
        """Measure again where dictionaries are read now."""
        self.changed.emit()
        self._ask_check()

    def _ask_check(self) -> None:
        self._asked = self.chosen()
        self.check_asked.emit()

    def _toggled(self) -> None:
        # Names depend on which folders are read together, so moves hold for these alone.
        self.offer.forget()
        self._checks.hide()
        self._check.setEnabled(bool(self.chosen()))
        self.changed.emit()

    def add_reference(self) -> None:
        """Look at what was typed."""
        text = self.reference.text().strip()
        if text:
            local = Path(text).expanduser()
            self.look_at(local.absolute() if local.exists() else text)
            self.reference.clear()

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a folder of dictionaries"))
        if folder:
            self.look_at(Path(folder))

    def chosen(self) -> tuple[str, ...]:
        """Return the folders and repositories that are checked."""
        return tuple(path for path, row in self._rows.items() if row.isChecked())

    def only_transcoders(self) -> bool:
        """Say whether all that is checked reads what an MLP reads and writes what it writes."""
        cards = [card for path in self.chosen() for card in self._cards.get(path, ())]
        return bool(cards) and all(card.is_transcoder for card in cards)

    def read_at(self) -> tuple[str, ...]:
        """Return where dictionaries are read in place of what their files declare."""
        return self.offer.chosen

    def show_checks(self, job: Job) -> None:
        """Show what a check found, the least explained first."""
        self._check.setEnabled(job.is_over and bool(self.chosen()))
        if self._asked != self.chosen():
            return  # other folders were chosen since
        if not job.is_over:
            self._checks.setText(tr("Checking…"))
        elif job.error is not None:
            self._checks.setText(str(job.error))
        elif job.result is not None:
            found: Any = job.result
            self._checks.setText(checks_text(found.checks))
            self.offer.show_offers(found.checks)
        self._checks.show()


def _offer(entry: PublishedSet) -> str:
    facts = [entry.kind, entry.size_text, entry.licence or ""]
    lines = " && ".join(entry.download_lines)
    return f"{DOT.join(fact for fact in facts if fact)}: {lines}"


def checks_text(checks: tuple[DictionaryCheck, ...]) -> str:
    """Return one line for each of the least explained layers, then advice."""
    worst = sorted(checks, key=lambda check: check.explained_variance)
    lines = [f"{check.name}{DOT}{check.text}" for check in worst[:_MOST_CHECKS]]
    if len(worst) > _MOST_CHECKS:
        best = worst[-1].explained_variance
        words = tr("{0} more, up to {1:.2f} explained")
        lines.append(words.format(len(worst) - _MOST_CHECKS, best))
    advice = [c.advice for c in worst[:_MOST_CHECKS] if c.advice and c.better_site is None]
    return "\n".join([*lines, *advice])
