"""Local importance: which words and phrases a classifier's decision rests on.

1. Choose the label and the label it is told from: the likeliest other one where none is named.
2. Each word is one span of tokens, decomposed as a whole; so is each run of neighbouring words.
3. Score = relevant part of (label - contrast). Interaction of a phrase = its score minus the sum
   of its words' scores: what the words say only together.

Relevance is not additive: the words' sum is shown beside the whole difference, never in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import circuitscope
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Provenance, Ranking
from circuitscope.core.importance import METHOD, Importance, Phrase, as_ranking
from circuitscope.core.progress import Progress
from circuitscope.core.sources import Span
from circuitscope.models.drafting import draft
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.tracing.metrics import find_label, label_names
from circuitscope.tracing.run import Clock, libraries
from circuitscope.tracing.splitting import decompose

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_KEPT = "Nothing has been computed."
NOT_ADDITIVE = "Scores of words do not add up to the decision: relevance is not additive."


def importance(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    text: Written,
    label: str | int | None = None,
    contrast: str | int | None = None,
    *,
    longest: int = 4,
    weights: str = "raw",
    progress: Progress | None = None,
) -> Importance:
    """Score every word, and every phrase of up to `longest` words.

    Args:
        model: A classifier.
        text: Text, or token ids: then every token is a word.
        label: What is explained, by name or number; None for the model's own decision.
        contrast: What it is told from; None for the likeliest other label.
        longest: Words of the longest phrase.
        weights: "raw", "centred" or "folded"; biases split differently in each basis.
        progress: Hears of the spans and may cancel.

    Raises:
        TraceError: The model gives no labels, or label and contrast are the same.
    """
    blueprint = draft(model)
    if blueprint.readout.position is None or blueprint.n_out < 2:
        raise TraceError(
            "This model gives no labels, so it makes no decision whose words could be weighed.",
            kept=_KEPT,
            hint="Choose a classifier, such as BertForSequenceClassification.",
        )
    read = read_prompt(model, text)
    words = split_words(model, text, read.token_ids)
    if not words:
        raise TraceError("The text has no words.", kept=_KEPT, hint="Type at least one word.")
    runs = [
        (first, last)
        for size in range(1, min(longest, len(words)) + 1)
        for first in range(len(words) - size + 1)
        for last in [first + size - 1]
    ]
    spans = [(words[first].start, words[last].stop) for first, last in runs]
    split = decompose(
        model, read.token_ids, [[Span(*span)] for span in spans], weights=weights,
        progress=progress,
    )  # fmt: skip
    logits = split.relevant[0] + split.irrelevant[0]
    chosen = int(logits.argmax()) if label is None else find_label(model, blueprint, label)
    other = (
        _contrast(logits, chosen) if contrast is None else find_label(model, blueprint, contrast)
    )
    if chosen == other:
        raise TraceError(
            "The label and its contrast are the same.", kept=_KEPT, hint="Choose two labels."
        )
    scores = (split.relevant[:, chosen] - split.relevant[:, other]).astype(float)
    names = label_names(model, blueprint.n_out)
    return Importance(
        tokens=read.tokens, token_ids=read.token_ids, label=names[chosen], contrast=names[other],
        labels=tuple(names), logits=tuple(float(value) for value in logits),
        whole=float(logits[chosen] - logits[other]),
        phrases=tuple(_phrases(words, runs, spans, scores)),
    )  # fmt: skip


def importance_finding(
    model: LoadedModel,
    text: Written,
    label: str | int | None = None,
    contrast: str | int | None = None,
    **options: Any,
) -> Ranking:
    """Return an importance as a project keeps it, with where it comes from.

    Args:
        model: A classifier.
        text: Text, or token ids.
        label: What is explained.
        contrast: What it is told from.
        options: Those of `importance`.
    """
    clock = Clock()
    progress = options.pop("progress", None)
    found = importance(model, text, label, contrast, progress=progress, **options)
    settings = {"weights": "raw", "prompt": text if isinstance(text, str) else "", **options}
    return as_ranking(
        found,
        Provenance(
            METHOD, app_version=circuitscope.__version__, settings=settings,
            model=model.anatomy.as_json(), dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=clock.seconds(), libraries=libraries(), remarks=(NOT_ADDITIVE,),
            scores={"whole": found.whole, "sum_of_words": found.sum_of_words},
        ),
    )  # fmt: skip


def _contrast(logits: NDArray[Any], chosen: int) -> int:
    order = [int(k) for k in np.argsort(-logits)]
    return order[0] if order[0] != chosen else order[1]


def _phrases(
    words: Sequence[Word],
    runs: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
    scores: NDArray[Any],
) -> Iterator[Phrase]:
    single = scores[: len(words)]
    for (first, last), span, score in zip(runs, spans, scores, strict=True):
        text = "".join(
            word.before * (k > first) + word.text
            for k, word in enumerate(words[first : last + 1], first)
        )
        yield Phrase(text, float(score), span, float(score - single[first : last + 1].sum()),
                     last - first + 1)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and its tokens start, ..., stop - 1.

    Attributes:
        before: What stands between it and the word before it, "" or a space.
    """

    text: str
    start: int
    stop: int
    before: str = ""


def split_words(model: LoadedModel, text: Written, ids: Sequence[int]) -> list[Word]:
    """Return the words of a prompt, special tokens left out; pieces of one word together."""
    tokenizer: Any = model.tokenizer
    if not isinstance(text, str) or tokenizer is None or not tokenizer.is_fast:
        special = set() if tokenizer is None else set(tokenizer.all_special_ids)
        return [
            Word(model.token_text(one), at, at + 1, " ")
            for at, one in enumerate(ids) if one not in special
        ]  # fmt: skip
    encoded = tokenizer(text, return_offsets_mapping=True)
    numbers, places = encoded.word_ids(), encoded["offset_mapping"]
    words: list[Word] = []
    ends: list[tuple[int | None, int]] = []
    for at, (number, (start, stop)) in enumerate(zip(numbers, places, strict=True)):
        if number is None:
            continue
        if ends and ends[-1][0] == number:
            held = words[-1]
            begin = ends[-1][1] - len(held.text)
            words[-1] = Word(text[begin:stop], held.start, at + 1, held.before)
        else:
            gap = " " if ends and start > ends[-1][1] else ""
            words.append(Word(text[start:stop], at, at + 1, gap))
        ends.append((number, stop))
    return words
