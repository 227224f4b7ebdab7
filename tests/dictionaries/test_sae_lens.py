"""SAELens' two dialects, and what is refused by name."""

import json

import pytest
import torch
from sae_lens_writer import random_tensors, write_sae
from safetensors.torch import load_file, save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.formats.sae_lens import SaeLens


def rewrite(folder, **changes):
    config = json.loads((folder / "cfg.json").read_text())
    for name, value in changes.items():
        config.pop(name, None)
        if value is not None:
            config[name] = value
    (folder / "cfg.json").write_text(json.dumps(config))


def test_the_card_is_read_without_the_weights(tmp_path):
    folder = write_sae(tmp_path / "one", "transcoder", 1, "jumprelu_transcoder")
    weights = folder / "sae_weights.safetensors"
    header = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
    data = weights.read_bytes()
    weights.write_bytes(data[:header] + b"\xff" * (len(data) - header))
    card = load_dictionaries(folder).cards[0]
    assert (card.read_site, card.write_site) == (Site.MLP_IN, Site.MLP_OUT)
    assert card.feature_site is Site.MLP_TRANSCODER
    assert (card.d_in, card.d_out, card.n_features, card.layers) == (16, 16, 24, (1,))
    assert (card.activation, card.model_name, card.skip) == ("jumprelu", "tiny", False)
    assert card.decoder_bias_subtracted


def test_flat_settings_of_older_versions_are_read(tmp_path):
    folder = write_sae(tmp_path / "old", "mlp_out", 1, "standard")
    rewrite(
        folder, metadata=None, architecture=None, hook_point="blocks.1.hook_mlp_out",
        activation_fn_str="relu", model_name="gpt2-small", normalize_activations=False,
    )  # fmt: skip
    card = load_dictionaries(folder).cards[0]
    assert (card.read_site, card.layers, card.model_name) == (Site.MLP_OUT, (1,), "gpt2-small")
    assert (card.activation, card.input_norm) == ("relu", "none")


def test_old_topk_is_told_by_its_activation_function(tmp_path):
    folder = write_sae(tmp_path / "old", "mlp_out", 0, "standard")
    rewrite(folder, activation_fn="topk", activation_fn_kwargs={"k": 4})
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.card.k == 4
    x = torch.randn(3, 16)
    assert torch.bincount(dictionary.encode(x).position).max() <= 4
    rewrite(folder, activation_fn_kwargs=None)
    with pytest.raises(DictionaryError, match="how many it keeps"):
        load_dictionaries(folder)


def test_metrics_of_the_maker_are_kept(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, metrics={"l0": 12.5, "note": "x"})
    assert load_dictionaries(folder).cards[0].metrics == {"l0": 12.5}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "temporal"}, "architecture 'temporal'"),
        ({"hook_name": "model.layers.3"}, "hook 'model.layers.3'"),
        ({"hook_name": 7}, "hook 7"),
    ],
)
def test_what_is_unknown_is_named(tmp_path, changes, words):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    rewrite(folder, metadata=metadata | changes, **changes)
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(folder)


def dense(dictionary, x):
    found = dictionary.encode(x)
    out = torch.zeros(len(x), dictionary.card.n_features)
    out[found.position, found.unit] = found.value
    return out, dictionary.decode(found, len(x), x)


