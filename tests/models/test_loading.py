import json
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuitscope.core.errors import (
    Cancelled,
    CircuitScopeError,
    ModelError,
    ModelFilesMissing,
    OutOfMemory,
)
from circuitscope.core.progress import silent
from circuitscope.models import loading
from circuitscope.models.loading import LoadedModel, inspect_model, load_model


def refused(kind: type[CircuitScopeError], folder: Path, *words: str) -> CircuitScopeError:
    """Return the error, after checking that both readers of the folder tell the same story."""
    with pytest.raises(kind) as caught:
        load_model(folder, "cpu")
    with pytest.raises(kind):
        inspect_model(folder)
    error = caught.value
    for word in words:
        assert word in str(error)
    assert error.kept == "Nothing was loaded."
    assert error.hint
    return error


def change_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_loaded_model_is_ready_to_read(llama: LoadedModel) -> None:
    assert not llama.module.training
    assert not any(parameter.requires_grad for parameter in llama.module.parameters())
    assert llama.module.config._attn_implementation == "eager"
    assert llama.dtype == torch.float32
    assert llama.device == torch.device("cpu")
    assert llama.tokenizer is not None
    assert llama.anatomy.name == "tiny-llama"


def test_anatomy_of_llama(llama: LoadedModel) -> None:
    found = llama.anatomy
    assert (found.architecture, found.norm, found.positions) == (
        "LlamaForCausalLM",
        "rms",
        "rotary",
    )
    assert (found.n_layers, found.d_model, found.n_heads, found.n_kv_heads) == (2, 16, 4, 2)
    assert (found.d_head, found.d_mlp, found.n_ctx, found.gated_mlp) == (4, 32, 32, True)
    assert len(found.digest) == 64


def test_anatomy_of_gpt2(gpt2: LoadedModel) -> None:
    found = gpt2.anatomy
    assert (found.norm, found.positions, found.gated_mlp) == ("layer", "learned", False)
    assert (found.d_mlp, found.n_kv_heads, found.activation) == (32, 4, "gelu_new")


def test_inspection_counts_what_loading_finds(tiny_llama: Path, llama: LoadedModel) -> None:
    summary = inspect_model(tiny_llama)
    assert summary.anatomy == llama.anatomy
    assert summary.n_parameters == sum(p.numel() for p in llama.module.parameters())
    assert summary.dtype_on_disk == "float32"
    assert summary.has_tokenizer
    assert summary.tokenizer
    assert not summary.has_chat_template
    assert (summary.n_files, summary.n_bytes) == (
        1, (tiny_llama / "model.safetensors").stat().st_size,
    )  # fmt: skip
    assert summary.memory["float32"] == pytest.approx(4.4 * summary.n_parameters, abs=1)
    assert summary.memory["bfloat16"] == pytest.approx(2.2 * summary.n_parameters, abs=1)


