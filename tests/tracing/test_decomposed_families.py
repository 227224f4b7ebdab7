"""Every family: the parts add up to the model's own logits; rules reduce to the simpler ones."""

import numpy as np
import pytest
import torch
import transformers

import circuitscope as cs
from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import TraceError, UnsupportedArchitecture
from circuitscope.models.blueprint import Affine, rotated
from circuitscope.models.family import Norm
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.decomposition import (
    Pair,
    split_affine,
    split_bend,
    split_gated,
    split_norm,
)  # fmt: skip

GATED = {
    "vocab_size": 41, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
    "head_dim": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BERT = {
    "vocab_size": 41, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 24, "max_position_embeddings": 32, "num_labels": 3, "pad_token_id": 1,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
SHORT_WINDOW = {"sliding_window": 3, "use_sliding_window": True, "max_window_layers": 0}
FAMILIES = {
    "GPT2LMHeadModel": ("GPT2Config", {"vocab_size": 41, "n_positions": 32, "n_embd": 16,
                                       "n_layer": 2, "n_head": 4}),
    "LlamaForCausalLM": ("LlamaConfig", GATED | {"attention_bias": True, "mlp_bias": True}),
    "MistralForCausalLM": ("MistralConfig", GATED | {"sliding_window": 3}),
    "Qwen2ForCausalLM": ("Qwen2Config", GATED | SHORT_WINDOW),
    "Qwen3ForCausalLM": ("Qwen3Config", GATED | {"attention_bias": True}),
    "GemmaForCausalLM": ("GemmaConfig", GATED),
    "Gemma2ForCausalLM": ("Gemma2Config", GATED | {
        "sliding_window": 3, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "Gemma3ForCausalLM": ("Gemma3TextConfig", GATED | {"sliding_window": 3}),
    "BertForSequenceClassification": ("BertConfig", BERT),
    "RobertaForSequenceClassification": ("RobertaConfig", BERT),
    "BertForMaskedLM": ("BertConfig", BERT),
    "RobertaForMaskedLM": ("RobertaConfig", BERT),
}  # fmt: skip
IDS = [7, 3, 9, 20, 11, 31, 5, 2]


def made(name: str) -> LoadedModel:
    config_name, values = FAMILIES[name]
    config = getattr(transformers, config_name)(**values)
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    module = getattr(transformers, name)(config).double().eval().requires_grad_(False)
    for key, parameter in module.named_parameters():
        gain = "norm" in key.lower() or ".ln_" in key
        parameter.copy_(torch.randn_like(parameter) * (0.2 if gain or "bias" in key else 0.3))
        if gain and key.endswith("weight") and not name.startswith("Gemma"):
            parameter.add_(1.0)
    anatomy = ModelAnatomy(name, name, 2, 16, 4, 4, 4, 24, 41, 32)
    return LoadedModel(anatomy, module, None, None, torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_add_up_and_ends_are_exact(name):
    model = made(name)
    logits = model.module(input_ids=torch.tensor([IDS])).logits[0].numpy()
    everything, nothing = [cs.Span(0, len(IDS))], []
    sets = [everything, nothing, [cs.Head(0, 1, 2), cs.Head(1, 3)], [cs.Mlp(0)], [cs.Span(2, 4)]]
    for attention in ("relrel", "frozen"):
        split = cs.decompose(model, IDS, sets, attention=attention)
        total = split.relevant + split.irrelevant
        # The gated kinds compute norms and rotations in float32 whatever the model's dtype.
        width = 1e-10 if name.startswith(("GPT2", "Bert", "Roberta")) else 1e-5
        assert np.abs(total - logits).max() <= width * np.abs(logits).max()
        assert np.abs(split.irrelevant[0]).max() == 0
        assert np.abs(split.relevant[1]).max() == 0
        assert np.abs(split.relevant[2:]).max() > 1e-3
        # The two modes differ by the public code's tolerance alone, whatever windows hide.
        reference = cs.decompose(model, IDS, sets, attention=attention, mode="reference")
        assert np.abs(split.relevant - reference.relevant).max() <= 2e-4


@pytest.mark.parametrize("name", ["MistralForCausalLM", "Gemma2ForCausalLM", "Qwen3ForCausalLM"])
def test_windows_cut_nothing_that_counts(name):
    """A late source decomposed alone equals the same set beside one at the first position."""
    model = made(name)
    late = [cs.Head(0, 2, 5), cs.Mlp(1, 6)]
    alone = cs.decompose(model, IDS, [late], targets=[cs.Head(1, 1, 7)])
    reference = cs.decompose(model, IDS, [late], targets=[cs.Head(1, 1, 7)], mode="reference")
    assert np.abs(alone.relevant - reference.relevant).max() <= 2e-5
    last = cs.decompose(model, IDS, [late], positions=[-1, 6], tokens=[4, 9])
    whole = cs.decompose(model, IDS, [late])
    assert np.allclose(last.relevant, whole.relevant[:, [7, 6]][:, :, [4, 9]], atol=1e-12)


def pairs(*shape: int, seed: int = 0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    r, i = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Pair(r, i)


def close(a: Pair, b: Pair) -> bool:
    return torch.allclose(a.r, b.r, atol=1e-7) and torch.allclose(a.i, b.i, atol=1e-7)


def test_rms_norm_is_the_norm_of_parts_without_mean():
    x = pairs(3, 8)
    x = Pair(*(part - part.mean(-1, keepdim=True) for part in (x.r, x.i)))
    weight = torch.linspace(0.5, 2, 8, dtype=torch.float64)
    layer = split_norm(x, Norm(weight, torch.zeros_like(weight), 1e-5, "layer"))
    assert close(layer, split_norm(x, Norm(weight, None, 1e-5, "rms")))


def test_a_gated_product_with_a_constant_factor_is_the_nonlinearity():
    g, u = pairs(3, 8), torch.full((3, 8), 1.7, dtype=torch.float64)
    gated = split_gated(g, Pair(torch.zeros_like(u), u), "silu")
    plain = split_bend(g, "silu")
    assert close(gated, Pair(plain.r * 1.7, plain.i * 1.7))


def test_rotation_at_the_first_position_is_none():
    x = torch.randn(1, 1, 2, 4)
    assert torch.equal(rotated(x, (torch.ones(1, 4), torch.zeros(1, 4))), x)


def test_a_map_without_bias_is_a_product():
    x, weight = pairs(3, 8), torch.randn(8, 5, dtype=torch.float64)
    assert close(split_affine(x, Affine(weight)), Pair(x.r @ weight, x.i @ weight))


def test_equal_key_heads_are_grouped_heads():
    """Grouped key and value heads equal full ones that hold the same weights twice."""
    grouped = made("LlamaForCausalLM")
    values = GATED | {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}
    config = transformers.LlamaConfig(**values)
    config._attn_implementation = "eager"
    full = transformers.LlamaForCausalLM(config).double().eval().requires_grad_(False)
    state = grouped.module.state_dict()
    for key, value in state.items():
        if "k_proj" in key or "v_proj" in key:
            state[key] = value.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1)
    full.load_state_dict(state)
    other = LoadedModel(grouped.anatomy, full, None, None, torch.device("cpu"), torch.float64)
    sets = [[cs.Head(0, 2)], [cs.Span(1, 3)]]
    a, b = (cs.decompose(model, IDS, sets).relevant for model in (grouped, other))
    assert np.abs(a - b).max() < 1e-12


def test_zero_rows_give_their_bias_to_the_row():
    """A map whose outputs are exactly 0 before the bias: all of it follows the relevant row."""
    model = made("GPT2LMHeadModel")
    model.module.transformer.h[1].mlp.c_fc.weight.zero_()
    split = cs.decompose(model, IDS, [[cs.Span(0, len(IDS))], []])
    assert np.isfinite(split.relevant).all()
    assert np.abs(split.irrelevant[0]).max() == 0
    assert np.abs(split.relevant[1]).max() == 0


@pytest.mark.parametrize("weights", ["centred", "folded"])
def test_prepared_weights_say_the_same(weights):
    model = made("GPT2LMHeadModel")
    raw, other = (cs.decompose(model, IDS, [[cs.Head(0, 1)]], weights=w) for w in ("raw", weights))
    whole = [one.relevant + one.irrelevant for one in (raw, other)]
    centred = whole[0] - whole[0].mean(-1, keepdims=True)
    assert np.abs(centred - whole[1]).max() < 1e-9
    assert np.abs(raw.relevant - other.relevant).max() > 1e-3


def test_what_cannot_be_done_is_refused_by_name():
    model = made("GPT2LMHeadModel")
    refused = {
        "No sources": ([], {}),
        "no head 9": ([cs.Head(0, 9)], {}),
        "no layer 7": ([cs.Head(7, 0)], {}),
        "no position 40": ([cs.Head(0, 0, 40)], {}),
        "no span": ([cs.Span(3, 30)], {}),
        "needs means": ([cs.Head(0, 0)], {"ablation": "mean"}),
        "have the shape": ([cs.Head(0, 0)], {"ablation": "mean", "means": np.zeros((2, 5, 4, 4))}),
        "heads only": ([cs.Mlp(0)], {"ablation": "mean", "means": np.zeros((2, 4, 4))}),
        "no mode": ([cs.Head(0, 0)], {"mode": "quick"}),
        "No target": ([cs.Head(0, 0)], {"targets": []}),
        "do not fit": ([cs.Head(0, 0)], {"targets": [cs.Head(1, 0, 2), cs.Mlp(1, 2)]}),
        "No dictionary": ([cs.Feature("mlp_out", 0, 3, 2)], {}),
    }
    for words, (sources, options) in refused.items():
        with pytest.raises(TraceError, match=words):
            cs.decompose(model, IDS, sources, **options)
    other = LoadedModel(
        ModelAnatomy("GPTNeoXForCausalLM", "", 2, 16, 4, 4, 4, 24, 41, 32), model.module, None,
        None, model.device, model.dtype,
    )  # fmt: skip
    with pytest.raises(UnsupportedArchitecture, match="GPTNeoXForCausalLM"):
        cs.decompose(other, IDS, [cs.Head(0, 0)])
    stranger = cs.MeanActivations(np.zeros((2, 4, 4)), np.zeros((2, 16)), "another")
    named = ModelAnatomy("GPT2LMHeadModel", "", 2, 16, 4, 4, 4, 24, 41, 32, digest="this")
    here = LoadedModel(named, model.module, None, None, model.device, model.dtype)
    with pytest.raises(TraceError, match="another model"):
        cs.decompose(here, IDS, [cs.Head(0, 0)], "mean", stranger)
