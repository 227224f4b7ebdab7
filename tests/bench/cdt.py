"""Contextual decomposition beside activation patching: as many source sets as patched forwards.

Model: random, of GPT-2 small's size; 16 tokens; two tokens read at the last position. Baseline: 144
prompts with one head each set to zero, in batches of 48 through the Hugging Face module. Both are
timed in turn, five times; the medians are compared. Threads: two, or OMP_NUM_THREADS.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuitscope.core.progress import silent
from circuitscope.tracing.decomposition import choose_rules
from circuitscope.tracing.injection import Means, Silent, SourceSet
from circuitscope.tracing.relevance import Reading, RelevanceWalk
from circuitscope.tracing.splitting import open_decomposer
from circuitscope.tracing.totals import run_totals
from tests.bench.trace import random_gpt2_small

N_TOKENS, N_BATCH, N_ROUNDS = 16, 48, 5


class _Kept(Silent):
    def __init__(self, n: int) -> None:
        self.scores = torch.zeros(n, 2)

    def logits(self, logits: torch.Tensor, at: Any) -> None:
        self.scores[list(at.numbers)] = logits[:, 0]


def run() -> list[dict[str, Any]]:
    """Measure heads at the last position, at all positions, and every head-position."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = random_gpt2_small()
    ids = np.random.default_rng(0).integers(0, 50_257, N_TOKENS).tolist()
    blueprint = open_decomposer(model, ids).totals.blueprint
    reading = Reading((N_TOKENS - 1,), torch.tensor([7, 11]))
    heads = [(layer, head) for layer in range(12) for head in range(12)]
    last = N_TOKENS - 1
    every = range(N_TOKENS)
    sweeps = {
        "heads at the last position": [SourceSet(z=((n, last, h),)) for n, h in heads],
        "heads at all positions": [SourceSet(z=tuple((n, p, h) for p in every)) for n, h in heads],
        "every head-position": [SourceSet(z=((n, p, h),)) for n, h in heads for p in every],
    }

    def decompose(sets: list[SourceSet]) -> torch.Tensor:
        with torch.no_grad():
            totals = run_totals(blueprint, torch.tensor(ids))
            kept = _Kept(len(sets))
            rules = choose_rules(blueprint, "relrel")
            RelevanceWalk(totals, rules, reading).run(sets, Means(), kept, silent())
        return kept.scores

    def patch() -> None:
        _patched(model.module, ids, heads)

    patch()
    found = []
    for name, sets in sweeps.items():
        assert torch.isfinite(decompose(sets)).all()
        ours, theirs = _interleaved(lambda sets=sets: decompose(sets), patch)
        found.append({
            "name": f"cdt: {name} ({len(sets)})", "value": ours, "unit": "s", "baseline": theirs,
            "ratio": ours / theirs,
        })  # fmt: skip
        extra = _peak(lambda sets=sets: decompose(sets))
        found.append({
            "name": f"cdt: {name}, memory above weights", "value": extra, "unit": "GB",
            "baseline": 0.5, "ratio": extra / 0.5,
        })  # fmt: skip
    return found


def _patched(module: torch.nn.Module, ids: list[int], heads: list[tuple[int, int]]) -> None:
    """Run one forward pass per head with its z set to zero, in batches; logits are computed."""
    blocks: Any = module.transformer.h  # type: ignore[union-attr]
    with torch.no_grad():
        for first in range(0, len(heads), N_BATCH):
            group = heads[first : first + N_BATCH]
            handles = [blocks[n].attn.c_proj.register_forward_pre_hook(_zeroing(group, n))
                       for n in {layer for layer, _ in group}]  # fmt: skip
            try:
                module(torch.tensor(ids).expand(len(group), -1), use_cache=False)
            finally:
                for handle in handles:
                    handle.remove()


def _zeroing(group: list[tuple[int, int]], layer: int) -> Callable[..., Any]:
    rows = [(row, head) for row, (at, head) in enumerate(group) if at == layer]

    def zero(_: Any, args: tuple) -> tuple:
        z = args[0].clone()
        for row, head in rows:
            z[row, :, 64 * head : 64 * head + 64] = 0
        return (z, *args[1:])

    return zero


def _interleaved(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    seconds: list[list[float]] = [[], []]
    for _ in range(N_ROUNDS):
        for times, work in zip(seconds, (ours, theirs), strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    a, b = (float(np.median(times)) for times in seconds)
    return a, b


def _peak(work: Callable[[], Any]) -> float:
    """Return how far resident memory rises while work runs, in GB."""
    held = [_resident()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            held.append(_resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        stop.set()
        watcher.join()
    return (max(held) - held[0]) / 1e9


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
