"""Test the bundled atlas model and its dictionaries against what their cards say."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.numpy import load_file
from transformers import AutoTokenizer, LlamaForCausalLM

from circuitscope.examples import atlas
from circuitscope.examples.atlas_dictionaries import Corpus, collect
from circuitscope.examples.dictionary_set import KINDS, read_dictionary

ATLAS = Path(__file__).parents[2] / "projects" / "atlas"
FOLDERS = [f"{kind}_{layer}" for layer in range(4) for kind in KINDS]
# The tests draw fewer texts than the cards.
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(ATLAS / "model", attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ATLAS / "model")


@pytest.fixture(scope="module")
def rows(model: LlamaForCausalLM) -> list[dict[str, np.ndarray]]:
    corpus = Corpus.write(seed=4242, n=600)
    return [collect(model, layer, corpus) for layer in range(4)]


def _next_words(model, tokenizer, prompts: list[str]) -> list[tuple[str, float]]:
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids).logits
    last = batch.attention_mask.sum(1) - 1
    chances = logits[torch.arange(len(prompts)), last].softmax(-1).max(-1)
    return [
        (tokenizer.decode([i]), p)
        for p, i in zip(chances.values.tolist(), chances.indices.tolist(), strict=True)
    ]


@pytest.mark.parametrize("behaviour", atlas.BEHAVIOURS)
def test_model_answers_fresh_prompts(model, tokenizer, behaviour: str) -> None:
    prompts = atlas.examples(behaviour, seed=90_210, n=100)
    answers = _next_words(model, tokenizer, [example.prompt for example in prompts])
    right = [word == example.answer for (word, _), example in zip(answers, prompts, strict=True)]
    assert sum(right) >= (95 if behaviour == "held_out_two_hop" else 99)


def test_model_names_austin_for_dallas(model, tokenizer) -> None:
    prompt = "the capital of the state containing Dallas is"
    ((word, probability),) = _next_words(model, tokenizer, [prompt])
    assert word == "Austin"
    assert probability > 0.9


def test_tokenizer_puts_bos_first_and_marks_unknown_words(tokenizer) -> None:
    ids = tokenizer("Dallas is in Gotham .").input_ids
    words = atlas.vocabulary()
    assert [words[i] for i in ids] == ["<bos>", "Dallas", "is", "in", "<unk>", "."]
    assert tokenizer.decode(ids[1:4]) == "Dallas is in"
    assert len(tokenizer) == len(words)


@pytest.mark.parametrize("name", FOLDERS)
def test_dictionaries_are_as_good_as_their_card_says(name: str, rows) -> None:
    folder = ATLAS / "dictionaries" / name
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "sae_weights.safetensors")
    d_sae = config["d_sae"]
    assert tensors["W_enc"].shape == (128, d_sae)
    assert tensors["W_dec"].shape == (d_sae, 128)
    assert tensors["b_enc"].shape == tensors["threshold"].shape == (d_sae,)
    assert tensors["b_dec"].shape == (128,)
    kind, layer = name.rsplit("_", 1)
    found = rows[int(layer)]
    read, written = (
        (found["mlp_in"], found["mlp_out"]) if kind == "mlp_transcoder" else (found[kind],) * 2
    )
    weights = read_dictionary(folder)
    features = weights.encode(read)
    wrong = written - weights.decode(features)
    words = ~found["is_bos"]
    centred = written[words] - written[words].mean(0)
    explained = 1 - np.square(wrong[words]).sum() / np.square(centred).sum()
    metrics = config["metadata"]["metrics"]
    assert explained == pytest.approx(metrics["explained_variance"], abs=TOLERANCE)
    assert (features[words] > 0).sum(1).mean() == pytest.approx(metrics["l0"], rel=0.05)
    assert metrics["l0"] <= 24
