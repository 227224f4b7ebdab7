"""Read prompts to measure on, from JSON lines or a table (CSV) with a line of headings.

Each line has `prompt` (or `clean`), maybe `corrupted` of as many tokens, and maybe a metric as in
`metric_cases`: `answer` and `against` in a table, everything listed there in JSON. Rows of the MIB
benchmark's data sets are read too: `prompt`, `choices` and `answerKey`, and the same of one of the
counterfactuals, whose answer is what the first is set against.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from circuitscope.core.errors import TraceError
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.session.metric_cases import MEASURES, metric_from

_HINT = (
    'A table has the headings clean, corrupted, answer, against; a line of JSON is like {"clean": '
    '"the capital of Texas is", "corrupted": "the capital of Utah is", "answer": "Austin"}.'
)


def read_pairs(path: Path, counterfactual: str = "") -> list[PromptPair]:
    """Return the prompts of a file, each with its corrupted partner and metric where given.

    Args:
        path: The file.
        counterfactual: Key of the counterfactual in rows of MIB; "" takes the first there is.

    Raises:
        TraceError: The file cannot be read, or a line says no prompt.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, "cannot be read as text") from error
    rows = _table(path, text) if path.suffix.lower() == ".csv" else _lines(path, text)
    if not rows:
        raise _refused(path, "holds no prompts")
    if any("answerKey" in row for _, row in rows):
        rows = [(number, _mib_row(path, number, row, counterfactual)) for number, row in rows]
    return [_pair(path, number, row) for number, row in rows]


def _mib_row(path: Path, number: int, row: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Return a row of MIB's data sets as a pair with an answer and what it is set against."""
    keys = [key for key in row if key.endswith("counterfactual") and isinstance(row[key], dict)]
    key = wanted or next(iter(keys), "")
    other = row.get(key)
    said, against = _chosen(row), _chosen(other) if isinstance(other, dict) else None
    if said is None or against is None or not isinstance(other, dict):
        what = f"says no answer of {key or 'a counterfactual'} in line {number}"
        raise _refused(path, what)
    prompts = row.get("prompt"), other.get("prompt")
    # Words are said after a space, unless the prompt ends in one.
    spaced = isinstance(prompts[0], str) and not prompts[0][-1:].isspace()
    words = [f" {word}" if spaced else word for word in (said, against)]
    return dict(zip(("clean", "corrupted", "answer", "against"), (*prompts, *words), strict=True))


def _chosen(row: dict[str, Any]) -> str | None:
    """Return the choice that answers: by its place, or by its label."""
    choices, key = row.get("choices"), row.get("answerKey")
    if isinstance(choices, dict):
        choices = choices.get("label", choices.get("text"))
    if not isinstance(choices, list):
        return None
    if type(key) is int and 0 <= key < len(choices):
        return str(choices[key]).strip()
    return str(key) if key in choices else None


def _table(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    try:
        found = list(csv.DictReader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise _refused(path, "is no table") from error
    rows = []
    for number, row in enumerate(found, 2):
        said = {str(k).strip(): v.strip() for k, v in row.items() if isinstance(v, str)}
        rows.append((number, {name: value for name, value in said.items() if value}))
    return [row for row in rows if row[1]]


def _lines(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _refused(path, f"holds no JSON in line {number}") from error
        if not isinstance(found, dict):
            raise _refused(path, f"says no prompt in line {number}")
        rows.append((number, found))
    return rows


def _pair(path: Path, number: int, row: dict[str, Any]) -> PromptPair:
    clean = _prompt(row.get("clean", row.get("prompt")))
    corrupted = _prompt(row.get("corrupted"))
    if clean is None or ("corrupted" in row and corrupted is None):
        raise _refused(path, f"says no prompt in line {number}")
    said = {key: row[key] for key in MEASURES if key in row}
    position = row.get("position", -1)
    metric = metric_from(said, position) if type(position) is int else None
    if said and metric is None:
        raise _refused(path, f"says no metric in line {number}")
    return PromptPair(clean, corrupted, metric)


def _prompt(said: Any) -> str | tuple[int, ...] | None:
    if isinstance(said, str) and said:
        return said
    if isinstance(said, list) and said and all(type(one) is int for one in said):
        return tuple(said)
    return None


def _refused(path: Path, what: str) -> TraceError:
    return TraceError(f"{path.name} {what}.", kept="Nothing has been computed.", hint=_HINT)
