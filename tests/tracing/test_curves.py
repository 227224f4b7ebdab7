"""The faithfulness curve ends where `faithfulness` says, and is never clipped."""

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.settings import LogitDifference
from circuitscope.tracing.curves import faithfulness_curve
from circuitscope.tracing.relevance_circuit import discover, faithfulness

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


def test_fewer_points_and_the_circuits_own_prompt(model):
    circuit = discover(model, PROMPTS, METRIC, n_heads=6, prune=False)
    curve = faithfulness_curve(model, circuit, ablation="zero", points=3)
    assert len(curve.x) == 3
    assert "found on" in curve.provenance.remarks[0]


def test_a_circuit_without_heads_is_refused(model, small_circuit):
    with pytest.raises(TraceError, match="no attention heads"):
        faithfulness_curve(model, small_circuit, PROMPTS, metric=METRIC)
