"""Fixtures that every test may use: tiny real models, a small circuit, a private state folder."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind

GOLDEN = Path(__file__).parent / "data" / "golden"
WORDS = (
    "the capital of state containing Dallas Texas Austin Oakland California Sacramento is in a "
    "key keys to cabinet are Mary John gave book went shop when and old ,"
).split()


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep working copies, logs and preferences of a test out of the user's own folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CIRCUITSCOPE_HOME", str(home))
    return home


@pytest.fixture(scope="session", autouse=True)
def one_application(qapp: object) -> object:
    """Make the QApplication first: printing would start a QGuiApplication, which has no widgets."""
    return qapp


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a non-daemon thread or a child process behind."""
    import multiprocessing

    threads = set(threading.enumerate())
    children = set(multiprocessing.active_children())
    yield
    left = [t for t in threading.enumerate() if t not in threads and not t.daemon]
    for thread in left:  # one that is about to end on a busy machine is not left behind
        thread.join(2)
    left = [thread for thread in left if thread.is_alive()]
    assert not left, f"the test left threads running: {left}"
    orphans = [p for p in multiprocessing.active_children() if p not in children]
    assert not orphans, f"the test left processes running: {orphans}"


def write_word_tokenizer(folder: Path) -> None:
    """Write a word-level tokenizer in Hugging Face format that adds <bos>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)


def _write_model(folder: Path, kind: str) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    size = len(WORDS) + 3
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size, n_positions=32, n_embd=16, n_layer=2, n_head=4, n_inner=32,
            bos_token_id=1, eos_token_id=1, tie_word_embeddings=False,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            vocab_size=size, max_position_embeddings=32, hidden_size=16, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
            bos_token_id=1, eos_token_id=1, tie_word_embeddings=False,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = "norm" in name or ".ln_" in name
            noise = torch.randn_like(parameter) * (0.3 if is_gain or "bias" in name else 0.25)
            parameter.copy_(noise + (1.0 if is_gain and name.endswith("weight") else 0.0))
    model.save_pretrained(folder)
    write_word_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random 2-layer GPT-2: learned positions, biases, LayerNorm."""
    return _write_model(tmp_path_factory.mktemp("models") / "tiny-gpt2", "gpt2")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random 2-layer Llama: rotary, RMSNorm, 4 heads on 2 kv heads."""
    return _write_model(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture
def small_circuit() -> Circuit:
    """Return a made-up circuit of the Dallas kind: 9 nodes, 10 edges, every row conserving."""
    feature, mlp, attn = NodeKind.FEATURE, Site.MLP_OUT, Site.ATTN_OUT
    keys = [
        NodeKey(NodeKind.TOKEN, Site.EMBED, -1, 2, 5),
        NodeKey(NodeKind.TOKEN, Site.EMBED, -1, 6, 8),
        NodeKey(feature, attn, 0, 7, 31),
        NodeKey(feature, mlp, 0, 7, 214),
        NodeKey(feature, mlp, 1, 7, 88),
        NodeKey(NodeKind.ERROR, mlp, 0, 7, -1),
        NodeKey(NodeKind.BIAS, mlp, 1, -1, BiasUnit.ENCODER),
        NodeKey(NodeKind.LOGIT, Site.LOGITS, 2, 7, 10),
        NodeKey(NodeKind.LOGIT, Site.LOGITS, 2, 7, 13),
    ]
    edges = [
        (1, 2, 2.0), (0, 2, 0.5), (2, 3, 1.5), (0, 3, -0.25), (3, 4, 1.0), (5, 4, 0.4),
        (6, 4, 0.1), (4, 7, 3.0), (3, 7, 1.0), (4, 8, -2.0),
    ]  # fmt: skip
    source, target, weight = (np.array(column) for column in zip(*edges, strict=True))
    n = len(keys)
    preactivation = np.bincount(target, weight, minlength=n).astype(np.float32)
    expanded = np.isin(np.arange(n), target)
    influence = np.array([0.2, 0.5, 0.6, 0.7, 0.55, 0.1, 0, 0, 0], np.float32)
    activation = np.array([1, 1, 2.5, 1.25, 1.5, 0.4, 0, 4, -2], np.float32)
    labels = (
        "capital", "Dallas", "on is → Texas, Houston", "on is → Texas, Austin",
        "on is → Austin, Waco", "", "", "Austin", "Sacramento",
    )  # fmt: skip
    return Circuit(
        ("<bos>", "the", "capital", "of", "the", "state", "Dallas", "is"),
        (1, 3, 4, 5, 3, 6, 8, 14),
        NodeTable.from_keys(keys, activation, influence),
        EdgeTable(source, target, weight, np.full(len(edges), Route.DIRECT)),
        np.array([7, 8]), np.array([0.9, 0.05]), preactivation, np.zeros(n), np.zeros(n), expanded,
        Provenance("direct", "0.1.0", {"prompt": "the capital of the state Dallas is"},
                   {"name": "made-up", "n_layers": 2}, scores={"error_share": 0.1}),
        labels,
    )  # fmt: skip
