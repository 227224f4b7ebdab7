"""Gemma Scope, llamascopium, sparsify and dictionary_learning against their makers' formulas."""

import json
import os

import dictionary_writers as writers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import DictionaryError, UnsafeFile
from circuitscope.dictionaries.features import encode_prompt
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.hook_names import parse_module_name

X = torch.randn(6, 16, generator=torch.Generator().manual_seed(8))


def dense(dictionary, x=X):
    found = dictionary.encode(x)
    acts = torch.zeros(len(x), dictionary.card.n_features)
    acts[found.position, found.unit] = found.value
    rows = dictionary.encoder_rows(found.unit)
    read = (rows * x[found.position]).sum(1) + dictionary.encoder_constants(found.unit)
    torch.testing.assert_close(read, found.preactivation, atol=1e-5, rtol=1e-5)
    return acts, dictionary.decode(found, len(x), x)


def largest(h: torch.Tensor, k: int) -> torch.Tensor:
    best = h.topk(k)
    return torch.zeros_like(h).scatter(1, best.indices, best.values)


def check(dictionary, acts: torch.Tensor, out: torch.Tensor) -> None:
    found, rebuilt = dense(dictionary)
    torch.testing.assert_close(found, acts, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rebuilt, out, atol=1e-5, rtol=1e-5)
    assert acts.count_nonzero() > 6


# Gemma Scope


@pytest.mark.parametrize(
    ("kind", "read", "write"),
    [
        ("res", Site.RESID_POST, Site.RESID_POST),
        ("mlp", Site.MLP_OUT, Site.MLP_OUT),
        ("att", Site.HEAD_Z, Site.HEAD_Z),
        ("transcoders", Site.LN2_NORMALIZED, Site.MLP_OUT),
    ],
)
def test_gemma_scope_tells_its_site_by_the_repository(tmp_path, kind, read, write):
    writers.write_gemma_scope(tmp_path, kind=kind)
    (dictionary,) = load_dictionaries(tmp_path)
    card = dictionary.card
    assert (card.read_site, card.write_site, card.layers) == (read, write, (1,))
    assert (card.model_name, card.metrics) == ("google/gemma-2-2b", {"l0": 7.0})
    t = writers.jump_relu_tensors(16, 24)
    h = X @ t["W_enc"] + t["b_enc"]
    acts = torch.relu(h) * (h > t["threshold"])
    check(dictionary, acts, acts @ t["W_dec"] + t["b_dec"])


def test_an_npz_is_mapped_and_its_card_reads_no_numbers(tmp_path):
    folder = writers.write_gemma_scope(tmp_path)
    dictionary = load_dictionaries(folder)[0]
    before = dense(dictionary)[0]
    np.savez_compressed(
        folder / "params.npz",
        **{name: t.numpy() for name, t in writers.jump_relu_tensors(16, 24).items()},
    )
    assert torch.equal(dense(load_dictionaries(folder)[0])[0], before)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 9, b"\x80\x04cos\nsystem\n"])
def test_damaged_npz_files_are_refused(tmp_path, content):
    folder = writers.write_gemma_scope(tmp_path)
    (folder / "params.npz").write_bytes(content)
    with pytest.raises(DictionaryError, match=r"no.*npz file"):
        load_dictionaries(folder)


def test_objects_in_an_npz_are_refused_unopened(tmp_path):
    folder = writers.write_gemma_scope(tmp_path)
    np.savez(folder / "params.npz", W_enc=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnsafeFile, match="pickled objects in W_enc"):
        load_dictionaries(folder)


def test_a_gemma_scope_folder_out_of_place_says_what_is_missing(tmp_path):
    folder = writers.write_gemma_scope(tmp_path)
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    with pytest.raises(DictionaryError, match="what kind"):
        load_dictionaries(moved)


def test_gemma_scope_2_reads_the_modules_of_its_settings(tmp_path):
    folder = writers.write_gemma_scope_2(tmp_path)
    dictionary = load_dictionaries(folder)[0]
    assert (dictionary.card.read_site, dictionary.card.write_site) == (Site.MLP_IN, Site.MLP_OUT)
    t = load_file(folder / "params.safetensors")
    h = X @ t["w_enc"] + t["b_enc"]
    acts = torch.relu(h) * (h > t["threshold"])
    out = acts @ t["w_dec"] + t["b_dec"] + X @ t["affine_skip_connection"]
    check(dictionary, acts, out)


# llamascopium


@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize("act_fn", ["jumprelu", "topk", "relu"])
def test_llamascopium_folds_its_norms(tmp_path, act_fn, by_norm):
    folder = writers.write_llamascopium(
        tmp_path / "one", act_fn=act_fn, sparsity_include_decoder_norm=by_norm
    )
    t = load_file(folder / "sae_weights.safetensors")
    into, out = 4 / 2.0, 4 / 16.0
    h = into * X @ t["W_E"] + t["b_E"]
    norms = t["W_D"].norm(dim=1) if by_norm else torch.ones(32)
    if act_fn == "jumprelu":
        threshold = t["activation_function.log_jumprelu_threshold"].exp()
        acts = torch.relu(h) * (h * norms > threshold)
    else:
        acts = largest(torch.relu(h) * norms, 6) / norms if act_fn == "topk" else torch.relu(h)
    rebuilt = (acts @ t["W_D"] + t["b_D"]) / out
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.card.feature_site is Site.MLP_TRANSCODER
    check(dictionary, acts / into, rebuilt)


