"""Boards of a feature from its collected examples: the strongest ones, and averages over a sample.

The evidence of the Othello example keeps each example from the beginning of its game, so the board
can be played out. Averages are over the even sample of the feature's activations, weighted by how
active it is: the share of that activation at positions where a square is mine, theirs, empty or
turned, was just played, or is a legal move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.records import Example, FeaturePage
from circuitscope.examples import othello
from circuitscope.examples.othello import SQUARES, VOCABULARY
from circuitscope.examples.othello_boards import KINDS
from circuitscope.examples.othello_views import Position, positions_in

_MOST = 6


@dataclass(frozen=True, slots=True)
class ExampleBoards:
    """What a feature's examples look like on the board.

    Attributes:
        positions: The strongest examples; activations: how active it is there.
        shares: Share of its activation by what a square is, 0 to 255, uint8 [kind, square].
        n_sampled: Over how many examples.
    """

    positions: tuple[Position, ...]
    activations: tuple[float, ...]
    shares: NDArray[np.uint8]
    n_sampled: int


def example_boards(page: FeaturePage) -> ExampleBoards | None:
    """Play out a feature's examples; None where they are no whole games.

    Raises:
        PromptError: The rules do not allow a move.
    """
    whole = [one for one in page.examples if one.position == one.peak and one.activation > 0]
    top = [one for one in whole if one.band == "top"][:_MOST]
    sampled = [one for one in whole if one.band != "top"] or top
    if not top:
        return None
    games, at = _games(top)
    shares = _shares(sampled)
    return ExampleBoards(
        tuple(positions_in(games, at)), tuple(one.activation for one in top), shares, len(sampled)
    )


def _games(examples: Sequence[Example]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    longest = max(one.peak for one in examples) + 1
    games = np.zeros((len(examples), longest), np.uint8)
    for row, one in enumerate(examples):
        games[row, : one.peak + 1] = one.token_ids[: one.peak + 1]
    return games, np.array([one.peak for one in examples], np.uint8)


def _shares(examples: Sequence[Example]) -> NDArray[np.uint8]:
    games, at = _games(examples)
    played = othello.replay(games)
    row = np.arange(len(examples))
    mine, theirs, flipped, legal = (
        othello.planes(getattr(played, name)[row, at])
        for name in ("mine", "theirs", "flipped", "legal")
    )
    move = np.zeros_like(mine)
    for one, place in enumerate(at.tolist()):
        move[one, SQUARES.index(VOCABULARY[games[one, place]])] = True
    boards = {
        "mine": mine, "theirs": theirs, "empty": ~(mine | theirs), "flipped": flipped,
        "move": move, "legal": legal,
    }  # fmt: skip
    weight = np.array([one.activation for one in examples])
    found = np.stack([(weight[:, None] * boards[kind]).sum(0) for kind in KINDS]) / weight.sum()
    shares: NDArray[np.uint8] = np.rint(255 * found).astype(np.uint8)
    return shares


__all__ = ["ExampleBoards", "example_boards"]
