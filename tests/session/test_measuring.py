"""Measurements are jobs whose reports are kept; prompts come from tables and lines of JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import ProbabilityDifference
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.core.settings import LogitDifference, TraceSettings
from circuitscope.exchange.measurement_page import measurement_html, plots_of
from circuitscope.exchange.plots import ticks
from circuitscope.session.measuring import (
    measurements,
    read_measurement,
    save_report,
    start_measuring,
)
from circuitscope.session.prompt_pairs import read_pairs
from circuitscope.session.session import Session

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")


def test_pairs_are_read_from_tables_and_lines(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(
        f'clean,corrupted,answer,against\n"{CLEAN}",{OTHER},Austin,Sacramento\n{OTHER},,,\n\n'
    )
    pair = PromptPair(CLEAN, OTHER, METRIC)
    assert read_pairs(table) == [pair, PromptPair(OTHER)]
    lines = tmp_path / "pairs.jsonl"
    row = {"prompt": [1, 2], "corrupted": [1, 3], "answer": ["a", "b"], "against": ["c"]}
    lines.write_text(json.dumps(row) + "\n\n" + json.dumps({"clean": CLEAN}) + "\n")
    two = ProbabilityDifference(("a", "b"), ("c",))
    assert read_pairs(lines) == [PromptPair((1, 2), (1, 3), two), PromptPair(CLEAN)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no prompts"), ("{", "no JSON in line 1"), ("[]", "no prompt in line 1"),
        ('{"answer": "x"}', "no prompt in line 1"),
        ('{"prompt": "x", "against": "y"}', "no metric in line 1"),
        ('{"prompt": "x", "corrupted": 5}', "no prompt in line 1"),
    ],
)  # fmt: skip
def test_lines_that_say_nothing_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=words):
        read_pairs(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="as text"):
        read_pairs(path)


def test_a_measurement_is_kept_and_its_report_fetches_nothing(
    session: Session, tiny_gpt2: Path, tmp_path: Path
) -> None:
    session.load_model(tiny_gpt2, device="cpu")
    settings = TraceSettings(CLEAN, method="eap", targets=(METRIC,), corrupted=OTHER, max_nodes=4)
    session.jobs.wait(session.trace(settings))
    assert measurements(session) == []
    job = start_measuring(session, [PromptPair(OTHER, CLEAN)], points=4)
    session.jobs.wait(job)
    assert job.error is None
    (info,) = measurements(session)
    assert info.kind == "curves"
    found = read_measurement(session, info)
    np.testing.assert_allclose(found.curves["faithfulness"][0], 0, atol=1e-5)
    assert found.provenance.scores["n_prompts"] == 1
    assert len(plots_of(found)) == 3
    save_report(found, tmp_path / "report.html", "Dallas <measured>")
    page = (tmp_path / "report.html").read_text()
    assert page == measurement_html(found, "Dallas <measured>")
    assert "Dallas &lt;measured&gt;" in page
    assert page.count("<svg") == 3
    assert "default-src &#x27;none&#x27;" in page
    assert "<script" not in page
    assert page.count("http") == page.count("http-equiv") + page.count("http://www.w3.org/2000/svg")
    path = session.project.save_as(tmp_path / "kept.circuitscope")
    session.open_project(path or tmp_path / "kept.circuitscope", read_only=True)
    again = read_measurement(session, measurements(session)[0])
    assert again.provenance.scores == found.provenance.scores


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-0.3, 1.7) == [0, 0.5, 1, 1.5]
    assert ticks(2, 2) == [2]
