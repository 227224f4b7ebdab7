"""Boards of a feature's collected examples: played out, and averaged over the even sample."""

import numpy as np
import pytest

from circuitscope.core.shipped import shipped_path
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import Example, FeatureId, FeaturePage
from circuitscope.examples import othello, othello_boards
from circuitscope.examples.othello import SQUARES, VOCABULARY
from circuitscope.examples.othello_examples import example_boards

FOLDER = shipped_path("projects", "othello")


def pages(number: int) -> list[FeaturePage]:
    with EvidenceFile(FOLDER / "dictionaries") as file:
        digest, layer = next(
            place for place, card in file.cards.items() if card["name"] == "mlp_out_2"
        )
        evidence = DictionaryEvidence(file, digest, layer)
        return [evidence.feature(unit) for unit in evidence.alive()[:number].tolist()]


def test_strongest_examples_are_played_out() -> None:
    for page in pages(20):
        found = example_boards(page)
        assert found is not None
        top = [one for one in page.examples if one.band == "top"][:6]
        assert [p.number for p in found.positions] == [one.peak + 1 for one in top]
        for position, one in zip(found.positions, top, strict=True):
            assert position.move == VOCABULARY[one.token_ids[one.peak]]
        assert found.activations == tuple(one.activation for one in top)


def test_averages_are_weighted_by_activation() -> None:
    for page in pages(6):
        found = example_boards(page)
        assert found is not None
        sample = [one for one in page.examples if one.band != "top"]
        assert found.n_sampled == len(sample)
        total = np.zeros((6, 64))
        for one in sample:
            tokens = np.array([one.token_ids[: one.peak + 1]])
            game = othello.replay(tokens)
            here = (0, one.peak)
            boards = np.stack([game.mine[here], game.theirs[here], game.flipped[here],
                               game.legal[here]])  # fmt: skip
            mine, theirs, flipped, legal = othello.planes(boards)
            move = np.array([name == VOCABULARY[one.token_ids[one.peak]] for name in SQUARES])
            facts = [mine, theirs, ~(mine | theirs), flipped, move, legal]
            total += one.activation * np.array(facts)
        wanted = 255 * total / sum(one.activation for one in sample)
        np.testing.assert_allclose(found.shares, wanted, atol=0.51)
        assert found.shares[:3].sum(0) == pytest.approx(np.full(64, 255), abs=2)


def test_most_features_that_the_boards_do_not_know_have_examples_now() -> None:
    boards = othello_boards.read(FOLDER / "boards.npz")
    unknown = [page for page in pages(120) if boards.find("mlp_out_2", page.feature.unit) is None]
    assert len(unknown) > 20
    assert all(example_boards(page) is not None for page in unknown)


def test_texts_that_are_no_whole_games_have_no_boards() -> None:
    cut = Example((20, 21), ("F5", "D6"), (0.0, 1.0), 1, 1.0, "top", 0, 30)
    assert example_boards(FeaturePage(FeatureId("d", 0, 0), examples=(cut,))) is None
    assert example_boards(FeaturePage(FeatureId("d", 0, 0))) is None