def test_inspection_needs_no_torch(tiny_gpt2: Path) -> None:
    import subprocess

    code = (
        "import sys; from circuitscope.models.folder import inspect_model; "
        f"inspect_model({str(tiny_gpt2)!r}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digest_follows_the_weights_shapes_and_settings(llama_copy: Path) -> None:
    first = inspect_model(llama_copy).anatomy.digest
    assert inspect_model(llama_copy).anatomy.digest == first
    change_config(llama_copy, rms_norm_eps=1e-4)
    assert inspect_model(llama_copy).anatomy.digest != first


def test_loading_writes_nothing_to_the_console(
    tiny_gpt2: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_model(tiny_gpt2, "cpu")
    assert capfd.readouterr() == ("", "")


def test_model_without_tokenizer_takes_ids(llama_copy: Path) -> None:
    for file in llama_copy.glob("*token*"):
        file.unlink()
    model = load_model(llama_copy, "cpu")
    assert model.tokenizer is None
    assert model.run([1, 5, 6]).tokens == ("#1", "#5", "#6")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes_are_captured_exactly_enough(tiny_gpt2: Path, dtype: str) -> None:
    model = load_model(tiny_gpt2, "cpu", dtype)
    assert model.dtype == getattr(torch, dtype)
    kept = torch.float64 if dtype == "float64" else torch.float32
    cache = model.capture([1, 5, 6])
    assert cache.logits.dtype == cache.resid[3, 0].dtype == kept
    assert model.run([1, 5, 6]).logits.dtype == "float32"


def test_tied_weights_load(llama_copy: Path) -> None:
    weights = load_file(llama_copy / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, llama_copy / "model.safetensors", {"format": "pt"})
    change_config(llama_copy, tie_word_embeddings=True)
    model = load_model(llama_copy, "cpu")
    assert torch.equal(
        model.family.unembed(model.module)[0].T, weights["model.embed_tokens.weight"]
    )


class Listener:
    """Keep what is reported; cancel where asked to."""

    def __init__(self, stop_at: tuple[str, int] = ("", 0)) -> None:
        self.phases: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self._stop_at = stop_at

    def phase(self, name: str, total: int = 0) -> None:
        self.phases.append((name, total, 0))

    def advance(self, steps: int = 1) -> None:
        name, total, done = self.phases[-1]
        self.phases[-1] = (name, total, done + steps)
        if (name, done + steps) == self._stop_at:
            raise Cancelled

    def partial(self, result: object) -> None:
        del result

    def note(self, text: str) -> None:
        self.notes.append(text)


def shard(folder: Path) -> list[str]:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"model-00001-of-00002.safetensors": names[::2],
             "model-00002-of-00002.safetensors": names[1::2]}  # fmt: skip
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: f for f, part in files.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return list(files)


def test_sharded_weights_load(llama_copy: Path, llama: LoadedModel) -> None:
    shard(llama_copy)
    model = load_model(llama_copy, "cpu")
    assert (model.run([1, 5, 6]).logits == llama.run([1, 5, 6]).logits).all()


def test_shards_are_reported_one_after_the_other(llama_copy: Path, llama: LoadedModel) -> None:
    files = shard(llama_copy)
    hear = Listener()
    load_model(llama_copy, "cpu", progress=hear)
    weights = [phase for phase in hear.phases if phase[0].startswith("Loading weights, file")]
    assert [name for name, _, _ in weights] == [
        "Loading weights, file 1 of 2", "Loading weights, file 2 of 2",
    ]  # fmt: skip
    assert all(done == total > 0 for _, total, done in weights)
    assert sum(total for _, total, _ in weights) == len(llama.module.state_dict())
    assert hear.notes[:-1] == [f"Reading {file}" for file in files]
    assert hear.notes[-1].startswith("Self-check: its parts give back the whole to ")


def test_loading_is_cancelled_between_tensors_and_leaves_no_hook(llama_copy: Path) -> None:
    from transformers.utils import logging

    shard(llama_copy)
    hear = Listener(stop_at=("Loading weights, file 2 of 2", 3))
    with pytest.raises(Cancelled):
        load_model(llama_copy, "cpu", progress=hear)
    assert hear.phases[-1][::2] == ("Loading weights, file 2 of 2", 3)
    assert logging.set_tqdm_hook(None) is None
    assert load_model(llama_copy, "cpu").anatomy.n_layers == 2


def test_missing_folder(tmp_path: Path) -> None:
    refused(ModelFilesMissing, tmp_path / "nowhere", "nowhere does not exist")


def test_file_instead_of_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    refused(ModelFilesMissing, file, "is a file, not a folder")


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    refused(ModelFilesMissing, tmp_path, "is no model: it has no config.json", "Choose the folder")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\xff"])
def test_broken_config(llama_copy: Path, text: str) -> None:
    (llama_copy / "config.json").write_text(text, encoding="latin-1")
    refused(ModelError, llama_copy, "config.json")


def test_config_that_lacks_a_size(llama_copy: Path) -> None:
    config = json.loads((llama_copy / "config.json").read_text())
    del config["hidden_size"]
    (llama_copy / "config.json").write_text(json.dumps(config))
    refused(ModelError, llama_copy, "does not describe a whole LlamaForCausalLM", "hidden_size")


def test_folder_without_weights(llama_copy: Path) -> None:
    (llama_copy / "model.safetensors").unlink()
    refused(ModelFilesMissing, llama_copy, "no safetensors file", "Download")


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -1000])
def test_truncated_weights(llama_copy: Path, cut: int) -> None:
    file = llama_copy / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    refused(ModelError, llama_copy, "model.safetensors is damaged", "again")


