"""Dictionaries: activations, rows, decoding, and what they leave unexplained."""

import pytest
import torch
from sae_lens_writer import random_tensors, write_sae, write_set

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.dictionary import jump_relu, relu, top_k
from circuitscope.dictionaries.features import encode_prompt
from circuitscope.dictionaries.fit import check_fit, name_remark
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model

X = torch.randn(7, 16, generator=torch.Generator().manual_seed(3))


def test_activations_are_what_they_are_called():
    h = torch.tensor([[-1.0, 0.5, 2.0, 1.0]])
    assert relu(h).tolist() == [[0, 0.5, 2, 1]]
    assert jump_relu(h, torch.tensor([-2.0, 0.6, 1.0, 1.0])).tolist() == [[0, 0, 2, 0]]
    assert top_k(h, 2).tolist() == [[0, 0, 2, 1]]
    assert top_k(-h.abs(), 2).tolist() == [[0, 0, 0, 0]]
    assert top_k(h, 9).tolist() == relu(h).tolist()


def expected(architecture: str, t: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return activations by SAELens' own formulas, dense."""
    h = (x - t["b_dec"]) @ t["W_enc"]
    if architecture == "gated":
        open_gates = h + t["b_gate"] > 0
        return open_gates * torch.relu(h * t["r_mag"].exp() + t["b_mag"])
    h = h + t["b_enc"]
    if "jumprelu" in architecture:
        return torch.relu(h) * (h > t["threshold"])
    if architecture == "topk":
        best = torch.relu(h).topk(5)
        return torch.zeros_like(h).scatter(1, best.indices, best.values)
    return torch.relu(h)


@pytest.mark.parametrize(
    "architecture",
    ["standard", "gated", "jumprelu", "topk", "transcoder", "skip_transcoder",
     "jumprelu_transcoder"],
)  # fmt: skip
def test_encoding_and_decoding_follow_the_formulas(tmp_path, architecture):
    kind = "transcoder" if "transcoder" in architecture else "mlp_out"
    dictionary = load_dictionaries(write_sae(tmp_path / "one", kind, 0, architecture))[0]
    t = random_tensors(architecture, 16, 24, 0)
    wanted = expected(architecture, t, X)
    found = dictionary.encode(X)
    dense = torch.zeros(7, 24)
    dense[found.position, found.unit] = found.value
    torch.testing.assert_close(dense, wanted)
    assert (found.value == found.preactivation).all()
    flat = found.position * 24 + found.unit
    assert (flat.diff() > 0).all()
    rows, constants = dictionary.encoder_rows(found.unit), dictionary.encoder_constants(found.unit)
    read = (rows * X[found.position]).sum(1) + constants
    torch.testing.assert_close(read, found.preactivation, atol=1e-5, rtol=1e-5)
    out = wanted @ t["W_dec"] + t["b_dec"]
    if architecture == "skip_transcoder":
        out = out + X @ t["W_skip"].T
    torch.testing.assert_close(dictionary.decode(found, 7, X), out)


def test_topk_scaled_by_decoder_norms_is_folded(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, "topk", rescale_acts_by_decoder_norm=True)
    dictionary = load_dictionaries(folder)[0]
    t = random_tensors("topk", 16, 24, 0)
    norms = t["W_dec"].norm(dim=1)
    h = torch.relu(((X - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norms)
    best = h.topk(5)
    acts = torch.zeros_like(h).scatter(1, best.indices, best.values)
    wanted = acts / norms @ t["W_dec"] + t["b_dec"]
    torch.testing.assert_close(dictionary.decode(dictionary.encode(X), 7), wanted)


def test_centred_dictionaries_do_not_see_the_mean(tmp_path):
    folder = write_sae(
        tmp_path / "one", "mlp_out", 0, "standard",
        model_from_pretrained_kwargs={"center_writing_weights": True},
    )  # fmt: skip
    dictionary = load_dictionaries(folder)[0]
    t = random_tensors("standard", 16, 24, 0)
    mean = X.mean(-1, keepdim=True)
    acts = torch.relu((X - mean - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    rebuilt = dictionary.decode(dictionary.encode(X), 7, X)
    torch.testing.assert_close(rebuilt, acts @ t["W_dec"] + t["b_dec"] + mean)
    a, b = dictionary.encode(X), dictionary.encode(X + 5)
    torch.testing.assert_close(a.value, b.value, atol=1e-5, rtol=1e-5)
    rows, constants = dictionary.encoder_rows(a.unit), dictionary.encoder_constants(a.unit)
    read = (rows * X[a.position]).sum(1) + constants
    torch.testing.assert_close(read, a.preactivation, atol=1e-5, rtol=1e-5)


def test_the_error_is_what_the_features_leave(tiny_llama, tmp_path):
    model = load_model(tiny_llama, device="cpu")
    cache = capture(model, (1, 3, 4, 5))
    dictionaries = load_dictionaries(write_set(tmp_path / "set"))
    found = encode_prompt(dictionaries, cache)
    assert set(found.error) == {
        (site, layer)
        for site in (Site.ATTN_OUT, Site.MLP_OUT, Site.MLP_TRANSCODER)
        for layer in (0, 1)
    }
    for dictionary in dictionaries:
        card = dictionary.card
        place = card.feature_site, card.layers[0]
        x = cache.site(card.read_site, card.layers[0])
        rebuilt = dictionary.decode(found.active[place], 4, x)
        out = cache.site(card.write_site, card.layers[0])
        torch.testing.assert_close(rebuilt + found.error[place], out)
    layer, position, unit, value = found.table()
    assert len(unit) == found.n_active == len(value)
    order = (layer * 4 + position) * 24 + unit
    assert (order.diff() >= 0).all()


ANATOMY = ModelAnatomy("GPT2LMHeadModel", "gpt2", 2, 16, 4, 4, 4, 32, 50, 32)


def test_fit_is_decided_by_widths_and_layers(tmp_path):
    good = load_dictionaries(write_sae(tmp_path / "good", "mlp_out", 1))
    check_fit(good.cards[0], ANATOMY)
    wide = load_dictionaries(write_sae(tmp_path / "wide", "mlp_out", 1, d=20))
    with pytest.raises(DictionaryMismatch, match="d_model 20, but gpt2 has 16"):
        check_fit(wide.cards[0], ANATOMY)
    deep = load_dictionaries(write_sae(tmp_path / "deep", "transcoder", 2, "transcoder"))
    with pytest.raises(DictionaryMismatch, match="layer 2, but gpt2 has only layers 0 to 1"):
        check_fit(deep.cards[0], ANATOMY)


def test_another_model_name_is_a_remark(tmp_path):
    card = load_dictionaries(write_sae(tmp_path / "one", "mlp_out", 0)).cards[0]
    told = name_remark(card, ANATOMY, 0.714)
    assert told.endswith("trained on tiny and is used on gpt2, explained variance here 0.71.")
    from dataclasses import replace

    for same in ("openai-community/GPT2", "gpt2", ""):
        assert name_remark(replace(card, model_name=same), ANATOMY, 0.7) == ""


def test_sets_are_read_lazily_and_found_by_name(tmp_path):
    root = write_set(tmp_path / "set")
    found = load_dictionaries(root)
    assert len(found) == 6
    assert found["mlp_out_1"] is found[3]
    assert found[-1].card.name == "transcoder_1"
    assert [item.card.name for item in found[:2]] == ["attn_out_0", "attn_out_1"]
    assert [item.card for item in found] == list(found.cards)
    with pytest.raises(DictionaryError, match="no dictionary called 'nothing'"):
        found["nothing"]
    with pytest.raises(IndexError):
        found[6]
    twice = load_dictionaries([root, write_set(tmp_path / "other")])
    assert len({card.name for card in twice.cards}) == 12


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blocks.3.hook_attn_out", (Site.ATTN_OUT, 3)),
        ("blocks.12.hook_mlp_out", (Site.MLP_OUT, 12)),
        ("blocks.0.mlp.hook_in", (Site.MLP_IN, 0)),
        ("blocks.1.ln2.hook_normalized", (Site.LN2_NORMALIZED, 1)),
        ("blocks.1.hook_resid_mid", (Site.RESID_MID, 1)),
        ("blocks.1.attn.hook_z", (Site.HEAD_Z, 1)),
        ("hook_embed", (Site.EMBED, 0)),
        ("blocks.x.hook_mlp_out", None),
        ("transformer.h.0.mlp", None),
    ],
)
def test_hook_names_name_sites(name, place):
    assert parse_hook_name(name) == place


def test_every_site_of_a_block_is_read_back_from_its_own_name():
    for site in (Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.HEAD_Z, Site.ATTN_OUT,
                 Site.MLP_IN, Site.MLP_HIDDEN, Site.MLP_OUT, Site.LN1_NORMALIZED):  # fmt: skip
        assert parse_hook_name(site.hook_name(5)) == (site, 5)
