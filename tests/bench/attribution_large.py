"""Attribution graphs at GPT-2 small's size, beside the public reference's way of computing them.

Work: a random model of 12 layers, d_model 768 and 50 257 tokens; random transcoders of 6 144
features of which about 30 are active per layer and position; 32 tokens; a budget of 1 024 nodes.

The baseline does what circuit-tracer does: the frozen graph is run with the prompt expanded to the
batch, rows are injected as directions at what their features read, autograd walks back, and the
gradients are gathered at the positions of the active features before they meet the decoders. It is
timed, in turn with ours, on some of the rows that the trace computed, whose numbers must agree,
and scaled to all; forward pass, features and making the graph count once.

The arithmetic limit is the number of operations that exact rows need at least: through attention
below the row's own layer and up to its own position, and one product for each entry; divided by
the rate of plain products of the walk's own shape with the model's own matrices.
"""

import ctypes
import gc
import threading
import time
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
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.expansion import Budget, Rows, expand_strongest
from circuitscope.tracing.methods.attribution import rows_between_rankings
from circuitscope.tracing.packed_walk import BATCH_BYTES
from circuitscope.tracing.plan import fitted
from circuitscope.tracing.run import Run, open_run
from circuitscope.tracing.sources import mlp_stage
from tests.bench.trace import random_gpt2_small

N_TOKENS, N_FEATURES, N_ACTIVE, BUDGET, BATCH, N_LAYERS = 32, 6144, 30, 1024, 128, 12


class Meter:
    """Measure wall time, processor time and the rise of resident memory inside a block."""

    def __enter__(self) -> "Meter":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not counted as free room
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
            d_model, N_FEATURES, metrics={"l0": float(N_ACTIVE)},
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


def places_of(run: Run, rows: Rows) -> int:
    """Return the places that a batch of these rows holds, halfway down the walk."""
    anatomy = run.frozen.model.anatomy
    most = BATCH_BYTES / 4 / (anatomy.d_model + 2 * anatomy.n_heads * anatomy.d_head)
    total = int((run.explained.position[rows.explained] + 1).sum())
    return int(min(total / 8, most) / 2)


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
    """Compute rows by autograd through a graph expanded to the batch, as circuit-tracer does.

    Plain products of plain tensors: norms divided by fixed denominators, patterns fixed, MLP
    outputs constant. A hook at every output gathers its gradient at the positions of the active
    features and contracts it with their decoders while autograd walks back.
    """

    def __init__(self, run: Run, batch: int) -> None:
        self._run, self._batch = run, batch
        self._anchor = torch.zeros((), requires_grad=True)
        self._reads: list[Tensor] = []
        self._rows = torch.zeros(0)
        frozen, cache = run.frozen, run.frozen.cache
        assert cache.pos_embed is not None
        x = self._written(cache.embed, 0) + cache.pos_embed
        for layer in range(N_LAYERS):
            attention = frozen.weights.attention(layer)
            seen = self._norm(x, Site.LN1_NORMALIZED, layer)
            heads = seen @ attention.W_V.transpose(0, 1).flatten(1)
            heads = heads.view(batch, cache.n_pos, attention.n_kv, -1).transpose(1, 2)
            z = (cache.patterns[layer] @ heads).transpose(1, 2).flatten(2)
            x = x + z @ attention.W_O.flatten(0, 1)
            self._reads.append(self._norm(x, Site.LN2_NORMALIZED, layer))
            x = x + self._written(cache.site(Site.MLP_OUT, layer), mlp_stage(layer))
        self._reads.append(self._norm(x, Site.LN_FINAL, N_LAYERS))

    def _norm(self, x: Tensor, site: Site, layer: int) -> Tensor:
        norm = self._run.frozen.weights.norm(site, layer)
        scale = self._run.frozen.cache.norm_scales[site, layer][:, None]
        return (x - x.mean(-1, keepdim=True)) / scale * norm.weight

    def _written(self, value: Tensor, stage: int) -> Tensor:
        out: Tensor = value.expand(self._batch, -1, -1) + self._anchor
        sources = self._run.sources
        kinds = sources.columns.kind
        groups = [
            group
            for group in sources.stages[stage].groups
            if len(group.vectors) and kinds[group.columns.start] != NodeKind.POSITION
        ]
        positions = torch.tensor([g.position for g in groups for _ in range(len(g.vectors))])
        columns = np.concatenate([np.arange(g.columns.start, g.columns.stop) for g in groups])
        vectors = torch.cat([g.vectors for g in groups])

        def gather(grad: Tensor) -> None:
            n = len(self._rows)
            found = torch.einsum("bpd,pd->pb", grad[:n, positions], vectors)
            self._rows[:, columns] = found.T

        out.register_hook(gather)
        return out

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """Return contributions of features, errors and tokens, [row, column]."""
        e, run = self._run.explained, self._run
        self._rows = torch.zeros(len(wanted), len(run.sources.columns))
        is_logit = e.kind[wanted] == NodeKind.LOGIT
        reads = np.where(is_logit, N_LAYERS, e.layer[wanted])
        total: Tensor = torch.zeros(())
        for layer in np.unique(reads).tolist():
            copies = np.flatnonzero(reads == layer)
            here = wanted[copies]
            if layer == N_LAYERS:
                directions = torch.stack([e.vectors[row] for row in here.tolist()])
            else:
                part = run.plan.mlp[layer]
                assert part is not None
                directions = part.encoder_rows(torch.from_numpy(e.unit[here]))
            read = self._reads[layer][torch.from_numpy(copies), torch.from_numpy(e.position[here])]
            total = total + (read * directions).sum()
        torch.autograd.grad(total, self._anchor, retain_graph=True)
        return self._rows.numpy()


