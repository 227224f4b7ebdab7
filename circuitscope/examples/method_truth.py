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
5. With `--induction FOLDER` (made by `circuitscope.examples.induction`): ROC AUC of the methods'
   heads against those that are known to be at work, on fresh repeated sequences.

Run with `python -m circuitscope.examples.method_truth --out resources/manual/ground-truth.md`.
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
from circuitscope.core.agreement import area_under_curve, spearman
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.registry import Registry
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import atlas
from circuitscope.examples.atlas_words import CITIES
from circuitscope.tracing.ablating import mean_activations
from circuitscope.tracing.discovery import Search, discover_units
from circuitscope.tracing.edge_scores import Task, open_task, patched_parts
from circuitscope.tracing.method import METHODS
from circuitscope.tracing.verify import predict_total

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
EDGE_METHODS = ("eap", "eap_ig", "path_patching")
TEXT = "the capital of the state containing {0} is"


def pairs(n: int) -> list[tuple[str, str, cs.LogitDifference]]:
    """Return pairs of prompts whose answers differ, each with its metric."""
    states = sorted(CITIES)
    found = []
    for k in range(n):
        here, there = states[k % len(states)], states[(k + 7) % len(states)]
        city, other = CITIES[here][k % len(CITIES[here])], CITIES[there][0]
        metric = cs.LogitDifference(atlas.capital_of(city), atlas.capital_of(other))
        found.append((TEXT.format(city), TEXT.format(other), metric))
    return found


def by_edges(task: Task, name: str) -> Array:
    """Return a method's score of every head and MLP: the sum of its edges."""
    method: Any = Registry[Any](METHODS).get(name)
    scores = method.scores(task, silent())
    found: Array = scores.double().sum((0, 2))[1:].cpu().numpy()
    return found


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


def on_induction(folder: Path, n: int = 12) -> dict[str, float]:
    """Return the ROC AUC of each method's heads against those known, over all seeds."""
    from transformers import GPT2LMHeadModel

    from circuitscope.examples import induction

    scores: dict[str, list[Array]] = {}
    truth: list[NDArray[np.bool_]] = []
    for place in sorted(folder.glob("seed*")):
        module = GPT2LMHeadModel.from_pretrained(place).eval()
        how = induction.Training(seed=int(place.name.removeprefix("seed")))
        truth.append(induction.truth(module, how).ravel())
        texts, metrics = induction.prompts(how, n, seed=1)
        model = induction.as_loaded(module)
        sums: dict[str, Array] = {}
        for text, metric in zip(texts, metrics, strict=True):
            task = open_task(model, text, metric)
            heads = [task.parts.writer(at, h) - 1 for at in range(4) for h in range(8)]
            for name in EDGE_METHODS:
                sums[name] = sums.get(name, 0) + by_edges(task, name)[heads] / n
        search = Search(n_heads=1, prune=False)
        swept, _, _ = discover_units(model, texts, metrics, search)
        sums["contextual"] = swept.sweep.to_metric
        for name, values in sums.items():
            scores.setdefault(name, []).append(np.abs(values))
    known = np.concatenate(truth)
    return {name: area_under_curve(np.concatenate(v), known) for name, v in scores.items()}


def table(atlas_rows: dict[str, list[tuple[float, float, float]]], auc: dict[str, float]) -> str:
    """Return the page of the manual."""
    n = len(next(iter(atlas_rows.values())))
    lines = [
        "# Methods beside exhaustive patching", "",
        f"Made by `python -m circuitscope.examples.method_truth --pairs {n} --out "
        f"resources/manual/ground-truth.md`: {n} pairs of prompts about "
        "capitals on the bundled atlas model. Truth is what the logit difference loses where a "
        "part holds what it holds in the other prompt, one run each. Correlations are over the "
        "parts of a pair, then averaged; seconds are of one core, for one pair.", "",
        "| Method | Scores | Pearson | Spearman | Lowest Spearman | Seconds |"
        + (" ROC AUC, induction |" if auc else ""),
        "|---|---|---|---|---|---|" + ("---|" if auc else ""),
    ]  # fmt: skip
    for name, rows in atlas_rows.items():
        pearson, rank, seconds = np.mean(rows, axis=0).tolist()
        of = "attention and MLP of each layer" if name == "direct" else "heads and MLPs"
        lowest = min(row[1] for row in rows)
        line = f"| `{name}` | {of} | {pearson:.3f} | {rank:.3f} | {lowest:.3f} | {seconds:.2f} |"
        lines.append(line + (f" {auc[name]:.3f} |" if name in auc else " |" if auc else ""))
    lines += [
        "",
        "`direct` is the sum over all paths of the bundled dictionaries' features and errors, "
        "with attention and gates frozen, and says what switching off does, not swapping; "
        "`contextual` is relevance against the other prompt. `path_patching` measures edges of "
        "twelve readers only.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description="Compare methods with exhaustive patching.")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--induction", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/ground-truth.md"))
    chosen = parser.parse_args(arguments)
    auc = on_induction(chosen.induction) if chosen.induction else {}
    text = table(on_atlas(chosen.pairs), auc)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text, "utf-8")
    log.info("%s", text)


if __name__ == "__main__":
    main()
