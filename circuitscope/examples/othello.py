"""Play Othello: rules, random games and views of the board, on 64-bit boards in numpy.

A board is one uint64: bit 8 * row + column, rows from the top, so A1 is bit 0 and H8 bit 63. Every
function works on whole arrays of boards, one for each game, and asks for no torch.

Token 0 is `<pad>`; tokens 1 to 60 are the squares A1, B1, ... H8 row by row, without the four in
the middle, which are taken before the first move. Black has E4 and D5 and moves first. A player who
cannot move is skipped: a forced pass leaves no token, so a game is at most 60 tokens.

How discs are turned: from a move, the opponent's discs in one direction are filled as far as they
go without a gap; they turn when a disc of one's own is next. Where a move is legal is found the
other way round, from one's own discs outwards. Four of the eight directions are done at once, as a
leading axis of the arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.errors import PromptError

__all__ = [
    "MOVES",
    "SQUARES",
    "VOCABULARY",
    "Games",
    "IllegalMove",
    "find_flips",
    "find_legal",
    "legal_tokens",
    "name_squares",
    "parse",
    "planes",
    "play",
    "read",
    "replay",
    "square_of",
    "start",
]

Boards = NDArray[np.uint64]

MOVES = 60
SQUARES = tuple(f"{column}{row}" for row in range(1, 9) for column in "ABCDEFGH")
_CENTRE = ("D4", "E4", "D5", "E5")
VOCABULARY = ("<pad>", *(name for name in SQUARES if name not in _CENTRE))
_TOKENS = {name: token for token, name in enumerate(VOCABULARY)}
# Which bit a token sets, and which token a square has; 0 for none.
_BIT = np.array([0] + [1 << SQUARES.index(name) for name in VOCABULARY[1:]], np.uint64)
_TOKEN_OF_SQUARE = np.array([_TOKENS.get(name, 0) for name in SQUARES], np.uint8)
_SQUARE_OF_TOKEN = np.array([SQUARES.index(name) for name in VOCABULARY[1:]])

_BLACK = np.uint64(1 << SQUARES.index("E4") | 1 << SQUARES.index("D5"))
_WHITE = np.uint64(1 << SQUARES.index("D4") | 1 << SQUARES.index("E5"))
# East, south, south-east, south-west, each with its opposite as a shift to the other side.
_SHIFTS = np.array([1, 8, 9, 7], np.uint64)[:, None]
# No line that runs sideways goes on from column A or H.
_INNER = np.uint64(0x7E7E7E7E7E7E7E7E)
_THROUGH = np.array([_INNER, ~np.uint64(0), _INNER, _INNER], np.uint64)[:, None]
_ONE = np.uint64(1)
# Enough for numpy to spend its time in the arrays, few enough for them to stay in the cache.
_AT_ONCE = 4096


class IllegalMove(PromptError):  # noqa: N818 - named for what happened
    """A prompt holds a move that the rules do not allow."""


@dataclass(frozen=True, slots=True)
class Games:
    """Hold games and what the board looks like after each of their moves.

    "Mine" are the discs of the player who moves next, whose move a model at this position has to
    predict; "theirs" the other's. After the last move of a game it is the turn of the player who
    did not make it. Everything is 0 or False behind the end of a game.

    Attributes:
        tokens: Moves, uint8 [game, pos].
        mine: Discs of the player who moves next, uint64 [game, pos].
        theirs: Discs of the other player, uint64 [game, pos].
        flipped: Discs that the move turned, without the one it placed, uint64 [game, pos].
        legal: Where the player who moves next may play, 0 when the game is over,
            uint64 [game, pos].
        black: Whether Black made the move, bool [game, pos].
        black_next: Whether Black moves next, bool [game, pos].
    """

    tokens: NDArray[np.uint8]
    mine: Boards
    theirs: Boards
    flipped: Boards
    legal: Boards
    black: NDArray[np.bool_]
    black_next: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: Any) -> Games:
        """Return some of the games, chosen as rows of an array are."""
        return Games(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})

    @property
    def empty(self) -> Boards:
        """Return the empty squares, uint64 [game, pos]."""
        return np.where(self.tokens > 0, ~(self.mine | self.theirs), np.uint64(0))

    def prompts(self) -> list[str]:
        """Return every game as text, such as "F5 D6 C3 D3"."""
        return [" ".join(VOCABULARY[t] for t in row if t) for row in self.tokens]


@dataclass(slots=True)
class _Table:
    """Hold the games in play; the player to move owns `own`."""

    own: Boards
    other: Boards
    legal: Boards
    black: NDArray[np.bool_]

    @classmethod
    def set_up(cls, n: int) -> _Table:
        own, other = np.full(n, _BLACK), np.full(n, _WHITE)
        return cls(own, other, find_legal(own, other), np.ones(n, bool))

    def move(self, bits: Boards) -> Boards:
        """Make one legal move in every game and return what it turned; 0 where a game is over."""
        flipped = find_flips(self.own, self.other, bits)
        own, other = self.own | bits | flipped, self.other & ~flipped
        legal = find_legal(other, own)
        black = ~self.black
        stuck = np.flatnonzero(legal == 0)
        again = find_legal(own[stuck], other[stuck])
        stuck, again = stuck[again != 0], again[again != 0]
        own[stuck], other[stuck] = other[stuck], own[stuck]
        legal[stuck] = again
        black[stuck] = self.black[stuck]
        self.own, self.other, self.legal, self.black = other, own, legal, black
        return flipped


def start() -> tuple[Boards, Boards]:
    """Return the discs of Black, who moves first, and White before the first move, [1] each."""
    return np.array([_BLACK]), np.array([_WHITE])


def find_legal(own: Boards, other: Boards) -> Boards:
    """Find where a player may move.

    Args:
        own: Discs of the player to move, [game].
        other: Discs of the opponent, [game].

    Returns:
        The legal squares, [game].
    """
    reached = np.zeros_like(own)
    for shift in (np.left_shift, np.right_shift):
        line = _fill(shift, own, other & _THROUGH)
        reached |= np.bitwise_or.reduce(shift(line, _SHIFTS), axis=0)
    return reached & ~(own | other)


def find_flips(own: Boards, other: Boards, move: Boards) -> Boards:
    """Find the discs that a move turns.

    Args:
        own: Discs of the player who moves, [game].
        other: Discs of the opponent, [game].
        move: The square of the move, [game]; 0 for no move.

    Returns:
        Discs of the opponent that turn, [game]; none when the move is not legal.
    """
    turned = np.zeros_like(own)
    for shift in (np.left_shift, np.right_shift):
        line = _fill(shift, move, other & _THROUGH)
        line *= (shift(line, _SHIFTS) & own) != 0
        turned |= np.bitwise_or.reduce(line, axis=0)
    return turned


def _fill(shift: np.ufunc, source: Boards, through: Boards) -> Boards:
    """Fill up to six squares of `through` next to `source`, in four directions, [4, game]."""
    line: Boards = shift(source, _SHIFTS) & through
    line |= shift(line, _SHIFTS) & through
    pairs = shift(through, _SHIFTS) & through
    double = _SHIFTS * np.uint64(2)
    line |= shift(line, double) & pairs
    line |= shift(line, double) & pairs
    return line


def play(seed: int | Sequence[int], n: int) -> Games:
    """Play games in which every legal move is equally likely.

    Args:
        seed: What decides the games, one number or several.
        n: How many.

    Returns:
        The games, with 60 positions each.
    """
    random = np.random.default_rng(seed)
    parts = [_play_at_once(random, min(_AT_ONCE, n - at)) for at in range(0, n, _AT_ONCE)]
    return _join(parts) if parts else _record(iter(()), 0)


def _play_at_once(random: np.random.Generator, n: int) -> Games:
    table = _Table.set_up(n)

    def moves() -> Iterator[tuple[_Table, NDArray[np.uint8]]]:
        for _ in range(MOVES):
            count = np.bitwise_count(table.legal)
            wanted = (random.random(n) * count).astype(np.uint8)
            square = _nth_square(table.legal, wanted)
            yield table, np.where(count > 0, _TOKEN_OF_SQUARE[square], np.uint8(0))

    return _record(moves(), n)


def _nth_square(bits: Boards, wanted: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the square of the bit with so many set bits below it, [game]."""
    rest, square = bits, np.zeros(len(bits), np.uint8)
    for width in (32, 16, 8, 4, 2, 1):
        below = np.bitwise_count(rest & np.uint64((1 << width) - 1))
        beyond = wanted >= below
        wanted = wanted - below * beyond
        skipped = beyond * np.uint8(width)
        square += skipped
        rest = rest >> skipped.astype(np.uint64)
    return square & np.uint8(63)


