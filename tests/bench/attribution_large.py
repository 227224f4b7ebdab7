"""Attribution graphs at GPT-2 small's size, beside the public reference's way of computing them.

Work: a random model of 12 layers, d_model 768 and 50 257 tokens; random transcoders of 6 144
features of which about 30 are active per layer and position; 32 tokens; a budget of 1 024 nodes.

The baseline does what circuit-tracer does: the frozen graph is run with the prompt expanded to the
batch, rows are injected as directions at what their features read, autograd walks back, and the
gradients are gathered at the positions of the active features before they meet the decoders. It is
timed on some of the rows that the trace computed, whose numbers must agree, and scaled to all;
making the graph counts once.

The arithmetic limit is the number of operations that exact rows need at least: through attention
below the row's own layer and up to its own position, and one product for each entry; divided by
the rate of plain products of the walk's own shape with the model's own matrices.
"""

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.models.capture import capture
from circuitscope.models.folded import fold_attention
from circuitscope.models.freezing import frozen_run
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.expansion import Budget, Rows, expand_strongest
from circuitscope.tracing.methods.attribution import rows_between_rankings
from circuitscope.tracing.plan import fitted
from circuitscope.tracing.run import Run, open_run
from circuitscope.tracing.sources import mlp_stage
from tests.bench.trace import random_gpt2_small

N_TOKENS, N_FEATURES, N_ACTIVE, BUDGET, BATCH, N_LAYERS = 32, 6144, 30, 1024, 128, 12
GROWTH = ((64, 1024), (128, 1024), (256, 1024), (64, 4096), (128, 4096), (256, 4096))


class Meter:
    """Measure wall time, processor time and the rise of resident memory inside a block."""

    def __enter__(self) -> "Meter":
        gc.collect()
        self._process = psutil.Process()
        self._first = self._most = self._process.memory_info().rss
        self._going = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def _watch(self) -> None:
        while self._going:
            self._most = max(self._most, self._process.memory_info().rss)
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu
        self._going = False
        self._thread.join()
        self.extra = self._most - self._first


def transcoders(model: LoadedModel, ids: tuple[int, ...]) -> list[Dictionary]:
    """Return random transcoders with about N_ACTIVE features active on the prompt."""
    cache = capture(model, ids)
    generator = torch.Generator().manual_seed(1)
    found = []
    for layer in range(N_LAYERS):
        d_model = model.anatomy.d_model
        W_enc = torch.randn(d_model, N_FEATURES, generator=generator) / d_model**0.5
        h = cache.mlp_in[layer] @ W_enc
        bias = -float(h.flatten().topk(N_ACTIVE * len(ids)).values[-1])
        W_dec = torch.randn(N_FEATURES, d_model, generator=generator) / d_model**0.5
        card = DictionaryCard(
            f"t{layer}", "random", "", str(layer), Site.MLP_IN, Site.MLP_OUT, (layer,), d_model,
            d_model, N_FEATURES,
        )  # fmt: skip
        weights = DictionaryWeights(
            W_enc, torch.full((N_FEATURES,), bias), W_dec, torch.zeros(d_model)
        )
        found.append(Dictionary(card, weights))
    return found


def prepared(model: LoadedModel, n_tokens: int, budget: int) -> tuple[list[Dictionary], Any]:
    """Return transcoders and settings for a prompt of random tokens."""
    ids = tuple(np.random.default_rng(0).integers(0, 50_257, n_tokens).tolist())
    found = transcoders(model, ids)
    settings = TraceSettings(ids, method="attribution", max_nodes=budget)
    return found, fitted(settings, [item.card for item in found])


def computed(run: Run, budget: int) -> Rows:
    """Compute the rows of a run under a budget."""
    weights = np.array([root.weight for root in run.roots])
    settings = TraceSettings(method="attribution", max_nodes=budget)
    plan = Budget(budget, 4, None, rows_between_rankings(settings))
    return expand_strongest(run.walk, run.explained, run.sources, weights, plan, silent())


