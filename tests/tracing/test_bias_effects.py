"""Constants can be switched off too, and change their targets by their edges."""

import numpy as np
import pytest
import torch
import transformers

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import BiasUnit, NodeKind
from circuitscope.core.settings import Direction, Logit, LogitDifference, TraceSettings
from circuitscope.models.families.llama import Llama
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import Verification, verify

TARGETS = (Logit("Austin"), LogitDifference("Austin", "Texas"), Direction((1.0,) * 16, "ones"))


def check(circuit: Circuit, found: Verification, biases: np.ndarray) -> set[BiasUnit]:
    """Compare every edge of the biases; return which kinds of constants there were."""
    assert len(found.edges) == np.isin(circuit.edges.source, biases).sum()
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert (np.abs(found.measured - found.predicted) / size).max() < 1e-6
    return {BiasUnit(int(unit)) for unit in circuit.nodes.unit[biases]}


@pytest.mark.parametrize(
    "how",
    [
        {}, {"mlp": "transcoder"}, {"units": "neurons"}, {"gated": "gradient"},
        {"units": "neurons", "gated": "gradient"},
    ],
    ids=str,
)  # fmt: skip
def test_every_edge_of_a_constant_is_measured(run, model, dictionaries, how):
    circuit = run(targets=TARGETS, **how)
    biases = np.flatnonzero(circuit.nodes.of_kind(NodeKind.BIAS))
    if not len(biases):
        assert model.anatomy.norm == "rms"
        return
    found = verify(model, circuit, biases.tolist(), dictionaries=dictionaries)
    kinds = check(circuit, found, biases)
    if model.anatomy.norm == "layer":
        assert {BiasUnit.MODULE, BiasUnit.NORM} <= kinds


@pytest.fixture(scope="module")
def with_biases() -> LoadedModel:
    """Return a random Llama whose attention, MLPs and unembedding have biases."""
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=32, attention_bias=True, mlp_bias=True,
        attn_implementation="eager", max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3 + float("norm" in name))
    anatomy = Llama().describe({**config.to_dict(), "architectures": ["LlamaForCausalLM"]})
    return LoadedModel(anatomy, module, None, Llama(), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("gated", ["half", "through_u", "gradient"])
@pytest.mark.parametrize("how", [{}, {"mlp": "transcoder"}, {"units": "neurons"}], ids=str)
def test_gated_models_with_biases_conserve_and_verify(with_biases, dictionaries, gated, how):
    settings = TraceSettings((1, 5, 6, 7), max_nodes=None, gated=gated, **how)
    circuit = trace(with_biases, settings, dictionaries)
    assert circuit.conservation.max() < 2e-6
    biases = np.flatnonzero(circuit.nodes.of_kind(NodeKind.BIAS))
    found = verify(with_biases, circuit, biases.tolist(), dictionaries=dictionaries)
    assert BiasUnit.MODULE in check(circuit, found, biases)


def test_constants_have_no_total_effect_to_measure(run, model, dictionaries):
    circuit = run(max_nodes=10)
    bias = int(np.flatnonzero(circuit.nodes.of_kind(NodeKind.BIAS))[0])
    with pytest.raises(TraceError, match="with everything recomputed"):
        verify(model, circuit, [bias], effect="total", dictionaries=dictionaries)
