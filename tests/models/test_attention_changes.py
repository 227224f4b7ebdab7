"""Multiplied entries of attention patterns: what is written, and what the module then does."""

from pathlib import Path

import pytest
import torch
from transformers.models.llama import modeling_llama

import circuitscope as cs
from circuitscope.core.errors import CircuitScopeError
from circuitscope.models.loading import LoadedModel, load_model

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture(scope="module")
def llama(tiny_llama: Path) -> LoadedModel:
    return load_model(tiny_llama, device="cpu")


def test_texts_name_entries() -> None:
    one, two = cs.attention_changes("1.2:-1<-4 x 0; 0.ALL:all ← 3×2.5")
    assert (one.layer, one.head, one.positions, one.units, one.value) == (1, 2, [-1], [4], 0.0)
    assert (two.layer, two.head, two.positions, two.units, two.value) == (0, None, None, [3], 2.5)
    assert cs.attention_changes(" ; ") == ()
    assert cs.attention_changes("1.2:7<-all x -1")[0].units is None
    for wrong in ("1:7<-4 x 0", "1.2:7<-4", "1.2:7<-4 x two", "1.2:7->4 x 0"):
        with pytest.raises(CircuitScopeError, match="names no entry"):
            cs.attention_changes(f"0.0:1<-0 x 1; {wrong}")


@pytest.mark.parametrize("factor", [0.0, 3.0])
def test_the_module_runs_with_the_entry_multiplied(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    plain = llama.run(PROMPT)
    changed = llama.run(PROMPT, cs.attention_changes(f"1.2:7<-4 x {factor}"))
    expected = plain.pattern(1).copy()
    expected[2, 7, 4] *= factor
    assert changed.pattern(1) == pytest.approx(expected, abs=1e-7)
    # The same by hand, inside transformers' own attention.
    whole = modeling_llama.eager_attention_forward

    def by_hand(module, query, key, value, mask, **more):
        out, pattern = whole(module, query, key, value, mask, **more)
        if module.layer_idx == 1:
            pattern = pattern.clone()
            pattern[:, 2, 7, 4] *= factor
            shared = modeling_llama.repeat_kv(value, module.num_key_value_groups)
            out = (pattern @ shared).transpose(1, 2).contiguous()
        return out, pattern

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", by_hand)
    ids = torch.tensor([list(plain.token_ids)])
    with torch.no_grad():
        logits = llama.module(input_ids=ids).logits[0]
    assert changed.logits == pytest.approx(logits.numpy(), abs=1e-5)
    assert abs(changed.logits - plain.logits).max() > 1e-4
