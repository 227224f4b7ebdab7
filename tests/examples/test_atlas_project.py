"""The ready project opens without a model, and what its note says of the model is true."""

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.core.transfer import of_finding
from circuitscope.examples import atlas, atlas_project
from circuitscope.graph.evidence import runs_of

FOLDER = shipped_path("projects", "atlas")
PROJECT = FOLDER / "capitals.circuitscope"


def test_it_holds_both_circuits_grouped_and_placed() -> None:
    with cs.open_project(PROJECT, read_only=True) as project:
        circuits = project.circuits()
        assert list(circuits) == ["Dallas", "Oakland", atlas_project.FLOOR, "Dallas, by heads"]
        for city in ("Dallas", "Oakland"):
            circuit = circuits[city]
            drawing = project.drawing(city)
            state = atlas.state_of(city)
            names = {row["label"] for row in drawing.of_kind("group").values()}
            assert {state, f"say {atlas.capital_of(state)}"} <= names
            assert len(drawing.of_kind("place")) == len(names) + 3
            assert circuit.conservation.max() <= 1e-4
            assert cs.scores(circuit)["error_share"] <= 0.25
            assert circuit.provenance.model["name"] == "atlas"
    assert PROJECT.stat().st_size < 2_000_000


def test_its_groups_are_supported_its_circuit_is_measured_and_compared() -> None:
    with cs.open_project(PROJECT, read_only=True) as project:
        for city in ("Dallas", "Oakland"):
            tests = runs_of(project.drawing(city).rows)
            assert [run.badge for run in tests] == [cs.Badge.SUPPORTED] * 4
        found = {info.method: project.read_finding(info.id) for info in project.findings()}
        dallas = project.circuits()["Dallas"]
        assert found["measurement"].provenance.parent == dallas.digest
        assert found["measurement"].provenance.scores["n_prompts"] == 4
        chosen, names, transfer = of_finding(found["comparison"])
        assert names == ("Dallas", "Oakland", atlas_project.FLOOR)
        assert chosen.a == project.finding("Dallas").id
        own, others, _, rephrased = transfer.kept[0]
        assert own > 0.8
        assert others < 0 < 0.5 < rephrased


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
