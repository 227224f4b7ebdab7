"""What is written for other tools is read back as the same dictionary."""

import dictionary_writers as writers
import pytest
import torch
from sae_lens_writer import write_sae

from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.writing import save_dictionaries

X = torch.randn(6, 16, generator=torch.Generator().manual_seed(8))


def same(a, b) -> None:
    for layer in a.card.layers:
        one, two = a.layer(layer), b.layer(layer)
        left, right = one.encode(X), two.encode(X)
        assert torch.equal(left.unit, right.unit)
        assert len(left) > 5
        torch.testing.assert_close(left.value, right.value, atol=1e-5, rtol=1e-5)
        for to in one.written_layers:
            rows = (part.decoder_rows(left.unit, to) for part in (one, two))
            torch.testing.assert_close(*rows)
        torch.testing.assert_close(
            one.decode(left, 6, X), two.decode(right, 6, X), atol=1e-5, rtol=1e-5
        )
    for name in ("read_site", "write_site", "layers", "skip", "model_name", "input_norm"):
        assert getattr(a.card, name) == getattr(b.card, name)


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("mlp_out", "standard"), ("mlp_out", "gated"), ("attn_out", "jumprelu"), ("mlp_out", "topk"),
     ("transcoder", "transcoder"), ("transcoder", "skip_transcoder"),
     ("transcoder", "jumprelu_transcoder")],
)  # fmt: skip
@pytest.mark.parametrize("norm", ["none", "layer_norm"])
def test_sae_lens_folders_are_read_back(tmp_path, kind, architecture, norm):
    write_sae(tmp_path / "one" / "x", kind, 1, architecture, normalize_activations=norm)
    before = load_dictionaries(tmp_path / "one")
    after = load_dictionaries(save_dictionaries(before, tmp_path / "two"))
    same(before[0], after[0])


@pytest.mark.parametrize("format", ["circuit_tracer", "sae_lens"])
def test_llamascopiums_factors_are_folded(tmp_path, format):
    first = writers.write_llamascopium(
        tmp_path / "a", hook_point_in="blocks.0.mlp.hook_in",
        hook_point_out="blocks.0.hook_mlp_out", norm_activation="inference",
    )  # fmt: skip
    before = load_dictionaries(first)
    same(before[0], load_dictionaries(save_dictionaries(before, tmp_path / "b", format))[0])


def test_circuit_tracer_sets_are_read_back(tmp_path):
    before = load_dictionaries(writers.write_circuit_tracer(tmp_path / "a", n_layers=2))
    after = load_dictionaries(save_dictionaries(before, tmp_path / "b", "circuit_tracer"))
    assert len(after) == 2
    for one, two in zip(before, after, strict=True):
        same(one, two)
    write_sae(tmp_path / "c" / "one", "transcoder", 0, "skip_transcoder")
    before = load_dictionaries(tmp_path / "c")
    same_reads = load_dictionaries(save_dictionaries(before, tmp_path / "d", "circuit_tracer"))
    same(before[0], same_reads[0])


def test_cross_layer_transcoders_are_read_back(tmp_path):
    from pathlib import Path

    golden = Path(__file__).parent.parent / "data" / "golden" / "attribution"
    before = load_dictionaries(golden / "llama_clt_jumprelu" / "transcoders_circuit_tracer")
    after = load_dictionaries(save_dictionaries(before, tmp_path / "b", "circuit_tracer"))
    ids = torch.tensor([3, 100])
    for layer in range(4):
        one, two = before[0].layer(layer), after[0].layer(layer)
        assert torch.equal(one.encoder_rows(ids), two.encoder_rows(ids))
        for to in one.written_layers:
            assert torch.equal(one.decoder_rows(ids, to), two.decoder_rows(ids, to))


def test_what_a_format_cannot_say_is_refused_and_nothing_written(tmp_path):
    clt = load_dictionaries(writers.write_llamascopium_clt(tmp_path / "clt"))
    sparse = load_dictionaries(writers.write_sparsify(tmp_path / "sparse"))
    for dictionaries, format, words in (
        (clt, "sae_lens", "several layers"),
        (clt, "circuit_tracer", "k largest positive"),
        (sparse, "circuit_tracer", "k largest positive"),
        (sparse, "pickle", "cannot be written as 'pickle'"),
    ):
        with pytest.raises(DictionaryError, match=words):
            save_dictionaries(dictionaries, tmp_path / "out", format)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DictionaryError, match="not empty"):
        save_dictionaries(sparse, tmp_path)
    write_sae(tmp_path / "one" / "x", "transcoder", 1, "transcoder")
    with pytest.raises(DictionaryError, match=r"layers \[1\]"):
        save_dictionaries(load_dictionaries(tmp_path / "one"), tmp_path / "out", "circuit_tracer")
