"""Test that Muon's steps are orthogonal and that they find a minimum."""

import pytest

pytest.importorskip("torch")

import torch

from circuitscope.examples.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 32), (2, 32, 8)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrices[0] *= 1e4
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_it_finds_a_matrix_from_its_errors() -> None:
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(6, 18, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(6, 18))
    optimizer = Muon([weight], lr=0.2)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - wanted).square().sum().backward()
        optimizer.step()
    assert (weight - wanted).abs().max() < 0.05
