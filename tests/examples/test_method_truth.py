"""The page of methods: pairs ask for different answers, and scores are beside their own truth."""

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import method_induction, total_effects
from circuitscope.examples.method_truth import by_edges, correlations, page, pairs, table
from circuitscope.tracing.edge_scores import open_task, patched_parts


def test_pairs_ask_for_different_answers() -> None:
    found = pairs(10) + total_effects.atlas_prompts()
    assert len({prompt for prompt, _, _ in pairs(10)}) == 10
    assert len(found) == 22
    for prompt, other, metric in found:
        assert prompt != other
        assert len(prompt.split()) == len(other.split())
        assert metric.a != metric.b


def test_the_page_in_the_manual_is_what_the_command_writes() -> None:
    rows = {"eap": [(0.9, 0.8, 0.1), (0.7, 0.6, 0.3)]}
    ways = {name: [0.5, 0.4, 0.1, 7.0] for name in ("measured", *total_effects.WAYS)}
    better = dict(ways, live=[0.9, 0.8, 0.1, 7.0])
    auc = dict.fromkeys(method_induction.WAYS, 0.5)
    ranked = [method_induction.Ranked(auc, 5, 22, others) for others in (0, 100)]
    sections = [
        table(rows), total_effects.section([ways, better]), method_induction.section(ranked),
    ]  # fmt: skip
    text = page(sections)
    assert "| `eap` | heads and MLPs | 0.800 | 0.700 | 0.600 | 0.20 |" in text
    live = next(line for line in text.splitlines() if line.startswith("| `live` |"))
    assert "| 0.700 | 0.500 | 0.600 | 1 of 2 |" in live
    shipped = shipped_path("resources", "manual", "ground-truth.md").read_text("utf-8")
    heads = [line for line in text.splitlines() if line.startswith(("#", "Made", "|---"))]
    assert [one for one in shipped.splitlines() if one.startswith(("#", "Made", "|---"))] == heads
    for name in ("path_patching", "live", "eap_ig"):
        assert f"| `{name}` |" in shipped


@pytest.mark.slow
@pytest.mark.parametrize("project", ["atlas", "othello"])
def test_live_predictions_rank_nodes_better_than_eap_ig(project: str) -> None:
    folder = shipped_path("projects", project)
    model = cs.load_model(folder / "model", device="cpu")
    dictionaries = cs.load_dictionaries(folder / "dictionaries")
    if project == "atlas":
        asked = total_effects.atlas_prompts(1, 0)[0]
    else:
        asked = total_effects.othello_prompts(model, 1)[0]
    found = total_effects.compare(model, dictionaries, asked)
    assert found["measured"][3] > 256
    assert found["live"][0] > 0.75
    assert found["live"][0] > found["ap"][0] > found["circuit"][0]
    assert found["live"][0] > found["eap_ig"][0] + 0.05


@pytest.mark.slow
def test_attribution_patching_follows_patching_on_the_bundled_model() -> None:
    model = cs.load_model(shipped_path("projects", "atlas", "model"), device="cpu")
    prompt, other, metric = pairs(1)[0]
    task = open_task(model, prompt, metric, other)
    truth = patched_parts(task).numpy()[1:]
    for name in ("eap", "eap_ig", "path_patching"):
        assert correlations(by_edges(task, name), truth)[1] > 0.6
    random = np.random.default_rng(0).normal(size=len(truth))
    assert abs(correlations(random, truth)[1]) < 0.5
