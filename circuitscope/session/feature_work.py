"""Evidence of features as use cases: collect it, find it, read a feature on a text, name it.

Where a page comes from: the `evidence.sqlite` beside the dictionaries, else the project's own copy.
A person's labels are kept per user, by dictionary and feature, and win over all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.engine.features import CollectEvidence, ReadFeature, TrainDictionary
from circuitscope.evidence import person_labels
from circuitscope.evidence.file import EvidenceFile, find, stamps
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing, FeatureId, FeaturePage
from circuitscope.graph.prune import prune
from circuitscope.project.file import ProjectFile
from circuitscope.session.trials import dictionary_folders, digest_for

if TYPE_CHECKING:
    from circuitscope.session.jobs import Job
    from circuitscope.session.session import Session

KIND = "evidence"
_NAME = "features.json"
_AT_ONCE = 8
"""Pages copied into a project in one step."""


def collect(
    session: Session, dictionaries: Sequence[str], corpus: str, out: str = "", **options: Any
) -> Job:
    """Collect evidence from a corpus; the job's result is a `Collected`.

    Args:
        session: Its model is run.
        dictionaries: Folders; all are done in one pass.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Where to; "" is beside the dictionaries.
        options: Other fields of `CollectEvidence`.
    """
    request = CollectEvidence(session.model_choice, tuple(dictionaries), corpus, out, **options)
    return session.jobs.add(f"Collect evidence from {Path(corpus).name}", request)


def train_dictionary(  # noqa: PLR0913 - what, where, how
    session: Session, corpus: str, out: str, site: str, layer: int, reads: str = "",
    training: Mapping[str, Any] | None = None, **options: Any,
) -> Job:  # fmt: skip
    """Train a dictionary on a corpus; the job's result is a `TrainedDictionary`.

    Args:
        session: Its model is run.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Folder of the dictionary.
        site: What it rebuilds.
        layer: In which layer.
        reads: What a transcoder reads; "" is the site itself.
        training: Fields of `dictionaries.training.TrainingSettings`.
        options: Other arguments of `dictionaries.training_run.train_on_corpus`.
    """
    request = TrainDictionary(
        session.model_choice, corpus, out, site, layer, reads,
        tuple((training or {}).items()), tuple(options.items()),
    )  # fmt: skip
    return session.jobs.add(f"Train a dictionary of {site} {layer}", request)


def read_feature(session: Session, prompt: str, key: NodeKey, digest: str = "") -> Job:
    """Ask what a feature does on a text; the job's result is a `FeatureReading`."""
    choice = session.model_choice
    request = ReadFeature(
        choice, prompt, folders(session), key.site.text, key.layer, key.unit, digest
    )
    return session.jobs.add(f"Read feature {key.unit} on a text", request)


def folders(session: Session) -> tuple[str, ...]:
    """Return where the dictionaries of the shown circuit may be."""
    return dictionary_folders(session.circuit, session.model.path, session.preferences.now)


def feature_id(circuit: Circuit, key: NodeKey) -> FeatureId | None:
    """Return which dictionary's feature a node is; None where the circuit does not say."""
    digest = digest_for(circuit, key) if key.kind is NodeKind.FEATURE else ""
    return FeatureId(digest, key.layer, key.unit) if digest else None


def name_feature(circuit: Circuit, node: int, text: str) -> None:
    """Remember a person's name of a feature beyond the project; nothing for other nodes."""
    feature = feature_id(circuit, circuit.nodes.key(node))
    if feature is not None:
        person_labels.write(feature, text.strip())


def page_on_disk(places: Iterable[str | Path], feature: FeatureId) -> FeaturePage | None:
    """Return a feature's page from the evidence beside its dictionaries, or None.

    It is read once, and again when an evidence file there has changed.
    """
    names = tuple(str(place) for place in places)
    return _read_page(names, tuple(found for name in names for found in stamps(name)), feature)


@lru_cache(maxsize=512)
def _read_page(
    places: tuple[str, ...], _stamps: tuple[tuple[str, int, int], ...], feature: FeatureId
) -> FeaturePage | None:
    if not _stamps:
        return None
    for place in places:
        file = find(place, feature.digest, feature.layer)
        if file is not None:
            with file:
                return _page(file, feature)
    return None