def test_random_bytes_for_weights(llama_copy: Path) -> None:
    noise = torch.randint(256, (4096,), generator=torch.Generator().manual_seed(1))
    (llama_copy / "model.safetensors").write_bytes(bytes(noise.tolist()))
    refused(ModelError, llama_copy, "damaged")


def test_header_that_does_not_fit_its_tensors(llama_copy: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [7], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    (llama_copy / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    refused(ModelError, llama_copy, "does not fit its tensors")


def test_weights_of_another_shape(llama_copy: Path) -> None:
    change_config(llama_copy, intermediate_size=48)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_model(llama_copy, "cpu")
    assert "belong to one model" in caught.value.hint


def test_missing_tensor_is_never_filled_with_random_numbers(llama_copy: Path) -> None:
    weights = load_file(llama_copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, llama_copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFilesMissing, match=r"lack 1 tensors.*layers\.1\.mlp\.up_proj"):
        load_model(llama_copy, "cpu")


def test_broken_tokenizer(llama_copy: Path) -> None:
    (llama_copy / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer"):
        load_model(llama_copy, "cpu")


def test_too_little_memory_is_said_before_loading(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = inspect_model(tiny_llama).memory
    monkeypatch.setattr(loading, "available_memory", lambda device: needed["bfloat16"])
    with pytest.raises(OutOfMemory, match=r"needs about 0\.00 GB in float32.*cpu has") as caught:
        load_model(tiny_llama, "cpu")
    assert "Load it in bfloat16" in caught.value.hint
    room = {"cpu": needed["float32"], "meta": needed["float32"] - 1}
    monkeypatch.setattr(loading, "available_memory", lambda device: room[device.type])
    with pytest.raises(OutOfMemory, match="meta has") as caught:
        loading._check_memory(inspect_model(tiny_llama), torch.device("meta"), "float32")
    assert "Load it in bfloat16" in caught.value.hint
    assert "load it on the CPU" in caught.value.hint
    monkeypatch.setattr(loading, "available_memory", lambda device: 1)
    with pytest.raises(OutOfMemory) as caught:
        load_model(tiny_llama, "cpu")
    assert "smaller model" in caught.value.hint


def test_memory_that_runs_out_while_loading_is_told_in_words(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "_load_module", full)
    with pytest.raises(OutOfMemory, match=r"ran out while tiny-llama was loaded") as caught:
        load_model(tiny_llama, "cpu")
    assert "Load it in bfloat16" in caught.value.hint


@pytest.mark.parametrize("device", ["toaster", "cuda:97", "meta"])
def test_unknown_device(tiny_llama: Path, device: str) -> None:
    with pytest.raises(ModelError, match=device):
        load_model(tiny_llama, device)


def test_unknown_dtype(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="'int3' is not a number format"):
        load_model(tiny_llama, "cpu", "int3")


def test_code_in_the_folder_is_never_run(llama_copy: Path) -> None:
    (llama_copy / "evil.py").write_text("raise SystemExit('ran')")
    change_config(llama_copy, auto_map={"AutoModelForCausalLM": "evil.Model"})
    assert load_model(llama_copy, "cpu").anatomy.n_layers == 2


def test_loading_can_be_cancelled_between_phases(tiny_llama: Path) -> None:
    progress = silent()

    def phase(name: str, total: int = 0) -> None:
        if name == "Loading weights":
            raise Cancelled

    progress.phase = phase  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        load_model(tiny_llama, "cpu", progress=progress)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("hub/models--openai-community--gpt2/snapshots/607a30d7", "openai-community/gpt2"),
        ("projects/atlas/model", "atlas"),
        ("my-llama", "my-llama"),
    ],
)
def test_a_model_is_called_what_people_call_it(tiny_gpt2, tmp_path, folder, name) -> None:
    place = tmp_path / folder
    shutil.copytree(tiny_gpt2, place)
    assert inspect_model(place).anatomy.name == name
