"""Every registered method: rows conserve, settings give the same bytes, cancel is clean."""

import numpy as np
import pytest

from circuitscope.core.circuit import Route
from circuitscope.core.errors import Cancelled
from circuitscope.core.registry import Registry
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing.method import METHODS, Method, trace

NAMES = sorted(Registry[Method](METHODS).all())


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request, tiny_gpt2, tiny_llama) -> LoadedModel:
    return load_model({"gpt2": tiny_gpt2, "llama": tiny_llama}[request.param], device="cpu")


def settings(name: str) -> TraceSettings:
    return TraceSettings((1, 3, 4, 5, 6), method=name, targets=(Logit(10),), units="neurons")


@pytest.mark.parametrize("name", NAMES)
def test_expanded_rows_conserve_and_bytes_repeat(name, model):
    circuit = trace(model, settings(name))
    # Relevances are effects along all paths: no row of theirs is said to add up.
    relevances = circuit.edges.route == Route.RELEVANCE
    assert circuit.expanded.any() != relevances.any()
    assert relevances.all() or not relevances.any()
    assert circuit.conservation.max() <= 1e-4
    n = len(circuit.nodes)
    total = np.bincount(circuit.edges.target, circuit.edges.weight, minlength=n)
    miss = np.abs(circuit.preactivation - total - circuit.unexplained)[circuit.expanded]
    size = np.bincount(circuit.edges.target, np.abs(circuit.edges.weight), minlength=n)
    size = size[circuit.expanded] + np.abs(circuit.unexplained[circuit.expanded])
    assert (miss <= 1e-4 * size).all()
    assert trace(model, settings(name)).digest == circuit.digest
    assert circuit.provenance.method == name


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_leaves_no_hook(name, model):
    class Stop:
        def phase(self, name: str, total: int = 0) -> None: ...
        def partial(self, result: object) -> None: ...
        def note(self, text: str) -> None: ...

        def advance(self, steps: int = 1) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        trace(model, settings(name), progress=Stop())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


@pytest.mark.parametrize("name", NAMES)
def test_methods_say_what_they_are(name):
    method = Registry[Method](METHODS).get(name)
    assert method is not None
    assert method.title
    assert issubclass(method.settings_type, TraceSettings)
