"""What a feature of the Othello example means on the board: its rule, averages and best boards."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from circuitscope.app.panels.board_view import PositionView, SharesView
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import elided, section, text_label
from circuitscope.app.words import DOT, percent, plain, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.examples import othello_views
from circuitscope.examples.othello_boards import FeatureBoards

COLUMNS = 3


class FeatureBoardsBox(QWidget):
    """Show one feature's boards.

    Args:
        palette: Colours.
        boards: The example's boards.
        row: Which feature of them.
    """

    def __init__(self, palette: Palette, boards: FeatureBoards, row: int) -> None:
        super().__init__()
        self._palette = palette
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(text_label(rule_words(boards, row), "", wrap=True))
        often = tr("active at {0} of positions, then {1} on average").format(
            percent(float(boards.frequency[row]), 2), plain(float(boards.mean_activation[row]))
        )
        column.addWidget(text_label(often, "small", wrap=True))
        column.addSpacing(6)
        column.addWidget(section(tr("Where its activation lies")))
        note = tr("The larger the mark, the more of its activation falls on positions whose "
                  "square is as the title says.")  # fmt: skip
        column.addWidget(text_label(note, "note", wrap=True))
        column.addLayout(self._averages(boards, row))
        column.addSpacing(6)
        column.addWidget(section(tr("Most active on")))
        self._add_examples(column, boards, row)

    def _averages(self, boards: FeatureBoards, row: int) -> QGridLayout:
        titles = (tr("mine"), tr("theirs"), tr("empty"), tr("turned"), tr("last move"), tr("legal"))
        grid = _grid()
        for at, (title, shares) in enumerate(zip(titles, boards.boards[row], strict=True)):
            _add(grid, at, SharesView(self._palette, title, shares), title)
        return grid

    def _add_examples(self, column: QVBoxLayout, boards: FeatureBoards, row: int) -> None:
        used = boards.examples[row].any(-1)
        games, at = boards.examples[row][used], boards.example_position[row][used]
        try:
            found = othello_views.positions_in(games, at) if len(games) else []
        except CircuitScopeError as error:
            column.addWidget(text_label(error.message, "error", wrap=True))
            return
        if not found:
            column.addWidget(text_label(tr("no game is kept for it"), "quiet"))
            return
        grid = _grid()
        active = boards.example_activation[row][used].tolist()
        for place, (position, activation) in enumerate(zip(found, active, strict=True)):
            view = PositionView(self._palette)
            view.show_position(position)
            words = plain(activation, 1) + DOT + tr("move {0}").format(position.number)
            view.setAccessibleName(words)
            _add(grid, place, view, words)
        column.addLayout(grid)


def rule_words(boards: FeatureBoards, row: int) -> str:
    """Return the best board rule and how well it does, in a sentence."""
    rule, score = str(boards.rule[row]), float(boards.rule_f1[row])
    if not rule:
        return tr("No board rule says when it is active.")
    return tr("Best board rule: {0} (F1 {1}).").format(rule, plain(score))


def _grid() -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(10)
    grid.setVerticalSpacing(2)
    for column in range(COLUMNS):
        grid.setColumnStretch(column, 1)
    return grid


def _add(grid: QGridLayout, at: int, view: QWidget, words: str) -> None:
    row, column = divmod(at, COLUMNS)
    grid.addWidget(view, 2 * row, column)
    caption = elided(words, "small")
    caption.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    grid.addWidget(caption, 2 * row + 1, column)
    grid.setRowMinimumHeight(2 * row + 1, 22)
