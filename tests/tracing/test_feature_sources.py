"""Dictionary features as sources: what they write is relevant, and both parts add up."""

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.errors import TraceError
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.capture import capture

PROMPT = "the capital of the state containing Dallas is"
SITES = ("attn_out", "mlp_out", "mlp_transcoder")


def active(model, dictionaries, site: str, layer: int, position: int) -> int:
    """Return the strongest feature of a place."""
    (dictionary,) = [
        d for d in dictionaries
        if d.card.feature_site.text == site and layer in d.card.layers
    ]  # fmt: skip
    x = capture(model, model.prompt(PROMPT).token_ids).site(dictionary.card.read_site, layer)
    return int(dictionary.activate(dictionary.preactivations(x))[position].argmax())


@pytest.mark.parametrize("site", SITES)
def test_both_parts_add_up_to_the_model(site, model, dictionaries):
    logits = model.run(PROMPT).logits
    sources = [
        [cs.Feature(site, layer, active(model, dictionaries, site, layer, at), at)]
        for layer in (0, 1) for at in (3, 8)
    ]  # fmt: skip
    split = cs.decompose(
        model, PROMPT, [*sources, [one for [one] in sources]], dictionaries=dictionaries
    )
    total = split.relevant + split.irrelevant
    assert np.abs(total - logits).max() <= 2e-5 * np.abs(logits).max()
    assert all(np.abs(one).max() > 1e-4 for one in split.relevant)
    # Nothing is relevant before the feature.
    assert np.abs(split.relevant[1, :8]).max() == 0
    reference = cs.decompose(
        model, PROMPT, sources, dictionaries=dictionaries, mode="reference"
    )  # fmt: skip
    assert np.abs(split.relevant[:-1] - reference.relevant).max() <= 5e-5


def test_a_feature_of_the_last_mlp_reaches_the_logits_through_the_last_norm(models, dictionaries):
    """No layer comes after it: its part is W_dec through the frozen norm, by hand."""
    model = models["llama"]
    unit = active(model, dictionaries, "mlp_out", 1, 8)
    split = cs.decompose(
        model, PROMPT, [cs.Feature("mlp_out", 1, unit, 8)], dictionaries=dictionaries
    )
    (dictionary,) = [d for d in dictionaries if str(d.card.name).endswith("mlp_out_1")]
    cache = capture(model, model.prompt(PROMPT).token_ids)
    x = cache.site(dictionary.card.read_site, 1)
    value = dictionary.activate(dictionary.preactivations(x))[8, unit]
    vector = value * dictionary.decoder_rows(torch.tensor([unit]))[0]
    # The sign fix after the block's sum: where signs differ, the larger part has all.
    whole = cache.site(cs.Site.RESID_POST, 1)[8]
    fixed = torch.clamp(vector, whole.clamp(max=0), whole.clamp(min=0))
    norm = model.module.model.norm
    scale = (whole.square().mean() + norm.variance_epsilon).sqrt()
    wanted = model.module.lm_head.weight @ (fixed / scale * norm.weight)
    assert np.allclose(split.relevant[0, 8], wanted.numpy(), atol=1e-5)
    assert np.abs(split.relevant[0, :8]).max() == 0


def test_an_inactive_feature_is_relevant_for_nothing(models, dictionaries):
    model = models["gpt2"]
    (dictionary,) = [d for d in dictionaries if str(d.card.name).endswith("mlp_out_0")]
    x = capture(model, model.prompt(PROMPT).token_ids).site(dictionary.card.read_site, 0)
    silent = int(dictionary.activate(dictionary.preactivations(x))[4].argmin())
    split = cs.decompose(
        model, PROMPT, [cs.Feature("mlp_out", 0, silent, 4)], dictionaries=dictionaries
    )
    assert np.abs(split.relevant).max() == 0


def test_features_that_do_not_exist_are_refused(models, dictionaries, tmp_path):
    refused = {
        "no feature 9999": cs.Feature("mlp_out", 0, 9999, 2),
        "explains attn_out": cs.Feature("attn_out", 1, 3, 2, "another"),
        "no position 40": cs.Feature("mlp_out", 0, 1, 40),
    }
    for words, source in refused.items():
        with pytest.raises(TraceError, match=words):
            cs.decompose(models["gpt2"], PROMPT, [source], dictionaries=dictionaries)


def test_a_feature_of_a_cross_layer_transcoder_writes_to_all_its_layers(models, tmp_path):
    from dictionary_writers import write_llamascopium_clt

    model = models["gpt2"]
    clt = load_dictionaries(write_llamascopium_clt(tmp_path / "clt", layers=2))
    (dictionary,) = list(clt)
    x = capture(model, model.prompt(PROMPT).token_ids).site(dictionary.card.read_site, 0)
    part = dictionary.layer(0)
    unit = int(part.activate(part.preactivations(x))[5].argmax())
    site = dictionary.card.feature_site.text
    split = cs.decompose(model, PROMPT, [cs.Feature(site, 0, unit, 5)], dictionaries=clt)
    logits = model.run(PROMPT).logits
    assert np.abs(split.relevant + split.irrelevant - logits).max() <= 2e-5 * np.abs(logits).max()
    value = part.activate(part.preactivations(x))[5, unit]
    wrote = cs.decompose(
        model, PROMPT, [cs.Feature(site, 0, unit, 5)], targets=[cs.Mlp(0, 5)], dictionaries=clt
    )
    first = (value * part.decoder_rows(torch.tensor([unit]), 0)[0]).numpy()
    assert np.allclose(wrote.relevant[0, 0], first, atol=1e-6)
