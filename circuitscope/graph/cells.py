"""From chosen cells of a patching sweep to a circuit: heads and MLPs with their measured effects.

A cell's edge into the answer is the part of it that the patch brought back, times the difference
between the two prompts; effects are along all paths, so no row adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Grid
from circuitscope.core.keys import NodeKey, NodeKind

MADE_OF = ("head_z", "mlp_out")
"""Components whose cells are nodes."""


def key_of(grid: Grid, cell: tuple[int, int]) -> NodeKey:
    """Return the node that a cell stands for.

    Raises:
        CircuitScopeError: It stands for none: the residual stream and attention as a whole.
    """
    component, (layer, column) = grid.provenance.settings.get("component"), cell
    if component == "head_z":
        return NodeKey(NodeKind.HEAD, Site.HEAD_Z, layer, -1, column)
    if component == "mlp_out":
        return NodeKey(NodeKind.NEURON, Site.MLP_OUT, layer, column, -1)
    raise CircuitScopeError(
        "The residual stream and attention as a whole are no nodes.",
        kept="The sweep is unchanged.",
        hint="Sweep heads or MLPs, whose cells become nodes.",
    )


def circuit_of_cells(grid: Grid, cells: Sequence[tuple[int, int]]) -> Circuit:
    """Return a circuit whose nodes are cells of a sweep and the answer.

    Raises:
        CircuitScopeError: No cell, or one that stands for no node.
    """
    if not cells:
        raise CircuitScopeError("No cell is chosen.", hint="Click cells of the sweep first.")
    settings: dict[str, Any] = grid.provenance.settings
    scores = grid.provenance.scores
    words, d_vocab = settings["words"], int(grid.provenance.model["d_vocab"])
    tokens, ids = tuple(settings["tokens"]), tuple(settings["token_ids"])
    unit = words[0] if len(words) == 1 else words[0] + d_vocab * (words[1] + 1)
    at = int(settings["metric"].get("position", -1)) % len(ids)
    n_layers = int(grid.provenance.model["n_layers"])
    keys = [key_of(grid, cell) for cell in cells]
    keys.append(NodeKey(NodeKind.LOGIT, Site.LOGITS, n_layers, at, unit))
    gap = scores["clean"] - scores["corrupted"]
    effects = np.array([grid.values[cell] * gap for cell in cells], np.float64)
    n = len(keys)
    preactivation = np.zeros(n, np.float32)
    preactivation[-1] = scores["clean"]
    named = settings["metric"]
    label = " − ".join(str(named[k]) for k in ("token", "a", "b") if named.get(k) is not None)
    names = [
        f"head {key.layer}.{key.unit}" if key.kind is NodeKind.HEAD else f"MLP {key.layer}"
        for key in keys[:-1]
    ]
    return Circuit(
        tokens, ids, NodeTable.from_keys(keys, np.append(effects, scores["clean"])),
        EdgeTable(
            np.arange(n - 1, dtype=np.int32), np.full(n - 1, n - 1, np.int32),
            effects.astype(np.float32),
            np.full(n - 1, Route.RELEVANCE),
        ),
        np.array([n - 1]), np.array([1.0]), preactivation, np.zeros(n, np.float32),
        np.zeros(n, np.float32), np.zeros(n, bool), grid.provenance, (*names, label),
    )  # fmt: skip
