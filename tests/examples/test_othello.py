"""Test rules, random games and views of the board against slow rules written out here."""

import subprocess
import sys

import numpy as np
import pytest

from circuitscope.core.errors import CircuitScopeError, PromptError
from circuitscope.examples import othello

STEPS = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
# The shortest game there is: White has no disc left after nine moves.
SHORTEST = "E6 F4 E3 F6 G5 D6 E7 F5 C5"


class SlowGame:
    """Othello on a dictionary from square names to "black" and "white", one disc at a time."""

    def __init__(self) -> None:
        self.discs = {"D4": "white", "E4": "black", "D5": "black", "E5": "white"}
        self.player = "black"

    @property
    def opponent(self) -> str:
        return "white" if self.player == "black" else "black"

    def turned(self, square: str) -> set[str]:
        found: set[str] = set()
        if square in self.discs:
            return found
        for down, right in STEPS:
            line: list[str] = []
            column, row = "ABCDEFGH".index(square[0]), int(square[1])
            while True:
                column, row = column + right, row + down
                name = f"{'ABCDEFGH'[column]}{row}" if 0 <= column < 8 and 1 <= row <= 8 else ""
                if self.discs.get(name) != self.opponent:
                    break
                line.append(name)
            if self.discs.get(name) == self.player:
                found.update(line)
        return found

    def legal(self) -> set[str]:
        return {name for name in othello.SQUARES if self.turned(name)}

    def move(self, square: str) -> set[str]:
        turned = self.turned(square)
        assert turned, f"{square} is not legal"
        self.discs.update(dict.fromkeys({square, *turned}, self.player))
        self.player = self.opponent
        if not self.legal():
            self.player = self.opponent
        return turned

    def owned_by(self, player: str) -> set[str]:
        return {name for name, owner in self.discs.items() if owner == player}


@pytest.fixture(scope="module")
def games() -> othello.Games:
    return othello.play(3, 2000)


def _names(bits: np.uint64) -> set[str]:
    return set(othello.name_squares(bits))


def test_vocabulary_is_the_squares_row_by_row_without_the_middle() -> None:
    words = othello.VOCABULARY
    assert len(words) == len(set(words)) == 61
    assert words[:3] == ("<pad>", "A1", "B1")
    assert words[9] == "A2"
    assert words[-1] == "H8"
    assert not {"D4", "E4", "D5", "E5"} & set(words)


def test_black_opens_with_one_of_four_moves() -> None:
    black, white = othello.start()
    assert _names(black[0]) == {"E4", "D5"}
    assert _names(white[0]) == {"D4", "E5"}
    assert _names(othello.find_legal(black, white)[0]) == {"D3", "C4", "F5", "E6"}


def test_a_known_opening_is_played_as_it_should() -> None:
    game = othello.read("f5 D6 c3 D3")
    assert [othello.VOCABULARY[t] for t in game.tokens[0]] == ["F5", "D6", "C3", "D3"]
    assert [_names(bits) for bits in game.flipped[0]] == [{"E5"}, {"D5"}, {"D4"}, {"D4"}]
    assert _names(game.legal[0, 0]) == {"D6", "F4", "F6"}
    assert game.black[0].tolist() == [True, False, True, False]
    assert game.black_next[0].tolist() == [False, True, False, True]
    assert _names(game.mine[0, 3]) == {"C3", "E4", "E5", "F5"}
    assert _names(game.theirs[0, 3]) == {"D3", "D4", "D5", "D6"}


def test_as_many_games_as_others_have_counted() -> None:
    """Count positions as perft does; no game of six moves holds a pass."""
    own, other = othello.start()
    counts = []
    for _ in range(6):
        legal = othello.planes(othello.find_legal(own, other))
        game, square = legal.nonzero()
        counts.append(len(game))
        move = np.uint64(1) << square.astype(np.uint64)
        flips = othello.find_flips(own[game], other[game], move)
        own, other = other[game] & ~flips, own[game] | move | flips
    assert counts == [4, 12, 56, 244, 1396, 8200]


def test_random_games_and_their_boards_follow_the_rules(games: othello.Games) -> None:
    short = np.flatnonzero((games.tokens == 0).any(1))[:4]
    passed = np.flatnonzero((games.black[:, 1:] == games.black[:, :-1]).any(1))[:4]
    assert len(short)
    assert len(passed)
    for row in {*range(6), *short.tolist(), *passed.tolist()}:
        slow = SlowGame()
        for at, token in enumerate(games.tokens[row]):
            if not token:
                assert not slow.legal()
                for part in ("tokens", "mine", "theirs", "flipped", "legal", "black", "empty"):
                    assert not getattr(games, part)[row, at:].any()
                break
            assert games.black[row, at] == (slow.player == "black")
            assert _names(games.flipped[row, at]) == slow.move(othello.VOCABULARY[token])
            legal = slow.legal()
            assert _names(games.legal[row, at]) == legal
            # At the end both sides are stuck, and the slow game gives the turn back.
            if legal:
                assert games.black_next[row, at] == (slow.player == "black")
            colours = ("black", "white") if games.black_next[row, at] else ("white", "black")
            assert _names(games.mine[row, at]) == slow.owned_by(colours[0])
            assert _names(games.theirs[row, at]) == slow.owned_by(colours[1])
            assert _names(games.empty[row, at]) == set(othello.SQUARES) - set(slow.discs)


