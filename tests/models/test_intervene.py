from collections.abc import Callable

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import Cancelled, CircuitScopeError, ModelError
from circuitscope.core.intervention import Intervention
from circuitscope.core.progress import silent
from circuitscope.models.capture import capture
from circuitscope.models.intervene import generate, run
from circuitscope.models.loading import LoadedModel

PROMPT = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


def test_plain_run_equals_the_module(llama: LoadedModel) -> None:
    found = llama.run(PROMPT)
    with torch.no_grad():
        wanted = llama.module(torch.tensor([found.token_ids])).logits[0].numpy()
    assert difference(found.logits, wanted) == 0
    assert found.logits.dtype == np.float32
    assert found.pattern(1).shape == (4, 9, 9)
    assert found.site("head_z", 0).shape == (9, 4, 4)
    assert found.site("mlp_hidden", 1).shape == (9, 32)
    assert found.site("ln2_normalized", 0).shape == (9, 16)
    assert np.allclose(found.pattern(0).sum(-1), 1, atol=1e-6)


def test_only_the_chosen_head_and_positions_change(llama: LoadedModel) -> None:
    plain = llama.run(PROMPT).site("head_z", 1)
    changed = llama.run(PROMPT, [Intervention("head_z", 1, head=2, positions=[3, -1])])
    z = changed.site("head_z", 1)
    assert (z[[3, 8], 2] == 0).all()
    z[[3, 8], 2] = plain[[3, 8], 2]
    assert difference(z, plain) == 0


def test_only_the_chosen_units_change(gpt2: LoadedModel) -> None:
    plain = gpt2.run(PROMPT).site("mlp_hidden", 0)
    wish = Intervention("mlp_hidden", 0, units=[4, 9], positions=[2], mode="set", value=3.0)
    hidden = gpt2.run(PROMPT, [wish]).site("mlp_hidden", 0)
    assert (hidden[2, [4, 9]] == 3).all()
    hidden[2, [4, 9]] = plain[2, [4, 9]]
    assert difference(hidden, plain) == 0


def test_editing_the_middle_stream_leaves_what_attention_wrote(llama: LoadedModel) -> None:
    plain = llama.run(PROMPT)
    wish = Intervention(Site.RESID_MID, 0, positions=[4], mode="add", value=np.ones(16))
    changed = llama.run(PROMPT, [wish])
    assert difference(changed.site("attn_out", 0), plain.site("attn_out", 0)) == 0
    step = changed.site("resid_mid", 0) - plain.site("resid_mid", 0)
    assert np.allclose(step[4], 1, atol=1e-6)
    later = changed.site("resid_post", 0)[4] - changed.site("mlp_out", 0)[4]
    assert np.allclose(later, plain.site("resid_mid", 0)[4] + 1, atol=1e-5)


def test_several_interventions_act_in_order(llama: LoadedModel) -> None:
    wishes = [
        Intervention("mlp_out", 0, mode="set", value=2.0),
        Intervention("mlp_out", 0, mode="scale", value=0.5),
        Intervention("attn_out", 1),
    ]
    found = llama.run(PROMPT, wishes)
    assert (found.site("mlp_out", 0) == 1).all()
    assert (found.site("attn_out", 1) == 0).all()


def test_swapping_the_whole_stream_gives_the_other_prompts_answer(llama: LoadedModel) -> None:
    other = llama.run(OTHER)
    for value in (OTHER, list(other.token_ids)):
        swapped = llama.run(PROMPT, [Intervention("resid_post", 1, mode="swap", value=value)])
        assert difference(swapped.logits, other.logits) < 1e-6
    one = llama.run(
        PROMPT, [Intervention("head_z", 0, head=1, positions=[7], mode="swap", value=OTHER)]
    )
    assert difference(one.site("head_z", 0)[7, 1], other.site("head_z", 0)[7, 1]) == 0