def operations(run: Run, rows: Rows) -> float:
    """Return the operations that these exact rows need at least."""
    e, anatomy = run.explained, run.frozen.model.anatomy
    d, a = anatomy.d_model, anatomy.n_heads * anatomy.d_head
    v = anatomy.n_kv_heads * anatomy.d_head
    places = e.position[rows.explained] + 1.0
    is_logit = e.kind[rows.explained] == NodeKind.LOGIT
    below = np.where(is_logit, anatomy.n_layers, e.layer[rows.explained] + 1)
    passed = (below * (2 * d * (a + v) * places + a * places * (places + 1))).sum()
    return float(passed + 2 * d * np.count_nonzero(rows.weights))


def matmul_rate(run: Run, places: int) -> float:
    """Return operations per second of products with every layer's own matrices, [places, d]."""
    folded = [fold_attention(run.frozen, layer) for layer in range(N_LAYERS)]
    g = torch.randn(places, run.frozen.model.anatomy.d_model)
    seconds, done = [], 0
    for _ in range(3):
        for maps in folded:
            start = time.perf_counter()
            values = g @ maps.read
            torch.mm(values, maps.write)
            seconds.append(time.perf_counter() - start)
            done = 2 * places * (maps.read.numel() + maps.write.numel())
    return done / float(np.median(seconds))


class ReferenceWay:
    """Compute rows by autograd through a graph expanded to the batch."""

    def __init__(self, run: Run, batch: int) -> None:
        self._run, self._batch = run, batch
        self._outs: dict[int, Tensor] = {}
        self._reads: dict[int, Tensor] = {}
        model, cache = run.frozen.model, run.frozen.cache
        hold = [(Site.MLP_OUT, layer) for layer in range(N_LAYERS)]
        edits: dict[Any, Callable[[Tensor], Tensor]] = {(Site.EMBED, 0): self._leaf(-1)}
        for layer in range(N_LAYERS):
            edits[Site.MLP_OUT, layer] = self._leaf(layer)
            edits[Site.MLP_IN, layer] = self._seen(layer)
        edits[Site.LN_FINAL, 0] = self._seen(N_LAYERS)
        frozen_run(model, cache, edits, (), hold=hold, batch=batch)

    def _leaf(self, layer: int) -> Callable[[Tensor], Tensor]:
        def cut(tensor: Tensor) -> Tensor:
            self._outs[layer] = tensor.detach().clone().requires_grad_()
            return self._outs[layer]

        return cut

    def _seen(self, layer: int) -> Callable[[Tensor], Tensor]:
        def keep(tensor: Tensor) -> Tensor:
            self._reads[layer] = tensor
            return tensor

        return keep

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """Return contributions of features, errors and tokens, [row, column]."""
        e, run = self._run.explained, self._run
        total: Tensor = torch.zeros(())
        for copy, row in enumerate(wanted.tolist()):
            at, layer = int(e.position[row]), int(e.layer[row])
            if e.kind[row] == NodeKind.LOGIT:
                direction = e.vectors[row]
            else:
                part = run.plan.mlp[layer]
                assert part is not None
                direction = part.encoder_rows(torch.tensor([int(e.unit[row])]))[0]
            total = total + self._reads[layer][copy, at] @ direction
        layers = list(self._outs)
        grads = torch.autograd.grad(
            total, [self._outs[n] for n in layers], retain_graph=True, allow_unused=True
        )
        out = torch.zeros(len(wanted), len(run.sources.columns))
        for layer, grad in zip(layers, grads, strict=True):
            if grad is None:
                continue
            groups = run.sources.stages[0 if layer < 0 else mlp_stage(layer)].groups
            kinds = run.sources.columns.kind
            groups = [g for g in groups if len(g.vectors) and kinds[g.columns.start] != 1]
            positions = torch.tensor([g.position for g in groups for _ in range(len(g.vectors))])
            columns = np.concatenate([np.arange(g.columns.start, g.columns.stop) for g in groups])
            vectors = torch.cat([g.vectors for g in groups])
            gathered = grad[: len(wanted), positions]
            out[:, columns] = torch.einsum("bpd,pd->bp", gathered, vectors)
        return out.numpy()


