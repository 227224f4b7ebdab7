"""The opening circuit of the bundled example: real training, real dictionaries."""

import numpy as np
import pytest

from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import verify

ATLAS = shipped_path("projects", "atlas")
PROMPT = "the capital of the state containing Dallas is"


@pytest.mark.parametrize("mlp", ["secant", "transcoder"])
def test_dallas_is_explained_and_measured(mlp):
    model = load_model(ATLAS / "model", device="cpu")
    dictionaries = load_dictionaries(ATLAS / "dictionaries")
    settings = TraceSettings(PROMPT, targets=(Logit(),), mlp=mlp)
    circuit = trace(model, settings, dictionaries)
    assert circuit.labels[circuit.roots[0]] == "Austin"
    assert circuit.provenance.scores["error_share"] <= 0.25
    assert circuit.conservation.max() <= 1e-5
    found = verify(model, circuit, dictionaries=dictionaries)
    assert len(set(found.sources)) == 20
    into_roots = np.isin(found.targets, circuit.roots)
    np.testing.assert_allclose(found.measured[into_roots], found.predicted[into_roots], rtol=1e-4)
    assert found.worst < 1e-2