def _page(file: EvidenceFile, feature: FeatureId) -> FeaturePage | None:
    try:
        return DictionaryEvidence(file, feature.digest, feature.layer).feature(feature.unit)
    except EvidenceMissing:
        return None


def pages_of_project(project: ProjectFile) -> dict[FeatureId, FeaturePage]:
    """Return the pages that a project carries; what cannot be read is left out."""
    found: dict[FeatureId, FeaturePage] = {}
    for entry in project.originals():
        if entry.kind == KIND:
            found |= _parsed(project, entry.id)
    return found


_READ: WeakKeyDictionary[ProjectFile, dict[str, dict[FeatureId, FeaturePage]]] = WeakKeyDictionary()
"""Originals never change, so what one holds is read once while its project is open."""


def _parsed(project: ProjectFile, original: str) -> dict[FeatureId, FeaturePage]:
    known = _READ.setdefault(project, {})
    if original not in known:
        try:
            data = json.loads(project.original(original))
            pages = [FeaturePage.from_json(item) for item in data["pages"]]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            pages = []
        known[original] = {page.feature: page for page in pages}
    return known[original]


def page(session: Session, node: int) -> FeaturePage | None:
    """Return the page of a feature node of the shown circuit, with the person's labels; or None."""
    circuit, project = session.circuit, session.project
    if circuit is None:
        return None
    feature = feature_id(circuit, circuit.nodes.key(node))
    if feature is None:
        return None
    found = page_on_disk(folders(session), feature)
    if found is None and project is not None:
        found = pages_of_project(project).get(feature)
    own = person_labels.read(feature)
    if found is None:
        return FeaturePage(feature, labels=own) if own else None
    known = {(label.text, label.made) for label in own}
    others = [label for label in found.labels if (label.text, label.made) not in known]
    return replace(found, labels=(*others, *own))


def take_along(
    project: ProjectFile, finding_id: str, circuit: Circuit, places: Sequence[str | Path]
) -> Iterator[None]:
    """Copy the pages of what a fresh circuit shows into its project, a few at each step."""
    if circuit.provenance.dictionaries:
        yield
        shown = np.flatnonzero(prune(circuit).node_mask)
        yield from _copying(project, finding_id, circuit, shown.tolist(), places)


def copy_pages(
    project: ProjectFile,
    finding_id: str,
    circuit: Circuit,
    nodes: Iterable[int],
    places: Sequence[str | Path],
) -> int:
    """Put the pages of a circuit's features into its project, so that it opens anywhere.

    Returns:
        How many were added.
    """
    before = len(pages_of_project(project))
    for _ in _copying(project, finding_id, circuit, nodes, places):
        pass
    return len(pages_of_project(project)) - before


def _copying(
    project: ProjectFile,
    finding_id: str,
    circuit: Circuit,
    nodes: Iterable[int],
    places: Sequence[str | Path],
) -> Iterator[None]:
    there: set[FeatureId] = set()
    for entry in project.originals():
        if entry.kind == KIND:
            there |= _parsed(project, entry.id).keys()
            yield
    pages: dict[FeatureId, FeaturePage] = {}
    texts: list[str] = []
    files: dict[tuple[str, int], EvidenceFile | None] = {}
    with ExitStack() as opened:
        for node in nodes:
            feature = feature_id(circuit, circuit.nodes.key(int(node)))
            if feature is None or feature in there or feature in pages:
                continue
            place = (feature.digest, feature.layer)
            if place not in files:
                found = (find(folder, *place) for folder in places)
                file = files[place] = next((file for file in found if file is not None), None)
                if file is not None:
                    opened.enter_context(file)
            file = files[place]
            page = None if file is None else _page(file, feature)
            if page is not None and not page.is_dead:
                pages[feature] = page
                texts.append(json.dumps(page.as_json(), ensure_ascii=False))
                if len(texts) % _AT_ONCE == 0:
                    yield
    if pages:
        data = f'{{"pages": [{", ".join(texts)}]}}'.encode("utf-8", "surrogatepass")
        original = project.attach_original(_NAME, data, KIND, finding_id)
        _READ.setdefault(project, {})[original] = pages
