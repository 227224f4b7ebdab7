"""Targets are read from every form of text and written back."""

from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TargetNotFound
from circuitscope.core.settings import AttentionScore, Direction, Feature, Logit, LogitDifference
from circuitscope.core.target_text import FORMS, parse_target, signed_words, target_text

CASES = [
    ("logit:top", Logit()),
    ("logit:Austin", Logit("Austin")),
    ("logit:Austin@7", Logit("Austin", 7)),
    ("logit:@", Logit("@")),
    ("logit:#17@-2", Logit(17, -2)),
    ("difference:Austin,Sacramento", LogitDifference("Austin", "Sacramento")),
    ("difference:#4,#5@3", LogitDifference(4, 5, 3)),
    ("direction:Austin + Dallas - Texas", Direction((), "Austin + Dallas - Texas")),
    ("direction:Austin@2", Direction((), "Austin", 2)),
    ("L4/#57@7", Feature(Site.NONE, 4, 57, 7)),
    ("L0/#3", Feature(Site.NONE, 0, 3, -1)),
    ("feature/mlp_out/2/7/57", Feature(Site.MLP_OUT, 2, 57, 7)),
    ("score:1.0:9<-4", AttentionScore(1, 0, 9, 4)),
]


@pytest.mark.parametrize(("text", "target"), CASES)
def test_targets_are_read_from_text_and_written_back(text, target) -> None:
    assert parse_target(text) == target
    assert target_text(target) == text


def test_a_target_passes_through() -> None:
    assert parse_target(Logit("a")) == Logit("a")


def test_every_form_that_is_offered_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("FILE.npy", np.arange(3.0))
    filled = [form.replace("LAYER.HEAD:QUERY<-KEY", "1.0:9<-4") for form in FORMS]
    assert len({type(parse_target(text)) for text in filled}) == 5


def test_a_direction_is_read_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "probe.npy", np.float32([1, -2, 0.5]))
    found = parse_target(f"direction:{tmp_path / 'probe.npy'}@4")
    assert found == Direction((1.0, -2.0, 0.5), "probe", 4)


def test_a_file_that_is_no_vector_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.ones((2, 2)))
    with pytest.raises(TargetNotFound, match=r"shape \[2, 2\]"):
        parse_target(f"direction:{tmp_path / 'table.npy'}")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(TargetNotFound, match="cannot be read"):
        parse_target(f"direction:{tmp_path / 'objects.npy'}")
    with pytest.raises(TargetNotFound, match="cannot be read"):
        parse_target("direction:nowhere.npy")


def test_words_of_a_direction_keep_their_hyphens() -> None:
    assert signed_words("well-known − #5 + ok") == (("well-known", 1), (5, -1), ("ok", 1))
    with pytest.raises(TargetNotFound, match="no sum of words"):
        parse_target("direction:Austin - ")


@pytest.mark.parametrize(
    "text", ["Austin", "logit:", "difference:a", "difference:,b", "direction:", "score:1.0:9",
             "feature/mlp_out/2/7", "feature/nowhere/2/7/57"],
)  # fmt: skip
def test_a_text_that_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(TargetNotFound):
        parse_target(text)
