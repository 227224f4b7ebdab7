"""Label all features of an evidence file; other labels in it stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from circuitscope.core.progress import Progress, silent
from circuitscope.evidence import labelling
from circuitscope.evidence.file import EvidenceFile, write
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId, Label


def label_features(
    path: Path | str,
    more: Mapping[FeatureId, Sequence[Label]] | None = None,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    """Label features from their examples and write the labels into the file.

    Args:
        path: The evidence file or its folder.
        more: Labels made elsewhere, which replace those of the same method.
        progress: Advanced once a dictionary.

    Returns:
        The scores of the labels, by name of the dictionary.
    """
    hear = progress or silent()
    with EvidenceFile(path) as file:
        contexts = labelling.silences(file)
        hear.phase("Labelling features", len(file.cards))
        fresh: dict[FeatureId, list[Label]] = {f: list(found) for f, found in (more or {}).items()}
        scores: dict[str, list[float]] = {}
        for (digest, layer), card in file.cards.items():
            found = labelling.label_dictionary(DictionaryEvidence(file, digest, layer), contexts)
            for feature, (label, _) in found.items():
                fresh.setdefault(feature, []).append(label)
            scores[str(card["name"])] = [label.score or 0.0 for label, _ in found.values()]
            hear.advance()
        contents = file.contents()
        target = file.path
    methods = {label.method for found in fresh.values() for label in found} | {labelling.METHOD}
    for feature, old in contents.labels.items():
        kept = [label for label in old if label.method not in methods]
        fresh[feature] = [*kept, *fresh.get(feature, [])]
    contents.labels = {feature: found for feature, found in fresh.items() if found}
    write(target, contents)
    return scores
