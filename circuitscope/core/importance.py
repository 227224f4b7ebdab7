"""What words and phrases a decision rests on: numbers without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


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