def test_mean_writes_what_it_is_given(llama: LoadedModel) -> None:
    mean = llama.run(PROMPT).site("attn_out", 0).mean(0)
    found = llama.run(PROMPT, [Intervention("attn_out", 0, mode="mean", value=mean)])
    assert difference(found.site("attn_out", 0), np.tile(mean, (9, 1))) == 0


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Intervention("mlp_out", 2), ("no layer 2", "0 to 1")),
        (Intervention("mlp_out", 0, positions=[9]), ("position 9", "9 tokens")),
        (Intervention("head_z", 0, head=4), ("no head 4", "0 to 3")),
        (Intervention("mlp_out", 0, head=1), ("no head 1 at mlp_out",)),
        (Intervention("pattern", 0), ("cannot act on pattern", "head_z")),
        (Intervention("pos_embed", 0), ("cannot act on pos_embed", "embed")),
        (Intervention("nowhere", 0), ("no site called 'nowhere'",)),
        (Intervention("mlp_hidden", 0, units=[32]), ("units", "0 to 31")),
        (Intervention("mlp_out", 0, mode="add"), ("needs a value",)),
        (Intervention("mlp_out", 0, mode="melt", value=1), ("no mode 'melt'", "swap")),
        (Intervention("mlp_out", 0, mode="set", value=np.ones(5)), ("shape (5,)", "(9, 16)")),
        (Intervention("mlp_out", 0, mode="swap", value="the"), ("has 2 tokens", "equal length")),
    ],
)  # fmt: skip
def test_impossible_interventions_are_explained(
    llama: LoadedModel, wish: Intervention, words: tuple[str, ...]
) -> None:
    with pytest.raises(CircuitScopeError) as caught:
        llama.run(PROMPT, [wish])
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_hooks_go_away_after_an_error_in_the_run(
    llama: LoadedModel, hook_count: Callable[[torch.nn.Module], int]
) -> None:
    def fail(tensor: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        capture(llama, [1, 5], lambda hooks: hooks.edit_site(Site.MLP_OUT, 1, fail))
    assert hook_count(llama.module) == 0


def test_hooks_go_away_after_a_cancel(
    llama: LoadedModel, hook_count: Callable[[torch.nn.Module], int]
) -> None:
    progress = silent()
    seen = []

    def advance(steps: int = 1) -> None:
        seen.append(hook_count(llama.module))
        if len(seen) == 3:
            raise Cancelled

    progress.advance = advance  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        generate(llama, PROMPT, 9, [Intervention("attn_out", 0)], progress=progress)
    assert seen == [1, 1, 1]
    assert hook_count(llama.module) == 0


def naive(model: LoadedModel, ids: list[int], n: int, wishes: list[Intervention]) -> list[int]:
    """Continue greedily without a cache, every step from the start."""
    ids = list(ids)
    for _ in range(n):
        ids.append(int(run(model, ids, wishes).logits[-1].argmax()))
        if ids[-1] == 1:
            break
    return ids


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(
    "wishes",
    [
        [],
        [Intervention("mlp_out", 0, mode="scale", value=-2.0)],
        [Intervention("resid_mid", 1, positions=[2, 8], mode="add", value=1.5)],
        [Intervention("head_z", 1, head=0), Intervention("embed", positions=[7])],
    ],
)
def test_generation_with_a_cache_equals_generation_without(
    name: str, wishes: list[Intervention], request: pytest.FixtureRequest
) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    found = model.generate(PROMPT, 8, wishes)
    assert list(found.token_ids) == naive(model, list(found.prompt_ids), 8, wishes)
    assert found.new_ids == found.token_ids[9:]
    assert len(found.tokens) == len(found.token_ids)


def test_alternatives_are_the_likeliest_tokens(llama: LoadedModel) -> None:
    found = llama.generate(PROMPT, 2)
    logits = llama.run(PROMPT).logits[-1]
    best = found.alternatives[0]
    assert [item.token_id for item in best] == list(np.argsort(-logits)[:5])
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert best[1].probability == pytest.approx(float(chances[best[1].token_id]), rel=1e-4)
    assert best[0].token_id == found.new_ids[0]
    assert best[0].text == found.tokens[9]


def test_sampling_follows_its_seed(llama: LoadedModel) -> None:
    runs = [llama.generate([1, 5], 12, seed=s, temperature=3.0).token_ids for s in (0, 0, 1, 2)]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 1


def test_generation_stops_at_the_end_of_the_context(llama: LoadedModel) -> None:
    loud = Intervention("resid_post", 1, mode="set", value=8.0 - np.arange(16))
    found = llama.generate([5] * 30, 20, [loud])
    assert found.new_ids[-1] != 1, "the run should not stop at an end-of-text token"
    assert len(found.token_ids) == llama.anatomy.n_ctx
    assert len(found.alternatives) == 2


def test_generation_of_nothing(llama: LoadedModel) -> None:
    assert llama.generate(PROMPT, 0).new_ids == ()


def test_position_is_checked_before_anything_runs(llama: LoadedModel) -> None:
    with pytest.raises(ModelError):
        generate(llama, PROMPT, 3, [Intervention("embed", positions=[-10])])
