"""Labels: planted truth is found and scores high; a label of another feature scores at chance."""

from pathlib import Path

import numpy as np
import pytest

from circuitscope.evidence import labelling
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId, Label
from tests.evidence.planted import planted, write_planted


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("planted") / "evidence.sqlite")


def test_planted_truth_is_found_and_scores_high(evidence: Path) -> None:
    with EvidenceFile(evidence) as file:
        found = labelling.label_dictionary(
            DictionaryEvidence(file, "d", 0), labelling.silences(file)
        )
    right = [
        found[feature][1] == (rule,) and (found[feature][0].score or 0) >= 0.9
        for unit, rule in enumerate(planted())
        if (feature := FeatureId("d", 0, unit)) in found
    ]
    assert sum(right) >= 0.9 * len(planted())
    first = found[FeatureId("d", 0, 0)][0]
    assert (first.text, first.method, first.source) == ("“w0”", labelling.METHOD, "machine")


def test_a_label_of_another_feature_scores_at_chance(evidence: Path) -> None:
    with EvidenceFile(evidence) as file:
        opened, silent = DictionaryEvidence(file, "d", 0), labelling.silences(file)
        active = labelling.active_places(opened)
        scores = []
        for unit in range(len(planted())):
            halves = labelling.split(
                opened.examples(unit), active.get(unit, np.zeros(0, int)), silent
            )
            assert halves is not None
            other = planted()[(unit + 23) % len(planted())]
            scores.append(
                labelling.detection([other], halves.measuring, silent, halves.silent_measuring)
            )
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


def test_labels_are_written_beside_others_and_replaced_by_method(evidence: Path) -> None:
    mine = {FeatureId("d", 0, 3): [Label("a rule", "board rule", score=0.9, scored_by="F1")]}
    label_features(evidence, mine)
    before = evidence.read_bytes()
    scores = label_features(evidence, mine)
    assert evidence.read_bytes() == before
    assert min(scores["planted"]) >= labelling.LEAST_SCORE
    with EvidenceFile(evidence) as file:
        labels = file.labels(FeatureId("d", 0, 3))
    assert [label.method for label in labels] == ["board rule", labelling.METHOD]


def test_a_feature_of_two_concepts_gets_two_rules() -> None:
    places = [{("token", 1, -1)}] * 5 + [{("token", 2, -1)}] * 5
    rules = labelling.choose(places, lambda rule: 0.02)
    assert sorted(rules) == [("token", 1, -1), ("token", 2, -1)]
    assert labelling.say(rules, lambda token: f" w{token}") in ("“w1”; or “w2”", "“w2”; or “w1”")


def test_the_number_of_concepts_is_found(evidence: Path) -> None:
    for n in (1, 2, 4, 6):
        places = [{("token", at % n, -1), ("earlier", 50 + at, -1)} for at in range(30)]
        rules = labelling.choose(places, lambda rule: 0.02)
        assert sorted(rules) == [("token", at, -1) for at in range(n)]
    detail = labelling.shares(rules, places)
    assert list(detail.values()) == pytest.approx([1 / 6] * 6, abs=1e-3)
    noise = [{("token", at, -1), ("earlier", 50 + at, -1)} for at in range(30)]
    assert labelling.choose(noise, lambda rule: 0.02) == ()
