from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import Cancelled, CircuitScopeError, ModelError
from circuitscope.core.intervention import Intervention
from circuitscope.core.progress import silent
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.models.capture import capture
from circuitscope.models.hooks import Hooks
from circuitscope.models.intervene import ModelRun, generate, run
from circuitscope.models.loading import LoadedModel, load_model

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
        (Intervention("ln_final", 0), ("cannot act on ln_final", "head_z")),
        (Intervention("head_k", 0, head=2), ("no head 2 at head_k", "0 to 1")),
        (Intervention("pattern", 0, units=[9]), ("units", "0 to 8")),
        (Intervention("mlp_out", 0, feature=3), ("needs both", "dictionary")),
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


def random_dictionary(read: Site, write: Site, layer: int, n: int = 40) -> Dictionary:
    source = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source)

    card = DictionaryCard(f"d{layer}", "", "", "", read, write, (layer,), 16, 16, n)
    return Dictionary(card, DictionaryWeights(draw(16, n), draw(n), draw(n, 16), draw(16)))


@pytest.mark.parametrize("read", ["mlp_out", "mlp_in", "ln2_normalized"])
def test_a_feature_changes_by_its_decoder_row_and_keeps_the_error(
    llama: LoadedModel, read: str
) -> None:
    dictionary = random_dictionary(Site.parse(read), Site.MLP_OUT, 1)
    plain = llama.run(PROMPT)
    values = dictionary.activate(dictionary.preactivations(plain.cache.site(read, 1)))
    unit = int((values > 0).sum(0).argmax())
    old, row = values[:, unit].numpy(), dictionary.weights.W_dec[unit].numpy()
    assert (old > 0).any()
    news = {
        ("zero", None): 0 * old, ("scale", 3.0): 3 * old, ("set", 2.5): 0 * old + 2.5,
        ("add", -1.0): old - 1, ("mean", None): 0 * old + old.mean(),
    }  # fmt: skip
    for (mode, value), new in news.items():
        wish = Intervention(
            "mlp_out", 1, mode=mode, value=value, feature=unit, dictionary=dictionary
        )
        found = llama.run(PROMPT, [wish]).site("mlp_out", 1)
        wanted = plain.site("mlp_out", 1) + (new - old)[:, None] * row
        assert difference(found, wanted) < 1e-5
        one = replace(wish, positions=[4])
        found = llama.run(PROMPT, [one]).site("mlp_out", 1)
        assert difference(found[4], wanted[4]) < 1e-5
        assert difference(np.delete(found, 4, 0), np.delete(plain.site("mlp_out", 1), 4, 0)) == 0


def test_features_of_one_dictionary_do_not_hear_of_each_other(llama: LoadedModel) -> None:
    dictionary = random_dictionary(Site.MLP_OUT, Site.MLP_OUT, 0)
    plain = llama.run(PROMPT)
    values = dictionary.activate(dictionary.preactivations(plain.cache.site("mlp_out", 0)))
    units = [int(unit) for unit in (values > 0).sum(0).argsort()[-3:]]
    wishes = [Intervention("mlp_out", 0, feature=unit, dictionary=dictionary) for unit in units]
    wanted = plain.site("mlp_out", 0) - (values[:, units] @ dictionary.weights.W_dec[units]).numpy()
    for order in (wishes, wishes[::-1]):
        assert difference(llama.run(PROMPT, order).site("mlp_out", 0), wanted) < 1e-5


def test_a_feature_swapped_takes_the_other_prompts_activation(llama: LoadedModel) -> None:
    dictionary = random_dictionary(Site.MLP_OUT, Site.MLP_OUT, 0)
    plain, other = llama.run(PROMPT), llama.run(OTHER)

    def active(found: ModelRun) -> torch.Tensor:
        return dictionary.activate(dictionary.preactivations(found.cache.site("mlp_out", 0)))

    here, there = active(plain), active(other)
    unit = int((there[7] - here[7]).abs().argmax())
    wish = Intervention(
        "mlp_out", 0, positions=[7], mode="swap", value=OTHER, feature=unit, dictionary=dictionary
    )
    step = llama.run(PROMPT, [wish]).site("mlp_out", 0)[7] - plain.site("mlp_out", 0)[7]
    wanted = (there[7, unit] - here[7, unit]) * dictionary.weights.W_dec[unit]
    assert difference(step, wanted.numpy()) < 1e-5


def test_a_dictionary_that_does_not_belong_there_is_explained(llama: LoadedModel) -> None:
    dictionary = random_dictionary(Site.MLP_IN, Site.MLP_OUT, 1)
    wrong = Intervention("mlp_out", 0, feature=1, dictionary=dictionary)
    for wish in (wrong, replace(wrong, layer=1, feature=40), replace(wrong, layer=1, head=1)):
        with pytest.raises(ModelError) as caught:
            llama.run(PROMPT, [wish])
        assert caught.value.hint