def replay(tokens: NDArray[np.integer]) -> Games:
    """Play given games.

    Args:
        tokens: Moves, 0 behind the end of a game, [game, pos].

    Returns:
        The games, with as many positions as were given.

    Raises:
        PromptError: A number is no token, or a move follows `<pad>`.
        IllegalMove: The rules do not allow a move; those that they allow are named.
    """
    tokens = np.asarray(tokens)
    outside = tokens[(tokens < 0) | (tokens >= len(VOCABULARY))]
    if len(outside):
        raise PromptError(
            f"There is no token {outside[0]}.", hint=f"Tokens go from 0 to {len(VOCABULARY) - 1}."
        )
    if ((tokens[:, :-1] == 0) & (tokens[:, 1:] != 0)).any():
        raise PromptError("A move follows <pad>.", hint="Put <pad> behind the end of a game only.")
    table = _Table.set_up(len(tokens))

    def moves() -> Iterator[tuple[_Table, NDArray[np.uint8]]]:
        for position, column in enumerate(tokens.T):
            wrong = ((_BIT[column] & table.legal) == 0) & (column != 0)
            if wrong.any():
                game = int(wrong.argmax())
                raise _refusal(table, game, position, int(column[game]))
            yield table, column.astype(np.uint8)

    return _record(moves(), len(tokens))


