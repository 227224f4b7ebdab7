"""Packed rows are the plain walk's, however they are cut into batches and threads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.progress import silent
from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.backward_walk import BackwardWalk
from circuitscope.tracing.packed_walk import PackedWalk
from circuitscope.tracing.plan import fitted
from circuitscope.tracing.read_points import ReadPoints
from circuitscope.tracing.run import open_run

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "attribution"


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", ["llama_relu", "llama_clt_jumprelu", "gpt2_relu"])
def test_batches_threads_and_lifting_change_nothing(case):
    folder = GOLDEN / case
    model = cs.load_model(folder / "model", device="cpu")
    found = cs.load_dictionaries(folder / "transcoders_circuit_tracer")
    ids = tuple(json.loads((folder / "meta.json").read_text())["graphs"]["p1"]["prompt_ids"])
    settings = fitted(TraceSettings(ids, method="attribution"), found.cards)
    run = open_run(model, found, settings, silent())
    points = ReadPoints(run.frozen, run.plan, run.explained)
    parts = run.frozen, run.sources, run.explained, points
    every = np.arange(0, len(run.explained), 4)
    torch.set_num_threads(1)
    alone = PackedWalk(*parts)
    wanted = np.concatenate([alone.rows(every[row : row + 1]) for row in range(len(every))])
    largest = np.abs(wanted).max(1, keepdims=True)

    def near(rows):
        return (np.abs(rows - wanted) <= 3e-6 * largest).all()

    if run.plan.cross is None:
        with torch.no_grad():
            assert near(BackwardWalk(*parts).rows(every))
    walk = PackedWalk(*parts)
    assert near(walk.rows(every)), "in one batch, embeddings pushed up"
    torch.set_num_threads(2)
    assert near(walk.rows(every, 7)), "in many batches, two at a time"
    out = np.empty_like(wanted)
    assert walk.rows(every, 50, out) is out
    assert near(out)
