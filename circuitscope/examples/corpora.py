"""Corpora that the bundled examples generate: `othello:COUNT` and `atlas:COUNT`."""

from __future__ import annotations

from collections.abc import Iterator

from circuitscope.dictionaries.corpus import Corpus, Ids
from circuitscope.evidence.tally import Window
from circuitscope.examples import atlas, othello

OTHELLO_SEED, ATLAS_SEED = 4_000_037, 5_000_011
_GAMES, _TEXTS = 1024, 4096


class OthelloGames:
    """Random legal games, without the last move of each, after which nothing follows.

    Examples hold a game from its beginning, so that its board can be drawn.
    """

    def corpus(self, count: int, seed: int | None) -> Corpus:
        """Return so many games; each 1024 are played from the seed and their number."""
        start = OTHELLO_SEED if seed is None else seed

        def chunks(first: int) -> Iterator[list[Ids]]:
            for at in range(first * _GAMES, count, _GAMES):
                games = othello.play([start, at // _GAMES], min(_GAMES, count - at))
                yield [row[row > 0].tolist()[:-1] for row in games.tokens]

        n_chunks = -(-count // _GAMES)
        return Corpus(
            f"{count} random Othello games", f"othello {start} {count}", chunks, n_chunks,
            Window(othello.MOVES - 1, 0),
        )  # fmt: skip


class AtlasSentences:
    """Sentences of the atlas example, BOS first, as its model was trained on."""

    def corpus(self, count: int, seed: int | None) -> Corpus:
        """Return so many sentences; the seed decides them."""
        start = ATLAS_SEED if seed is None else seed
        words = {word: index for index, word in enumerate(atlas.vocabulary())}

        def chunks(first: int) -> Iterator[list[Ids]]:
            for at in range(first * _TEXTS, count, _TEXTS):
                texts = atlas.sentences(start + at, min(_TEXTS, count - at))
                yield [[words["<bos>"], *(words[w] for w in text.split())] for text in texts]

        n_chunks = -(-count // _TEXTS)
        return Corpus(f"{count} sentences of the atlas", f"atlas {start} {count}", chunks, n_chunks)
