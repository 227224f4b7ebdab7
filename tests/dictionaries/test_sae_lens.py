"""SAELens' two dialects, and what is refused by name."""

import json

import pytest
import torch
from sae_lens_writer import write_sae
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


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale", True])
def test_input_normalisations_are_named_when_the_weights_are_needed(tmp_path, norm):
    folder = write_sae(tmp_path / "one", "mlp_out", 0, normalize_activations=norm)
    found = load_dictionaries(folder)
    assert found.cards[0].input_norm != "none"
    with pytest.raises(DictionaryError, match="normalises its input"):
        found[0]


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


def test_a_finetuning_scale_other_than_one_is_refused(tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"scaling_factor": torch.ones(24)}, path)
    assert load_dictionaries(folder)[0] is not None
    save_file(tensors | {"scaling_factor": 2 * torch.ones(24)}, path)
    with pytest.raises(DictionaryError, match="finetuning scale"):
        load_dictionaries(folder)[0]


def test_the_digest_follows_settings_and_header(tmp_path):
    a = write_sae(tmp_path / "a", "mlp_out", 0)
    b = write_sae(tmp_path / "b", "mlp_out", 0)
    c = write_sae(tmp_path / "c", "mlp_out", 1)
    digests = [SaeLens().card(folder).digest for folder in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]
