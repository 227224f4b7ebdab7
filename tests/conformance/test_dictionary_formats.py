"""Every registered dictionary format: reads a tiny file, describes it unread, refuses bad ones."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import dictionary_writers as writers
from sae_lens_writer import write_sae

from circuitscope.core.errors import DictionaryError, UnknownFormat, UnsafeFile
from circuitscope.core.registry import Registry
from circuitscope.dictionaries.format import FORMATS, DictionaryFormat, load_dictionaries

READERS = Registry[DictionaryFormat](FORMATS).all()
WRITERS = {
    "sae_lens": (lambda folder: write_sae(folder, "mlp_out", 0), "sae_weights.safetensors"),
    "circuit_tracer": (writers.write_circuit_tracer, "layer_0.safetensors"),
    "dictionary_learning": (writers.write_dictionary_learning, "ae.pt"),
    "gemma_scope": (writers.write_gemma_scope_2, "params.safetensors"),
    "llamascopium": (writers.write_llamascopium, "sae_weights.safetensors"),
    "llama_scope": (writers.write_llama_scope, "checkpoints/final.safetensors"),
    "sparsify": (writers.write_sparsify, "sae.safetensors"),
}


@pytest.fixture(params=sorted(READERS))
def name(request):
    if request.param not in WRITERS:
        pytest.fail(f"{request.param} has no writer here; add one, so that it is tested")
    return request.param


def test_a_tiny_file_is_read_back(name, tmp_path):
    folder = WRITERS[name][0](tmp_path / "one")
    reader = READERS[name]
    assert reader.sniff(folder)
    card = reader.cards(folder)[0]
    assert card.format == name
    assert card.path == str(folder)
    dictionary = reader.load(card)
    assert dictionary.card == card
    x = torch.randn(3, card.d_in)
    found = dictionary.encode(x)
    assert dictionary.decode(found, 3, x).shape == (3, card.d_out)
    assert (found.unit < card.n_features).all()


def test_other_folders_are_not_taken(name, tmp_path):
    assert not READERS[name].sniff(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    assert not READERS[name].sniff(tmp_path)
    assert not READERS[name].sniff(tmp_path / "cfg.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01\x02", b"\xff" * 64, (10**9).to_bytes(8, "little") + b"{}",
     (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"a": 1}}'],
    ids=["empty", "cut off", "random", "huge header", "a list", "broken header"],
)  # fmt: skip
def test_damaged_weights_are_refused(name, tmp_path, content):
    write, weights = WRITERS[name]
    folder = write(tmp_path / "one")
    (folder / weights).write_bytes(content)
    with pytest.raises(DictionaryError):
        load_dictionaries(folder)


def test_weights_cut_off_after_the_header_are_refused(name, tmp_path):
    write, weights = WRITERS[name]
    folder = write(tmp_path / "one")
    data = (folder / weights).read_bytes()
    (folder / weights).write_bytes(data[:-100])
    with pytest.raises(DictionaryError, match="cut off"):
        load_dictionaries(folder)[0]


@pytest.mark.parametrize("start", [b"\x80\x04\x95", b"PK\x03\x04"])
def test_pickles_under_a_false_name_are_refused_unopened(name, tmp_path, start):
    write, weights = WRITERS[name]
    folder = write(tmp_path / "one")
    (folder / weights).write_bytes(start + b"cos\nsystem\n(S'echo'\ntR." * 4)
    # A torch file is a zip; one that is cut off is damaged, not disguised.
    is_torch = weights == "ae.pt" and start.startswith(b"PK")
    expected, words = (DictionaryError, "cut off") if is_torch else (UnsafeFile, "can run code")
    with pytest.raises(expected, match=words):
        load_dictionaries(folder)


@pytest.mark.parametrize("text", ["", "[1]", "{", '"x"', "\x00", "[" * 100_000])
def test_damaged_settings_are_refused(tmp_path, text):
    folder = write_sae(tmp_path / "one", "mlp_out", 0)
    (folder / "cfg.json").write_text(text)
    with pytest.raises(DictionaryError):
        load_dictionaries(folder)


def test_a_folder_without_dictionaries_lists_the_formats(tmp_path):
    with pytest.raises(UnknownFormat, match="sae_lens"):
        load_dictionaries(tmp_path)
    with pytest.raises(UnknownFormat, match="nothing at"):
        load_dictionaries(tmp_path / "missing")
