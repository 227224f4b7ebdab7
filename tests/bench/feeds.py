"""What feeds this node: one more row, on the bundled models and on one of GPT-2 small's size.

Asked of a run that is open, a row is all the work there is; asked afresh, the forward pass and the
features come first. Both are medians over nodes chosen at random, on two threads.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from circuitscope.core.progress import silent
from circuitscope.core.settings import TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.tracing.run import open_run
from tests.bench.attribution_large import BUDGET, N_TOKENS, prepared
from tests.bench.trace import PROMPT, random_gpt2_small

N_NODES, N_AFRESH = 25, 5


def _measure(
    name: str,
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    settings: TraceSettings,
    limit: float,
) -> list[dict[str, Any]]:
    """Measure one case; the baseline is what a user should wait at most, in ms."""
    rng = np.random.default_rng(1)
    run = open_run(model, dictionaries, settings, silent())
    chosen = rng.integers(0, len(run.explained), N_NODES)
    run.walk.rows(chosen[:1])  # folds and gathers what every later row shares
    rows, afresh = [], []
    for row in chosen:
        start = time.perf_counter()
        run.walk.rows(np.array([row]))
        rows.append(time.perf_counter() - start)
    for row in chosen[:N_AFRESH]:
        start = time.perf_counter()
        open_run(model, dictionaries, settings, silent()).walk.rows(np.array([row]))
        afresh.append(time.perf_counter() - start)
    found = []
    for what, seconds in (("", rows), (", afresh", afresh)):
        value = float(np.median(seconds)) * 1e3
        full = f"what feeds a node: {name}{what}"
        found.append({"name": full, "value": value, "unit": "ms", "baseline": limit,
                      "ratio": value / limit})  # fmt: skip
    return found


def run() -> list[dict[str, Any]]:
    """Measure every bundled model by the methods that it can be traced with, then the large one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for name, prompt in (("atlas", PROMPT), ("othello", "F5 D6 C3 D3 C4 F4 E3 F3 E6 C5")):
            folder = shipped_path("projects", name)
            model = load_model(folder / "model", device="cpu")
            opened = load_dictionaries(folder / "dictionaries")
            for method in ("direct", "attribution"):
                settings = TraceSettings(prompt, method=method, max_nodes=None)
                found += _measure(f"{name}, {method}", model, opened, settings, 50.0)
        model = random_gpt2_small()
        dictionaries, settings = prepared(model, N_TOKENS, BUDGET)
        return found + _measure("GPT-2 small size", model, dictionaries, settings, 500.0)
    finally:
        torch.set_num_threads(before)
