"""The circuit localisation protocol of the MIB benchmark, at the level of edges.

1. The model is a graph: the embedding, heads and MLPs write; heads read queries, keys and values
   apart, MLPs and the logits read once. An edge carries at all positions alike. GPT-2 small has
   32491 edges, as there.
2. A method scores every edge on pairs of prompts, averaged.
3. For each proportion from 0.001 to 1 the highest edges are kept, those on no path from the
   embedding to the logits are dropped, and all others carry the counterfactual's values.
   f = (m(kept) - m(none)) / (m(model) - m(none)) on other pairs, of means over pairs.
4. CPR is the area under f, CMD that under |1 - f|, both over the proportions by trapezoids. Edges
   are ranked once by score and once by its size: CPR is of the first, CMD of the second.

Mueller et al. 2025 (arXiv 2504.13151). What remains different: the metric and the words are those
of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.errors import TraceError
from circuitscope.core.progress import Progress, silent
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.models.drafting import draft
from circuitscope.models.reading import as_traced
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.edge_scores import Task, eap, eap_ig, open_task
from circuitscope.tracing.parts import INPUT, PartList, parts_of

if TYPE_CHECKING:
    from torch import Tensor

    from circuitscope.models.loading import LoadedModel

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RANDOM = "random"
Scores = NDArray[np.float64]
SCORES: dict[str, Callable[[Task], Tensor]] = {
    "eap": lambda task: eap(task, apart=True),
    "eap_ig": lambda task: eap_ig(task, apart=True),
}
METHODS = (*SCORES, RANDOM)


@dataclass(frozen=True, slots=True)
class MibResult:
    """What the protocol says of one method.

    Attributes:
        method: "eap", "eap_ig" or "random".
        cpr, cmd: Areas, by score and by its size.
        by_score, by_size: f for each of `SHARES`.
        kept_by_score, kept_by_size: Edges that were kept, after dropping those on no path.
        n_edges: Edges of the model.
        n_train, n_test: Pairs scored and measured on.
        whole, empty: Mean metric of the model, and with every edge replaced.
    """

    method: str
    cpr: float
    cmd: float
    by_score: tuple[float, ...]
    by_size: tuple[float, ...]
    kept_by_score: tuple[int, ...]
    kept_by_size: tuple[int, ...]
    n_edges: int
    n_train: int
    n_test: int
    whole: float
    empty: float


def bench_mib(
    model: LoadedModel,
    train: Sequence[PromptPair],
    test: Sequence[PromptPair] = (),
    methods: Sequence[str] = METHODS,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[MibResult, ...]:
    """Run the protocol.

    Args:
        model: A causal language model whose operations are known.
        train: Pairs that edges are scored on, each with a corrupted prompt and a metric.
        test: Pairs measured on; none takes those of `train`.
        methods: Of `METHODS`; "random" ranks edges by chance.
        seed: Seeds chance.
        progress: Hears of every pair; may cancel.

    Raises:
        TraceError: A method is not known, a pair lacks something, or the metric does not depend on
            what edges carry.
    """
    hear, model = progress or silent(), as_traced(model)
    for name in methods:
        if name not in METHODS:
            raise TraceError(
                f"There is no method {name!r} here.", hint=f"Choices: {', '.join(METHODS)}."
            )
    parts = parts_of(draft(model))
    edges = parts.ways().numpy()
    measured = list(test) or list(train)
    with fitting_threads(model.anatomy):
        scores = _scored(model, train, methods, edges, seed, hear)
        plans = {
            name: [_kept(parts, values, share) for values in (one, np.abs(one)) for share in SHARES]
            for name, one in scores.items()
        }
        masks = [mask for plan in plans.values() for mask in plan]
        values = _values(model, measured, masks, hear)
    whole, empty = values[0], values[1]
    if abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
        raise TraceError(
            f"The metric is {whole:.4g} also with every edge replaced.",
            hint="Choose pairs whose counterfactual has another answer.",
        )
    faithful = (values[2:] - empty) / (whole - empty)
    found, k = [], len(SHARES)
    for number, name in enumerate(methods):
        by_score, by_size = faithful[2 * k * number :][:k], faithful[2 * k * number + k :][:k]
        sizes = [int(mask.sum()) for mask in plans[name]]
        found.append(
            MibResult(
                name, float(np.trapezoid(by_score, SHARES)),
                float(np.trapezoid(np.abs(1 - by_size), SHARES)), tuple(by_score.tolist()),
                tuple(by_size.tolist()), tuple(sizes[:k]), tuple(sizes[k:]), int(edges.sum()),
                len(train), len(measured), float(whole), float(empty),
            )
        )  # fmt: skip
    return tuple(found)


def _tasks(
    model: LoadedModel, pairs: Sequence[PromptPair], what: str, hear: Progress
) -> Iterator[Task]:
    hear.phase(what, len(pairs))
    for number, pair in enumerate(pairs, 1):
        if pair.corrupted is None or pair.metric is None:
            missing = "corrupted prompt" if pair.corrupted is None else "answer"
            raise TraceError(
                f"Pair {number} has no {missing}.",
                kept="Nothing has been kept.",
                hint="Every pair needs a corrupted prompt of as many tokens and an answer.",
            )
        clean, corrupted = (_plain(one) for one in (pair.clean, pair.corrupted))
        yield open_task(model, clean, pair.metric, corrupted)
        hear.advance()


def _plain(prompt: Any) -> Any:
    return list(prompt) if isinstance(prompt, tuple) else prompt


def _scored(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    methods: Sequence[str],
    edges: NDArray[np.bool_],
    seed: int,
    hear: Progress,
) -> dict[str, Scores]:
    """Return each method's mean score of every edge, [way, reader, writer]."""
    sums = {name: np.zeros(edges.shape) for name in methods if name != RANDOM}
    for task in _tasks(model, pairs, "Scoring edges", hear):
        for name in sums:
            sums[name] += SCORES[name](task).sum(-1).double().cpu().numpy() / len(pairs)
    found: dict[str, Scores] = {}
    for name in methods:
        chance = np.random.default_rng(seed).standard_normal(edges.shape)
        found[name] = np.where(edges, chance if name == RANDOM else sums[name], -np.inf)
    return found


