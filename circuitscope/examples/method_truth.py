"""Methods beside exhaustive activation patching: one table, made again by one command.

Question: which method's scores of heads and MLPs agree with what patching each of them does?

1. Pairs of prompts about cities of two states, on the atlas model; the metric is the logit of one
   capital minus that of the other.
2. Truth: every head and MLP of the real forward pass holds what it holds in the other prompt, one
   run each, all positions at once. The effect is what the metric loses.
3. Every method scores the same heads and MLPs: attribution patching (EAP), EAP-IG and path patching
   by the edges that leave a part; contextual decomposition by relevance against the other
   prompt; attention and MLP features of the bundled dictionaries by the sum of their edges over
   all paths, for each layer's attention and MLP (their truth is patched so too).
4. Pearson's and Spearman's correlation over the parts of each pair, averaged over pairs.
5. `circuitscope.examples.total_effects`: predictions of total effects of every node of dictionary
   circuits beside those measured.
6. With `--induction FOLDER…` (made by `circuitscope.examples.induction`): heads that are known to
   be at work, by `circuitscope.examples.method_induction`.

Run with `python -m circuitscope.examples.method_truth --induction build/induction
build/induction-dense --out resources/manual/ground-truth.md`.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import circuitscope as cs
from circuitscope.core.agreement import spearman
from circuitscope.core.keys import NodeKind
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import method_induction, total_effects
from circuitscope.examples.method_induction import EDGE_METHODS, by_edges
from circuitscope.examples.method_pairs import pairs
from circuitscope.tracing.ablating import mean_activations
from circuitscope.tracing.discovery import Search, discover_units
from circuitscope.tracing.edge_scores import Task, open_task, patched_parts
from circuitscope.tracing.verify import predict_total

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
Array = NDArray[np.float64]


def by_relevance(model: LoadedModel, task: Task, prompt: str, other: str, metric: Any) -> Array:
    """Return the relevance of every head and MLP against what it holds in the other prompt."""
    means = mean_activations(model, [other])
    search = Search(n_heads=1, mlps=True, prune=False)
    found, _, _ = discover_units(model, [prompt], metric, search, ablation="mean", means=means)
    scores = np.zeros(task.parts.n_writers)
    for unit, score in zip(found.sweep.units, found.sweep.to_metric, strict=True):
        scores[task.parts.writer(unit.layer, unit.head)] = score
    return scores[1:]


def by_features(model: LoadedModel, dictionaries: Any, prompt: str, metric: Any) -> Array:
    """Return what each layer's features and errors do over all paths, attention then MLP."""
    circuit = cs.trace(model, prompt, "direct", dictionaries, metric)
    nodes, found = circuit.nodes, []
    for layer in range(model.anatomy.n_layers):
        for site in (cs.Site.ATTN_OUT, cs.Site.MLP_OUT):
            own = nodes.of_kind(NodeKind.FEATURE, NodeKind.ERROR) & (nodes.layer == layer)
            own &= np.array([nodes.key(k).site is site for k in range(len(nodes))])
            chosen = np.flatnonzero(own)
            lost = -predict_total(circuit, chosen, absorbing=True)[:, 0].sum() if len(chosen) else 0
            found.append(float(lost))
    return np.array(found)


def by_layer(task: Task) -> Array:
    """Return the truth for each layer's attention and MLP as a whole."""
    parts = task.parts
    every = torch.ones(parts.n_readers, *task.own.shape[:2])
    masks = []
    for layer in range(parts.n_layers):
        for heads in (range(parts.n_heads), (-1,)):
            one = every.clone()
            one[:, [parts.writer(layer, head) for head in heads]] = 0
            masks.append(one)
    return task.whole - np.array(task.values(masks))


def correlations(scores: Array, truth: Array) -> tuple[float, float]:
    """Return Pearson's and Spearman's correlation."""
    return float(np.corrcoef(scores, truth)[0, 1]), spearman(scores, truth)


def on_atlas(n: int) -> dict[str, list[tuple[float, float, float]]]:
    """Return for each method and pair both correlations and the seconds it took."""
    folder = shipped_path("projects", "atlas")
    model = cs.load_model(folder / "model", device="cpu")
    dictionaries = cs.load_dictionaries(folder / "dictionaries")
    found: dict[str, list[tuple[float, float, float]]] = {}
    for number, pair in enumerate(pairs(n)):
        for name, row in one_pair(model, dictionaries, *pair).items():
            found.setdefault(name, []).append(row)
        log.info("pair %d of %d", number + 1, n)
    return found


def one_pair(
    model: LoadedModel, dictionaries: Any, prompt: str, other: str, metric: Any
) -> dict[str, tuple[float, float, float]]:
    """Return each method's correlations on one pair, and its seconds."""
    task = open_task(model, prompt, metric, other)
    truth, whole = patched_parts(task).numpy()[1:], by_layer(task)
    ways: dict[str, tuple[Array, Callable[[], Array]]] = {
        name: (truth, partial(by_edges, task, name)) for name in EDGE_METHODS
    }
    ways["contextual"] = truth, partial(by_relevance, model, task, prompt, other, metric)
    ways["direct"] = whole, partial(by_features, model, dictionaries, prompt, metric)
    found = {}
    for name, (expected, score) in ways.items():
        start = time.process_time()
        values = score()
        seconds = time.process_time() - start
        found[name] = (*correlations(values, expected), seconds)
    return found


def table(rows: dict[str, list[tuple[float, float, float]]]) -> str:
    """Return the section of the page in the manual."""
    n = len(next(iter(rows.values())))
    lines = [
        "## Heads and MLPs", "",
        f"{n} pairs of prompts about capitals on the bundled atlas model. Truth is what the logit "
        "difference loses where a part holds what it holds in the other prompt, one run each. "
        "Correlations are over the parts of a pair, then averaged; seconds are of one core, for "
        "one pair.", "",
        "| Method | Scores | Pearson | Spearman | Lowest Spearman | Seconds |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, found in rows.items():
        pearson, rank, seconds = np.mean(found, axis=0).tolist()
        of = "attention and MLP of each layer" if name == "direct" else "heads and MLPs"
        lowest = min(row[1] for row in found)
        lines.append(
            f"| `{name}` | {of} | {pearson:.3f} | {rank:.3f} | {lowest:.3f} | {seconds:.2f} |"
        )
    lines += [
        "",
        "`direct` is the sum over all paths of the bundled dictionaries' features and errors, "
        "with attention and gates frozen, and says what switching off does, not swapping; "
        "`contextual` is relevance against the other prompt. `path_patching` measures edges of "
        "twelve readers only.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def page(sections: Sequence[str]) -> str:
    """Return the page of the manual."""
    head = (
        "# Methods beside exhaustive patching\n\nMade by `python -m "
        "circuitscope.examples.method_truth --induction build/induction "
        "build/induction-dense --out "
        "resources/manual/ground-truth.md`.\n"
    )
    return "\n".join([head, *sections])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description="Compare methods with exhaustive patching.")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--induction", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("build/ground-truth.md"))
    chosen = parser.parse_args(arguments)
    sections = [table(on_atlas(chosen.pairs)), total_effects.section(total_effects.on_bundled())]
    if chosen.induction:
        found = [method_induction.on_induction(folder) for folder in chosen.induction]
        sections.append(method_induction.section(found))
    text = page(sections)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text, "utf-8")
    log.info("%s", text)


if __name__ == "__main__":
    main()
