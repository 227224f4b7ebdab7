"""Read what heads are searched for: prompts with the words that measure them, one a line.

Each line is a JSON object with `prompt` (a text or a list of ids) and one of

- `answer` and `against`: the logit difference; with lists of words, that of probabilities;
- `answer` and `others`: the answer's logit minus the largest of the others;
- `answer` alone: its logit;
- `words` and `threshold`: the probability of the words after the threshold minus that of the rest.

`position` is where the logits are read, -1 (the last) by default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import (
    AnswerVersusOthers,
    GreaterThan,
    Metric,
    ProbabilityDifference,
)
from circuitscope.core.settings import Logit, LogitDifference

Case = tuple[str | tuple[int, ...], Metric]
MEASURES = "answer against others words threshold".split()


def read_metric_cases(path: Path) -> list[Case]:
    """Return the prompts of a file, each with its metric.

    Raises:
        TraceError: The file cannot be read, a line says no metric, or there is no line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, "cannot be read as text") from error
    cases = [_case(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not cases:
        raise _refused(path, "holds no prompts")
    return cases


def _case(path: Path, number: int, line: str) -> Case:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"holds no JSON in line {number}") from error
    prompt = found.get("prompt") if isinstance(found, dict) else None
    if isinstance(prompt, list) and prompt and all(type(one) is int for one in prompt):
        prompt = tuple(prompt)
    position = found.get("position", -1) if isinstance(found, dict) else -1
    if not isinstance(prompt, (str, tuple)) or not prompt or type(position) is not int:
        raise _refused(path, f"says no prompt in line {number}")
    metric = metric_from({key: found[key] for key in MEASURES if key in found}, position)
    if metric is None:
        raise _refused(path, f"says no metric in line {number}")
    return prompt, metric


def metric_from(said: dict[str, Any], position: int) -> Metric | None:
    """Return what the keys mean together, None where they mean nothing."""
    answer, words = said.get("answer"), said.get("words")
    match sorted(said):
        case ["answer"] if _is_word(answer):
            return Logit(answer, position)
        case ["against", "answer"] if _is_word(answer) and _is_word(said["against"]):
            return LogitDifference(answer, said["against"], position)
        case ["against", "answer"] if _are_words(answer) and _are_words(said["against"]):
            return ProbabilityDifference(tuple(answer), tuple(said["against"]), position)
        case ["answer", "others"] if _is_word(answer) and _are_words(said["others"]):
            return AnswerVersusOthers(answer, tuple(said["others"]), position)
        case ["threshold", "words"] if _are_words(words) and type(said["threshold"]) is int:
            return GreaterThan(tuple(words), said["threshold"], position)
    return None


def _is_word(said: Any) -> TypeGuard[str | int]:
    return type(said) is int or (isinstance(said, str) and said != "")


def _are_words(said: Any) -> TypeGuard[list[str | int]]:
    return isinstance(said, list) and bool(said) and all(map(_is_word, said))


def _refused(path: Path, what: str) -> TraceError:
    return TraceError(
        f"{path.name} {what}.",
        kept="Nothing has been computed.",
        hint='A line is like {"prompt": "the capital of Texas is", "answer": "Austin", '
        '"against": "Boston"}.',
    )
