"""Labels that a language model writes from examples, measured by whether it can use them itself.

1. Half of a feature's examples are shown, each up to the token on which the feature is active; the
   language model says in a few words what they share.
2. It is then shown texts of the other half among as many on which the feature is silent, and says
   which of them its explanation fits (detection, as Paulo et al. 2024, arXiv:2410.13928). The score
   is the mean of both hit rates; chance is 0.5.

Nothing here knows where the language model runs: it is asked through `Asker`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from circuitscope.core.progress import Progress
from circuitscope.evidence.labelling import Silences, active_places
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import Label

METHOD = "explanation"
SHOWN, TESTED = 10, 8
"""Most examples that an explanation is made from, and that it is measured on, of each side."""
_LEAST = 3
_LONGEST = 160
_EXPLAIN = (
    "One feature of a neural network is active on the token marked <<like this>> in each of these "
    "texts:\n\n{texts}\n\nSay in at most twelve words what the marked places have in common. "
    "Answer with that alone."
)
_DETECT = (
    "One feature of a neural network is said to be active on: {label}\n\nOn which of these texts "
    "is it active at the token marked <<like this>>?\n\n{texts}\n\nAnswer with the numbers of "
    "those texts, separated by commas, or with the word none."
)


class Asker(Protocol):
    """A language model.

    Attributes:
        name: What a reader is told wrote the label.
    """

    name: str

    def ask(self, question: str, n_tokens: int) -> str:
        """Return its answer, of at most so many tokens."""


class LanguageLabeller:
    """Label features by asking a language model; for `evidence.labels`."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.methods: tuple[str, ...] = (f"{METHOD} by {asker.name}",)

    def label(
        self,
        evidence: DictionaryEvidence,
        units: Sequence[int],
        sample: Silences,
        progress: Progress,
    ) -> Iterator[tuple[int, Label]]:
        """Explain features one by one; those with too few examples are left out."""
        active = active_places(evidence)
        for unit in units:
            progress.advance(0)
            places = active.get(unit, np.zeros(0, np.int64))
            found = self._explain(evidence, unit, sample, places.tolist())
            if found is not None:
                yield unit, found

    def _explain(
        self, evidence: DictionaryEvidence, unit: int, sample: Silences, places: list[int]
    ) -> Label | None:
        examples = {e.token_ids[: e.peak + 1]: e.activation for e in evidence.examples(unit)}
        texts = sorted(examples)
        strongest = sorted(texts[::2], key=lambda text: -examples[text])[:SHOWN]
        held_out = texts[1::2][:TESTED]
        busy = set(places)
        silent = [sample.texts[at] for at in range(sample.n) if at not in busy]
        start = unit * TESTED % max(len(silent) - TESTED, 1)
        others = silent[start : start + len(held_out)]
        if min(len(strongest), len(held_out), len(others)) < _LEAST:
            return None
        said = self._asker.ask(
            _EXPLAIN.format(texts=listed(strongest, evidence.text)), 48
        )  # fmt: skip
        text = first_line(said)
        if not text:
            return None
        score = self._detect(text, held_out, others, evidence.text, unit)
        return Label(text, self.methods[0], "machine", round(score, 4), "detection")

    def _detect(
        self,
        label: str,
        active: Sequence[tuple[int, ...]],
        silent: Sequence[tuple[int, ...]],
        text: Callable[[int], str],
        seed: int,
    ) -> float:
        both = [*active, *silent]
        order = np.random.default_rng(seed).permutation(len(both))
        asked = _DETECT.format(label=label, texts=listed([both[at] for at in order], text))
        said = self._asker.ask(asked, 64)
        chosen = {int(order[at - 1]) for at in numbers(said, len(both))}
        hits = sum(at < len(active) for at in chosen)
        wrong = len(chosen) - hits
        return (hits / len(active) + 1 - wrong / len(silent)) / 2


def listed(texts: Sequence[tuple[int, ...]], text: Callable[[int], str]) -> str:
    """Number texts and mark the last token of each."""
    return "\n".join(f"{at}. {_marked(ids, text)}" for at, ids in enumerate(texts, start=1))


def _marked(ids: tuple[int, ...], text: Callable[[int], str]) -> str:
    tokens = [text(token) for token in ids]
    gap = "" if any(token[:1].isspace() for token in tokens) else " "
    before = gap.join(tokens[:-1])
    return " ".join(f"{before}{gap}<<{tokens[-1].strip() or tokens[-1]}>>".split("\n"))


def first_line(said: str) -> str:
    """Return the first line with something in it, without quotes, shortened."""
    lines = (line.strip().strip('"“”').strip() for line in said.splitlines())
    return next((line for line in lines if line), "")[:_LONGEST]


def numbers(said: str, most: int) -> set[int]:
    """Return the numbers from 1 to `most` in an answer."""
    return {int(one) for one in re.findall(r"\d+", said)} & set(range(1, most + 1))
