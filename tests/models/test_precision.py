"""Weights in half precision: everything is read in float32, and nothing of the model stays so."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from circuitscope.core.errors import TraceError
from circuitscope.core.model_check import SelfCheck
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.core.sources import Head
from circuitscope.models.capture import capture
from circuitscope.models.hooks import Hooks
from circuitscope.models.lens import lens
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.self_check import self_check
from circuitscope.models.table import Table
from circuitscope.models.upcast import in_float32, upcasting
from circuitscope.tracing.badges import badges
from circuitscope.tracing.method import trace
from circuitscope.tracing.relevance_circuit import discover
from circuitscope.tracing.splitting import decompose
from circuitscope.tracing.verify import verify

IDS = [1, 5, 9, 3, 7, 2]
NEURONS = TraceSettings(tuple(IDS), units="neurons", max_nodes=40)


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest, tiny_llama: Path) -> LoadedModel:
    return load_model(tiny_llama, "cpu", request.param)


@pytest.fixture(scope="module")
def same(half: LoadedModel, tiny_llama: Path) -> LoadedModel:
    """Return a float32 model of the very same, rounded, weights."""
    whole = load_model(tiny_llama, "cpu")
    rounded = {name: t.to(half.held).float() for name, t in whole.module.state_dict().items()}
    whole.module.load_state_dict(rounded)
    return whole


def test_what_is_captured_is_the_float32_run_of_the_same_weights(
    half: LoadedModel, same: LoadedModel
) -> None:
    ours, wanted = capture(half, IDS), capture(same, IDS)
    assert torch.equal(ours.logits, wanted.logits)
    assert all(torch.equal(ours.resid[key], wanted.resid[key]) for key in wanted.resid)
    with Hooks(half) as hooks:
        own = hooks.forward([IDS])[0]
    assert own.dtype == half.held, "the model itself still runs in its own precision"
    assert not torch.equal(own.float(), wanted.logits)
    assert {p.dtype for p in half.module.parameters()} == {half.held}
    assert half.check is not None
    assert half.check.passed


def test_a_trace_is_the_trace_of_the_same_weights(half: LoadedModel, same: LoadedModel) -> None:
    ours, wanted = trace(half, NEURONS), trace(same, NEURONS)
    assert ours.nodes.kind.tolist() == wanted.nodes.kind.tolist()
    assert abs(ours.edges.weight - wanted.edges.weight).max() < 1e-6
    assert ours.conservation.max() <= 1e-4
    assert ours.provenance.dtype == "float32"
    assert ours.provenance.model["held_in"] == str(half.held).removeprefix("torch.")
    assert ours.provenance.model["self_check"]["passed"]
    checked = verify(half, ours)
    assert checked.worst < 1e-3


def test_badges_measure_what_they_measure_in_the_same_weights(
    half: LoadedModel, same: LoadedModel
) -> None:
    circuit = trace(same, NEURONS)
    ours, wanted = (badges(m, circuit, draws=100) for m in (half, same))
    assert ours == wanted


def test_decomposition_discovery_and_lens_too(half: LoadedModel, same: LoadedModel) -> None:
    heads = [[Head(0, 1)], [Head(1, 0)]]
    ours, wanted = decompose(half, IDS, heads), decompose(same, IDS, heads)
    assert abs(ours.relevant - wanted.relevant).max() < 1e-6
    found = discover(half, [IDS], Logit(4), n_heads=2, ablation="zero")
    assert found.provenance.dtype == "float32"
    assert abs(lens(half, IDS).values - lens(same, IDS).values).max() < 1e-6


def test_another_answer_in_float32_is_said(half: LoadedModel) -> None:
    torn = load_model(half.path, "cpu", str(half.held).removeprefix("torch."))
    weight, source = torn.module.lm_head.weight, torch.Generator().manual_seed(0)
    row = weight[3].clone()

    def tops() -> tuple[int, int]:
        with Hooks(torn) as hooks, torch.no_grad():
            own = hooks.forward([IDS])[0, -1]
        return int(capture(torn, IDS).logits[-1].argmax()), int(own.argmax())

    for _ in range(100):  # logits so near each other that rounding decides
        noise = torch.randn(weight.shape, generator=source).to(row)
        with torch.no_grad():
            weight.copy_(row + 4 * torch.finfo(row.dtype).eps * row.abs().max() * noise)
        first, second = tops()
        circuit = trace(torn, replace(NEURONS, max_nodes=5, targets=(Logit(3),)))
        said = [text for text in circuit.provenance.remarks if "are held" in text]
        assert bool(said) == (first != second)
        if said:
            assert torn.token_text(second).strip() in said[0]
            assert torn.token_text(first).strip() in said[0].partition("float32")[2]
            return
    pytest.fail("no weights were found for which rounding decides")


def test_upcasting_leaves_the_module_alone_also_after_an_error(half: LoadedModel) -> None:
    before = {name: id(p) for name, p in half.module.named_parameters()}
    pads = [m.padding_idx for m in half.module.modules() if isinstance(m, torch.nn.Embedding)]
    with pytest.raises(RuntimeError), upcasting(in_float32(half)):
        half.module.lm_head(torch.zeros(1, 3))
    capture(half, IDS)
    assert {name: id(p) for name, p in half.module.named_parameters()} == before
    assert pads == [
        m.padding_idx for m in half.module.modules() if isinstance(m, torch.nn.Embedding)
    ]


def test_float32_models_are_read_as_they_are(llama: LoadedModel) -> None:
    assert in_float32(llama) is llama


def test_a_model_that_is_not_read_right_is_refused_with_the_numbers(llama: LoadedModel) -> None:
    check = SelfCheck(2e-6, 1e-7, 3e-2, 1e-6, 0.5)
    with pytest.raises(TraceError, match=r"the residual stream by 0\.03") as caught:
        trace(replace(llama, check=check), NEURONS)
    assert "what the MLPs write by 0.5" in caught.value.message
    with pytest.raises(TraceError, match="residual stream"):
        decompose(replace(llama, check=check), IDS, [Head(0, 1)])


def test_a_wrong_family_is_found_out_when_the_model_is_loaded(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Table, "norm", _without_gain(Table.norm))
    misread = load_model(llama.path, "cpu")
    assert misread.check is not None
    assert not misread.check.passed
    assert misread.check.logits > 1e-2
    with pytest.raises(TraceError, match="is not read right"):
        trace(misread, NEURONS)
    assert misread.run(IDS).logits.shape[0] == len(IDS), "it still runs"


def _without_gain(norm):
    def changed(self, model, site, layer):
        found = norm(self, model, site, layer)
        return replace(found, weight=torch.ones_like(found.weight))

    return changed


def test_weights_of_gpt2_are_centred_and_folded_a_layer_at_a_time(tiny_gpt2: Path) -> None:
    half, whole = load_model(tiny_gpt2, "cpu", "bfloat16"), load_model(tiny_gpt2, "cpu")
    rounded = {name: t.bfloat16().float() for name, t in whole.module.state_dict().items()}
    whole.module.load_state_dict(rounded)
    for weights in ("centred", "folded"):
        ours = decompose(half, IDS, [Head(0, 1)], weights=weights)
        wanted = decompose(whole, IDS, [Head(0, 1)], weights=weights)
        assert abs(ours.relevant - wanted.relevant).max() < 1e-6


def test_a_check_is_stored_and_read_back(llama: LoadedModel) -> None:
    check = self_check(llama)
    assert SelfCheck.from_json(check.as_json()) == check
    failed = SelfCheck(reason="no such nonlinearity")
    assert failed.as_json()["logits"] is None
    assert not failed.passed
    assert "no such nonlinearity" in failed.words
    assert math.isnan(SelfCheck(1e-6, math.nan, 1e-6, 1e-6, 1e-6).worst)
