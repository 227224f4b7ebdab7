"""Offer to read dictionaries where the self-check found that they explain more."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.widgets import button, clear, text_label
from circuitscope.app.words import plural, tr
from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary_check import DictionaryCheck

_WORDS = {
    Site.RESID_PRE: "the stream before the block",
    Site.RESID_MID: "the stream between attention and MLP",
    Site.RESID_POST: "the stream after the block",
    Site.LN2_NORMALIZED: "the MLP's input before the norm's gain",
    Site.MLP_IN: "the MLP's input",
    Site.MLP_OUT: "the MLP's output",
    Site.ATTN_OUT: "attention's output",
}


def site_words(site: Site) -> str:
    """Return a site in words and by its name."""
    return f"{tr(_WORDS[site])} ({site.text})" if site in _WORDS else site.text


class SiteOffer(QWidget):
    """One line and one button for each kind of move; what was taken can be taken back.

    Attributes:
        chosen: What was taken, as `TraceSettings.read_at`.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.chosen: tuple[str, ...] = ()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 4, 0, 0)
        self._column.setSpacing(4)
        self.hide()

    def forget(self) -> None:
        """Offer nothing and read everything where it is declared."""
        self.chosen = ()
        self._show([])

    def show_offers(self, checks: Sequence[DictionaryCheck]) -> None:
        """Offer what a check found."""

        def move(check: DictionaryCheck) -> tuple[int, int]:
            return int(check.read_site), int(check.better_site or 0)

        found = sorted((check for check in checks if check.better_site is not None), key=move)
        self._show([list(group) for _, group in groupby(found, move)])

    def _show(self, offers: list[list[DictionaryCheck]]) -> None:
        clear(self._column)
        if self.chosen:
            words = plural(len(self.chosen), "dictionary is read elsewhere than its file says",
                           "dictionaries are read elsewhere than their files say")  # fmt: skip
            self._line(words, tr("Read where declared"), "", self._take_back)
        for offer in offers:
            better = offer[0].better_site
            assert better is not None
            words = tr("{0}, declared {1}: {2} explained. At {3}: {4}.").format(
                plural(len(offer), "dictionary", "dictionaries"),
                site_words(offer[0].read_site), _span([c.explained_variance for c in offer]),
                site_words(better), _span([c.better_variance for c in offer]),
            )  # fmt: skip
            moves = tuple(check.read_at for check in offer)
            name = tr("Read at {0}").format(site_words(better))
            self._line(words, tr("Use that"), name, partial(self._take, moves))
        self.setVisible(bool(offers or self.chosen))

    def _line(self, words: str, act: str, name: str, then: Callable[[], None]) -> None:
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(text_label(words, "small", wrap=True), 1)
        made = button(act, "" if name else "link", then)
        if name:
            made.setAccessibleName(name)
            made.setToolTip(name)
        row.addWidget(made, 0, Qt.AlignmentFlag.AlignVCenter)
        self._column.addWidget(line)

    def _take(self, moves: tuple[str, ...]) -> None:
        self.chosen = (*self.chosen, *moves)
        self._show([])
        self.changed.emit()

    def _take_back(self) -> None:
        self.forget()
        self.changed.emit()


def _span(shares: Sequence[float]) -> str:
    low, high = min(shares), max(shares)
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f}–{high:.2f}"
