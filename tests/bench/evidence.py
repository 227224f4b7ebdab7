"""Tests, sweeps and curves on the bundled model; the sweep's baseline is one forward a cell."""

import time
from typing import Any

import numpy as np
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.settings import Logit, LogitDifference, TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.examples.atlas_words import CITIES
from circuitscope.models.capture import capture
from circuitscope.models.hooks import Hooks
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.places import change_rows
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.badges import badges
from circuitscope.tracing.curves import faithfulness_curve
from circuitscope.tracing.method import trace
from circuitscope.tracing.patching import patching_grid

CLEAN = "the capital of the state containing Dallas is"
CORRUPTED = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")
ROUNDS = 5


@torch.no_grad()
def one_by_one(model: LoadedModel) -> np.ndarray:
    """Sweep the residual stream with one whole forward pass a cell."""
    held, ids = capture(model, model.prompt(CLEAN).token_ids), model.prompt(CORRUPTED).token_ids
    columns = [model.find_token(word) for word in (METRIC.a, METRIC.b)]
    values = np.zeros((model.anatomy.n_layers, len(ids)))
    for layer, at in np.ndindex(*values.shape):
        clean = held.site(Site.RESID_PRE, layer)[at]
        with Hooks(model) as hooks:
            change_rows(
                model, hooks, (Site.RESID_PRE, layer),
                lambda rows, at=at, clean=clean: rows[:, at].copy_(clean),
            )  # fmt: skip
            logits = hooks.forward([list(ids)])[0, -1, columns]
        values[layer, at] = float(logits[0] - logits[1])
    return values


def curve_seconds(model: LoadedModel) -> float:
    """Return how long a faithfulness curve of 50 points over 100 prompts takes."""
    cities = [city for cities in CITIES.values() for city in cities]
    prompts = [CLEAN.replace("Dallas", city) for city in (cities * 100)[:100]]
    circuit = trace(model, TraceSettings(CLEAN, targets=(METRIC,), units="neurons"))
    start = time.perf_counter()
    curve = faithfulness_curve(model, circuit, prompts, points=50)
    assert len(curve.x) == 50, "the curve has another number of points"
    return time.perf_counter() - start


def run() -> list[dict[str, Any]]:
    """Measure both, interleaved."""
    folder = shipped_path("projects", "atlas")
    model = load_model(folder / "model", "cpu")
    opened = load_dictionaries(folder / "dictionaries")
    settings = TraceSettings(CLEAN, targets=(Logit("Austin"),), mlp="transcoder")
    circuit = trace(model, settings, opened)
    node = badges(model, circuit, dictionaries=opened, draws=100)[0].subject[0]
    tests, sweeps, singles = [], [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        badges(model, circuit, [node], dictionaries=opened, draws=100)
        tests.append(time.perf_counter() - start)
        start = time.perf_counter()
        grid = patching_grid(model, CLEAN, CORRUPTED, METRIC)
        sweeps.append(time.perf_counter() - start)
        start = time.perf_counter()
        with fitting_threads(model.anatomy):
            values = one_by_one(model)
        singles.append(time.perf_counter() - start)
    scores = grid.provenance.scores
    expected = (values - scores["corrupted"]) / (scores["clean"] - scores["corrupted"])
    assert np.abs(grid.values - expected).max() < 1e-3, "the sweep and single runs differ"
    curve = curve_seconds(model)
    sweep, single = float(np.median(sweeps)), float(np.median(singles))
    return [
        {"name": "test of one node, 100 controls, atlas", "value": float(np.median(tests)),
         "unit": "s", "baseline": 0.2, "ratio": float(np.median(tests)) / 0.2},
        {"name": "patching sweep, 4 layers by 9 positions, atlas", "value": sweep, "unit": "s",
         "baseline": single, "ratio": sweep / single},
        {"name": "faithfulness curve, 50 points, 100 prompts, atlas", "value": curve,
         "unit": "s", "baseline": 60.0, "ratio": curve / 60.0},
    ]  # fmt: skip
