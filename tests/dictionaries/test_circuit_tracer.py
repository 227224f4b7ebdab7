"""circuit-tracer's sets, against the golden weights; their layouts, activations and refusals."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import DictionaryError, DictionaryFilesMissing
from circuitscope.dictionaries.features import encode_prompt
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.writing import save_dictionaries
from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "attribution"
CASES = ("gpt2_relu", "llama_relu", "llama_clt_jumprelu")


@pytest.mark.parametrize("case", CASES)
def test_active_features_and_errors_are_the_references(case):
    folder = GOLDEN / case
    golden = np.load(folder / "graph_p0.npz")
    model = load_model(folder / "model", device="cpu")
    cache = capture(model, golden["input_tokens"].tolist())
    found = encode_prompt(load_dictionaries(folder / "transcoders_circuit_tracer"), cache)
    layer, position, unit, value = found.table()
    later = position > 0
    keys = torch.stack([layer, position, unit], 1)[later].numpy()
    assert np.array_equal(keys, golden["active_features"])
    assert np.abs(value[later].numpy() - golden["activation_values"]).max() < 1e-4
    for (_, at), error in found.error.items():
        wanted = golden["error_vectors"][at, 1:]
        # The reference drops position 0, which these transcoders reconstruct no differently.
        assert np.abs(error[1:].numpy() - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_cross_layer_transcoder_is_one_dictionary():
    (clt,) = load_dictionaries(GOLDEN / "llama_clt_jumprelu" / "transcoders_circuit_tracer")
    assert clt.card.layers == (0, 1, 2, 3)
    assert (clt.card.read_site, clt.card.write_site) == (Site.RESID_MID, Site.MLP_OUT)
    assert clt.card.activation == "jumprelu"
    part = clt.layer(1)
    assert list(part.written_layers) == [1, 2, 3]
    raw = load_file(
        GOLDEN / "llama_clt_jumprelu" / "transcoders_circuit_tracer" / "W_dec_1.safetensors"
    )["W_dec_1"]
    ids = torch.tensor([7, 3, 7])
    for to in part.written_layers:
        assert torch.equal(part.decoder_rows(ids, to), raw[ids, to - 1])
    x = torch.randn(4, clt.card.d_in)
    found = part.encode(x)
    read = (part.encoder_rows(found.unit) * x[found.position]).sum(1)
    read += part.encoder_constants(found.unit)
    torch.testing.assert_close(read, found.preactivation, atol=1e-4, rtol=1e-4)


def small_set(folder: Path, *, config: str = "", **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model_kind: transcoder_set\nfeature_input_hook: ln2.hook_normalized\n"
        f"feature_output_hook: hook_mlp_out\n{config}"
    )
    for layer in range(2):
        g = torch.Generator().manual_seed(layer)
        weights = {
            "W_enc": torch.randn(6, 4, generator=g), "b_enc": torch.randn(6, generator=g),
            "W_dec": torch.randn(6, 4, generator=g), "b_dec": torch.randn(4, generator=g),
        }  # fmt: skip
        save_file(weights | tensors, folder / f"layer_{layer}.safetensors")
    return folder


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))


def reads(folder: Path, layer: int = 0) -> torch.Tensor:
    t = load_file(folder / f"layer_{layer}.safetensors")
    return X @ t["W_enc"].T + t["b_enc"]


def dense(dictionary) -> torch.Tensor:
    found = dictionary.encode(X)
    out = torch.zeros(5, 6)
    out[found.position, found.unit] = found.value
    return out


def test_two_hooks_and_a_kind_are_enough(tmp_path):
    folder = small_set(tmp_path / "one")
    found = load_dictionaries(folder)
    assert [card.layers for card in found.cards] == [(0,), (1,)]
    assert found.cards[0].read_site is Site.LN2_NORMALIZED
    assert len({card.digest for card in found.cards}) == 2
    torch.testing.assert_close(dense(found[1]), reads(folder, 1).relu())


def test_thresholds_mean_jumprelu_unless_relu_is_asked_for(tmp_path):
    steps = {"activation_function.threshold": torch.full((6,), 0.8)}
    folder = small_set(tmp_path / "one", **steps)
    h = reads(folder)
    torch.testing.assert_close(dense(load_dictionaries(folder)[0]), h.relu() * (h > 0.8))
    folder = small_set(tmp_path / "two", config="activation: relu\n", **steps)
    torch.testing.assert_close(dense(load_dictionaries(folder)[0]), h.relu())


def test_a_threshold_below_zero_lets_features_be_negative(tmp_path):
    steps = {"activation_function.threshold": torch.tensor([-0.9, -0.2, 0.5] * 2)}
    folder = small_set(tmp_path / "one", **steps)
    h, found = reads(folder), load_dictionaries(folder)
    wanted = h * (h > steps["activation_function.threshold"])
    assert (wanted < 0).any()
    torch.testing.assert_close(dense(found[0]), wanted)
    with pytest.raises(DictionaryError, match="thresholds below zero"):
        save_dictionaries(found, tmp_path / "sae", "sae_lens")


def test_its_topk_keeps_negative_ones(tmp_path):
    folder = small_set(tmp_path / "one", config="activation: topk\nk: 5\n")
    h = reads(folder)
    wanted = torch.where(h >= h.topk(5).values[:, -1:], h, 0.0)
    assert (wanted < 0).any()
    torch.testing.assert_close(dense(load_dictionaries(folder)[0]), wanted)
    with pytest.raises(DictionaryError, match="how many are kept"):
        load_dictionaries(small_set(tmp_path / "two", config="activation: topk\n"))


def test_a_skip_passes_the_input(tmp_path):
    skip = torch.randn(4, 4)
    folder = small_set(tmp_path / "one", W_skip=skip)
    dictionary = load_dictionaries(folder)[0]
    t = load_file(folder / "layer_0.safetensors")
    wanted = reads(folder).relu() @ t["W_dec"] + t["b_dec"] + X @ skip.T
    torch.testing.assert_close(dictionary.decode(dictionary.encode(X), 5, X), wanted)


def test_half_precision_stays_in_the_file_and_is_computed_in_float32(tmp_path):
    folder = small_set(tmp_path / "one")
    for file in folder.glob("*.safetensors"):
        save_file({name: t.bfloat16() for name, t in load_file(file).items()}, file)
    dictionary = load_dictionaries(folder)[0]
    assert dictionary.weights.W_enc.dtype == torch.bfloat16
    t = {k: v.float() for k, v in load_file(folder / "layer_0.safetensors").items()}
    torch.testing.assert_close(dense(dictionary), (X @ t["W_enc"].T + t["b_enc"]).relu())
    rows = dictionary.decoder_rows(torch.tensor([5, 0, 5]))
    assert torch.equal(rows, t["W_dec"][[5, 0, 5]])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("model_kind: autoencoder\n", "kind 'autoencoder'"),
        ("feature_input_hook: mlp.hook_nowhere\n", "mlp.hook_nowhere"),
        ("transcoders: 7\n", "no list of files"),
        ("transcoders: [a.safetensors]\n", "cannot be read"),
        ("x: !!python/object/apply:os.system [echo]\n", "not valid YAML"),
        ("x: [\n", "not valid YAML"),
    ],
)
def test_what_is_wrong_with_its_settings_is_said(tmp_path, config, words):
    folder = small_set(tmp_path / "one", config=config)
    with pytest.raises(DictionaryError, match=words):
        load_dictionaries(folder)


def test_a_missing_layer_is_named(tmp_path):
    folder = small_set(tmp_path / "one")
    shutil.copy(folder / "layer_1.safetensors", folder / "layer_3.safetensors")
    with pytest.raises(DictionaryError, match=r"no layer_2\.safetensors"):
        load_dictionaries(folder)
    folder = small_set(tmp_path / "two", config="transcoders: ['hf://org/set/a.safetensors']\n")
    with pytest.raises(DictionaryFilesMissing, match=r"hf download org/set a\.safetensors"):
        load_dictionaries(folder)


def test_contradicting_shapes_are_named(tmp_path):
    folder = small_set(tmp_path / "one", W_dec=torch.randn(7, 4))
    with pytest.raises(DictionaryError, match=r"W_dec of one/layer_0.safetensors .*\[7, 4\]"):
        load_dictionaries(folder)
