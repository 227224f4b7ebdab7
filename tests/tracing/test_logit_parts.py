"""Logits by component: the cells add up to what the real module says, in every family."""

from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.finding import Grid
from circuitscope.models.loading import LoadedModel, load_model
from tests.conformance.variants import IDS, VARIANTS, make_folder

NAMES = ("gpt2", "gpt-neox", "llama-biases", "llama-grouped", "gemma2", "gemma3", "olmo2")
AT = 5


@pytest.fixture(scope="module", params=NAMES)
def variant(request: pytest.FixtureRequest, tmp_path_factory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp(request.param) / "model"
    return load_model(make_folder(folder, *VARIANTS[request.param]), device="cpu")


def read(model: LoadedModel, component: str) -> Grid:
    return cs.inspect_logits(model, IDS, cs.LogitDifference(4, 7, position=AT), component)


def said(model: LoadedModel) -> np.ndarray:
    """Return the difference of raw logits at every position, before any soft cap."""
    logits = model.run(IDS).cache.raw_logits.double().numpy()
    return logits[:, 4] - logits[:, 7]


def test_parts_and_sources_add_up_to_the_difference(variant: LoadedModel) -> None:
    whole = said(variant)[AT]
    parts, sources = read(variant, "parts"), read(variant, "sources")
    n_layers, n_heads = variant.anatomy.n_layers, variant.anatomy.n_heads
    assert parts.values.shape == (n_layers + 1, n_heads + 2)
    assert sources.values.shape == (n_layers + 1, len(IDS) + 2)
    for grid in (parts, sources):
        size = float(np.abs(grid.values).sum())
        assert float(grid.values.sum()) == pytest.approx(whole, abs=2e-5 * size)
        assert grid.provenance.scores["whole"] == pytest.approx(whole, abs=1e-5)
        assert grid.provenance.scores["off"] < 1e-5
    heads = parts.values[1:, :n_heads].sum(1)
    np.testing.assert_allclose(sources.values[1:, : len(IDS)].sum(1), heads, atol=1e-4)
    np.testing.assert_allclose(sources.values[:, -2:], parts.values[:, -2:], atol=1e-5)
    assert not sources.values[:, AT + 1 : len(IDS)].any()


def test_positions_add_up_everywhere_and_the_lens_ends_in_the_answer(variant: LoadedModel) -> None:
    whole = said(variant)
    attention, mlps = read(variant, "attn_out").values, read(variant, "mlp_out").values
    np.testing.assert_allclose(attention[0], mlps[0], atol=1e-6)
    np.testing.assert_allclose(attention.sum(0) + mlps[1:].sum(0), whole, atol=1e-3)
    lens = read(variant, "resid_post")
    np.testing.assert_allclose(lens.values[-1], whole, atol=1e-3)
    assert lens.axes == ("layer", "position")


def test_a_head_adds_what_leaves_with_it_under_a_held_norm(model) -> None:
    prompt = "the capital of the state containing Dallas is"
    metric = cs.LogitDifference("Austin", "Texas")
    grid = cs.inspect_logits(model, prompt, metric)
    off = cs.Intervention("head_z", 1, head=2, positions=[-1])
    from circuitscope.models.intervene import run

    plain, changed = (run(model, prompt, one, freeze=["norms"]) for one in ([], [off]))
    words = [model.find_token(word) for word in ("Austin", "Texas")]
    moved = (plain.logits - changed.logits)[-1, words].astype(float)
    mlp = cs.inspect_logits(model, prompt, metric).values[2, -2]
    assert np.isfinite(mlp)
    without = run(model, prompt, [off], freeze=["norms"]).cache
    # The head's own part: what leaves, less what the MLP above it says otherwise.
    before, after = (one.mlp_out[1][-1].double() for one in (plain.cache, without))
    norm = model.family.norm(model.module, cs.Site.LN_FINAL, model.anatomy.n_layers)
    columns = model.family.unembed(model.module)[0].detach()[:, words].double()
    change = before - after
    if norm.kind == "layer":
        change = change - change.mean()
    scale = plain.cache.norm_scales[cs.Site.LN_FINAL, model.anatomy.n_layers][-1].double()
    by_mlp = (change / scale * norm.weight.double()) @ (columns[:, 0] - columns[:, 1])
    assert grid.values[2, 2] == pytest.approx(moved[0] - moved[1] - float(by_mlp), abs=1e-5)


def test_what_cannot_be_read_is_refused(model) -> None:
    with pytest.raises(cs.CircuitScopeError, match="component"):
        cs.inspect_logits(model, [1, 4], cs.Logit(3), "neurons")
    with pytest.raises(cs.CircuitScopeError, match="no position"):
        cs.inspect_logits(model, [1, 4], cs.Logit(3, position=2))
    top = cs.inspect_logits(model, [1, 4], cs.Logit())
    assert top.provenance.scores["whole"] == pytest.approx(model.run([1, 4]).logits[-1].max())