def _row(name: str, value: float, unit: str, baseline: float | None = None) -> dict[str, Any]:
    ratio = None if baseline is None else value / baseline
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio}


def beside_the_reference(model: LoadedModel, rounds: int = 3) -> list[dict[str, Any]]:
    """Measure the rows, the limit and two batches of the baseline in turn, and again."""
    found, settings = prepared(model, N_TOKENS, BUDGET)
    with Meter() as opening:
        run = open_run(model, found, settings, silent())
    with Meter() as first:
        rows = computed(run, BUDGET)
    with Meter() as graph:
        reference = ReferenceWay(run, BATCH)
    n_roots, n_rows = len(run.roots), len(rows.explained)
    live = places_of(run, rows)
    shuffled = np.random.default_rng(0).permutation(n_rows)
    ours, theirs, limits = [], [], []
    for number in range(rounds):
        with Meter() as meter:
            computed(run, BUDGET)
        ours.append(meter)
        limits.append(operations(run, rows) / matmul_rate(run, live))
        chosen = shuffled[2 * number * BATCH : 2 * (number + 1) * BATCH]
        with Meter() as meter:
            halves = [reference.rows(rows.explained[half]) for half in np.split(chosen, 2)]
        theirs.append(meter)
        _agree(run, rows.weights[chosen], np.concatenate(halves))
    # The logits are a batch of their own, and every batch is walked in full.
    n_batches = (-(-n_roots // BATCH) + -(-(n_rows - n_roots) // BATCH)) / 2
    wall, cpu = (float(np.median([getattr(m, what) for m in ours])) for what in ("seconds", "cpu"))
    slow, slow_cpu = (
        n_batches * float(np.median([getattr(m, what) for m in theirs]))
        for what in ("seconds", "cpu")
    )
    name, limit = "attribution, 32 tokens, 1024 nodes", float(np.median(limits))
    opened, opened_cpu = opening.seconds, opening.cpu
    return [
        _row(f"{name}: all", opened + wall, "s", opened + graph.seconds + slow),
        _row(f"{name}: all, processor", opened_cpu + cpu, "s", opened_cpu + graph.cpu + slow_cpu),
        _row(
            f"{name}: extra memory",
            (opening.extra + first.extra) / 1e6,
            "MB",
            (opening.extra + graph.extra + theirs[0].extra) / 1e6,
        ),
        _row(f"{name}: rows", wall, "s", slow),
        _row(f"{name}: arithmetic limit / rows", limit / wall, "of 1"),
        _row(f"{name}: forward and features", opened, "s"),
        _row("attribution, GPT-2 small size: what feeds a node", _one_row(run) * 1e3, "ms"),
    ]


def _agree(run: Run, mine: np.ndarray, wanted: np.ndarray) -> None:
    """Check that rows are the baseline's."""
    shown = run.sources.columns.of_kind(NodeKind.FEATURE, NodeKind.ERROR, NodeKind.TOKEN)
    mine, wanted = mine[:, :-1][:, shown], wanted[:, shown]
    largest = np.abs(wanted).max(1, keepdims=True)
    assert (np.abs(mine - wanted) <= 2e-5 * largest).all(), "autograd disagrees"


def _one_row(run: Run) -> float:
    """Return the median seconds of one row."""
    chosen = np.random.default_rng(1).integers(0, len(run.explained), 15)
    seconds = []
    for row in chosen:
        start = time.perf_counter()
        run.walk.rows(np.array([row]))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def run() -> list[dict[str, Any]]:
    """Measure the comparison on two threads; `attribution-growth` follows where this is asked."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return beside_the_reference(random_gpt2_small())
    finally:
        torch.set_num_threads(before)
