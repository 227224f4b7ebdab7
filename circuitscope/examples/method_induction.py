"""Methods beside the heads that are known to be at work in induction models.

Question: which method's scores rank the heads that copy above those that do nothing?

1. Models and truth are those of `circuitscope.examples.induction`: the truth is what heads look at.
2. Every method scores all heads on fresh repeated sequences, a dozen for each model; what it says
   of one head is summed over positions and averaged over sequences; its size is the score.
3. Dictionaries of attention outputs are trained for every layer that has any; a dictionary
   circuit's influence is given to heads as `cs.agreement` does.
4. ROC AUC over the heads of all models together.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import circuitscope as cs
from circuitscope.core.agreement import area_under_curve
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.registry import Registry
from circuitscope.examples import induction
from circuitscope.examples.induction import N_HEADS, N_LAYERS
from circuitscope.models.capture import capture
from circuitscope.tracing.agreement import project_to_heads
from circuitscope.tracing.discovery import Search, discover_units
from circuitscope.tracing.edge_scores import Task, open_task, patched_parts
from circuitscope.tracing.first_hop import predict_live
from circuitscope.tracing.measurement import Switches
from circuitscope.tracing.method import METHODS
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import settings_of
from circuitscope.tracing.verify import predict_total

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
EDGE_METHODS = ("eap", "eap_ig", "path_patching")
LEAST_VARIANCE = 1e-6
_STEPS, _FEATURES, _ACTIVE = 500, 256, 8.0
WAYS = {
    "contextual": "`contextual`, relevance over all sequences",
    "eap": "`eap`, edges that leave the head",
    "eap_ig": "`eap_ig`, edges that leave the head",
    "path_patching": "`path_patching`, edges that leave the head",
    "dictionaries": "`direct` with dictionaries of attention outputs, influence by head",
    "heads": "`direct` without dictionaries, predicted total effect of the head",
    "live": "the same heads, first hop exact",
    "patching": "activation patching of every head (a measurement, not a prediction)",
}


def by_edges(task: Task, name: str) -> Array:
    """Return a method's score of every head and MLP: the sum of its edges."""
    method: Any = Registry[Any](METHODS).get(name)
    scores = method.scores(task, silent())
    found: Array = scores.double().sum((0, 2))[1:].cpu().numpy()
    return found