X = 3 * torch.randn(6, 16, generator=torch.Generator().manual_seed(5)) + 2


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_inputs_are_normalised_position_by_position_and_restored(tmp_path, norm):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, normalize_activations=norm)
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.card.input_norm == norm
    t = random_tensors("jumprelu", 16, 24, 0)
    mean = X.mean(-1, keepdim=True) if norm == "layer_norm" else torch.zeros(6, 1)
    spread = (X - mean).std(-1, keepdim=True) + 1e-5 if norm == "layer_norm" else (
        X.norm(dim=-1, keepdim=True) / 4
    )  # fmt: skip
    h = ((X - mean) / spread - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    acts = torch.relu(h) * (h > t["threshold"])
    found, rebuilt = dense(dictionary, X)
    torch.testing.assert_close(found, acts)
    torch.testing.assert_close(rebuilt, (acts @ t["W_dec"] + t["b_dec"]) * spread + mean)


def test_an_average_norm_is_folded_from_the_scaler_training_left(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, normalize_activations=True)
    assert load_dictionaries(folder).cards[0].input_norm == "expected_average_only_in"
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.card.input_norm == "none"
    t = random_tensors("jumprelu", 16, 24, 0)
    h = (X * 0.25 - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    acts = torch.relu(h) * (h > t["threshold"])
    found, rebuilt = dense(dictionary, X)
    torch.testing.assert_close(found, acts)
    torch.testing.assert_close(rebuilt, (acts @ t["W_dec"] + t["b_dec"]) / 0.25)


def test_unknown_normalisations_are_named(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, normalize_activations="whitening")
    with pytest.raises(DictionaryError, match="normalises its input by 'whitening'"):
        load_dictionaries(folder)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_batchtopk_is_read_by_its_threshold(tmp_path, architecture, rescaled):
    folder = write_sae(
        tmp_path / "one", "mlp_out", 0, architecture, rescale_acts_by_decoder_norm=rescaled
    )
    path = folder / "sae_weights.safetensors"
    t = load_file(path)
    save_file(t | {"topk_threshold": torch.tensor(0.7)}, path)
    norms = t["W_dec"].norm(dim=1) if rescaled else torch.ones(24)
    h = ((X - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norms
    acts = torch.relu(h) * (h > 0.7)
    found, rebuilt = dense(load_dictionaries(folder)[0], X)
    torch.testing.assert_close(found, acts)
    torch.testing.assert_close(rebuilt, acts / norms @ t["W_dec"] + t["b_dec"])


def test_a_training_file_keeps_logarithms_of_thresholds(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    path = folder / "sae_weights.safetensors"
    t = load_file(path)
    before = dense(load_dictionaries(folder)[0], X)[0]
    save_file({**t, "log_threshold": t["threshold"].log()}, path)
    torch.testing.assert_close(dense(load_dictionaries(folder)[0], X)[0], before)


def test_heads_side_by_side_are_read_as_one_vector(tmp_path):
    folder = write_sae(tmp_path / "one", "attn_out", 1, reshape_activations="hook_z")
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    rewrite(folder, metadata=metadata | {"hook_name": "blocks.1.attn.hook_z"})
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.card.read_site is Site.HEAD_Z
    flat, heads = dictionary.encode(X), dictionary.encode(X.view(6, 4, 4))
    assert torch.equal(flat.value, heads.value)


def test_transcoders_across_layers_are_refused(tmp_path):
    folder = write_sae(tmp_path / "one", "transcoder", 0, "transcoder")
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    rewrite(folder, metadata=metadata | {"hook_name_out": "blocks.4.hook_mlp_out"})
    with pytest.raises(DictionaryError, match="reads layer 0 and writes layer 4"):
        load_dictionaries(folder)


def test_shapes_that_contradict_the_settings_are_refused(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    rewrite(folder, d_in=20)
    with pytest.raises(DictionaryMismatch, match=r"\[16, 24\].*\[20, 24\]"):
        load_dictionaries(folder)


def test_missing_tensors_are_named(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    del tensors["threshold"]
    save_file(tensors, path)
    with pytest.raises(DictionaryError, match="has no threshold"):
        load_dictionaries(folder)


def test_a_finetuning_scale_multiplies_what_is_written(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    b_dec = tensors["b_dec"]
    acts, plain = dense(load_dictionaries(folder)[0], X)
    save_file(tensors | {"scaling_factor": 2 * torch.ones(24)}, path)
    found, rebuilt = dense(load_dictionaries(folder)[0], X)
    assert torch.equal(found, acts)
    torch.testing.assert_close(rebuilt - b_dec, 2 * (plain - b_dec))


def test_the_digest_follows_settings_and_header(tmp_path):
    a = write_sae(tmp_path / "a", "mlp_out", 0)
    b = write_sae(tmp_path / "b", "mlp_out", 0)
    c = write_sae(tmp_path / "c", "mlp_out", 1)
    digests = [SaeLens().cards(folder)[0].digest for folder in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]
