"""Sweeps of attention modification: each cell is one run with one head's entries multiplied."""

import numpy as np
import pytest

import circuitscope as cs

PROMPT = "the capital of the state containing Dallas is"
METRIC = cs.LogitDifference("Austin", "Texas")


def said(model, changes=()) -> float:
    logits = model.run(PROMPT, changes).logits[-1].astype(float)
    return logits[model.find_token("Austin")] - logits[model.find_token("Texas")]


@pytest.mark.parametrize(("query", "factor"), [(-1, 0.0), (None, 3.0), (7, -1.0)])
def test_cells_are_runs_with_one_heads_entries_multiplied(model, query, factor) -> None:
    grid = cs.attention_grid(model, PROMPT, METRIC, 4, query, factor=factor)
    assert grid.axes == ("layer", "head")
    assert grid.values.shape == (model.anatomy.n_layers, model.anatomy.n_heads)
    whole = said(model)
    assert grid.provenance.scores["whole"] == pytest.approx(whole, abs=1e-5)
    where = "all" if query is None else query
    for layer, head in np.ndindex(grid.values.shape):
        changes = cs.attention_changes(f"{layer}.{head}:{where}<-4 x {factor}")
        assert grid.values[layer, head] == pytest.approx(said(model, changes) - whole, abs=1e-5)
    assert grid.values.any() == (query != 7 or model.anatomy.n_layers > 1)


def test_factor_one_changes_nothing_and_positions_are_checked(model) -> None:
    assert np.abs(cs.attention_grid(model, PROMPT, METRIC, 4, factor=1.0).values).max() < 1e-5
    for places in ((40, -1), (4, 40)):
        with pytest.raises(cs.CircuitScopeError, match="no position 40"):
            cs.attention_grid(model, PROMPT, METRIC, *places)
    with pytest.raises(cs.CircuitScopeError, match="needs a word"):
        cs.attention_grid(model, PROMPT, cs.Logit(), 4)