def _record(moves: Iterator[tuple[_Table, NDArray[np.uint8]]], n: int) -> Games:
    """Make moves in all games at once and keep what the boards look like after each."""
    columns: list[list[NDArray[Any]]] = []
    for table, tokens in moves:
        made, black = tokens > 0, table.black
        flipped = table.move(_BIT[tokens])
        after = (table.own, table.other, flipped, table.legal)
        columns.append([tokens, *(bits * made for bits in after), black & made, table.black & made])
    if not columns:
        none, boards = np.zeros((n, 0), np.uint8), np.zeros((n, 0), np.uint64)
        return Games(none, boards, boards, boards, boards, none > 0, none > 0)
    return Games(*(np.stack(column, axis=1) for column in zip(*columns, strict=True)))


def _join(parts: Sequence[Games]) -> Games:
    return Games(
        *(np.concatenate([getattr(p, part.name) for p in parts]) for part in fields(Games))
    )


def parse(prompt: str) -> NDArray[np.uint8]:
    """Turn a prompt such as "F5 D6 C3 D3" into tokens, uint8 [pos]; case is ignored.

    Raises:
        PromptError: A word is no square that can be played; whether a move is legal is not asked.
    """
    tokens = []
    for place, word in enumerate(prompt.split(), start=1):
        name = word.upper()
        if name in _CENTRE:
            raise PromptError(
                f"Move {place}, {word}, is one of the four squares that are taken at the start.",
                hint="Play any square from A1 to H8 other than D4, E4, D5 and E5.",
            )
        if name not in VOCABULARY[1:]:
            raise PromptError(
                f"Move {place}, {word!r}, is not a square of the board.",
                hint="Write a column from A to H and a row from 1 to 8, such as F5, with spaces "
                "between moves.",
            )
        tokens.append(_TOKENS[name])
    return np.array(tokens, np.uint8)


def read(prompt: str) -> Games:
    """Play the one game of a prompt such as "F5 D6 C3 D3".

    Raises:
        PromptError: A word is no square that can be played.
        IllegalMove: The rules do not allow a move; those that they allow are named.
    """
    return replay(parse(prompt)[None])


def _refusal(table: _Table, game: int, position: int, token: int) -> IllegalMove:
    """Say which move is wrong, why, and which ones are legal."""
    own, other, legal = (board[game] for board in (table.own, table.other, table.legal))
    player, name = ("Black" if table.black[game] else "White"), VOCABULARY[token]
    if not legal:
        return IllegalMove(
            f"Move {position + 1}, {name}, comes after the end of the game: neither player can "
            "move any more.",
            hint=f"Leave out move {position + 1} and everything behind it.",
        )
    taken = bool(_BIT[token] & (own | other))
    why = "the square is taken" if taken else "it turns no disc"
    choices = ", ".join(name_squares(legal))
    return IllegalMove(
        f"Move {position + 1}, {name}, is not legal for {player}: {why}.",
        hint=f"{player} may play {choices}.",
    )


def square_of(tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the square of each token, 0 for A1 to 63 for H8; -1 for `<pad>`."""
    squares = np.concatenate([[-1], _SQUARE_OF_TOKEN])[tokens]
    return squares.astype(np.int64)


def name_squares(bits: int | np.uint64) -> list[str]:
    """Name the squares of one board, row by row."""
    return [name for square, name in enumerate(SQUARES) if int(bits) >> square & 1]


def planes(bits: Boards) -> NDArray[np.bool_]:
    """Spread boards out over their squares, [...] to bool [..., 64]."""
    octets = np.ascontiguousarray(bits, "<u8")[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little").astype(bool)


def legal_tokens(bits: Boards) -> NDArray[np.bool_]:
    """Spread boards out over tokens, [...] to bool [..., 61]; `<pad>` is always False."""
    spread = planes(bits)
    return np.concatenate(
        [np.zeros((*bits.shape, 1), bool), spread[..., _SQUARE_OF_TOKEN]], axis=-1
    )
