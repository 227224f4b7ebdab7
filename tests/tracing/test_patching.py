"""A sweep's cells equal single runs with that one value swapped."""

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.intervention import Intervention
from circuitscope.core.settings import Logit, LogitDifference
from circuitscope.tracing.patching import patching_grid

CLEAN = "the capital of the state containing Dallas is"
CORRUPTED = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")


@pytest.mark.parametrize("component", ["resid_pre", "attn_out", "mlp_out", "head_z"])
def test_cells_equal_single_runs(model, component):
    grid = patching_grid(model, CLEAN, CORRUPTED, METRIC, component)
    a, b = model.find_token("Austin"), model.find_token("Sacramento")

    def metric(prompt, wishes=()):
        logits = model.run(prompt, wishes).logits[-1]
        return float(logits[a] - logits[b])

    whole, floor = metric(CLEAN), metric(CORRUPTED)
    assert grid.provenance.scores == pytest.approx({"clean": whole, "corrupted": floor}, abs=1e-5)
    n_layers, width = grid.values.shape
    assert (n_layers, width) == (2, 4 if component == "head_z" else 9)
    for layer in range(n_layers):
        for cell in range(width):
            where = {"head": cell} if component == "head_z" else {"positions": [cell]}
            wish = Intervention(component, layer, mode="swap", value=CLEAN, **where)
            expected = (metric(CORRUPTED, [wish]) - floor) / (whole - floor)
            assert grid.values[layer, cell] == pytest.approx(expected, abs=1e-3)


def test_the_first_stream_holds_only_the_word_that_differs(model):
    grid = patching_grid(model, CLEAN, CORRUPTED, METRIC)
    np.testing.assert_allclose(grid.values[0], np.eye(9)[7], atol=1e-4)


def test_what_cannot_be_swept_is_refused(model):
    with pytest.raises(TraceError, match="has 9 tokens, the corrupted one 3"):
        patching_grid(model, CLEAN, "the capital", METRIC)
    with pytest.raises(TraceError, match="nothing to bring back"):
        patching_grid(model, CLEAN, CLEAN, METRIC)
    with pytest.raises(TraceError, match="no component"):
        patching_grid(model, CLEAN, CORRUPTED, METRIC, "logits")
    with pytest.raises(TraceError, match="needs a word"):
        patching_grid(model, CLEAN, CORRUPTED, Logit())
