"""The ready project opens without a model, and what its note says of the model is true."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import atlas, atlas_project
from circuitscope.examples.atlas_comparison import compare_cities

FOLDER = shipped_path("projects", "atlas")
PROJECT = FOLDER / "capitals.circuitscope"


def test_it_holds_both_circuits_grouped_and_placed() -> None:
    with cs.open_project(PROJECT, read_only=True) as project:
        assert list(project.circuits()) == ["Dallas", "Oakland"]
        for city, circuit in project.circuits().items():
            drawing = project.drawing(city)
            state = atlas.state_of(city)
            names = {row["label"] for row in drawing.of_kind("group").values()}
            assert {state, f"say {atlas.capital_of(state)}"} <= names
            assert len(drawing.of_kind("place")) == len(names) + 3
            assert circuit.conservation.max() <= 1e-4
            assert cs.scores(circuit)["error_share"] <= 0.25
            assert circuit.provenance.model["name"] == "atlas"
    assert PROJECT.stat().st_size < 2_000_000


@pytest.mark.parametrize("city", ["Dallas", "Houston", "Lubbock"])
def test_swapping_the_state_swaps_the_capital(city: str) -> None:
    model = cs.load_model(FOLDER / "model", device="cpu")
    dictionaries = cs.load_dictionaries(FOLDER / "dictionaries")
    found = atlas_project.measure(model, dictionaries, 0, atlas_project.CITY)
    texas, california = found.of("Texas"), found.of("California")
    assert len(texas)
    assert len(california)
    assert not set(texas) & set(california)
    before = atlas_project.answer(model, city)
    after = atlas_project.answer(model, city, found.swap(city, "California", 1.0))
    assert int(np.argmax(before)) == model.find_token("Austin")
    assert int(np.argmax(after)) == model.find_token("Sacramento")


def test_a_city_of_the_same_state_does_the_work_of_dallas_and_oakland_does_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / PROJECT.name
    shutil.copy(PROJECT, target)
    model = cs.load_model(FOLDER / "model")
    dictionaries = cs.load_dictionaries(FOLDER / "dictionaries")
    with cs.open_project(target) as project:
        report = compare_cities(project, model, dictionaries)
        project.save()
    found = report.transfer
    assert found.kept[0, 0] > 0.8
    assert found.kept[0, 3] > 0.8  # Houston on Dallas's prompt
    assert found.kept[0, 1] < 0.1  # Oakland on Dallas's prompt
    assert report.floor.overlap()["nodes"] > report.found.overlap()["nodes"]
    with cs.open_project(target, read_only=True) as project:
        kept = [info for info in project.findings() if info.method == "comparison"]
        assert kept[-1].name.startswith("Dallas against Oakland")