def test_passes_leave_no_token(games: othello.Games) -> None:
    played = games.tokens > 0
    assert (played[:, :-1] | ~played[:, 1:]).all()
    again = (games.black[:, 1:] == games.black[:, :-1]) & played[:, 1:]
    assert 0 < again.any(1).mean() < 0.9
    assert ((games.legal != 0)[:, :-1] == played[:, 1:]).all()


def test_every_legal_move_is_as_likely_as_the_others() -> None:
    games = othello.play(11, 8000)
    first = np.bincount(games.tokens[:, 0], minlength=61)
    assert np.count_nonzero(first) == 4
    assert np.abs(first[first > 0] / 2000 - 1).max() < 0.1
    # The rank of the chosen move among the legal ones, over positions with eight of them.
    before = games.legal[:, :-1]
    chosen = np.where(np.bitwise_count(before) == 8, games.tokens[:, 1:], 0)
    game, at = chosen.nonzero()
    among = othello.legal_tokens(before[game, at])
    rank = (among.cumsum(1)[np.arange(len(game)), chosen[game, at]] - 1).astype(int)
    share = np.bincount(rank, minlength=8) / len(rank)
    assert np.abs(share * 8 - 1).max() < 0.06


def test_games_are_decided_by_their_seed() -> None:
    one, same, other = othello.play((1, 2), 50), othello.play((1, 2), 50), othello.play((1, 3), 50)
    assert (one.tokens == same.tokens).all()
    assert (one.tokens != other.tokens).any()
    assert len(othello.play(0, 0)) == 0


def test_replay_gives_the_games_back(games: othello.Games) -> None:
    again = othello.replay(games.tokens)
    for part in ("tokens", "mine", "theirs", "flipped", "legal", "black", "black_next"):
        assert (getattr(again, part) == getattr(games, part)).all()
    few = games[:5]
    assert [othello.read(text).tokens.shape[1] for text in few.prompts()] == [60] * 5


def test_planes_and_tokens_spell_out_the_same_board(games: othello.Games) -> None:
    spread = othello.planes(games.legal[:50])
    tokens = othello.legal_tokens(games.legal[:50])
    assert spread.shape == (50, 60, 64)
    assert tokens.shape == (50, 60, 61)
    assert not tokens[..., 0].any()
    for at in (0, 20, 50):
        assert {othello.SQUARES[i] for i in spread[7, at].nonzero()[0]} == _names(
            games.legal[7, at]
        )
        assert {othello.VOCABULARY[i] for i in tokens[7, at].nonzero()[0]} == _names(
            games.legal[7, at]
        )


def test_the_shortest_game_ends_after_nine_moves() -> None:
    game = othello.read(SHORTEST)
    assert game.legal[0, -1] == 0
    assert not game.mine[0, -1]
    with pytest.raises(othello.IllegalMove, match="Move 10, A1, comes after the end"):
        othello.read(SHORTEST + " A1")


def test_illegal_moves_are_refused_with_the_legal_ones_named() -> None:
    with pytest.raises(othello.IllegalMove) as caught:
        othello.read("F5 A1")
    assert caught.value.message == "Move 2, A1, is not legal for White: it turns no disc."
    assert caught.value.hint == "White may play F4, D6, F6."
    with pytest.raises(othello.IllegalMove, match="the square is taken"):
        othello.read("F5 D6 F5")
    assert issubclass(othello.IllegalMove, CircuitScopeError)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("F5 Z9", "Move 2, 'Z9', is not a square of the board."),
        ("F5 <pad>", "Move 2, '<pad>', is not a square of the board."),
        ("e4", "Move 1, e4, is one of the four squares that are taken at the start."),
    ],
)
def test_words_that_are_no_move_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        othello.read(prompt)
    assert caught.value.message == message
    assert caught.value.hint


def test_tokens_that_make_no_game_are_refused() -> None:
    with pytest.raises(PromptError, match="There is no token 61"):
        othello.replay(np.array([[61]]))
    with pytest.raises(PromptError, match="A move follows <pad>"):
        othello.replay(np.array([[0, 1]]))


def test_rules_need_no_torch() -> None:
    code = "import sys, circuitscope.examples.othello; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