def _row(name: str, value: float, unit: str, baseline: float | None = None) -> dict[str, Any]:
    ratio = None if baseline is None else value / baseline
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio}


def beside_the_reference(model: LoadedModel, n_batches: int = 2) -> list[dict[str, Any]]:
    """Measure the rows, the baseline and the limit in turn."""
    found, settings = prepared(model, N_TOKENS, BUDGET)
    with Meter() as opening:
        run = open_run(model, found, settings, silent())
    with Meter() as ours:
        rows = computed(run, BUDGET)
    live = int((run.explained.position[rows.explained] + 1).sum() * 0.5 / 8)
    limit = operations(run, rows) / matmul_rate(run, live)
    with Meter() as again:
        computed(run, BUDGET)
    limit = (limit + operations(run, rows) / matmul_rate(run, live)) / 2
    chosen = np.random.default_rng(0).permutation(len(rows.explained))[: n_batches * BATCH]
    with Meter() as graph:
        reference = ReferenceWay(run, BATCH)
    with Meter() as theirs:
        parts = [
            reference.rows(rows.explained[chosen[start : start + BATCH]])
            for start in range(0, len(chosen), BATCH)
        ]
    shown = run.sources.columns.of_kind(NodeKind.FEATURE, NodeKind.ERROR, NodeKind.TOKEN)
    mine, wanted = rows.weights[chosen][:, :-1][:, shown], np.concatenate(parts)[:, shown]
    largest = np.abs(wanted).max(1, keepdims=True)
    assert (np.abs(mine - wanted) <= 2e-5 * largest).all(), "autograd disagrees"
    share = len(rows.explained) / len(chosen)
    wall, cpu = min(ours.seconds, again.seconds), min(ours.cpu, again.cpu)
    name = "attribution, 32 tokens, 1024 nodes"
    return [
        _row(f"{name}: all", opening.seconds + wall, "s", graph.seconds + theirs.seconds * share),
        _row(f"{name}: all, processor", opening.cpu + cpu, "s", graph.cpu + theirs.cpu * share),
        _row(
            f"{name}: extra memory",
            (opening.extra + ours.extra) / 1e6,
            "MB",
            (graph.extra + theirs.extra) / 1e6,
        ),
        _row(f"{name}: rows", wall, "s", theirs.seconds * share),
        _row(f"{name}: arithmetic limit / rows", limit / wall, "of 1"),
        _row(f"{name}: forward and features", opening.seconds, "s"),
        _row("attribution, GPT-2 small size: what feeds a node", _one_row(run) * 1e3, "ms"),
    ]


def _one_row(run: Run) -> float:
    """Return the median seconds of one row."""
    chosen = np.random.default_rng(1).integers(0, len(run.explained), 15)
    seconds = []
    for row in chosen:
        start = time.perf_counter()
        run.walk.rows(np.array([row]))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def growth(model: LoadedModel, sizes: tuple[tuple[int, int], ...] = GROWTH) -> list[dict[str, Any]]:
    """Measure how time and memory grow with tokens and budget."""
    measured = []
    for n_tokens, budget in sizes:
        found, settings = prepared(model, n_tokens, budget)
        with Meter() as meter:
            run = open_run(model, found, settings, silent())
            rows = computed(run, budget)
        name = f"attribution, {n_tokens} tokens, {budget} nodes"
        measured += [
            _row(f"{name}: all", meter.seconds, "s"),
            _row(f"{name}: all, processor", meter.cpu, "s"),
            _row(f"{name}: extra memory", meter.extra / 1e6, "MB"),
        ]
        del run, rows
    return measured


def run() -> list[dict[str, Any]]:
    """Measure the comparison, then the growth, on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = random_gpt2_small()
        return [*beside_the_reference(model), *growth(model)]
    finally:
        torch.set_num_threads(before)
