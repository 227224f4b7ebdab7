"""Test what windows read of a game: positions in words and planes, and for whom the views are."""

import subprocess
import sys

import numpy as np
import pytest

from circuitscope.core.errors import PromptError
from circuitscope.examples import othello, othello_views
from circuitscope.examples.othello import SQUARES, VOCABULARY


def test_positions_hold_the_boards_of_the_game() -> None:
    games = othello.play(1, 20)
    for game in range(20):
        n = int((games.tokens[game] > 0).sum())
        found = othello_views.positions([VOCABULARY[t] for t in games.tokens[game, :n]])
        assert [position.number for position in found] == list(range(1, n + 1))
        for at, position in enumerate(found):
            for name in ("mine", "theirs", "flipped", "legal"):
                board = getattr(games, name)[game, at]
                np.testing.assert_array_equal(getattr(position, name), othello.planes(board)[0])
            assert position.black == games.black[game, at]
            assert position.black_next == games.black_next[game, at]
            assert position.theirs[position.square] or position.passed
        assert found[-1].over == (games.legal[game, n - 1] == 0)


def test_positions_in_games_are_those_of_the_whole_game() -> None:
    games = othello.play(2, 6).tokens
    at = np.array([0, 3, 9, 20, 40, 50], np.uint8)
    found = othello_views.positions_in(games, at)
    for game, move, position in zip(games, at.tolist(), found, strict=True):
        whole = othello_views.positions([VOCABULARY[t] for t in game[: move + 1]])[-1]
        assert position.words() == whole.words()


def test_words_tell_turn_pass_and_end() -> None:
    first = othello_views.positions(["F5"])[0]
    assert first.headline() == "Move 1: F5 by Black"
    assert first.turn() == "White moves next: White’s discs are mine."
    assert "turned: E5; legal: F4, D6, F6." in first.words()
    shortest = othello_views.positions("E6 F4 E3 F6 G5 D6 E7 F5 C5".split())[-1]
    assert shortest.over
    assert shortest.turn() == "The game is over: Black 13, White 0."
    games = othello.play(0, 400)
    passed = np.argwhere((games.black == games.black_next) & (games.legal != 0))
    game, at = passed[0].tolist()
    position = othello_views.positions_in(games.tokens[[game]], np.array([at]))[0]
    assert position.passed
    assert f"{position.player} moves again" in position.turn()


def test_tokens_that_are_no_game_are_refused() -> None:
    for tokens in (["F5", "A1"], ["F5", "<pad>"], ["hello"]):
        with pytest.raises(PromptError):
            othello_views.positions(tokens)


def test_squares_of_tokens() -> None:
    assert [othello_views.square_of(t) for t in (0, -1, 61)] == [None, None, None]
    assert [SQUARES[othello_views.square_of(t)] for t in range(1, 61)] == list(VOCABULARY[1:])


def test_views_are_for_games_of_othello_only() -> None:
    own = {"d_vocab": 61, "n_ctx": 60}
    assert othello_views.fits(own, ())
    assert othello_views.fits(own, ("F5", "d6"))
    assert othello_views.fits({}, ("F5", "<pad>"))
    assert not othello_views.fits({}, ())
    assert not othello_views.fits({"d_vocab": 61, "n_ctx": 32}, ())
    assert not othello_views.fits({"d_vocab": 62, "n_ctx": 60}, ("F5",))
    assert not othello_views.fits(own, ("F5", "the"))


def test_views_import_no_torch() -> None:
    code = "import sys, circuitscope.examples.othello_views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
