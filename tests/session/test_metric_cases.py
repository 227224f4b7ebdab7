"""Files of prompts with their metrics."""

import json
from pathlib import Path

import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import AnswerVersusOthers, GreaterThan, ProbabilityDifference
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.session.metric_cases import read_metric_cases


def written(folder: Path, *lines: object) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


def test_every_metric_has_its_keys(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"prompt": "a", "answer": "x"},
        {"prompt": "a", "answer": "x", "against": "y", "position": 2},
        {"prompt": [1, 2], "answer": ["x", 7], "against": ["y"]},
        {"prompt": "a", "answer": "x", "others": ["y", "z"]},
        {"prompt": "a", "words": ["1", "2", "3"], "threshold": 1},
    )
    prompts, metrics = zip(*read_metric_cases(path), strict=True)
    assert prompts == ("a", "a", (1, 2), "a", "a")
    assert metrics == (
        Logit("x"),
        LogitDifference("x", "y", 2),
        ProbabilityDifference(("x", 7), ("y",)),
        AnswerVersusOthers("x", ("y", "z")),
        GreaterThan(("1", "2", "3"), 1),
    )


@pytest.mark.parametrize(
    "line",
    [
        3,
        {"answer": "x"},
        {"prompt": "a"},
        {"prompt": "a", "answer": "x", "against": ["y"]},
        {"prompt": "a", "answer": "x", "threshold": 1},
        {"prompt": ["a"], "answer": "x"},
        {"prompt": "a", "answer": "x", "position": "last"},
        {"prompt": "a", "answer": True},
    ],
)
def test_lines_that_say_nothing_are_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(TraceError, match="line 2") as refusal:
        read_metric_cases(written(tmp_path, {"prompt": "a", "answer": "x"}, line))
    assert refusal.value.hint


def test_files_without_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no prompts"):
        read_metric_cases(written(tmp_path))
    with pytest.raises(TraceError, match="cannot be read"):
        read_metric_cases(tmp_path / "missing.jsonl")
