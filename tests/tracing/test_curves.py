"""The faithfulness curve ends where `faithfulness` says, and is never clipped."""

import numpy as np
import pytest
import torch

from circuitscope.core.errors import TraceError
from circuitscope.core.settings import LogitDifference
from circuitscope.tracing.ablating import mean_activations, measure_each
from circuitscope.tracing.curves import faithfulness_curve
from circuitscope.tracing.discovery import read_cases
from circuitscope.tracing.relevance import Reading, whole_logits
from circuitscope.tracing.relevance_circuit import discover, faithfulness, units_of
from circuitscope.tracing.totals import run_totals

PROMPTS = [
    "the capital of the state containing Dallas is",
    "the capital of the state containing Oakland is",
]
METRIC = LogitDifference("Austin", "Sacramento")


@pytest.mark.parametrize("granularity", ["head", "head-position"])
def test_the_curve_ends_at_the_circuits_faithfulness(model, granularity):
    circuit = discover(model, PROMPTS, METRIC, granularity=granularity, n_heads=5)
    curve = faithfulness_curve(model, circuit, PROMPTS)
    faithful, without = curve.curves["faithfulness"], curve.curves["without them"]
    assert curve.x[0] == 0
    assert faithful[0] == pytest.approx(0, abs=1e-5)
    assert without[0] == pytest.approx(1, abs=1e-5)
    assert faithful[-1] == pytest.approx(faithfulness(model, circuit, PROMPTS), abs=1e-5)
    share = curve.x / curve.x[-1]
    scores = curve.provenance.scores
    assert scores["area"] == pytest.approx(np.trapezoid(faithful, share), abs=1e-5)
    assert scores["distance"] == pytest.approx(np.trapezoid(abs(1 - faithful), share), abs=1e-5)
    assert scores["n_prompts"] == 2


@pytest.mark.parametrize(("mlps", "ablation"), [(False, "mean"), (True, "zero")])
def test_copies_side_by_side_equal_one_run_each(model, mlps, ablation):
    circuit = discover(model, PROMPTS, METRIC, n_heads=6, mlps=mlps, prune=False)
    units = units_of(circuit)
    means = mean_activations(model, PROMPTS) if ablation == "mean" else None
    for case in read_cases(model, PROMPTS, METRIC, means, ablation):
        each = [None, (), *(units[:k] for k in range(1, len(units)))]
        alone = [plain_run(model, case, kept, mlps) for kept in each]
        assert len({round(value, 4) for value in alone}) > len(units) // 2
        np.testing.assert_allclose(measure_each(case, each, mlps=mlps), alone, rtol=0, atol=1e-5)


def plain_run(model, case, kept, mlps):
    """Run the prompt once with what is not kept replaced, operation by operation."""
    means = case.means

    def z(layer, held):
        if kept is None:
            return held
        new = torch.zeros_like(held) if means.z is None else means.z[layer].clone()
        for unit in kept:
            if unit.layer == layer and unit.head >= 0:
                new[:, unit.head] = held[:, unit.head]
        return new

    def mlp(layer, out):
        if not mlps or kept is None or any(u.layer == layer and u.head < 0 for u in kept):
            return out
        return torch.zeros_like(out) if means.mlp is None else means.mlp[layer]

    with torch.no_grad():
        totals = run_totals(case.meter.blueprint, case.ids, z, mlp)
        logits = whole_logits(totals, Reading((case.meter.position,), case.meter.tokens))
        return float(case.meter.value(logits[0]))


def test_fewer_points_and_the_circuits_own_prompt(model):
    circuit = discover(model, PROMPTS, METRIC, n_heads=6, prune=False)
    curve = faithfulness_curve(model, circuit, ablation="zero", points=3)
    assert len(curve.x) == 3
    assert "found on" in curve.provenance.remarks[0]


def test_a_circuit_without_heads_is_refused(model, small_circuit):
    with pytest.raises(TraceError, match="no attention heads"):
        faithfulness_curve(model, small_circuit, PROMPTS, metric=METRIC)