def test_patterns_and_norms_can_be_frozen(llama: LoadedModel) -> None:
    plain = llama.run(PROMPT)
    wish = Intervention("resid_pre", 0, positions=[3], mode="add", value=np.arange(16.0))
    free = llama.run(PROMPT, [wish])
    held = llama.run(PROMPT, [wish], freeze=["patterns", "norms"])
    assert difference(free.pattern(1), plain.pattern(1)) > 1e-3
    for layer in (0, 1):
        assert difference(held.pattern(layer), plain.pattern(layer)) == 0
        mixed = np.einsum("hqk,khe->qhe", plain.pattern(layer), _values(held, layer))
        assert difference(held.site("head_z", layer), mixed) < 1e-5
    final = held.cache.norm_scales
    before = plain.cache.norm_scales
    x, scale = held.site("resid_pre", 0), before[Site.LN1_NORMALIZED, 0].numpy()
    norm = llama.family.norm(llama.module, Site.LN1_NORMALIZED, 0)
    assert difference(held.site("attn_in", 0), x / scale[:, None] * norm.weight.numpy()) < 1e-5
    assert difference(final[Site.LN1_NORMALIZED, 0].numpy(), scale) > 1e-3
    assert difference(llama.run(PROMPT, freeze=["patterns", "norms"]).logits, plain.logits) < 1e-5


