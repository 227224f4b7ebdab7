"""Fewer examples ship: the first of both kinds, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.shipped import shipped_path
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId
from circuitscope.evidence.thinning import thin
from tests.evidence.planted import planted, write_planted

MOST_SHIPPED = 15_000_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_planted(tmp_path_factory.mktemp("whole") / "evidence.sqlite")
    label_features(path)
    return path


def test_the_first_examples_of_both_kinds_stay(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "evidence.sqlite"
    thin(whole, out, 6, 12)
    with EvidenceFile(whole) as file, EvidenceFile(out) as less:
        before, after = DictionaryEvidence(file, "d", 0), DictionaryEvidence(less, "d", 0)
        assert after.alive().tolist() == before.alive().tolist()
        assert (after.frequency == before.frequency).all()
        assert less.all_labels() == file.all_labels()
        for unit in range(len(planted())):
            old, new = before.examples(unit), after.examples(unit)
            top = [e.activation for e in old if e.band == "top"]
            assert [e.activation for e in new if e.band == "top"] == top[:6]
            places = {(e.sequence, e.position) for e in old if e.band != "top"}
            kept = [(e.sequence, e.position) for e in new if e.band != "top"]
            assert len(kept) == min(12, len(places))
            assert set(kept) <= places
            block, less_block = (f.block(FeatureId("d", 0, unit)) for f in (file, less))
            at, less_at = (int(np.searchsorted(b["unit"], unit)) for b in (block, less_block))
            rows = slice(*block["example"][at : at + 2].tolist())
            less_rows = slice(*less_block["example"][less_at : less_at + 2].tolist())
            drawn = block["sequence"][rows][block["kind"][rows] == 1]
            fewer = less_block["sequence"][less_rows][less_block["kind"][less_rows] == 1]
            assert fewer.tolist() == drawn[:12].tolist()  # the order in which they were drawn
    again = tmp_path / "again.sqlite"
    thin(out, again, 6, 12)
    assert again.read_bytes() == out.read_bytes()


def test_what_ships_is_small_and_thinned_the_same_way_in_both() -> None:
    files = [
        shipped_path("projects", name) / "dictionaries" / "evidence.sqlite"
        for name in ("atlas", "othello")
    ]
    assert sum(file.stat().st_size for file in files) <= MOST_SHIPPED
    for path in files:
        with EvidenceFile(path) as file:
            assert file.meta["examples"] == [6, 12]
