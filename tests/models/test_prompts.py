from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from circuitscope.core.errors import PromptError, TargetNotFound
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.prompts import find_token, read_prompt, token_text


@pytest.fixture(scope="module")
def byte_model(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Return the tiny GPT-2 with a byte-level BPE tokenizer like GPT-2's own."""
    import shutil

    folder = Path(
        shutil.copytree(tiny_gpt2, tmp_path_factory.mktemp("bytes") / "m",
                        ignore=shutil.ignore_patterns("*token*"))
    )  # fmt: skip
    pieces = [
        "<|endoftext|>",
        *"Dalsutin",
        "Ġ",
        "Ċ",
        "Ã",
        "©",
        "Ġa",
        "us",
        "Ġaus",
        "tin",
        "Ġaustin",
    ]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("Ġ", "a"), ("u", "s"), ("Ġa", "us"), ("t", "i"), ("ti", "n"), ("Ġaus", "tin")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end
    ).save_pretrained(folder)
    return load_model(folder, "cpu")


def refused(model: LoadedModel, prompt: str | list[int], *words: str) -> None:
    with pytest.raises(PromptError) as caught:
        read_prompt(model, prompt)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_text_gets_the_tokenizers_own_special_tokens(llama: LoadedModel) -> None:
    prompt = read_prompt(llama, "the capital of Texas")
    assert prompt.tokens == ("<bos>", "the", "capital", "of", "Texas")
    assert prompt.token_ids[0] == 1


def test_ids_are_used_exactly_as_given(llama: LoadedModel) -> None:
    assert read_prompt(llama, [5, 6, 2]).token_ids == (5, 6, 2)
    assert read_prompt(llama, [5]).tokens == ("of",)


@pytest.mark.parametrize("prompt", ["", "  \n", []])
def test_empty_prompt(llama: LoadedModel, prompt: str | list[int]) -> None:
    refused(llama, prompt, "empty", "at least one word")


def test_prompt_longer_than_the_context(llama: LoadedModel) -> None:
    refused(llama, [5] * 40, "40 tokens", "at most 32", "8 tokens or more")
    refused(llama, "the " * 40, "41 tokens", "at most 32")


def test_unknown_words_are_named_with_neighbours(llama: LoadedModel) -> None:
    refused(llama, "the capital of texass", "'texass'", "Texas")
    refused(llama, "Dalas and Oaklnd", "'Dalas', 'Oaklnd'", "Dallas", "Oakland")
    refused(llama, "zzzzqqq", "Nothing in the vocabulary is spelled like")


def test_written_unknown_token_is_meant(llama: LoadedModel) -> None:
    assert read_prompt(llama, "the <unk>").tokens[-1] == "<unk>"


@pytest.mark.parametrize("outside", [-1, 10_000])
def test_ids_outside_the_vocabulary(llama: LoadedModel, outside: int) -> None:
    refused(llama, [1, outside], f"Token id {outside} is outside")


def test_two_bos_tokens_are_refused_with_the_fix(llama: LoadedModel) -> None:
    refused(llama, "<bos> the capital", "two BOS tokens", "Delete '<bos>'")
    refused(llama, [1, 1, 5], "two BOS tokens", "Remove one of the two ids 1")


def test_text_without_tokenizer(llama: LoadedModel) -> None:
    from dataclasses import replace

    bare = replace(llama, tokenizer=None)
    refused(bare, "the capital", "no tokenizer", "token ids")
    assert read_prompt(bare, [1, 1]).tokens == ("#1", "#1")
    assert find_token(bare, "#7") == find_token(bare, "7") == 7
    with pytest.raises(TargetNotFound, match="no tokenizer"):
        find_token(bare, "Austin")


def test_byte_level_tokens_are_shown_as_text(byte_model: LoadedModel) -> None:
    vocabulary = byte_model.tokenizer.get_vocab()
    assert token_text(byte_model, vocabulary["Ġaustin"]) == " austin"
    assert token_text(byte_model, vocabulary["Ċ"]) == "⏎"
    assert token_text(byte_model, vocabulary["Ã"]) == "<0xC3>"
    assert token_text(byte_model, vocabulary["<|endoftext|>"]) == "<|endoftext|>"
    assert read_prompt(byte_model, "Dallas austin").tokens[-1] == " austin"


def test_target_is_found_with_and_without_its_space(byte_model: LoadedModel) -> None:
    vocabulary = byte_model.tokenizer.get_vocab()
    assert find_token(byte_model, "austin") == vocabulary["Ġaustin"]
    assert find_token(byte_model, " austin") == vocabulary["Ġaustin"]
    assert find_token(byte_model, "tin") == vocabulary["tin"]
    assert find_token(byte_model, "<|endoftext|>") == vocabulary["<|endoftext|>"]


def test_target_of_several_tokens_names_its_pieces(byte_model: LoadedModel) -> None:
    with pytest.raises(TargetNotFound, match="not one token") as caught:
        find_token(byte_model, "austin austin")
    assert "' austin'" in str(caught.value)


def test_target_by_word_and_id(llama: LoadedModel) -> None:
    austin = llama.tokenizer.get_vocab()["Austin"]
    assert find_token(llama, "Austin") == find_token(llama, " Austin") == austin
    assert find_token(llama, austin) == austin
    assert find_token(llama, "<unk>") == 2


def test_target_that_does_not_exist_suggests_neighbours(llama: LoadedModel) -> None:
    with pytest.raises(TargetNotFound, match="'austn'") as caught:
        find_token(llama, "austn")
    assert "Austin" in caught.value.hint
    with pytest.raises(TargetNotFound, match="no token 999"):
        find_token(llama, 999)
