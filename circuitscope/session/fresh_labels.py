"""Labels made outside a project reach the copies of pages that it carries.

The shell, another window or a colleague labels the features of a dictionary; that changes the
`evidence.sqlite` beside it. A project takes the newer labels over for the features that it shows.
That is no edit: it cannot be undone, and what a person called a feature stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from circuitscope.core.steps import Steps
from circuitscope.evidence.file import EvidenceFile, find
from circuitscope.evidence.records import FeatureId, FeaturePage, Label
from circuitscope.project.arrays import CODEC, packer_of
from circuitscope.project.file import ProjectFile
from circuitscope.project.originals import PackedFile
from circuitscope.session.feature_work import (
    carrying,
    keep_pages,
    page_pieces,
    parsed_in_steps,
)


def renew_labels(project: ProjectFile, places: Sequence[str]) -> Steps[int]:
    """Take newer machine's and imported labels over into a project, in short steps.

    Args:
        project: It is changed only where a label differs, and not where it is only read.
        places: Folders of dictionaries.

    Returns:
        Of how many features.
    """
    if project.read_only or not places:
        return 0
    fresh: dict[FeatureId, FeaturePage] = {}
    files: dict[tuple[str, int], EvidenceFile | None] = {}
    with ExitStack() as opened:
        for entry in carrying(project):
            pages = yield from parsed_in_steps(project, entry.id)
            since = datetime.fromisoformat(entry.added).timestamp()
            for feature, page in pages.items():
                fresh.pop(feature, None)  # a later copy of the same page counts
                place = (feature.digest, feature.layer)
                if place not in files:
                    files[place] = _evidence(places, place, opened)
                    yield
                file = files[place]
                if file is None or file.path.stat().st_mtime <= since:
                    continue
                labels = _newer(page.labels, file.labels(feature))
                if not _same(labels, page.labels):
                    fresh[feature] = replace(page, labels=labels)
                yield
    if fresh:
        keep_pages(project, None, fresh, (yield from _packed(fresh)))
    return len(fresh)


def _evidence(
    places: Sequence[str], place: tuple[str, int], opened: ExitStack
) -> EvidenceFile | None:
    found = (find(folder, *place) for folder in places)
    file = next((file for file in found if file is not None), None)
    return None if file is None else opened.enter_context(file)


def _packed(pages: dict[FeatureId, FeaturePage]) -> Steps[PackedFile]:
    pieces = []
    for piece in page_pieces(pages):
        pieces.append(piece)
        yield
    size, digest, packed = sum(map(len, pieces)), hashlib.sha256(), []
    packer = packer_of(size)
    for piece in pieces:
        digest.update(piece)
        packed.append(packer.compress(piece))
        yield
    packed.append(packer.flush())
    return PackedFile(size, digest.hexdigest(), CODEC, b"".join(packed))


def _same(labels: tuple[Label, ...], others: tuple[Label, ...]) -> bool:
    return len(labels) == len(others) and all(label in others for label in labels)


def _newer(carried: tuple[Label, ...], found: tuple[Label, ...]) -> tuple[Label, ...]:
    """Put found labels in the place of a machine's; where none were made, all stay."""
    if not any(label.source == "machine" for label in found):
        return carried
    kept = [label for label in carried if label.source != "machine" and label not in found]
    return (*found, *kept)