def _values(found: ModelRun, layer: int) -> np.ndarray:
    values = found.site("head_v", layer)
    return np.repeat(values, 4 // values.shape[1], 1)


def test_what_is_frozen_stays_so_while_generating(llama: LoadedModel) -> None:
    freeze = ["patterns", "norms"]
    for seed in (None, 3):
        options = {} if seed is None else {"seed": seed, "temperature": 2.0}
        plain = llama.generate(PROMPT, 8, **options)
        assert llama.generate(PROMPT, 8, freeze=freeze, **options).token_ids == plain.token_ids
    wishes = [Intervention("mlp_out", 0, mode="scale", value=-2.0)]
    ids = list(llama.run(PROMPT).token_ids)
    for _ in range(6):
        ids.append(int(run(llama, ids, wishes, freeze).logits[-1].argmax()))
        if ids[-1] == 1:
            break
    assert list(llama.generate(PROMPT, 6, wishes, freeze=freeze).token_ids) == ids
    with pytest.raises(ModelError, match="cannot be frozen"):
        llama.run(PROMPT, freeze=["gates"])


def test_new_tokens_can_be_named(llama: LoadedModel) -> None:
    """Position 9 is the first new token: only what comes after it can change."""
    plain = llama.generate(PROMPT, 4)
    loud = 30 * np.random.default_rng(0).normal(size=16)
    wish = Intervention("resid_post", 1, positions=[9], mode="add", value=loud)
    changed = llama.generate(PROMPT, 4, [wish])
    assert changed.alternatives[0] == plain.alternatives[0]
    assert changed.alternatives[1] != plain.alternatives[1]
    with pytest.raises(ModelError, match="position 13"):
        llama.generate(PROMPT, 4, [replace(wish, positions=[13])])


def test_a_mean_without_a_value_is_the_mean_over_the_prompt(llama: LoadedModel) -> None:
    plain = llama.run(PROMPT).site("head_z", 1)
    found = llama.run(PROMPT, [Intervention("head_z", 1, head=2, mode="mean")]).site("head_z", 1)
    assert difference(found[:, 2], np.tile(plain[:, 2].mean(0), (9, 1))) < 1e-6
    assert difference(found[:, [0, 1, 3]], plain[:, [0, 1, 3]]) == 0


def test_patterns_of_another_prompt_can_be_swapped_in(llama: LoadedModel) -> None:
    other = llama.run(OTHER)
    wish = Intervention("pattern", 1, head=3, positions=[-1], mode="swap", value=OTHER)
    found = llama.run(PROMPT, [wish])
    assert difference(found.pattern(1)[3, -1], other.pattern(1)[3, -1]) == 0
    one_key = Intervention("pattern", 1, head=3, units=[7], mode="zero")
    pattern = llama.run(PROMPT, [one_key]).pattern(1)
    assert (pattern[3, :, 7] == 0).all()
    assert (pattern[2, 7:, 7] > 0).all()
    with pytest.raises(ModelError, match="equal length"):
        llama.run(PROMPT, [replace(wish, value=OTHER + " Texas")])
    generated = llama.generate(PROMPT, 4, [one_key])
    assert list(generated.token_ids) == naive(llama, list(generated.prompt_ids), 4, [one_key])


def test_a_failure_inside_attention_leaves_no_softmax_caught(llama: LoadedModel) -> None:
    def fail(tensor: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with Hooks(llama) as hooks:
        hooks.edit_pattern(0, fail)
        with pytest.raises(ZeroDivisionError):
            hooks.forward([[1, 5]])
    scores = torch.zeros(1, 1, 1, 2)
    assert torch.softmax(scores, -1)[0, 0, 0, 0] == 0.5


def test_a_feature_of_a_cross_layer_transcoder_changes_every_layer_it_writes_to(
    llama: LoadedModel,
) -> None:
    source, n = torch.Generator().manual_seed(3), 30

    def part(later: int) -> DictionaryWeights:
        draw = [torch.randn(16, n, generator=source), torch.randn(n, generator=source)]
        rows = [torch.randn(n, 16, generator=source) for _ in range(1 + later)]
        return DictionaryWeights(*draw, rows[0], torch.zeros(16), W_dec_later=tuple(rows[1:]))

    card = DictionaryCard("clt", "", "", "", Site.MLP_IN, Site.MLP_OUT, (0, 1), 16, 16, n)
    clt = Dictionary(card, [part(1), part(0)])
    plain = llama.run(PROMPT)
    first = clt.layer(0)
    values = first.activate(first.preactivations(plain.cache.site("mlp_in", 0)))
    unit = int((values > 0).sum(0).argmax())
    step = (-values[:, unit, None] * first.weights.W_dec[unit]).numpy()
    found = llama.run(PROMPT, [Intervention("mlp_out", 0, feature=unit, dictionary=clt)])
    assert difference(found.site("mlp_out", 0), plain.site("mlp_out", 0) + step) < 1e-5
    # In the layer after, its second row is added to what the MLP makes of the changed stream.
    moved = llama.run(PROMPT, [Intervention("mlp_out", 0, mode="add", value=step)])
    later = (-values[:, unit, None] * first.weights.W_dec_later[0][unit]).numpy()
    wanted = moved.site("mlp_out", 1) + later
    assert difference(found.site("mlp_out", 1), wanted) < 1e-5
    assert difference(moved.site("mlp_out", 1), wanted) > 1e-2
    top = Intervention("mlp_out", 1, mode="set", value=2.0, feature=3, dictionary=clt)
    both = llama.run(PROMPT, [top, Intervention("mlp_out", 0, feature=unit, dictionary=clt)])
    assert difference(both.site("mlp_out", 0), found.site("mlp_out", 0)) == 0


def test_a_feature_of_head_outputs_changes_what_the_heads_give(llama: LoadedModel) -> None:
    dictionary = random_dictionary(Site.HEAD_Z, Site.HEAD_Z, 1)
    plain = llama.run(PROMPT)
    z = plain.cache.site("head_z", 1).flatten(1)
    values = dictionary.activate(dictionary.preactivations(z))
    unit = int((values > 0).sum(0).argmax())
    wish = Intervention("head_z", 1, mode="scale", value=-2.0, feature=unit, dictionary=dictionary)
    found = llama.run(PROMPT, [wish])
    wanted = z.numpy() + (-3 * values[:, unit, None] * dictionary.weights.W_dec[unit]).numpy()
    assert difference(found.site("head_z", 1).reshape(wanted.shape), wanted) < 1e-5
    made = llama.generate(PROMPT, 3, [wish])
    ids = naive(llama, list(made.prompt_ids), 3, [wish])
    assert list(made.token_ids) == ids


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_a_feature_of_scaled_inputs_writes_in_the_models_own_size(
    llama: LoadedModel, norm: str
) -> None:
    dictionary = random_dictionary(Site.RESID_POST, Site.RESID_POST, 0)
    dictionary = dictionary.described(replace(dictionary.card, input_norm=norm))
    plain = llama.run(PROMPT)
    x = plain.cache.site("resid_post", 0)
    values = dictionary.activate(dictionary.preactivations(x))
    unit = int((values > 0).sum(0).argmax())
    wish = Intervention("resid_post", 0, mode="zero", feature=unit, dictionary=dictionary)
    found = llama.run(PROMPT, [wish]).site("resid_post", 0)
    size = x.std(-1) + 1e-5 if norm == "layer_norm" else x.square().mean(-1).sqrt()
    lost = (values[:, unit] * size)[:, None] * dictionary.weights.W_dec[unit]
    assert difference(found, (x - lost).numpy()) < 1e-6 * float(lost.abs().max())
    # What is left is what the dictionary rebuilds without the feature, and its error.
    features = dictionary.encode(x)
    gone = replace(features, value=features.value * (features.unit != unit))
    change = dictionary.written(gone, len(x), x) - dictionary.written(features, len(x), x)
    assert difference(found - x.numpy(), change.numpy()) < 1e-5 * float(change.abs().max())


def test_features_are_changed_in_half_precision_too(tiny_llama: Path) -> None:
    half = load_model(tiny_llama, "cpu", "bfloat16")
    dictionary = random_dictionary(Site.MLP_OUT, Site.MLP_OUT, 1)
    wish = Intervention("mlp_out", 1, mode="set", value=9.0, feature=2, dictionary=dictionary)
    made = half.generate(PROMPT, 3, [wish])
    assert len(made.new_ids) == 3
    plain = half.run(PROMPT)
    values = dictionary.activate(dictionary.preactivations(plain.cache.site("mlp_out", 1)))
    step = (9.0 - values[:, 2, None]) * dictionary.weights.W_dec[2]
    found = half.run(PROMPT, [wish]).site("mlp_out", 1)
    assert difference(found, plain.site("mlp_out", 1) + step.numpy()) < 1e-4
