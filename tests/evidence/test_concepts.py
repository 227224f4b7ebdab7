"""Concepts by clustering: planted senses are told apart; those of others score at chance."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from circuitscope.core.progress import silent
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.concepts import ConceptLabeller
from circuitscope.evidence import labelling
from circuitscope.evidence.concepts import METHOD, k_means, silhouette
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labelling import Rule
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import CONCEPTS, FeatureId, Label, concepts_of
from circuitscope.examples import atlas
from circuitscope.examples.atlas_words import ADJECTIVES, NAMES, OBJECTS, STATES
from circuitscope.models.loading import LoadedModel, load_model
from tests.evidence.planted import write_rules

WORDS = {word: at for at, word in enumerate(atlas.vocabulary())}
KINDS = [list(kind)[:12] for kind in (STATES, OBJECTS, ADJECTIVES, NAMES)]


@cache
def senses() -> list[tuple[Rule, ...]]:
    """Return 45 features of one to three senses: words of different kinds, or what follows."""
    random, found = np.random.default_rng(3), []
    for unit in range(45):
        kinds = random.permutation(len(KINDS))[: 1 + unit % 3]
        chosen = [WORDS[str(random.choice(KINDS[kind]))] for kind in kinds]
        found.append(tuple(
            ("previous" if at == 1 and unit % 2 else "token", word, -1)
            for at, word in enumerate(chosen)
        ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(shipped_path("projects", "atlas") / "model", "cpu")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [WORDS[word] for kind in KINDS for word in kind]
    ids = np.random.default_rng(5).choice(words, (3000, 16)).astype(np.uint32)
    tokens = {at: word for word, at in WORDS.items()}
    path = tmp_path_factory.mktemp("senses") / "evidence.sqlite"
    return write_rules(path, ids, tokens, senses())


def labeller(model: LoadedModel) -> ConceptLabeller:
    item: Any = SimpleNamespace(card=SimpleNamespace(digest="d"))
    return ConceptLabeller(model, [item])


@pytest.fixture(scope="module")
def found(model: LoadedModel, evidence: Path) -> dict[int, Label]:
    with EvidenceFile(evidence) as file:
        opened = DictionaryEvidence(file, "d", 0)
        sample = labelling.silences(file)
        units = list(range(len(senses())))
        return dict(labeller(model).label(opened, units, sample, silent()))


def said(rules: tuple[Rule, ...]) -> list[str]:
    words = atlas.vocabulary()
    return sorted(labelling.say([rule], lambda token: words[token]) for rule in rules)


def test_planted_senses_are_found_and_score_high(found: dict[int, Label]) -> None:
    several = {unit: rules for unit, rules in enumerate(senses()) if len(rules) > 1}
    right = [
        unit for unit, rules in several.items()
        if unit in found and sorted(found[unit].text.split(CONCEPTS)) == said(rules)
        and (found[unit].score or 0.0) >= 0.9
    ]  # fmt: skip
    assert len(right) >= 0.9 * len(several)
    assert not [unit for unit, rules in enumerate(senses()) if len(rules) == 1 and unit in found]
    label = found[right[0]]
    assert (label.method, label.source, label.scored_by) == (METHOD, "machine", "detection")
    told = concepts_of(label)
    assert [one.text for one in told] == label.text.split(CONCEPTS)
    assert sum(one.share for one in told) == pytest.approx(1.0, abs=0.1)
    assert min(one.score or 0.0 for one in told) >= 0.9


def test_clusters_do_at_least_as_well_as_rules_alone(
    found: dict[int, Label], evidence: Path
) -> None:
    with EvidenceFile(evidence) as file:
        rules = labelling.label_dictionary(
            DictionaryEvidence(file, "d", 0), labelling.silences(file)
        )
    both = [
        (label.score or 0.0, rules[feature][0].score or 0.0)
        for unit, label in found.items() if (feature := FeatureId("d", 0, unit)) in rules
    ]  # fmt: skip
    clustered, plain = np.mean(both, 0)
    assert clustered >= plain - 0.005


def test_concepts_of_another_feature_score_at_chance(
    found: dict[int, Label], evidence: Path
) -> None:
    with EvidenceFile(evidence) as file:
        opened, sample = DictionaryEvidence(file, "d", 0), labelling.silences(file)
        active = labelling.active_places(opened)
        scores = []
        for unit, rules in enumerate(senses()):
            others = [o for o in found if not set(senses()[o]) & set(rules)]
            halves = labelling.split(
                opened.examples(unit), active.get(unit, np.zeros(0, int)), sample
            )
            assert halves is not None
            other = senses()[others[unit % len(others)]]
            scores.append(
                labelling.detection(other, halves.measuring, sample, halves.silent_measuring)
            )
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


def test_what_rules_say_already_is_not_said_twice(model: LoadedModel, evidence: Path) -> None:
    label_features(evidence, labellers=[labeller(model)])
    with EvidenceFile(evidence) as file:
        labels = file.all_labels()
    for several in labels.values():
        parts = [sorted(label.text.split(CONCEPTS)) for label in several]
        assert len({tuple(one) for one in parts}) == len(parts)


def test_clusters_are_found_the_same_way_each_time() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 8)) * 5
    x = np.concatenate([centre + random.normal(size=(10, 8)) for centre in centres])
    owner = k_means(x, 3)
    assert [len(set(owner[at : at + 10].tolist())) for at in (0, 10, 20)] == [1, 1, 1]
    assert len(set(owner.tolist())) == 3
    assert (owner == k_means(x, 3)).all()
    assert silhouette(x, owner) > max(silhouette(x, k_means(x, k)) for k in (2, 4, 5))
    alike = np.ones((6, 8))
    assert set(k_means(alike, 3).tolist()) == {0}
    assert silhouette(alike, k_means(alike, 3)) == 0
