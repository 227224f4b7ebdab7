"""A sentence coloured by what its words weigh, and the table of its words and phrases."""

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from circuitscope.app.dialogs.tokens import flow_in
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.theme import Palette, readable
from circuitscope.app.widgets import Clickable, clear
from circuitscope.app.words import signed, tr
from circuitscope.core.importance import Importance, Phrase

_STRONGEST = 0.75


class WordChip(Clickable):
    """A word on its colour, its weight below; a bar at the foot tells the sign without colour."""

    def __init__(self, palette: Palette, phrase: Phrase, largest: float) -> None:
        super().__init__()
        self._palette, self.phrase = palette, phrase
        self._share = abs(phrase.score) / largest if largest else 0.0
        self._marked = False
        words = tr("{0}, weight {1}").format(phrase.text, signed(phrase.score))
        self.setAccessibleName(words)
        self.setToolTip(words)
        metrics = self.fontMetrics()
        width = max(metrics.horizontalAdvance(phrase.text), metrics.horizontalAdvance("+0.00"))
        self.setFixedSize(width + 20, 2 * metrics.height() + 16)

    @property
    def is_marked(self) -> bool:
        """Return whether the word is framed as part of the chosen phrase."""
        return self._marked

    def set_marked(self, *, marked: bool) -> None:
        """Frame the word as part of the chosen phrase."""
        self._marked = marked
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint colour, word and weight."""
        palette, score = self._palette, self.phrase.score
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        hue = palette.positive if score >= 0 else palette.negative
        frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        fill = QColor(palette.mix(hue, _STRONGEST * self._share, palette.field))
        painter.setBrush(fill)
        pen = QPen(QColor(palette.ink if self._marked or self.hasFocus() else palette.hairline))
        pen.setWidthF(2.0 if self._marked else 1.0)
        painter.setPen(pen)
        painter.drawRoundedRect(frame, 5, 5)
        painter.setPen(readable(fill, palette.ink, palette.panel))
        half = frame.height() / 2
        top = QRectF(frame.left(), frame.top() + 3, frame.width(), half)
        painter.drawText(top, Qt.AlignmentFlag.AlignCenter, self.phrase.text)
        low = QRectF(frame.left(), frame.top() + half - 1, frame.width(), half)
        painter.drawText(low, Qt.AlignmentFlag.AlignCenter, signed(score))
        painter.end()


class WordStrip(QWidget):
    """The sentence, word by word."""

    word_chosen = Signal(object)
    """A word was clicked; carries its `Phrase`."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.setAccessibleName(tr("Words by weight"))
        self._flow = flow_in(self)
        self.chips: list[WordChip] = []

    def show_words(self, found: Importance) -> None:
        """Show another sentence."""
        clear(self._flow)
        largest = max(abs(word.score) for word in found.words)
        self.chips = [WordChip(self._palette, word, largest) for word in found.words]
        for chip in self.chips:
            chip.clicked.connect(lambda chip=chip: self.word_chosen.emit(chip.phrase))
            self._flow.addWidget(chip)

    def mark(self, phrase: Phrase | None) -> None:
        """Frame the words of a phrase."""
        for chip in self.chips:
            start, stop = chip.phrase.span
            inside = phrase is not None and start >= phrase.span[0] and stop <= phrase.span[1]
            chip.set_marked(marked=inside)


class PhraseTable(Table):
    """Words and phrases, the heaviest first; headers sort."""

    phrase_chosen = Signal(object)
    """Another row is current; carries its `Phrase`."""

    def __init__(self, palette: Palette) -> None:
        super().__init__(tr("Words and phrases"), (
            Column(tr("Words")), Column(tr("Weight"), "word weight", number=True),
            Column(tr("Its words alone"), "words alone", number=True),
            Column(tr("Only together"), "only together", number=True),
        ), palette)  # fmt: skip
        self.setSelectionMode(Table.SelectionMode.SingleSelection)
        self.currentItemChanged.connect(
            lambda now, _: self.phrase_chosen.emit(now.thing if now is not None else None)
        )

    def show_phrases(self, found: Importance) -> None:
        """Show another sentence's words and phrases."""
        self.setSortingEnabled(False)
        self.clear()
        for phrase in sorted(found.phrases, key=lambda phrase: -abs(phrase.score)):
            alone, many = phrase.score - phrase.interaction, phrase.n_words > 1
            none = Cell("")
            self.add((
                Cell(phrase.text), Cell(signed(phrase.score), phrase.score),
                Cell(signed(alone), alone) if many else none,
                Cell(signed(phrase.interaction), phrase.interaction) if many else none,
            ), phrase)  # fmt: skip
        self.setSortingEnabled(True)

    def choose(self, phrase: Phrase) -> None:
        """Make a phrase's row the current one."""
        for item in self.rows():
            if item.thing == phrase:
                self.setCurrentItem(item)
                self.scrollToItem(item)
