"""Does a dictionary tell the senses of a word apart? PS-Eval, Minegishi et al. 2025.

A pair is one word in two texts, with the same meaning or another. The dictionary says "same" where
its strongest feature at the word is the same in both. Reference: arXiv 2501.06254, whose file of
1 112 pairs can be given as it is; any JSON list, JSONL or CSV with these columns will do.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.dictionary_quality import SenseSeparation
from circuitscope.core.errors import CircuitScopeError
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.models.places import read_run

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.models.loading import LoadedModel

_COLUMNS = {
    "word": ("word", "target_word", "target"),
    "first": ("first", "context_1", "context1", "sentence1"),
    "second": ("second", "context_2", "context2", "sentence2"),
    "same": ("same", "label"),
}
_TRUE, _FALSE = ("1", "true", "t", "same", "yes"), ("0", "false", "f", "different", "no")


@dataclass(frozen=True, slots=True)
class SensePair:
    """One word in two texts; `same` says whether it means the same in both."""

    word: str
    first: str
    second: str
    same: bool


def read_pairs(path: Path) -> tuple[SensePair, ...]:
    """Read pairs from JSON, JSONL or CSV.

    Raises:
        CircuitScopeError: It cannot be read, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".csv":
            rows: Iterable[Any] = csv.DictReader(text.splitlines())
        elif text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        pairs = tuple(_pair(row, path) for row in rows)
    except (OSError, ValueError, csv.Error) as error:
        raise CircuitScopeError(
            f"{path} cannot be read as pairs of texts: {error}.",
            hint="Give JSON, JSONL or CSV with the columns word, first, second and same.",
        ) from error
    if not pairs:
        raise CircuitScopeError(f"{path} holds no pairs of texts.")
    return pairs


def _pair(row: Any, path: Path) -> SensePair:
    found = {}
    for name, spellings in _COLUMNS.items():
        value = next((row[one] for one in spellings if one in row), None) if (
            isinstance(row, Mapping)
        ) else None  # fmt: skip
        if value is None:
            raise CircuitScopeError(
                f"A pair of {path.name} has no {name}.", hint=f"Call it {spellings[0]!r}."
            )
        found[name] = str(value)
    same = found.pop("same").lower()
    if same not in (*_TRUE, *_FALSE):
        raise CircuitScopeError(
            f"{path.name} says {same!r} where a pair is the same or not.", hint="Write 1 or 0."
        )
    return SensePair(**found, same=same in _TRUE)


def measure_senses(
    model: LoadedModel, dictionary: Dictionary, pairs: Sequence[SensePair], progress: Progress
) -> SenseSeparation:
    """Judge pairs by the strongest feature at the word's last token.

    Raises:
        CircuitScopeError: The tokenizer does not tell where its tokens stand in a text.
    """
    tokenizer = model.tokenizer
    if tokenizer is None or not tokenizer.is_fast:
        raise CircuitScopeError(
            "This model's tokenizer does not tell where its tokens stand in a text, so words "
            "cannot be found.",
            hint="Leave the pairs out.",
        )
    progress.phase("Telling senses apart", len(pairs))
    judged = []
    for pair in pairs:
        strongest = [
            _strongest(model, dictionary, text, pair.word) for text in (pair.first, pair.second)
        ]
        if None not in strongest:
            judged.append((pair.same, strongest[0] == strongest[1]))
        progress.advance()
    return separation(judged, len(pairs) - len(judged))


def separation(judged: Sequence[tuple[bool, bool]], n_left_out: int = 0) -> SenseSeparation:
    """Count what is, and what was judged; both True for the same sense."""
    true_same = sum(is_same and said for is_same, said in judged)
    same = sum(is_same for is_same, _ in judged)
    said_same = sum(said for _, said in judged)
    different = len(judged) - same
    precision, recall = _share(true_same, said_same), _share(true_same, same)
    return SenseSeparation(
        len(judged), n_left_out,
        accuracy=_share(sum(is_same == said for is_same, said in judged), len(judged)),
        precision=precision,
        recall=recall,
        specificity=_share(different - (said_same - true_same), different),
        f1=_share(2 * precision * recall, precision + recall),
    )  # fmt: skip


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _strongest(model: LoadedModel, dictionary: Dictionary, text: str, word: str) -> int | None:
    found = re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE)
    assert model.tokenizer is not None
    read = model.tokenizer(text, return_offsets_mapping=True)
    ids, spans = read["input_ids"], read["offset_mapping"]
    here = [] if found is None else [
        at for at, (start, end) in enumerate(spans) if start < found.end() and end > found.start()
    ]  # fmt: skip
    if not here or len(ids) > model.anatomy.n_ctx:
        return None
    place = (dictionary.card.read_site, dictionary.card.layers[0])
    x = read_run(model, ids, [place])[place].flatten(1)
    features = dictionary.activate(dictionary.preactivations(x))[here[-1]]
    return int(features.argmax()) if features.max() > 0 else None
