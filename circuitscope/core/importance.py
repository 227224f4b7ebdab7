"""What words and phrases a decision rests on: numbers without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from circuitscope.core.errors import DamagedProject
from circuitscope.core.finding import Provenance, Ranking


@dataclass(frozen=True, slots=True)
class Phrase:
    """A word or a run of words.

    Attributes:
        score: Its relevance for the label against the contrast.
        span: Its tokens, start and stop.
        interaction: Score minus the sum of its words' scores; 0 for a word.
        n_words: How many words it has.
    """

    text: str
    score: float
    span: tuple[int, int]
    interaction: float = 0.0
    n_words: int = 1

    def __iter__(self):  # type: ignore[no-untyped-def] # unpacks as (word, score, span)
        """Yield text, score and span."""
        return iter((self.text, self.score, self.span))


@dataclass(frozen=True)
class Importance:
    """A classifier's decision and what it rests on.

    Attributes:
        label, contrast: What is explained, and from what it is told.
        labels: All of the model's labels; logits: their logits.
        whole: Logit of the label minus that of the contrast.
        phrases: Words first, then longer and longer phrases, each in reading order.
    """

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    label: str
    contrast: str
    labels: tuple[str, ...]
    logits: tuple[float, ...]
    whole: float
    phrases: tuple[Phrase, ...]

    @cached_property
    def words(self) -> tuple[Phrase, ...]:
        """Return the words in reading order; each unpacks as (word, score, span)."""
        return tuple(phrase for phrase in self.phrases if phrase.n_words == 1)

    @property
    def sum_of_words(self) -> float:
        """Return the sum of the words' scores, which is not the whole."""
        return sum(word.score for word in self.words)

    @cached_property
    def interactions(self) -> tuple[Phrase, ...]:
        """Return phrases of several words, strongest interaction first."""
        longer = [phrase for phrase in self.phrases if phrase.n_words > 1]
        return tuple(sorted(longer, key=lambda phrase: -abs(phrase.interaction)))

    def phrase(self, text: str) -> Phrase:
        """Return a phrase by its text.

        Raises:
            KeyError: No run of words of this length reads so.
        """
        wanted = " ".join(text.lower().split())
        for phrase in self.phrases:
            if " ".join(phrase.text.lower().split()) == wanted:
                return phrase
        raise KeyError(text)


METHOD = "importance"
"""Method in the provenance of a stored importance."""


def as_ranking(found: Importance, provenance: Provenance) -> Ranking:
    """Return an importance as a finding that a project keeps; `from_ranking` rebuilds it.

    Args:
        found: What was found.
        provenance: Model, libraries and options; what was found is added to its settings.
    """
    settings = {
        **provenance.settings, "tokens": list(found.tokens), "token_ids": list(found.token_ids),
        "label": found.label, "contrast": found.contrast, "labels": list(found.labels),
        "logits": list(found.logits), "whole": found.whole,
        "spans": [list(phrase.span) for phrase in found.phrases],
        "n_words": [phrase.n_words for phrase in found.phrases],
    }  # fmt: skip
    scores = np.array([phrase.score for phrase in found.phrases], np.float32)
    names = tuple(phrase.text for phrase in found.phrases)
    return Ranking(names, scores, replace(provenance, method=METHOD, settings=settings))


def from_ranking(ranking: Ranking) -> Importance:
    """Rebuild an importance from a project's finding.

    Raises:
        DamagedProject: The finding is another ranking, or its record does not fit its numbers.
    """
    held = ranking.provenance.settings
    try:
        spans = [(int(start), int(stop)) for start, stop in held["spans"]]
        scores = [float(score) for score in ranking.scores]
        n_words = [int(n) for n in held["n_words"]]
        single = {span: score for span, score, n in zip(spans, scores, n_words, strict=True)
                  if n == 1}  # fmt: skip
        phrases = tuple(
            Phrase(text, score, span, score - _inside(single, span) if n > 1 else 0.0, n)
            for text, score, span, n in zip(ranking.names, scores, spans, n_words, strict=True)
        )
        return Importance(
            tuple(held["tokens"]), tuple(held["token_ids"]), held["label"], held["contrast"],
            tuple(held["labels"]), tuple(held["logits"]), float(held["whole"]), phrases,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedProject(
            f"The stored importance cannot be read ({error}).", kept="The project is unchanged."
        ) from error


def _inside(words: dict[tuple[int, int], float], span: tuple[int, int]) -> float:
    return sum(score for (start, stop), score in words.items()
               if start >= span[0] and stop <= span[1])  # fmt: skip
