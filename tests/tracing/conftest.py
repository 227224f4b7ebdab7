"""Tiny models with random dictionaries of every kind, and a model wired by hand."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from sae_lens_writer import write_set

from circuitscope.core.circuit import Circuit
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.dictionaries.format import DictionarySet, load_dictionaries
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing.method import trace
from tests.tracing import golden_table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if golden_table.WORST:
        terminalreporter.section("agreement with circuit-tracer: worst error by case")
        for line in golden_table.lines():
            terminalreporter.write_line(line)


PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture(scope="session")
def models(tiny_gpt2: Path, tiny_llama: Path) -> dict[str, LoadedModel]:
    """Return the tiny models, loaded."""
    paths = {"gpt2": tiny_gpt2, "llama": tiny_llama}
    return {name: load_model(path, device="cpu") for name, path in paths.items()}


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> LoadedModel:
    """Return each tiny model in turn."""
    return models[request.param]


@pytest.fixture(scope="session")
def dictionaries(tmp_path_factory: pytest.TempPathFactory) -> DictionarySet:
    """Return gated and TopK autoencoders, and JumpReLU and skip transcoders, all random."""
    return load_dictionaries(write_set(tmp_path_factory.mktemp("dictionaries") / "set"))


@pytest.fixture
def run(model: LoadedModel, dictionaries: DictionarySet):
    """Return a function that traces the prompt with changed settings."""

    def trace_with(**settings: object) -> Circuit:
        settings.setdefault("targets", (Logit(), Logit("Austin")))
        settings.setdefault("max_nodes", None)
        return trace(model, TraceSettings(PROMPT, **settings), dictionaries)

    return trace_with


@pytest.fixture(scope="session")
def hand_wired() -> LoadedModel:
    """Return a one-layer Llama that copies from the second token: a known circuit.

    Attention sees all positions alike; its only head copies entry 0 of the stream, which only
    token 3 ("key") sets, to entry 1, which the unembedding of token 5 reads. The MLP is silent.
    """
    import transformers

    from circuitscope.models.families.llama import Llama

    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=4, intermediate_size=4, max_position_embeddings=8,
        tie_word_embeddings=False, attn_implementation="eager",
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.zero_() if parameter.dim() == 2 else parameter.fill_(1.0)
    module.model.embed_tokens.weight[:, 3] = 1.0
    module.model.embed_tokens.weight[3, 0] = 2.0
    attention = module.model.layers[0].self_attn
    attention.v_proj.weight[0, 0] = 1.0
    attention.o_proj.weight[1, 0] = 3.0
    module.lm_head.weight[5, 1] = 1.0
    anatomy = Llama().describe(config.to_dict())
    return LoadedModel(anatomy, module, None, Llama(), torch.device("cpu"), torch.float32)
