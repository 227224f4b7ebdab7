"""Traces on two cores; the baseline is the same rows by autograd, one backward pass per row.

The baseline runs the real module with everything frozen (`frozen_run`), cuts every module's output
into a leaf, and reads the gradients out against the same writers. It is timed on a sample of rows
and scaled to the rows of the trace; the sample's numbers must agree with the trace's.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.settings import TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.freezing import Editor, Place, frozen_run
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.method import trace
from circuitscope.tracing.run import Run, open_run

PROMPT = "the capital of the state containing Dallas is"
N_SAMPLE = 64


class ByAutograd:
    """Compute rows by autograd on the frozen module, one backward pass each."""

    def __init__(self, run: Run) -> None:
        self._run, self._leaves, self._raw = run, {}, {}
        model = run.frozen.model
        n_layers = model.anatomy.n_layers
        places = [(site, n) for n in range(n_layers) for site in (Site.ATTN_OUT, Site.MLP_OUT)]
        self._stages: list[list[Place]] = [[(Site.EMBED, 0)], *([place] for place in places)]
        if run.frozen.cache.pos_embed is not None:
            self._stages[0].append((Site.POS_EMBED, 0))
        inner = [(site, n) for n in range(n_layers) for site in (Site.HEAD_Z, Site.MLP_HIDDEN)]
        edits = {place: self._cut(place) for places in self._stages for place in places}
        edits |= {place: self._see(place) for place in (*inner, (Site.LOGITS, 0))}
        edits |= {(Site.MLP_IN, n): self._see((Site.MLP_IN, n)) for n in range(n_layers)}
        frozen_run(model, run.frozen.cache, edits, (), gated=run.frozen.gated)

    def _see(self, place: Place) -> Editor:
        def keep(tensor: Tensor) -> Tensor:
            self._raw[place] = tensor[0]
            return tensor

        return keep

    def _cut(self, place: Place) -> Editor:
        def cut(tensor: Tensor) -> Tensor:
            self._raw[place] = tensor[0]
            self._leaves[place] = tensor.detach().clone().requires_grad_()
            return self._leaves[place]

        return cut

    def row(self, number: int) -> np.ndarray:
        """Return the contributions of all writers that are no constants, [column]."""
        places = list(self._leaves)
        scalar = self._scalar(number)
        found = torch.autograd.grad(
            scalar, [self._leaves[p] for p in places], retain_graph=True, allow_unused=True
        )
        grads = {p: g[0] for p, g in zip(places, found, strict=True) if g is not None}
        sources = self._run.sources
        out = np.zeros(len(sources.columns), np.float32)
        written = [stage for stage in sources.stages if stage.groups]
        for stage, here in zip(written, self._stages, strict=True):
            for group in stage.groups:
                kind = sources.columns.kind[group.columns.start]
                place = here[-1] if kind == NodeKind.POSITION else here[0]
                if place in grads:
                    out[group.columns] = (grads[place][group.position] @ group.vectors.T).numpy()
        return out

    def _scalar(self, number: int) -> Tensor:
        e, run = self._run.explained, self._run
        kind, site, layer = (
            NodeKind(int(e.kind[number])),
            Site(int(e.site[number])),
            e.layer[number],
        )
        layer, at, unit = int(layer), int(e.position[number]), int(e.unit[number])
        if kind is NodeKind.LOGIT:
            return self._raw[Site.LOGITS, 0][at, unit]
        cache, weights = run.frozen.cache, run.frozen.weights
        if kind is NodeKind.HEAD:
            W_O, z = weights.attention(layer).W_O[unit], self._raw[Site.HEAD_Z, layer][at, unit]
            write = cache.head_z[layer][at, unit] @ W_O
            return z @ W_O @ (write / write.norm())
        if kind is NodeKind.NEURON:
            hidden = self._raw[Site.MLP_HIDDEN, layer][at, unit]
            if weights.mlp(layer).gated:
                return hidden
            return hidden * (cache.mlp_gate[layer][at, unit] / cache.mlp_hidden[layer][at, unit])
        plan = run.plan.attention if site is Site.ATTN_OUT else run.plan.mlp
        dictionary = plan[layer]
        assert dictionary is not None
        x = self._raw[dictionary.card.read_site, layer][at]
        return x @ dictionary.encoder_rows(torch.tensor([unit]))[0]


def random_gpt2_small() -> LoadedModel:
    """Return a random model of GPT-2 small's size: 12 layers, d_model 768, 50 257 tokens."""
    import transformers

    from circuitscope.models.families.gpt2 import GPT2

    torch.manual_seed(0)
    config = transformers.GPT2Config(architectures=["GPT2LMHeadModel"])
    config._attn_implementation = "eager"
    module = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    anatomy = GPT2().describe(config.to_dict())
    return LoadedModel(anatomy, module, None, GPT2(), torch.device("cpu"), torch.float32)


def _measure(
    name: str, model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings
) -> dict[str, Any]:
    circuit = trace(model, settings, dictionaries)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        circuit = trace(model, settings, dictionaries)
        seconds.append(time.perf_counter() - start)
    with fitting_threads(model.anatomy):
        baseline = _by_autograd(model, dictionaries, settings, int(circuit.expanded.sum()))
    value = float(np.median(seconds))
    return {
        "name": f"trace: {name}", "value": value, "unit": "s", "baseline": baseline,
        "ratio": value / baseline,
    }  # fmt: skip


def _by_autograd(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_rows: int
) -> float:
    """Return the seconds that autograd needs for n_rows, by a sample whose rows are compared."""
    run = open_run(model, dictionaries, settings, silent())
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(run.explained))[:N_SAMPLE]
    ours = run.walk.rows(np.sort(sample))
    start = time.perf_counter()
    reference = ByAutograd(run)
    rows = np.stack([reference.row(int(number)) for number in np.sort(sample)])
    seconds = time.perf_counter() - start
    shown = ~run.sources.columns.of_kind(NodeKind.BIAS)
    difference = np.abs(ours[:, : run.sources.rest] - rows)[:, shown].max(1)
    assert (difference <= 1e-4 * np.abs(rows).max(1) + 1e-7).all(), "autograd disagrees"
    return seconds * n_rows / len(sample)


def run() -> list[dict[str, Any]]:
    """Measure the bundled example in its three ways and a model of GPT-2 small's size."""
    atlas: Path = shipped_path("projects", "atlas")
    model, dictionaries = (
        load_model(atlas / "model", device="cpu"),
        load_dictionaries(atlas / "dictionaries"),
    )
    found = [
        _measure("atlas, secant", model, dictionaries, TraceSettings(PROMPT)),
        _measure("atlas, transcoder", model, dictionaries, TraceSettings(PROMPT, mlp="transcoder")),
        _measure("atlas, neurons", model, (), TraceSettings(PROMPT, units="neurons")),
    ]
    ids = tuple(np.random.default_rng(0).integers(0, 50_257, 12).tolist())
    settings = TraceSettings(ids, units="neurons", max_nodes=1024)
    found.append(_measure("GPT-2 small size, 12 tokens", random_gpt2_small(), (), settings))
    return found
