"""Eight wrong starts: what each message says is done here, word by word, and then it works."""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuitscope.core.errors import (
    CircuitScopeError,
    DoubleBos,
    ModelError,
    ModelFilesMissing,
    PromptError,
    TraceError,
    UnsafeFile,
    UnsupportedArchitecture,
)
from circuitscope.core.settings import TraceSettings
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing.method import trace
from tests.conformance.variants import make_folder
from tests.models.test_guessed import OPT

COMMAND = re.compile(r"^(?:hf|pip|python) .*$", re.MULTILINE)


def refusal(kind: type[CircuitScopeError], folder: Path | str, device: str = "cpu") -> str:
    with pytest.raises(kind) as caught:
        load_model(folder, device)
    assert caught.value.kept == "Nothing was loaded."
    return str(caught.value)


def command(message: str) -> list[str]:
    """Return the line to copy, as a shell would split it."""
    found = COMMAND.findall(message)
    assert len(found) == 1, message
    return shlex.split(found[0])


def run_python(words: Sequence[str]) -> None:
    assert words[:2] == ["python", "-c"]
    exec(words[2], {})


def strip_weights(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    return folder


def test_adapter_names_its_base_model(llama_copy: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "my-adapter"
    adapter.mkdir()
    save_file({"lora_A": torch.ones(2, 2)}, adapter / "adapter_model.safetensors")
    settings = {"base_model_name_or_path": str(llama_copy), "peft_type": "LORA"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    message = refusal(ModelError, adapter)
    base = re.search(r"Open its base model (\S+),", message)
    assert base is not None
    assert load_model(base[1], "cpu").anatomy.n_layers == 2
    words = command(message)
    assert "merge_and_unload" in words[2]
    assert f"open {adapter}-merged" in message
    shutil.copy(llama_copy / "config.json", adapter)
    assert "adapter" in refusal(ModelError, adapter), "a config.json does not make it a model"


@pytest.mark.parametrize("as_file", [False, True])
def test_gguf_names_the_model_it_was_made_from(tmp_path: Path, as_file: bool) -> None:
    (tmp_path / "tiny.Q4_K.gguf").write_bytes(b"GGUF")
    where = tmp_path / "tiny.Q4_K.gguf" if as_file else tmp_path
    assert "ORGANISATION/MODEL" in refusal(ModelError, where)
    card = "---\nlicense: mit\nbase_model:\n- google/gemma-2-2b\ntags: []\n---\n# Card"
    (tmp_path / "README.md").write_text(card)
    message = refusal(ModelError, where)
    assert "tiny.Q4_K.gguf is a GGUF model" in message
    assert command(message) == ["hf", "download", "google/gemma-2-2b"]


def test_pickle_is_converted_by_the_line_given(llama_copy: Path) -> None:
    weights = load_file(llama_copy / "model.safetensors")
    torch.save(weights, strip_weights(llama_copy) / "pytorch_model.bin")
    message = refusal(UnsafeFile, llama_copy)
    assert "pickles" in message
    run_python(command(message))
    opened = re.search(r"and open (\S+):", message)
    assert opened is not None
    model = load_model(opened[1], "cpu")
    assert torch.equal(model.module.state_dict()["lm_head.weight"], weights["lm_head.weight"])
    assert model.tokenizer is not None


def test_missing_shards_are_downloaded_by_the_line_given(llama_copy: Path, tmp_path: Path) -> None:
    weights = load_file(llama_copy / "model.safetensors")
    strip_weights(llama_copy)
    names = sorted(weights)
    files = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    hub = tmp_path / "hub"
    hub.mkdir()
    for at, file in enumerate(files):
        save_file({n: weights[n] for n in names[at::3]}, hub / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: files[at % 3] for at, n in enumerate(names)}}
    (llama_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(hub / files[0], llama_copy)
    config = json.loads((llama_copy / "config.json").read_text())
    config["_name_or_path"] = "someone/tiny-llama"
    (llama_copy / "config.json").write_text(json.dumps(config))
    message = refusal(ModelFilesMissing, llama_copy)
    assert "lacks 2 of 3 weight files" in message
    words = command(message)
    assert words == [
        "hf", "download", "someone/tiny-llama", *files[1:], "--local-dir", str(llama_copy),
    ]  # fmt: skip
    for file in words[3:-2]:
        shutil.copy(hub / file, words[-1])
    assert load_model(llama_copy, "cpu").anatomy.n_layers == 2


def test_half_a_cache_entry_is_completed_in_the_cache(tiny_llama: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / "0a1b2c"
    shutil.copytree(tiny_llama, snapshot)
    (snapshot / "model.safetensors").unlink()
    words = command(refusal(ModelFilesMissing, snapshot))
    assert words == ["hf", "download", "someone/tiny", "--revision", "0a1b2c"]
    whole = refusal(ModelFilesMissing, snapshot.parents[1])
    assert f"Choose {snapshot} instead" in whole


def test_two_bos_tokens_name_what_to_delete(llama: LoadedModel) -> None:
    with pytest.raises(DoubleBos) as caught:
        llama.prompt("<bos> the capital")
    doomed = re.search(r"Delete '(\S+)' from the start", caught.value.hint)
    assert doomed is not None
    fixed = llama.prompt("<bos> the capital".removeprefix(doomed[1]))
    assert fixed.tokens == ("<bos>", "the", "capital")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card that works")
def test_cuda_asked_of_a_torch_without_it(tiny_llama: Path) -> None:
    message = refusal(ModelError, tiny_llama, "cuda")
    offered = re.search(r'Choose "(\w+)" or one of: ([\w:, ]+)\.', message)
    assert offered is not None
    for device in (offered[1], *offered[2].split(", ")):
        assert load_model(tiny_llama, device).anatomy.n_layers == 2
    if torch.version.cuda is None:
        assert "built for the CPU only" in message
        assert command(message)[:3] == ["pip", "install", "--force-reinstall"]
    else:
        assert "finds no NVIDIA card" in message


def test_model_without_tokenizer_says_how_to_write_ids(llama_copy: Path) -> None:
    for file in llama_copy.glob("*token*"):
        file.unlink()
    model = load_model(llama_copy, "cpu")
    with pytest.raises(PromptError) as caught:
        model.prompt("the capital")
    assert "token ids" in caught.value.hint
    example = re.search(r"such as (\[[\d, ]+\])", caught.value.hint)
    assert example is not None
    assert model.run(json.loads(example[1])).logits.shape[0] == len(json.loads(example[1]))
    assert "tokenizer.json" in command(str(caught.value))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_quantised_models_are_named(
    llama_copy: Path, settings: dict[str, object], said: str
) -> None:
    config = json.loads((llama_copy / "config.json").read_text())
    (llama_copy / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    (llama_copy / "README.md").write_text("---\nbase_model: meta-llama/Llama-3.2-1B\n---\n")
    message = refusal(ModelError, llama_copy)
    assert f"quantised ({said})" in message
    assert command(message) == ["hf", "download", "meta-llama/Llama-3.2-1B"]


def test_name_of_a_model_instead_of_a_folder() -> None:
    message = refusal(ModelFilesMissing, "google/gemma-2-2b")
    assert command(message) == ["hf", "download", "google/gemma-2-2b"]


def test_a_class_that_transformers_lacks_names_the_update_and_what_can_be_traced(
    llama_copy: Path,
) -> None:
    config = json.loads((llama_copy / "config.json").read_text())
    config["architectures"] = ["NeverHeardOfForCausalLM"]
    (llama_copy / "config.json").write_text(json.dumps(config))
    message = refusal(UnsupportedArchitecture, llama_copy)
    assert "NeverHeardOfForCausalLM is no language model of the installed transformers" in message
    assert command(message) == ["pip", "install", "--upgrade", "transformers"]
    assert "GPT2LMHeadModel, GPTNeoXForCausalLM, Gemma2ForCausalLM" in message
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.NeverHeardOfForCausalLM"}
    (llama_copy / "config.json").write_text(json.dumps(config))
    message = refusal(UnsupportedArchitecture, llama_copy)
    assert "never run" in message
    assert not COMMAND.findall(message)
    named = re.search(r"can be traced: .*?(LlamaForCausalLM)", message)
    assert named is not None
    config["architectures"] = [named[1]]
    (llama_copy / "config.json").write_text(json.dumps(config))
    assert load_model(llama_copy, "cpu").check is not None


def test_a_class_that_is_not_known_runs_and_says_why_it_is_not_traced(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "opt", "OPTForCausalLM", OPT)
    model = load_model(folder, "cpu")
    with pytest.raises(TraceError) as caught:
        trace(model, TraceSettings((1, 2, 3)))
    assert "OPTForCausalLM is a class whose arithmetic" in caught.value.message
    assert "Which models" in caught.value.hint, "the page that lists what can be traced"
    assert model.run([1, 2, 3]).logits.shape[0] == 3, "what it keeps is true"
    assert len(model.generate([1, 2, 3], 2).new_ids) == 2
