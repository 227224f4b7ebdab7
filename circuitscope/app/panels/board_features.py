"""What a feature of the Othello example means on the board: its rule, averages and best boards."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from circuitscope.app.panels.board_view import PositionView, SharesView
from circuitscope.app.theme import Palette
from circuitscope.app.widgets import elided, section, text_label
from circuitscope.app.words import DOT, percent, plain, plural, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.evidence.records import FeaturePage
from circuitscope.examples import othello_views
from circuitscope.examples.othello_boards import FeatureBoards
from circuitscope.examples.othello_examples import ExampleBoards, example_boards
from circuitscope.examples.othello_views import Position

COLUMNS = 3


class FeatureBoardsBox(QWidget):
    """Show one feature's boards.

    Args:
        palette: Colours.
        boards: The example's boards and which row of them is the feature; or why there is none.
        page: What was collected about it: its examples come before those of the boards.
    """

    def __init__(
        self,
        palette: Palette,
        boards: tuple[FeatureBoards, int] | str,
        page: FeaturePage | None = None,
    ) -> None:
        super().__init__()
        self._palette = palette
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        found = self._played(page)
        if isinstance(boards, str):
            self._column.addWidget(text_label(boards, "quiet", wrap=True))
            if found is not None:
                self._add_averages(found.shares, plural(found.n_sampled, "example", "examples"))
        else:
            self._add_rule(*boards)
            self._add_averages(boards[0].boards[boards[1]])
        if found is not None:
            self._add_boards(found.positions, found.activations)
        elif not isinstance(boards, str):
            self._add_kept(*boards)

    def _played(self, page: FeaturePage | None) -> ExampleBoards | None:
        try:
            return None if page is None else example_boards(page)
        except CircuitScopeError as error:
            self._column.addWidget(text_label(error.message, "error", wrap=True))
            return None

    def _add_rule(self, boards: FeatureBoards, row: int) -> None:
        self._column.addWidget(text_label(rule_words(boards, row), "", wrap=True))
        often = tr("active at {0} of positions, then {1} on average").format(
            percent(float(boards.frequency[row]), 2), plain(float(boards.mean_activation[row]))
        )
        self._column.addWidget(text_label(often, "small", wrap=True))

    def _add_averages(self, shares: NDArray[np.uint8], over: str = "") -> None:
        self._column.addSpacing(6)
        self._column.addWidget(section(tr("Where its activation lies")))
        note = tr("The larger the mark, the more of its activation falls on positions whose "
                  "square is as the title says.")  # fmt: skip
        if over:
            note += " " + tr("Over an even sample of {0}.").format(over)
        self._column.addWidget(text_label(note, "note", wrap=True))
        titles = (tr("mine"), tr("theirs"), tr("empty"), tr("turned"), tr("last move"), tr("legal"))
        grid = _grid()
        for at, (title, board) in enumerate(zip(titles, shares, strict=True)):
            _add(grid, at, SharesView(self._palette, title, board), title)
        self._column.addLayout(grid)

    def _add_kept(self, boards: FeatureBoards, row: int) -> None:
        """Show the games that lie beside the boards, where nothing was collected."""
        used = boards.examples[row].any(-1)
        games, at = boards.examples[row][used], boards.example_position[row][used]
        try:
            found = othello_views.positions_in(games, at) if len(games) else []
        except CircuitScopeError as error:
            self._column.addWidget(text_label(error.message, "error", wrap=True))
            return
        self._add_boards(found, boards.example_activation[row][used].tolist())

    def _add_boards(self, found: Sequence[Position], active: Sequence[float]) -> None:
        self._column.addSpacing(6)
        self._column.addWidget(section(tr("Most active on")))
        if not found:
            self._column.addWidget(text_label(tr("no game is kept for it"), "quiet"))
            return
        grid = _grid()
        for place, (position, activation) in enumerate(zip(found, active, strict=True)):
            view = PositionView(self._palette)
            view.show_position(position)
            words = plain(activation, 1) + DOT + tr("move {0}").format(position.number)
            view.setAccessibleName(words)
            view.setToolTip(words)
            _add(grid, place, view, plain(activation, 1))
        self._column.addLayout(grid)


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
