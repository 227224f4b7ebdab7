"""The MIB circuit protocol: its edges, its areas, and what is kept, on real models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples.method_pairs import pairs
from circuitscope.models.loading import LoadedModel
from circuitscope.session.prompt_pairs import read_pairs
from circuitscope.tracing.edge_scores import eap, eap_ig, open_task, patched
from circuitscope.tracing.mib import SHARES
from circuitscope.tracing.parts import WAYS, PartList

PROMPT = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = cs.LogitDifference("Austin", "Sacramento")


@pytest.fixture(scope="module")
def atlas() -> LoadedModel:
    return cs.load_model(shipped_path("projects", "atlas", "model"), device="cpu")


def test_gpt2_small_has_the_edges_of_the_benchmark() -> None:
    assert int(PartList(12, 12).ways().sum()) == 32_491


def test_scores_of_three_ways_add_up_to_those_of_one_read(model: LoadedModel) -> None:
    task = open_task(model, PROMPT, METRIC, OTHER)
    for method in (eap, eap_ig):
        apart, joined = method(task, apart=True), method(task)
        assert apart.shape == (WAYS, *joined.shape)
        torch.testing.assert_close(apart.sum(0), joined, atol=1e-5, rtol=1e-4)
        assert not apart[1:, task.parts.logits].any()


def test_one_way_alone_can_carry_another_run(model: LoadedModel) -> None:
    task = open_task(model, PROMPT, METRIC, OTHER)
    head = task.parts.writer(1, 2) - 1
    every = torch.ones(WAYS, task.parts.n_readers, *task.own.shape[:2])
    single = []
    for way in range(WAYS):
        one = every.clone()
        one[way, head, 0] = 0
        single.append(one)
    together = every.clone()
    together[:, head, 0] = 0
    values = task.values([every, *single, together])
    assert values[0] == pytest.approx(task.whole, abs=1e-5)
    lost = task.whole - values[-1]
    assert lost == pytest.approx(patched(task, [(head, 0, -1)])[0], abs=1e-5)
    assert len({round(value, 7) for value in values[1:]}) > 1


def test_the_protocol_ranks_methods_above_chance(atlas: LoadedModel) -> None:
    made = [cs.PromptPair(prompt, other, metric) for prompt, other, metric in pairs(4)]
    found = {one.method: one for one in cs.bench_mib(atlas, made[:2], made[2:])}
    assert list(found) == ["eap", "eap_ig", "random"]
    for one in found.values():
        assert (one.n_edges, one.n_train, one.n_test) == (1519, 2, 2)
        assert one.by_score[-1] == pytest.approx(1, abs=1e-4)
        assert one.by_size[-1] == pytest.approx(1, abs=1e-4)
        assert one.kept_by_score[-1] == 1519
        sizes = np.array(one.kept_by_score)
        assert (np.diff(sizes) >= 0).all()
        assert (sizes <= np.array(SHARES) * 1519).all()
        assert one.cpr == pytest.approx(np.trapezoid(one.by_score, SHARES))
        assert one.cmd == pytest.approx(np.trapezoid(np.abs(1 - np.array(one.by_size)), SHARES))
    assert found["eap_ig"].cpr > found["random"].cpr + 0.1
    assert found["eap_ig"].cmd < found["random"].cmd - 0.1
    again = cs.bench_mib(atlas, made[:2], made[2:], ["random"])
    assert again[0] == found["random"]


def test_pairs_of_different_lengths_are_averaged(model: LoadedModel) -> None:
    made = [
        cs.PromptPair(PROMPT, OTHER, METRIC),
        cs.PromptPair("the capital of Texas is", "the capital of the is", METRIC),
    ]
    (one,) = cs.bench_mib(model, made, methods=["eap"])
    assert one.by_score[-1] == pytest.approx(1, abs=1e-3)


def test_what_is_missing_is_said(model: LoadedModel) -> None:
    for pair, word in (
        (cs.PromptPair(PROMPT, None, METRIC), "corrupted"),
        (cs.PromptPair(PROMPT, OTHER), "answer"),
    ):
        with pytest.raises(cs.CircuitScopeError, match=word):
            cs.bench_mib(model, [pair])
    with pytest.raises(cs.CircuitScopeError, match="no method"):
        cs.bench_mib(model, [cs.PromptPair(PROMPT, OTHER, METRIC)], methods=["acdc"])
    with pytest.raises(cs.CircuitScopeError, match="every edge replaced"):
        cs.bench_mib(model, [cs.PromptPair(PROMPT, PROMPT, METRIC)])


def test_rows_of_the_benchmarks_data_are_read(tmp_path: Path) -> None:
    ioi = {
        "prompt": "When Mary and John went out, John gave it to", "choices": ["Mary", "John"],
        "answerKey": 0, "metadata": {},
        "abc_counterfactual": {"prompt": "a", "choices": ["Ann", "Bob"], "answerKey": 1},
        "io_counterfactual": {"prompt": "b", "choices": ["Ann", "Bob"], "answerKey": 0},
    }  # fmt: skip
    arc = {
        "prompt": "Question: ...\nAnswer: ",
        "choices": {"label": ["A", "B"], "text": ["wood", "iron"]}, "answerKey": "B",
        "symbol_counterfactual": {
            "prompt": "c", "choices": {"label": ["X", "Y"], "text": ["wood", "iron"]},
            "answerKey": 1,
        },
    }  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ioi) + "\n" + json.dumps(arc) + "\n")
    first, second = read_pairs(file)
    assert (first.corrupted, first.metric) == ("a", cs.LogitDifference(" Mary", " Bob"))
    assert (second.corrupted, second.metric) == ("c", cs.LogitDifference("B", "Y"))
    file.write_text(json.dumps(ioi))
    assert read_pairs(file, "io_counterfactual")[0].corrupted == "b"
    with pytest.raises(cs.CircuitScopeError, match="no answer of nothing"):
        read_pairs(file, "nothing")