def dictionaries_of(model: LoadedModel, folder: Path, seed: int) -> Any:
    """Train a dictionary of every layer's attention output, or open those trained before."""
    how = induction.Training(seed=seed)
    generator = torch.Generator().manual_seed(50_000 + seed)
    ids = induction.repeated(how, 3000, how.longest * 3 // 4, generator).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.npy"
    np.save(corpus, ids.astype(np.int32))
    plain = capture(model, ids[0].tolist())
    for layer in range(N_LAYERS):
        out = folder / "set" / f"attn_out_{layer}"
        if plain.attn_out[layer].var(0).sum() > LEAST_VARIANCE and not out.is_dir():
            cs.train_dictionary(
                model, corpus, out, site="attn_out", layer=layer, k=_ACTIVE, steps=_STEPS,
                d_sae=_FEATURES, n_tokens=ids.size,
            )  # fmt: skip
    return cs.load_dictionaries(folder / "set")


def by_task(model: LoadedModel, text: list[int], metric: cs.LogitDifference) -> dict[str, Array]:
    """Return what methods of edges, and patching itself, say of every head, [head]."""
    task = open_task(model, text, metric)
    heads = [task.parts.writer(layer, h) - 1 for layer in range(N_LAYERS) for h in range(N_HEADS)]
    found = {name: by_edges(task, name)[heads] for name in EDGE_METHODS}
    found["patching"] = patched_parts(task).numpy()[1:][heads]
    return found


def by_circuit(
    model: LoadedModel, dictionaries: Any, text: list[int], metric: cs.LogitDifference
) -> dict[str, Array]:
    """Return what dictionary circuits and circuits of heads say of every head, [head]."""
    featured = cs.trace(model, text, "direct", dictionaries, metric)
    influence, _ = project_to_heads(model, featured, dictionaries)
    plain = cs.trace(model, text, "direct", None, metric, None, units="neurons")
    nodes = np.flatnonzero(plain.nodes.of_kind(NodeKind.HEAD))
    settings = settings_of(plain, model)
    cache = capture(model, plain.token_ids)
    switches = Switches(model, plain, make_plan(model.anatomy, (), settings), cache, settings)
    unit = plain.nodes.layer[nodes] * N_HEADS + plain.nodes.unit[nodes]

    def summed(values: Array) -> Array:
        return np.bincount(unit, values, minlength=N_LAYERS * N_HEADS).astype(np.float64)

    return {
        "dictionaries": influence.ravel(),
        "heads": summed(predict_total(plain, nodes)[:, 0]),
        "live": summed(predict_live(switches, nodes, int(plain.roots[0]))),
    }


@dataclass(frozen=True, slots=True)
class Ranked:
    """ROC AUC of each method over all models of a folder.

    Attributes:
        n_models, n_inside: Models, and their heads in the truth; n_others: heads that write
            something and are not in it.
    """

    auc: dict[str, float]
    n_models: int
    n_inside: int
    n_others: int


def on_induction(folder: Path, n: int = 12) -> Ranked:
    """Compare each method's heads with those known, over all seeds."""
    from transformers import GPT2LMHeadModel

    scores: dict[str, list[Array]] = {}
    truth: list[NDArray[np.bool_]] = []
    n_writing = 0
    for place in sorted(folder.glob("seed*")):
        module = GPT2LMHeadModel.from_pretrained(place).eval()
        how = induction.Training(seed=int(place.name.removeprefix("seed")))
        truth.append(induction.truth(module, how).ravel())
        n_writing += sum(int((induction.written(b) > 0).sum()) for b in module.transformer.h)
        texts, metrics = induction.prompts(how, n, seed=1)
        model = induction.as_loaded(module)
        dictionaries = dictionaries_of(model, folder / f"dictionaries{how.seed}", how.seed)
        sums: dict[str, Array] = {}
        for text, metric in zip(texts, metrics, strict=True):
            said = by_task(model, text, metric) | by_circuit(model, dictionaries, text, metric)
            for name, values in said.items():
                sums[name] = sums.get(name, np.zeros(N_LAYERS * N_HEADS)) + values / n
        swept, _, _ = discover_units(model, texts, metrics, Search(n_heads=1, prune=False))
        sums["contextual"] = swept.sweep.to_metric
        for name, values in sums.items():
            scores.setdefault(name, []).append(np.abs(values))
        log.info("seed %d: %d heads in", how.seed, truth[-1].sum())
    known = np.concatenate(truth)
    auc = {name: area_under_curve(np.concatenate(v), known) for name, v in scores.items()}
    return Ranked(auc, len(truth), int(known.sum()), n_writing - int(known.sum()))


def section(found: Sequence[Ranked]) -> str:
    """Return the section of the page in the manual."""
    lines = [
        "## Heads that are known to be at work", "",
        f"Transformers of {N_LAYERS} layers and {N_HEADS} heads, trained to repeat runs of random "
        "tokens (`python -m circuitscope.examples.induction`). In the truth are heads that look "
        "at the token before, or at the token after the last occurrence of the present one, with "
        "more than half of their attention; it was fixed before any method ran. Scores are sizes, "
        "averaged over 12 fresh sequences; ROC AUC over all heads of all models of a column.", "",
        "| Score of a head | " + " | ".join(_title(one) for one in found) + " |",
        "|---|" + "---|" * len(found),
    ]  # fmt: skip
    for name, words in WAYS.items():
        values = " | ".join(f"{one.auc[name]:.3f}" for one in found)
        lines.append(f"| {words} | {values} |")
    lines += [
        "",
        "Looking there is not mattering: heads that do the same stand in for each other, so that "
        "patching one alone, which is a measurement, may find nothing where the truth has a head.",
    ]
    if any(one.n_others == 0 for one in found):
        lines += [
            "",
            "Where all heads that write anything are in the truth, the task is too easy to tell "
            "methods apart: whatever gives silent heads 0 is right.",
        ]
    return "\n".join(lines) + "\n"


def _title(one: Ranked) -> str:
    return f"{one.n_models} models, {one.n_inside} heads in, {one.n_others} others that write"
