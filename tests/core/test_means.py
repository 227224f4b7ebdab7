"""Means become a finding and come back as they were."""

from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.errors import DamagedProject
from circuitscope.core.finding import Provenance
from circuitscope.core.means import as_grid, from_grid


@pytest.mark.parametrize("by_position", [True, False])
def test_a_project_keeps_means(by_position: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    places = (5,) if by_position else ()
    z = random.normal(size=(2, *places, 3, 4)).astype(np.float32)
    mlp = random.normal(size=(2, *places, 12)).astype(np.float32)
    means = cs.MeanActivations(z, mlp, "abc", 7, "centred", "mine")
    with cs.new_project(tmp_path / "kept.circuitscope") as project:
        project.add(as_grid(means, Provenance("means")), name="mine")
        project.save()
    with cs.open_project(tmp_path / "kept.circuitscope") as project:
        back = from_grid(project.read_finding("mine"))
    assert np.array_equal(back.z, z)
    assert np.array_equal(back.mlp, mlp)
    assert back.by_position is by_position
    assert (back.digest, back.n_prompts, back.weights, back.name) == ("abc", 7, "centred", "mine")


def test_another_grid_is_no_means() -> None:
    grid = cs.Grid(("a",), (("x",),), np.zeros(1, np.float32), Provenance("lens"))
    with pytest.raises(DamagedProject, match="stored means"):
        from_grid(grid)
