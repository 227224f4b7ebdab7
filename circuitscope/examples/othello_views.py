"""What there is to see of an Othello circuit: positions in words and planes, features on the board.

Asks for no torch, so that windows can read it. `BoardEvidence` finds what the example's file of
boards knows about a node, and only where the circuit was made with the very dictionaries that the
file is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard, header_digest
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.examples import othello, othello_boards
from circuitscope.examples.othello import SQUARES, VOCABULARY
from circuitscope.examples.othello_boards import FeatureBoards

__all__ = ["BoardEvidence", "Position", "fits", "positions", "square_of"]

_FILES = ("cfg.json", "sae_weights.safetensors")
_KNOWN = frozenset(VOCABULARY)


@dataclass(frozen=True, eq=False, slots=True)
class Position:
    """Hold the board after one move.

    "Mine" are the discs of the player who moves next; see `othello.Games`.

    Attributes:
        number: Which move it was, from 1.
        square: Where it was, 0 to 63.
        black: Whether Black made it; black_next: whether Black moves next.
        mine, theirs, flipped, legal: bool [64], squares A1, B1, ... H8 row by row.
    """

    number: int
    square: int
    black: bool
    black_next: bool
    mine: NDArray[np.bool_]
    theirs: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    legal: NDArray[np.bool_]

    @property
    def over(self) -> bool:
        """Say whether neither player can move any more."""
        return not self.legal.any()

    @property
    def passed(self) -> bool:
        """Say whether the other player is skipped, because no move is legal."""
        return not self.over and self.black == self.black_next

    @property
    def move(self) -> str:
        """Return the square in words, such as "F5"."""
        return SQUARES[self.square]

    @property
    def player(self) -> str:
        """Return who made the move."""
        return "Black" if self.black else "White"

    @property
    def next_player(self) -> str:
        """Return who moves next; at the end of a game, who did not make the last move."""
        return "Black" if self.black_next else "White"

    def headline(self) -> str:
        """Return the move in words."""
        return f"Move {self.number}: {self.move} by {self.player}"

    def turn(self) -> str:
        """Say whose turn it is, and whose discs are mine."""
        name = self.next_player
        if self.over:
            return f"The game is over: {self.score()}."
        if self.passed:
            other = "White" if self.black else "Black"
            return f"{name} moves again, since {other} cannot: {name}’s discs are mine."
        return f"{name} moves next: {name}’s discs are mine."

    def score(self) -> str:
        """Count the discs."""
        black, white = (self.mine, self.theirs) if self.black_next else (self.theirs, self.mine)
        return f"Black {int(black.sum())}, White {int(white.sum())}"

    def words(self) -> str:
        """Tell the whole board, for those who do not see it."""
        parts = (
            ("mine", self.mine), ("theirs", self.theirs), ("turned", self.flipped),
            ("legal", self.legal),
        )  # fmt: skip
        told = (f"{name}: {', '.join(names_of(plane)) or 'none'}" for name, plane in parts)
        return f"{self.headline()}. {self.turn()} {'; '.join(told)}."


def names_of(plane: NDArray[np.bool_]) -> list[str]:
    """Name the squares of a plane, row by row."""
    return [SQUARES[square] for square in np.flatnonzero(plane)]


def square_of(token_id: int) -> int | None:
    """Return which square a token plays, 0 to 63; None for `<pad>` and other numbers."""
    return SQUARES.index(VOCABULARY[token_id]) if 0 < token_id < len(VOCABULARY) else None


def fits(model: Mapping[str, Any], tokens: Sequence[str]) -> bool:
    """Say whether a model, and the tokens of a circuit where there are any, are of Othello."""
    vocabulary, context = model.get("d_vocab"), model.get("n_ctx")
    if vocabulary is not None and vocabulary != len(VOCABULARY):
        return False
    if not tokens:
        return vocabulary is not None and context == othello.MOVES
    return all(token.strip().upper() in _KNOWN or token in _KNOWN for token in tokens)


def positions(tokens: Sequence[str]) -> tuple[Position, ...]:
    """Return the board after every move.

    Raises:
        PromptError: A token is no square, or the rules do not allow a move.
    """
    return _positions(othello.read(" ".join(tokens)))


def positions_in(games: NDArray[np.uint8], at: NDArray[np.uint8]) -> list[Position]:
    """Return the board of every game after one of its moves.

    Args:
        games: Tokens, 0 behind the end, uint8 [game, pos].
        at: Which move of each, from 0, [game].

    Raises:
        PromptError: The rules do not allow a move.
    """
    played = othello.replay(games)
    return [_position(played, game, move) for game, move in enumerate(at.tolist())]


def _positions(games: othello.Games) -> tuple[Position, ...]:
    made = np.flatnonzero(games.tokens[0])
    return tuple(_position(games, 0, at) for at in made.tolist())


def _position(games: othello.Games, game: int, at: int) -> Position:
    here = (game, at)
    boards = np.stack(
        [games.mine[here], games.theirs[here], games.flipped[here], games.legal[here]]
    )
    return Position(
        at + 1, SQUARES.index(VOCABULARY[games.tokens[here]]), bool(games.black[here]),
        bool(games.black_next[here]), *othello.planes(boards),
    )  # fmt: skip


class BoardEvidence:
    """Know the boards of the example's features; read when first asked.

    Args:
        folder: The example's folder, with `boards.npz` and `dictionaries`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boards: FeatureBoards | None = None
        self._problem = ""
        self._digests: dict[str, str] = {}

    def find(self, circuit: Circuit, node: int) -> tuple[FeatureBoards, int] | str:
        """Find a feature's boards.

        Returns:
            The boards and the row in them, or why there are none, in a sentence.
        """
        key = circuit.nodes.key(node)
        card = _card_of(circuit, key)
        if card is None:
            return "The circuit does not say which dictionary this feature is of."
        if not self._is_bundled(card):
            return (
                f"The circuit was made with another dictionary {card.name} than the one that ships "
                "with the example, so only the position can be shown."
            )
        boards = self._read()
        if boards is None:
            return self._problem
        row = boards.find(card.name, key.unit)
        if row is None:
            return "The example’s games never made this feature active."
        return boards, row

    def _read(self) -> FeatureBoards | None:
        if self._boards is None and not self._problem:
            try:
                self._boards = othello_boards.read(self._folder / "boards.npz")
            except CircuitScopeError as error:
                self._problem = f"The boards of features cannot be shown. {error.message}"
        return self._boards

    def _is_bundled(self, card: DictionaryCard) -> bool:
        if card.name not in self._digests:
            files = [self._folder / "dictionaries" / Path(card.name).name / file for file in _FILES]
            try:
                self._digests[card.name] = header_digest(*files)
            except OSError:
                self._digests[card.name] = ""
        digest = self._digests[card.name]
        return bool(digest) and digest == card.digest


def _card_of(circuit: Circuit, key: NodeKey) -> DictionaryCard | None:
    """Return the dictionary of a feature, as the circuit's record describes it."""
    if key.kind is not NodeKind.FEATURE:
        return None
    for data in circuit.provenance.dictionaries:
        try:
            card = DictionaryCard.from_json(data)
        except (KeyError, TypeError, ValueError, CircuitScopeError):
            continue
        if card.feature_site is Site(key.site) and key.layer in card.layers:
            return card
    return None
