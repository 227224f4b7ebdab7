"""What a trace will need is said before it begins, and is near what it turns out to need."""

import re
from pathlib import Path

import pytest
import torch

from circuitscope.core.errors import OutOfMemory
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing import duration, memory
from circuitscope.tracing.memory import estimate, estimate_for
from circuitscope.tracing.method import trace
from circuitscope.tracing.plan import used_cards

PROMPT = "the capital of state containing Dallas is"
ATLAS = Path("projects/atlas")


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> LoadedModel:
    return load_model(tiny_llama, "cpu")


def rows(n_sources: float) -> float:
    """The table, the part that is kept, and edges a quarter of which are there, 40 bytes each."""
    return n_sources**2 * (4 + 4 + 40 / 4)


def test_rows_are_counted_as_they_turn_out(model: LoadedModel) -> None:
    settings = TraceSettings(PROMPT, max_nodes=None)
    circuit = trace(model, settings)
    needed = estimate(model.anatomy, (), settings, len(circuit.token_ids))
    assert 0.95 * rows(len(circuit.nodes)) <= needed.rows <= 1.3 * rows(len(circuit.nodes))
    assert needed.dictionaries == needed.weights == 0


def test_features_are_guessed_from_what_the_dictionaries_state() -> None:
    model = load_model(ATLAS / "model", "cpu")
    dictionaries = load_dictionaries(ATLAS / "dictionaries")
    settings = TraceSettings("the capital of the state containing Dallas is", max_nodes=None)
    n_pos = len(model.prompt(settings.prompt).token_ids)
    used = used_cards(dictionaries.cards, settings)
    before = estimate(model.anatomy, used, settings, n_pos)
    here = estimate_for(model, dictionaries, settings, n_pos)
    assert here.dictionaries == 0, "on the CPU they stay in their files"
    assert here.rows == before.rows
    circuit = trace(model, settings, dictionaries)
    actual = rows(len(circuit.nodes))
    assert actual / 10 <= before.rows <= 40 * actual
    stored = sum(
        weight.numel() * weight.element_size()
        for card in used
        for weight in (dictionaries[card.name].weights.W_enc, dictionaries[card.name].weights.W_dec)
    )
    assert stored <= before.dictionaries <= 1.1 * stored


def test_a_layer_is_upcast_where_the_model_is_held_in_less(model: LoadedModel) -> None:
    needed = estimate(model.anatomy, (), TraceSettings(PROMPT), 8, dtype="bfloat16")
    layer = (
        model.family.attention_weights(model.module, 0),
        model.family.mlp_weights(model.module, 0),
    )
    sizes = [getattr(part, name) for part in layer for name in part.__slots__]
    actual = sum(4 * size.numel() for size in sizes if isinstance(size, torch.Tensor))
    assert needed.weights == actual


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.9, r"Set a smaller node budget: [\d,]+ nodes would fit"), (1e-9, "horten the prompt")],
)
def test_a_trace_that_does_not_fit_is_refused_before_its_work(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, share: float, said: str
) -> None:
    settings = TraceSettings(PROMPT, max_nodes=4000 if share > 0.1 else 16)
    needed = estimate(model.anatomy, (), settings, 8)
    monkeypatch.setattr(memory, "available_memory", lambda device: int(share * needed.total))
    with pytest.raises(OutOfMemory, match=r"needs about .* GB on cpu") as caught:
        trace(model, settings)
    assert caught.value.kept == "Nothing has been changed."
    assert re.search(said, caught.value.hint), caught.value.hint


def test_the_budget_that_is_named_fits(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TraceSettings(PROMPT, max_nodes=400)
    needed = estimate(model.anatomy, (), settings, 8)
    monkeypatch.setattr(memory, "available_memory", lambda device: int(0.7 * needed.total))
    with pytest.raises(OutOfMemory) as caught:
        trace(model, settings)
    budget = int(caught.value.hint.split(":")[1].split()[0].replace(",", ""))
    assert trace(model, TraceSettings(PROMPT, max_nodes=budget)).conservation.max() < 1e-4


@pytest.mark.parametrize("method", ["direct", "attribution"])
def test_time_grows_with_tokens_and_budget(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(duration, "_rate", lambda *_: 1e9)  # the same at every call

    def seconds(n_pos: int, max_nodes: int | None) -> float:
        settings = TraceSettings(PROMPT, method=method, max_nodes=max_nodes)
        return duration.estimate_seconds(model, (), settings, n_pos)

    assert 0 < seconds(8, 10) < seconds(8, 40) < seconds(16, 40) < seconds(16, None)


def test_time_of_other_methods_is_not_guessed(model: LoadedModel) -> None:
    assert duration.estimate_seconds(model, (), TraceSettings(PROMPT, method="contextual"), 8) == 0
