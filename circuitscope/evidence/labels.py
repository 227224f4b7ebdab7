"""Label the features of an evidence file and write it anew; other labels in it stay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.progress import Progress, silent
from circuitscope.evidence import labelling
from circuitscope.evidence.file import EvidenceFile, write
from circuitscope.evidence.labelling import Silences
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import CONCEPTS, EvidenceMissing, FeatureId, Label
from circuitscope.evidence.token_labels import with_ensemble

Labels = dict[FeatureId, list[Label]]


class Labeller(Protocol):
    """Make labels by other methods than rules of tokens.

    Attributes:
        methods: The methods whose labels it replaces.
    """

    methods: tuple[str, ...]

    def label(
        self,
        evidence: DictionaryEvidence,
        units: Sequence[int],
        sample: Silences,
        progress: Progress,
    ) -> Iterable[tuple[int, Label]]:
        """Label features of a dictionary; those that nothing can be said of are left out."""


def label_features(
    path: Path | str,
    more: Mapping[FeatureId, Sequence[Label]] | None = None,
    progress: Progress | None = None,
    *,
    labellers: Sequence[Labeller] = (),
    only: Iterable[FeatureId] | None = None,
) -> dict[str, list[float]]:
    """Label features and write the labels into the file, those of the same method replaced.

    Args:
        path: The evidence file or its folder.
        more: Labels made elsewhere.
        progress: Advanced once a dictionary; may cancel, and then nothing is written.
        labellers: What makes labels besides the rules of tokens.
        only: Features to label; None takes all that are alive.

    Returns:
        The best score of each labelled feature, by name of the dictionary.

    Raises:
        EvidenceMissing: There is no such file, or none of the features is in it.
        CircuitScopeError: It cannot be written.
    """
    hear = progress or silent()
    _check_writable(path)
    wanted = None if only is None else list(only)
    with EvidenceFile(path) as file:
        if wanted is not None and not any(file.has(f.digest, f.layer) for f in wanted):
            raise EvidenceMissing(f"{file.path} holds nothing about these features.")
        sample = labelling.silences(file)
        contents, target = file.contents(), file.path
        made = [(feature, label) for feature, found in (more or {}).items() for label in found]
        hear.phase("Labelling features", len(file.cards))
        for digest, layer in file.cards:
            evidence = DictionaryEvidence(file, digest, layer)
            units = _units(evidence, wanted)
            if evidence.is_collected and units:
                made += _labelled(evidence, units, sample, labellers, hear)
            hear.advance()
        touched = {labelling.METHOD, *(label.method for _, label in made)}
        touched |= {method for labeller in labellers for method in labeller.methods}
        labels = _merged(contents.labels, made, touched, wanted)
        contents.labels = labels
        scores = _scores(file, labels, wanted)
    write(target, contents)
    return scores


def _check_writable(path: Path | str) -> None:
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if not os.access(folder, os.W_OK):
        raise CircuitScopeError(
            f"Labels cannot be written to {folder}.",
            kept="Nothing was computed and nothing was changed.",
            hint="Copy the folder to a place of your own.",
        )


def _units(evidence: DictionaryEvidence, wanted: list[FeatureId] | None) -> list[int]:
    if wanted is None:
        return [int(unit) for unit in evidence.alive()]
    return [f.unit for f in wanted if (f.digest, f.layer) == (evidence.digest, evidence.layer)]


def _labelled(
    evidence: DictionaryEvidence,
    units: list[int],
    sample: Silences,
    labellers: Sequence[Labeller],
    hear: Progress,
) -> list[tuple[FeatureId, Label]]:
    rules = labelling.label_dictionary(evidence, sample, units)
    made = [(feature, label) for feature, (label, _) in rules.items()]
    for labeller in labellers:
        for unit, label in labeller.label(evidence, units, sample, hear):
            feature = FeatureId(evidence.digest, evidence.layer, unit)
            if feature not in rules or not _says_the_same(label, rules[feature][0]):
                made.append((feature, label))
    return made


def _says_the_same(one: Label, other: Label) -> bool:
    return sorted(one.text.split(CONCEPTS)) == sorted(other.text.split(CONCEPTS))


def _merged(
    old: Labels,
    made: list[tuple[FeatureId, Label]],
    methods: set[str],
    wanted: list[FeatureId] | None,
) -> Labels:
    """Put new labels in the place of old ones of the same methods."""
    fresh: Labels = {}
    for feature, label in made:
        fresh.setdefault(feature, []).append(label)
    labels: Labels = {}
    asked = None if wanted is None else set(wanted)
    for feature in {**old, **fresh}:
        before = old.get(feature, [])
        if asked is None or feature in asked:
            before = [one for one in before if one.method not in methods]
        found = with_ensemble([*before, *fresh.get(feature, [])])
        if found:
            labels[feature] = sorted(found, key=lambda one: (one.source, one.method, one.text))
    return labels


def _scores(
    file: EvidenceFile, labels: Labels, wanted: list[FeatureId] | None
) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {str(card["name"]): [] for card in file.cards.values()}
    for feature, found in labels.items():
        mine = [label.score for label in found if label.score is not None]
        if mine and (wanted is None or feature in wanted):
            name = str(file.cards[feature.digest, feature.layer]["name"])
            scores[name].append(max(mine))
    return scores