def _kept(parts: PartList, scores: Scores, share: float) -> NDArray[np.bool_]:
    """Return the highest edges on paths from the embedding to the logits."""
    there = np.isfinite(scores) & parts.ways().numpy()
    n = int(share * int(there.sum()))
    order = np.argsort(-np.where(there, scores, -np.inf), axis=None, kind="stable")[:n]
    kept = np.zeros(scores.shape, bool)
    kept.flat[order] = True
    reached = np.zeros(parts.n_writers + 1, bool)
    reached[INPUT] = True
    by_reader: NDArray[np.bool_] = np.logical_or.reduce(kept, axis=0)
    for reader in range(parts.n_readers):
        reached[reader + 1] = bool((by_reader[reader] & reached[:-1]).any())
    leads = np.zeros(parts.n_writers + 1, bool)
    leads[parts.logits + 1] = True
    for reader in reversed(range(parts.n_readers)):
        if leads[reader + 1]:
            leads[:-1] |= by_reader[reader]
    kept &= reached[None, None, :-1] & (leads[1:] & reached[1:])[None, :, None]
    return kept


def _values(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    masks: Sequence[NDArray[np.bool_]],
    hear: Progress,
) -> NDArray[np.float64]:
    """Return the mean metric of the model, of the counterfactual alone, and of each mask."""
    found = []
    for task in _tasks(model, pairs, "Measuring circuits", hear):
        n = len(task.ids)
        every = (
            torch.from_numpy(mask)[..., None].expand(*mask.shape, n).to(task.own) for mask in masks
        )
        found.append([task.whole, task.empty, *task.values(every)])
    mean: NDArray[np.float64] = np.array(found, np.float64).mean(0)
    return mean
