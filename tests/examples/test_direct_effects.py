"""Predicted and measured direct effects of the bundled models agree: the arithmetic of a trace."""

import numpy as np
import pytest

from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, LogitDifference, TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import verify

ATLAS = "the capital of the state containing Dallas is"
GAME = (20, 28, 19, 18, 27, 35, 13, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "prompt", "options"),
    [
        ("atlas", ATLAS, {"targets": (Logit("Austin"),)}),
        ("atlas", ATLAS, {"targets": (LogitDifference("Austin", "Texas"),), "mlp": "transcoder"}),
        ("atlas", ATLAS, {"targets": (Logit("Austin"),), "units": "neurons"}),
        ("atlas", ATLAS, {"method": "attribution", "mlp": "transcoder"}),
        ("othello", GAME, {"targets": (Logit(),)}),
    ],
    ids=["secant", "transcoder", "neurons", "attribution", "othello"],
)
def test_predicted_and_measured_direct_effects_agree(example, prompt, options):
    folder = shipped_path("projects", example)
    model = load_model(folder / "model", "cpu")
    dictionaries = load_dictionaries(folder / "dictionaries")
    circuit = trace(model, TraceSettings(prompt, max_nodes=400, **options), dictionaries)
    able = ~circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source]
    edges = np.random.default_rng(0).permutation(np.flatnonzero(able))[:250]
    found = verify(model, circuit, edges=edges, dictionaries=dictionaries)
    assert len(found.edges) >= 200
    assert np.ptp(found.predicted) > 0
    assert np.corrcoef(found.predicted, found.measured)[0, 1] >= 0.999
    # Weak edges too: the size of what differs stays far below the typical edge.
    gap = np.abs(found.predicted - found.measured)
    assert np.median(gap) < 1e-3 * np.median(np.abs(found.predicted))