def test_llamascopium_for_inference_is_taken_as_it_is(tmp_path):
    folder = writers.write_llamascopium(
        tmp_path / "one", norm_activation="inference", act_fn="relu", use_decoder_bias=False
    )
    t = load_file(folder / "sae_weights.safetensors")
    acts = torch.relu(X @ t["W_E"] + t["b_E"])
    check(load_dictionaries(folder)[0], acts, acts @ t["W_D"])


def test_llama_scope_folds_its_norms_and_its_one_threshold(tmp_path):
    dictionary = load_dictionaries(writers.write_llama_scope(tmp_path / "L1TC-8x"))[0]
    card = dictionary.card
    assert (card.read_site, card.write_site, card.layers) == (Site.MLP_IN, Site.MLP_OUT, (1,))
    t, x = writers.jump_relu_tensors(16, 32), X
    into, out = 16**0.5 / 2.0, 16**0.5 / 16.0
    h = (into * x) @ t["W_enc"] + t["b_enc"]
    values = torch.where(h > 0.25 * into, h.relu(), 0.0)
    wanted = (values @ t["W_dec"] + t["b_dec"]) / out
    found = dictionary.encode(x)
    assert 0 < len(found) == int((values > 0).sum()) < int((h > 0).sum())
    assert torch.allclose(dictionary.decode(found, len(x), x), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"act_fn": "topk"}, "'topk'"),
        ({"jump_relu_threshold": None}, "threshold None"),
        ({"use_glu_encoder": True}, "gated encoder"),
        ({"dataset_average_activation_norm": {"in": 0}}, "mean norms"),
        ({"hook_point_out": "blocks.2.hook_mlp_out"}, "one layer"),
        ({"hook_point_in": 3}, "no places"),
        ({"d_sae": 31}, "shape"),
        ({"d_model": "x"}, "d_model"),
    ],
)
def test_what_llama_scope_does_that_is_not_known_is_named(tmp_path, settings, words):
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(writers.write_llama_scope(tmp_path / "one", **settings))


def test_llamascopium_clts_are_regrouped_by_source(tmp_path):
    folder = writers.write_llamascopium_clt(tmp_path / "clt")
    t = load_file(folder / "sae_weights.safetensors")
    (clt,) = load_dictionaries(folder)
    assert clt.card.layers == (0, 1, 2)
    acts = {}
    for layer in range(3):
        into = 4 / (2.0 + layer)
        squares = sum(t[f"W_D.{to}"][layer].square().sum(-1) for to in range(layer, 3))
        norms = squares.sqrt()
        h = torch.relu(into * X @ t["W_E"][layer] + t["b_E"][layer])
        acts[layer] = largest(h * norms, 6) / norms
        found = clt.layer(layer).encode(X)
        mine = torch.zeros(6, 32)
        mine[found.position, found.unit] = found.value
        torch.testing.assert_close(mine, acts[layer] / into, atol=1e-5, rtol=1e-5)
    cache = FakeRun(X)
    error = encode_prompt([clt], cache).error
    for to in range(3):
        wanted = sum(acts[source] @ t[f"W_D.{to}"][source] for source in range(to + 1))
        wanted = (wanted + t[f"b_D.{to}"]) / (4 / (5.0 + to))
        torch.testing.assert_close(-error[Site.MLP_TRANSCODER, to], wanted, atol=1e-4, rtol=1e-4)


class FakeRun:
    """A forward pass that reads X everywhere and writes nothing."""

    def __init__(self, x: torch.Tensor) -> None:
        self._x = x

    def site(self, site: Site, layer: int) -> torch.Tensor:
        return torch.zeros_like(self._x) if site is Site.MLP_OUT else self._x


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sae_type": "lorsa"}, "type 'lorsa'"),
        ({"act_fn": "batchtopk"}, "'batchtopk', which depends"),
        ({"use_glu_encoder": True}, "gated encoder"),
        ({"norm_activation": "batch-wise"}, "normalises its input by 'batch-wise'"),
        ({"hook_point_in": "blocks.1.nowhere"}, "blocks.1.nowhere"),
        ({"hook_point_out": "blocks.2.hook_mlp_out"}, r"reads the layers \[1\] and writes \[2\]"),
        ({"expansion_factor": 3}, r"\[16, 48\]"),
    ],
)
def test_what_llamascopium_does_that_is_not_known_is_named(tmp_path, settings, words):
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(writers.write_llamascopium(tmp_path / "one", **settings))


# sparsify


