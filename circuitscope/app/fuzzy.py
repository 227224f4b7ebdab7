"""Rank short texts by a few typed letters, as the command palette needs it; knows no Qt."""

from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_SKIPPING = 3
"""Two letters in order are in almost every text."""


@dataclass(frozen=True, slots=True)
class Hit:
    """How well a text answers what was typed.

    Attributes:
        score: Larger is better.
        letters: Which letters of the text were typed, ascending.
    """

    score: float
    letters: tuple[int, ...] = ()


def match(typed: str, text: str, more: Sequence[str] = ()) -> Hit | None:
    """Say how well a text answers what was typed; None where a typed word is nowhere.

    Args:
        typed: Words in any order; case does not matter.
        text: What is ranked: a word's start counts most, then its inside, then letters in order.
        more: Other texts that may hold a word, such as a help line; they count least.
    """
    score, letters = 0.0, set[int]()
    line, others = _fold(text), [_fold(part) for part in more]
    for word in _fold(typed).split():
        found = _places(word, line)
        if found is not None:
            worth, places = found
            score += worth
            letters.update(places)
        elif any(word in part for part in others):
            score += 0.5
        else:
            return None
    return Hit(score, tuple(sorted(letters)))


def _fold(text: str) -> str:
    """Return a text without capitals, letter for letter."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def _places(word: str, line: str) -> tuple[float, range | list[int]] | None:
    share = len(word) / max(1, len(line))
    starts = [at for at in range(len(line)) if at == 0 or not line[at - 1].isalnum()]
    for at in starts:
        if line.startswith(word, at):
            return 3 + share + (at == 0) * 0.5, range(at, at + len(word))
    at = line.find(word)
    if at >= 0:
        return 2 + share, range(at, at + len(word))
    best: list[int] | None = None
    for start in starts if len(word) >= _LEAST_SKIPPING else ():
        places = _in_order(word, line, start)
        if places and (best is None or places[-1] - places[0] < best[-1] - best[0]):
            best = places
    if best is None:
        return None
    return 1 + len(word) / (best[-1] - best[0] + 1), best


def _in_order(word: str, line: str, start: int) -> list[int]:
    """Return where a word's letters stand one after the other from a start; empty if nowhere."""
    places, at = list[int](), start
    for letter in word:
        at = line.find(letter, at)
        if at < 0 or (not places and at != start):
            return []
        places.append(at)
        at += 1
    return places
