"""Evidence of features as a project shows it: find pages, name features, take pages along.

Where a page comes from: the `evidence.sqlite` beside the dictionaries, else the project's own copy.
A person's labels are kept per user, by dictionary and feature, and win over all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.steps import Steps, finish
from circuitscope.evidence import person_labels
from circuitscope.evidence.file import EvidenceFile, find, stamps
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing, FeatureId, FeaturePage, Label
from circuitscope.graph.prune import prune
from circuitscope.project.file import ProjectFile
from circuitscope.project.originals import Original, PackedFile
from circuitscope.session.trials import dictionary_folders, digest_for

if TYPE_CHECKING:
    from circuitscope.session.session import Session

KIND = "evidence"
_NAME = "features.json"
_AT_ONCE = 8
"""Pages copied into a project in one step."""


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


def evidence_file(session: Session, feature: FeatureId) -> tuple[Path, str] | None:
    """Return where a feature's evidence lies and the folder of its dictionaries, or None."""
    for place in folders(session):
        file = find(place, feature.digest, feature.layer)
        if file is not None:
            file.close()
            return file.path, place
    return None


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
    for entry in carrying(project):
        found |= _parsed(project, entry.id)
    return found


def carrying(project: ProjectFile) -> list[Original]:
    """Return the attachments that hold pages, oldest first; a later copy of a page counts."""
    return [entry for entry in project.originals() if entry.kind == KIND]


_READ: WeakKeyDictionary[ProjectFile, dict[str, dict[FeatureId, FeaturePage]]] = WeakKeyDictionary()
"""Originals never change, so what one holds is read once while its project is open."""


def _parsed(project: ProjectFile, original: str) -> dict[FeatureId, FeaturePage]:
    return finish(parsed_in_steps(project, original))


def parsed_in_steps(project: ProjectFile, original: str) -> Steps[dict[FeatureId, FeaturePage]]:
    """Return the pages that one attachment holds, none where it makes no sense."""
    known = _READ.setdefault(project, {})
    if original not in known:
        pages = []
        try:
            items = json.loads(project.original(original))["pages"]
            for item in items:
                pages.append(FeaturePage.from_json(item))
                yield
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


def label_of(session: Session, feature: FeatureId) -> Label | None:
    """Return what a feature is called best: by a person, an import or a machine; or None."""
    own = person_labels.read(feature)
    if own and own[-1].text:
        return own[-1]
    found = page_on_disk(folders(session), feature)
    if found is None and session.project is not None:
        found = pages_of_project(session.project).get(feature)
    return None if found is None else found.label


_KNOWN: WeakKeyDictionary[ProjectFile, dict[str, frozenset[FeatureId]]] = WeakKeyDictionary()
"""Circuits never change, so which features one has is looked up once while its project is open."""


def circuits_with(project: ProjectFile, feature: FeatureId) -> list[tuple[str, str]]:
    """Return names and ids of the circuits of a project that have a feature, in order of adding."""
    known = _KNOWN.setdefault(project, {})
    found = []
    for info in project.findings():
        if info.kind != "circuit":
            continue
        if info.id not in known:
            known[info.id] = _features_of(project.circuit(info.id))
        if feature in known[info.id]:
            found.append((info.name, info.id))
    return found


def _features_of(circuit: Circuit) -> frozenset[FeatureId]:
    nodes = circuit.nodes
    (at,) = np.nonzero(nodes.kind == int(NodeKind.FEATURE))
    columns = np.stack([nodes.site[at], nodes.layer[at], nodes.unit[at]], axis=1)
    _, first = np.unique(columns, axis=0, return_index=True)
    found = (feature_id(circuit, nodes.key(int(node))) for node in at[first])
    return frozenset(feature for feature in found if feature is not None)


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


def renew_pages(session: Session, places: Sequence[str]) -> int:
    """Copy the pages that a project carries anew where the evidence has changed since.

    Returns:
        How many differed; none in a project that is only read.
    """
    project = session.project
    if project is None or project.read_only:
        return 0
    fresh: dict[FeatureId, FeaturePage] = {}
    for feature, carried in pages_of_project(project).items():
        found = page_on_disk(places, feature)
        if found is not None and found.as_json() != carried.as_json():
            fresh[feature] = found
    if fresh:
        _attach(project, None, fresh)
    return len(fresh)


def _attach(
    project: ProjectFile, finding_id: str | None, pages: dict[FeatureId, FeaturePage]
) -> None:
    keep_pages(project, finding_id, pages, b"".join(page_pieces(pages)))


def page_pieces(pages: dict[FeatureId, FeaturePage]) -> Iterator[bytes]:
    """Return the bytes that a project keeps of pages, page by page."""
    before = '{"pages": ['
    for page in pages.values():
        text = before + json.dumps(page.as_json(), ensure_ascii=False)
        yield text.encode("utf-8", "surrogatepass")
        before = ", "
    yield b"]}"


def keep_pages(
    project: ProjectFile,
    finding_id: str | None,
    pages: dict[FeatureId, FeaturePage],
    data: bytes | PackedFile,
) -> None:
    """Put pages into a project, written as `page_pieces` does; later ones win over earlier."""
    original = project.attach_original(_NAME, data, KIND, finding_id)
    _READ.setdefault(project, {})[original] = pages


def _copying(
    project: ProjectFile,
    finding_id: str,
    circuit: Circuit,
    nodes: Iterable[int],
    places: Sequence[str | Path],
) -> Iterator[None]:
    there: set[FeatureId] = set()
    for entry in carrying(project):
        there |= (yield from parsed_in_steps(project, entry.id)).keys()
        yield
    pages: dict[FeatureId, FeaturePage] = {}
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
                if len(pages) % _AT_ONCE == 0:
                    yield
    if pages:
        yield
        _attach(project, finding_id, pages)