@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify_keeps_the_largest(tmp_path, transcode):
    folder = writers.write_sparsify(tmp_path, transcode=transcode, skip_connection=transcode)
    t = load_file(folder / "sae.safetensors")
    seen = X if transcode else X - t["b_dec"]
    acts = largest(torch.relu(seen @ t["encoder.weight"].T + t["encoder.bias"]), 5)
    out = acts @ t["W_dec"] + t["b_dec"]
    out = out + X @ t["W_skip"].T if transcode else out
    dictionary = load_dictionaries(tmp_path)[0]
    assert dictionary.card.read_site is (Site.MLP_IN if transcode else Site.MLP_WRITE)
    assert (dictionary.card.layers, dictionary.card.model_name) == ((1,), "org/tiny")
    check(dictionary, acts, out)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"activation": "groupmax"}, "'groupmax'"), ({"signed": True}, "signed"), ({"k": 0}, "kept")],
)
def test_what_sparsify_does_that_is_not_known_is_named(tmp_path, settings, words):
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(writers.write_sparsify(tmp_path, **settings))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("layers.3", (Site.RESID_POST, 3)),
        ("h.3.attn", (Site.ATTN_WRITE, 3)),
        ("gpt_neox.layers.10.attention", (Site.ATTN_WRITE, 10)),
        ("model.layers.0.self_attn.o_proj.input", (Site.HEAD_Z, 0)),
        ("model.layers.2.output", (Site.RESID_POST, 2)),
        ("embed_tokens", None),
        ("layers.3.mlp.gate", None),
    ],
)
def test_module_names_name_sites(name, place):
    assert parse_module_name(name) == place


# dictionary_learning

CLASSES = (
    "AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
    "GatedAutoEncoder", "JumpReluAutoEncoder",
)  # fmt: skip


@pytest.mark.parametrize("dict_class", CLASSES)
def test_dictionary_learning_follows_its_classes(tmp_path, dict_class):
    folder = writers.write_dictionary_learning(tmp_path / "trainer_0", dict_class)
    t = writers.dictionary_learning_tensors(dict_class)
    W_enc = t["encoder.weight"].T if "encoder.weight" in t else t["W_enc"]
    W_dec = t["decoder.weight"].T if "decoder.weight" in t else t["W_dec"]
    b_dec = writers.noise(4, 16, size=0.3)
    whole = dict_class in ("AutoEncoderNew", "JumpReluAutoEncoder")
    h = (X if whole else X - b_dec) @ W_enc
    if dict_class == "GatedAutoEncoder":
        acts = (h + t["gate_bias"] > 0) * torch.relu(h * t["r_mag"].exp() + t["mag_bias"])
    else:
        h = h + t.get("encoder.bias", t.get("b_enc"))
        acts = torch.relu(h)
        if dict_class == "AutoEncoderTopK":
            acts = largest(acts, 5)
        elif "threshold" in t:
            acts = acts * (acts > t["threshold"])
    dictionary = load_dictionaries(folder)[0]
    assert (dictionary.card.read_site, dictionary.card.layers) == (Site.RESID_POST, (1,))
    assert dictionary.card.model_name == "org/tiny"
    check(dictionary, acts, acts @ W_dec + b_dec)


def test_a_threshold_not_yet_learned_leaves_topk(tmp_path):
    folder = writers.write_dictionary_learning(tmp_path / "one", "BatchTopKSAE")
    tensors = writers.dictionary_learning_tensors("BatchTopKSAE")
    torch.save(tensors | {"threshold": torch.tensor(-1.0)}, folder / "ae.pt")
    card = load_dictionaries(folder).cards[0]
    assert (card.activation, card.k) == ("topk", 5)


class Command:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_torch_file_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    folder = writers.write_dictionary_learning(tmp_path / "one")
    touched = tmp_path / "touched"
    torch.save({"bias": Command(touched)}, folder / "ae.pt")
    with pytest.raises(UnsafeFile, match="more than tensors"):
        load_dictionaries(folder)
    assert not touched.exists()


@pytest.mark.parametrize("content", [7, [torch.ones(2)], {"bias": 3}, {}])
def test_a_torch_file_of_other_things_is_refused(tmp_path, content):
    folder = writers.write_dictionary_learning(tmp_path / "one")
    torch.save(content, folder / "ae.pt")
    with pytest.raises(DictionaryError, match="no readable file of named tensors"):
        load_dictionaries(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dict_class": "IdentityDict"}, "class 'IdentityDict'"),
        ({"submodule_name": "somewhere"}, "'somewhere'"),
        ({"dict_size": 25}, r"\[16, 25\]"),
    ],
)
def test_what_dictionary_learning_says_wrongly_is_named(tmp_path, change, words):
    folder = writers.write_dictionary_learning(tmp_path / "one")
    config = json.loads((folder / "config.json").read_text())
    config["trainer"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(folder)


def test_half_precision_is_read_from_every_format(tmp_path):
    folder = writers.write_sparsify(tmp_path)
    before = dense(load_dictionaries(folder)[0])[0]
    t = load_file(folder / "sae.safetensors")
    save_file({name: tensor.half() for name, tensor in t.items()}, folder / "sae.safetensors")
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.weights.W_enc.dtype == torch.float16
    assert (dense(dictionary)[0] - before).abs().max() < 0.02
