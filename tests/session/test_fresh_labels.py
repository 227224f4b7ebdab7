"""Labels made in the shell reach a project: real evidence, a real project, no edit."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from circuitscope.core.shipped import shipped_path
from circuitscope.core.steps import finish
from circuitscope.evidence import person_labels
from circuitscope.evidence.file import EvidenceFile, write
from circuitscope.evidence.records import FeatureId, Label
from circuitscope.project.file import ProjectFile
from circuitscope.session.feature_work import keep_pages, page_pieces, pages_of_project
from circuitscope.session.fresh_labels import renew_labels

ATLAS = shipped_path("projects", "atlas")
NEW = Label("a better guess", "board rule", score=0.99, scored_by="F1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ATLAS / "dictionaries" / "evidence.sqlite", tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectFile]:
    shutil.copy(ATLAS / "capitals.circuitscope", tmp_path)
    with ProjectFile.open(tmp_path / "capitals.circuitscope") as opened:
        yield opened


def relabel(folder: Path, features: list[FeatureId], labels: list[Label]) -> None:
    with EvidenceFile(folder) as file:
        contents = file.contents()
    for feature in features:
        contents.labels[feature] = labels
    write(folder / "evidence.sqlite", contents)


def shown(project: ProjectFile, folder: Path) -> list[FeatureId]:
    with EvidenceFile(folder) as file:
        return [one for one in pages_of_project(project) if file.has(one.digest, one.layer)]


def test_newer_labels_reach_the_pages_of_a_project(folder: Path, project: ProjectFile) -> None:
    changed = shown(project, folder)[:3]
    person_labels.write(changed[0], "mine")
    before = dict(pages_of_project(project))
    relabel(folder, changed, [NEW])
    undo = project.undo_text()
    assert finish(renew_labels(project, [str(folder)])) == 3
    after = pages_of_project(project)
    for feature in changed:
        assert after[feature].labels == (NEW,)
        assert after[feature].examples == before[feature].examples
    assert {one: page for one, page in after.items() if one not in changed} == {
        one: page for one, page in before.items() if one not in changed
    }
    assert person_labels.read(changed[0])[-1].text == "mine"
    assert project.is_modified
    assert project.undo_text() == undo
    assert finish(renew_labels(project, [str(folder)])) == 0
    project.save()
    assert project.path is not None
    with ProjectFile.open(project.path, read_only=True) as again:
        assert pages_of_project(again)[changed[0]].labels == (NEW,)


def test_a_project_stays_as_it_is_where_nothing_is_newer(
    folder: Path, project: ProjectFile
) -> None:
    assert finish(renew_labels(project, [str(folder)])) == 0
    changed = shown(project, folder)[:2]
    relabel(folder, changed, [])  # collected anew, and not labelled since
    assert finish(renew_labels(project, [str(folder)])) == 0
    relabel(folder, changed, [NEW])
    os.utime(folder / "evidence.sqlite", (1e9, 1e9))  # older than what the project carries
    assert finish(renew_labels(project, [str(folder)])) == 0
    assert finish(renew_labels(project, [str(folder / "nothing")])) == 0
    assert not project.is_modified


def test_what_a_project_alone_knows_stays(folder: Path, project: ProjectFile) -> None:
    feature = shown(project, folder)[0]
    page = pages_of_project(project)[feature]
    own = Label("hers", "Ann", "person", made="2026-01-01T00:00:00")
    theirs = Label("published", "neuronpedia", "imported")
    pages = {feature: replace(page, labels=(theirs, *page.labels, own))}
    keep_pages(project, None, pages, b"".join(page_pieces(pages)))
    relabel(folder, [feature], [NEW])
    os.utime(folder / "evidence.sqlite")
    assert finish(renew_labels(project, [str(folder)])) == 1
    assert pages_of_project(project)[feature].labels == (NEW, theirs, own)


def test_a_project_that_is_only_read_is_left_alone(folder: Path, tmp_path: Path) -> None:
    shutil.copy(ATLAS / "capitals.circuitscope", tmp_path)
    with ProjectFile.open(tmp_path / "capitals.circuitscope", read_only=True) as project:
        relabel(folder, shown(project, folder)[:2], [NEW])
        assert finish(renew_labels(project, [str(folder)])) == 0
