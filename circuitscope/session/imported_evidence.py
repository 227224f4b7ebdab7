"""Bring what others published about features into the evidence beside their dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.progress import Progress, silent
from circuitscope.evidence.file import NAME, Contents, EvidenceFile, packed_page, write
from circuitscope.evidence.published import read_published
from circuitscope.evidence.records import FeatureId, Label

_LAYERS_OF_ANY_MODEL = 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported: where to, how many features and labels, and how many fitted nothing."""

    path: str
    n_features: int
    n_labels: int
    n_left_out: int


def import_evidence(
    source: Path | str,
    cards: Sequence[DictionaryCard],
    out: Path | str,
    progress: Progress | None = None,
) -> Imported:
    """Write pages and labels into an evidence file; what was collected in it stays and wins.

    Args:
        source: What `evidence.published` reads.
        cards: The dictionaries that it is about; one for each layer.
        out: The evidence file, or its folder.
        progress: Advanced while features are read.

    Raises:
        CircuitScopeError: The source cannot be read, or nothing in it is of these dictionaries.
    """
    place = Path(source).expanduser()
    by_layer: dict[int, DictionaryCard] = {}
    for card in cards:
        for layer in card.layers:
            if layer in by_layer:
                raise CircuitScopeError(
                    f"{by_layer[layer].name} and {card.name} both have features in layer {layer}.",
                    kept="Nothing was changed.",
                    hint="Name the one that the source is about.",
                )
            by_layer[layer] = card
    target = Path(out).expanduser()
    target = target / NAME if target.suffix != ".sqlite" else target
    contents = Contents({})
    if target.exists():
        with EvidenceFile(target) as file:
            contents = file.contents()
    only = next(iter(by_layer)) if len(by_layer) == 1 else None
    n_layers = max(by_layer, default=_LAYERS_OF_ANY_MODEL) + 1
    fresh: dict[FeatureId, list[Label]] = {}
    n_features = n_left_out = 0
    for found in read_published(place, n_layers, progress or silent()):
        at = only if found.layer is None else found.layer
        mine = None if at is None else by_layer.get(at)
        if at is None or mine is None or found.unit >= mine.n_features:
            n_left_out += 1
            continue
        feature = FeatureId(mine.digest, at, found.unit)
        told = {**mine.as_json(), "path": "", "layers": [at]}
        contents.cards.setdefault((mine.digest, at), told)
        page = replace(found.page, feature=feature, corpus=f"imported from {place.name}")
        contents.pages[feature] = packed_page(page)
        if found.page.labels:
            fresh[feature] = list(found.page.labels)
        n_features += 1
    if not n_features:
        raise CircuitScopeError(
            f"Nothing in {place} is about these dictionaries ({n_left_out} features of other "
            "layers or sizes).",
            kept="Nothing was changed.",
            hint="Name the dictionary that it was published for.",
        )
    for feature, labels in fresh.items():
        kept = [one for one in contents.labels.get(feature, []) if one.source != "imported"]
        contents.labels[feature] = [*kept, *labels]
    write(target, contents)
    return Imported(str(target), n_features, sum(map(len, fresh.values())), n_left_out)
