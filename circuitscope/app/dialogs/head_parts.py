"""The heads an edge passes: who looked, at which word, with which weight, and what it brought."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from circuitscope.app.meanings import explain
from circuitscope.app.naming import head_words
from circuitscope.app.theme import Palette, px
from circuitscope.app.widgets import Clickable, ShareBar, clear, elided, text_label
from circuitscope.app.words import DOT, percent, signed, tr
from circuitscope.core.circuit import Circuit
from circuitscope.engine.reasons import AttentionReasons, HeadPart

_PARTS = 6


class HeadParts(QWidget):
    """List the strongest parts of an edge; a click asks why the head looked there."""

    chosen = Signal(object)
    """Emitted with the `HeadPart` that was clicked."""

    def __init__(self, palette: Palette, circuit: Circuit) -> None:
        super().__init__()
        self._palette, self._circuit = palette, circuit
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)

    def show_parts(self, found: AttentionReasons) -> None:
        """Show an edge's parts, strongest first, and what the others and no head bring."""
        clear(self._column)
        size = sum(abs(part.weight) for part in found.parts) + abs(found.direct)
        for part in found.parts[:_PARTS]:
            words = head_words(self._circuit, part)
            row = _PartRow(self._palette, part, part.weight / size if size else 0.0, words)
            row.clicked.connect(lambda part=part: self.chosen.emit(part))
            self._column.addWidget(row)
        left = found.parts[_PARTS:]
        notes = []
        if left:
            words = tr("{0} more parts: {1}")
            notes.append(words.format(len(left), signed(sum(part.weight for part in left), 4)))
        if found.direct:
            notes.append(tr("past all heads: {0}").format(signed(found.direct, 4)))
        if notes:
            self._column.addWidget(text_label(DOT.join(notes), "note"))


class _PartRow(Clickable):
    """One head and the position it looks at; a click explains its score."""

    def __init__(self, palette: Palette, part: HeadPart, share: float, words: str) -> None:
        super().__init__()
        self.setFixedHeight(px(32))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(elided(words, "strong"), 1)
        pattern = text_label(tr("attention {0}").format(percent(part.pattern)), "quiet")
        explain(pattern, "pattern")
        row.addWidget(pattern)
        bar = ShareBar(palette)
        bar.set_share(share)
        row.addWidget(bar)
        number = text_label(signed(part.weight, 4), "negative" if part.weight < 0 else "positive")
        number.setFixedWidth(px(72))
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        explain(number, "weight")
        row.addWidget(number)
        self.setToolTip(tr("Why did it look there?"))
        self.setAccessibleName(
            tr("{0}, attention {1}, brings {2}: why did it look there?").format(
                words, percent(part.pattern), signed(part.weight, 4)
            )
        )
