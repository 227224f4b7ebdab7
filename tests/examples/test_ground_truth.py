"""The parts of the ground-truth reports that need no training."""

import torch
from transformers import GPT2LMHeadModel

from circuitscope.examples import atlas_patching, induction


def test_a_run_is_repeated_and_prompts_ask_for_its_next_token() -> None:
    how = induction.Training()
    texts, metrics = induction.prompts(how, 5, seed=1)
    length = how.longest * 3 // 4
    for text, metric in zip(texts, metrics, strict=True):
        assert text[: len(text) - length] == text[length:]
        assert metric.a == text[len(text) - length]
        assert metric.b in text[:length]
        assert metric.b != metric.a


def test_emptied_heads_change_no_answer_and_have_no_pattern() -> None:
    how = induction.Training(steps=0)
    model: GPT2LMHeadModel = induction.train(how)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight[16:32] = 0
        before = model(input_ids=ids).logits
        assert induction.empty_silent_heads(model) >= 1
        assert torch.allclose(before, model(input_ids=ids).logits, atol=1e-5)
    assert not model.transformer.h[1].attn.c_attn.weight[:, 16:32].any()
    assert not induction.truth(model, how).any()


def test_sentences_of_a_template_have_one_length() -> None:
    found = atlas_patching.draw(3)
    assert len(found) == 6
    for rows in found.values():
        assert len({len(row.prompt.split()) for row in rows}) == 1
        assert all(row.indirect != row.subject and row.indirect in row.prompt for row in rows)
