"""Mean activations as a finding, so that a project keeps the means of a user's prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuitscope.core.errors import DamagedProject
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.sources import MeanActivations

METHOD = "means"
"""Method in the provenance of stored means."""
ALL = "all"
"""Tick of the only position where prompts differ in length."""


def as_grid(means: MeanActivations, provenance: Provenance) -> Grid:
    """Return means as a finding: layer by position by entry, heads first, then the MLP's output."""
    z = means.z if means.by_position else means.z[:, None]
    mlp = means.mlp if means.by_position else means.mlp[:, None]
    n_layers, n_pos, n_heads, d_head = z.shape
    values = np.concatenate([z.reshape(n_layers, n_pos, -1), mlp], -1).astype(np.float32)
    places = tuple(map(str, range(n_pos))) if means.by_position else (ALL,)
    entries = tuple(f"{head}.{k}" for head in range(n_heads) for k in range(d_head))
    entries += tuple(f"mlp {k}" for k in range(mlp.shape[-1]))
    settings = {
        **provenance.settings, "n_prompts": means.n_prompts, "digest": means.digest,
        "n_heads": n_heads, "weights": means.weights, "name": means.name,
    }  # fmt: skip
    return Grid(
        ("layer", "position", "entry"), (tuple(map(str, range(n_layers))), places, entries), values,
        replace(provenance, method=METHOD, settings=settings),
    )  # fmt: skip


def from_grid(grid: Grid) -> MeanActivations:
    """Rebuild means.

    Raises:
        DamagedProject: The finding is another grid, or its record does not fit its numbers.
    """
    held = grid.provenance.settings
    try:
        n_heads = int(held["n_heads"])
        width = sum("." in name for name in grid.ticks[2])
        z = grid.values[..., :width].reshape(*grid.values.shape[:2], n_heads, width // n_heads)
        mlp = grid.values[..., width:]
        if grid.ticks[1] == (ALL,):
            z, mlp = z[:, 0], mlp[:, 0]
        return MeanActivations(
            z, mlp, str(held["digest"]), int(held["n_prompts"]), str(held["weights"]),
            str(held["name"]),
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DamagedProject(
            f"The stored means cannot be read ({error}).", kept="The project is unchanged."
        ) from error
