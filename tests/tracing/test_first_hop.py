"""Predictions with nothing frozen: exact over one hop, in whatever module that is."""

import numpy as np
import pytest
import torch
import transformers

import circuitscope as cs
from circuitscope.core.keys import NodeKind
from circuitscope.models.families.llama import Llama
from circuitscope.models.loading import LoadedModel, load_model
from tests.conformance.variants import IDS, VARIANTS, make_folder

BIG = 1e6


@pytest.fixture
def one_hop() -> LoadedModel:
    """Return a one-layer Llama whose norms only divide by a constant and whose MLP is silent.

    Then the only thing between a word and the logits is one attention layer.
    """
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, intermediate_size=8, max_position_embeddings=16,
        rms_norm_eps=BIG**2, tie_word_embeddings=False, attn_implementation="eager",
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)
    for name, parameter in module.named_parameters():
        parameter.normal_() if parameter.dim() == 2 else parameter.fill_(BIG)
        if "down_proj" in name:
            parameter.zero_()
    anatomy = Llama().describe(module.config.to_dict())
    return LoadedModel(anatomy, module, None, Llama(), torch.device("cpu"), torch.float32)


def test_one_attention_layer_is_predicted_exactly(one_hop):
    ids = [3, 1, 7, 5, 2, 9]
    circuit = cs.trace(one_hop, ids, targets=cs.LogitDifference(4, 6), units="neurons")
    tokens = np.flatnonzero(circuit.nodes.of_kind(NodeKind.TOKEN)).tolist()
    assert len(tokens) == len(ids)
    live, frozen = (
        cs.verify(one_hop, circuit, tokens, effect="total", predict=how)
        for how in ("live", "circuit")
    )
    np.testing.assert_allclose(live.predicted, live.measured, rtol=1e-3, atol=1e-3)
    assert np.abs(frozen.predicted - frozen.measured).max() > 0.1


def test_what_only_the_last_norm_reads_is_predicted_exactly(run, model, dictionaries):
    circuit = run(targets=(cs.Logit("Austin"), cs.LogitDifference("Austin", "Texas")))
    nodes, last = circuit.nodes, len(circuit.token_ids) - 1
    top = nodes.of_kind(NodeKind.FEATURE, NodeKind.ERROR) & (nodes.layer == 1)
    top &= (nodes.position == last) & (nodes.site == int(cs.Site.MLP_OUT))
    chosen = np.flatnonzero(top).tolist()
    assert len(chosen) >= 3
    found = cs.verify(
        model, circuit, chosen, effect="total", predict="live", dictionaries=dictionaries
    )
    assert len(found.predicted) == 2 * len(chosen)
    np.testing.assert_allclose(found.predicted, found.measured, rtol=2e-3, atol=2e-5)


def test_heads_and_neurons_are_predicted_about_as_they_are_measured(run, model):
    circuit = run(units="neurons", targets=(cs.Logit("Austin"),))
    kinds = (NodeKind.HEAD, NodeKind.NEURON, NodeKind.TOKEN)
    chosen = np.flatnonzero(circuit.nodes.of_kind(*kinds))[::3].tolist()
    found = cs.verify(model, circuit, chosen, effect="total", predict="live")
    frozen = cs.verify(model, circuit, chosen, effect="total")
    assert np.corrcoef(found.predicted, found.measured)[0, 1] > 0.9
    error = np.abs(found.predicted - found.measured).mean()
    assert error < np.abs(frozen.predicted - frozen.measured).mean()


def test_direct_effects_and_scores_are_refused(run, model, dictionaries):
    circuit = run(targets=(cs.AttentionScore(1, 0, 5, 2),), units="neurons")
    with pytest.raises(cs.CircuitScopeError, match="not predicted"):
        cs.verify(model, circuit, [0], predict="live")
    with pytest.raises(cs.CircuitScopeError, match="no logit"):
        cs.verify(model, circuit, [0], effect="total", predict="live")


@pytest.mark.parametrize("name", ["mistral-window", "qwen3-mixed", "gemma2", "gemma3"])
def test_in_every_family_the_last_mlp_is_predicted_exactly(name, tmp_path):
    model = load_model(make_folder(tmp_path / "model", *VARIANTS[name]), device="cpu")
    target = cs.LogitDifference(4, 7)
    circuit = cs.trace(model, IDS, "direct", None, target, None, units="neurons")
    nodes, last = circuit.nodes, len(IDS) - 1
    top = nodes.of_kind(NodeKind.NEURON) & (nodes.layer == 2) & (nodes.position == last)
    chosen = np.flatnonzero(top).tolist()
    found = cs.verify(model, circuit, chosen, effect="total", predict="live")
    assert np.abs(found.measured).max() > 0.1
    np.testing.assert_allclose(found.predicted, found.measured, atol=1e-5)
