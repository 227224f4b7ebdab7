"""The table of methods: pairs ask for different answers, and scores are beside their own truth."""

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples.method_truth import by_edges, correlations, pairs, table
from circuitscope.tracing.edge_scores import open_task, patched_parts


def test_pairs_ask_for_different_answers() -> None:
    found = pairs(10)
    assert len({prompt for prompt, _, _ in found}) == 10
    for prompt, other, metric in found:
        assert prompt != other
        assert metric.a != metric.b


def test_the_page_in_the_manual_is_what_the_command_writes() -> None:
    rows = {"eap": [(0.9, 0.8, 0.1), (0.7, 0.6, 0.3)]}
    page = table(rows, {"eap": 0.5})
    assert "| `eap` | heads and MLPs | 0.800 | 0.700 | 0.600 | 0.20 | 0.500 |" in page
    shipped = shipped_path("resources", "manual", "ground-truth.md").read_text("utf-8")
    assert shipped.splitlines()[0] == page.splitlines()[0]
    assert "| `path_patching` |" in shipped


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
