"""How much each edge between parts of the model does for a metric, by several methods.

All return a score for each edge and position, [reader, writer, pos]: what the metric loses, by
the method's account, where the edge carries another run in place of its own.

    eap           first order: (written here - written there) . gradient at the read (Nanda 2023,
                  attribution patching; Syed et al. 2023, arXiv 2310.10348)
    eap_ig        the same with the gradient's mean over inputs between the two prompts (Hanna et
                  al. 2024, arXiv 2403.17806)
    patched       run each edge with the other's value: exact, one run an edge
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import Metric
from circuitscope.models.drafting import draft
from circuitscope.models.prompts import Written as Prompt
from circuitscope.models.prompts import read_prompt
from circuitscope.tracing.metrics import Meter, read_metric
from circuitscope.tracing.parts import WAYS, PartList, PartRun, parts_of, values_of

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Instead = Literal["counterfactual", "mean", "zero"]
STEPS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One prompt with its metric and what takes the place of what parts write.

    Attributes:
        own: What parts write in the prompt's run, [writer, pos, d_model].
        other: What they write instead.
        whole: The metric of the prompt; `empty`: of the other run alone.
        words: What `other` is.
    """

    meter: Meter
    ids: Tensor
    own: Tensor
    other: Tensor
    whole: float
    empty: float
    words: str

    @property
    def parts(self) -> PartList:
        """Return the model's parts."""
        return parts_of(self.meter.blueprint)

    def values(self, keep: Sequence[Tensor] | Iterator[Tensor]) -> list[float]:
        """Return the metric for each choice of edges that carry the prompt's own run."""
        return values_of(self.meter, self.ids, self.other, keep)


def open_task(
    model: LoadedModel,
    prompt: Prompt,
    metric: Metric,
    corrupted: Prompt | None = None,
    instead: Instead = "counterfactual",
) -> Task:
    """Make a prompt ready.

    Args:
        model: A causal language model whose operations are known.
        prompt: The clean prompt.
        metric: What is measured.
        corrupted: A prompt of as many tokens.
        instead: What edges carry that are not kept: what the corrupted prompt writes (without
            one, the mean), the mean over the prompt's positions, or 0.

    Raises:
        TraceError: The prompts differ in length, or the model has no such edges.
    """
    blueprint = draft(model)
    ids = torch.tensor(read_prompt(model, prompt).token_ids, device=model.device)
    meter = read_metric(model, blueprint, metric, len(ids))
    parts_of(blueprint)
    with torch.no_grad():
        plain = PartRun(meter, ids).run()
        own = plain.rows[0]
        words = "the mean over positions"
        if instead == "zero":
            other, words = torch.zeros_like(own), "zero"
        elif instead == "mean" or corrupted is None:
            other = own.mean(1, keepdim=True).expand_as(own)
        else:
            bad = torch.tensor(read_prompt(model, corrupted).token_ids, device=model.device)
            if len(bad) != len(ids):
                raise TraceError(
                    f"The corrupted prompt has {len(bad)} tokens, the prompt has {len(ids)}.",
                    kept="Nothing has been computed.",
                    hint="Choose a prompt of as many tokens, so that every position has its "
                    "partner.",
                )
            other, words = PartRun(meter, bad).run().rows[0], "the corrupted prompt"
        nothing = torch.zeros(parts_of(blueprint).n_readers, *own.shape[:2], device=own.device)
        empty = values_of(meter, ids, other, [nothing])[0]
    return Task(meter, ids, own, other, float(plain.value[0]), empty, words)


def eap(task: Task, *, apart: bool = False) -> Tensor:
    """Score edges by the gradient at the clean prompt, [reader, writer, pos].

    With `apart`, queries, keys and values of heads read apart: [way, reader, writer, pos].
    """
    return _scores(task, [task.own[0]], apart=apart)


def eap_ig(task: Task, steps: int = STEPS, *, apart: bool = False) -> Tensor:
    """Score edges by the gradient's mean over inputs between the prompts, the clean one last."""
    shares = [(k + 1) / steps for k in range(steps)]
    starts = [task.other[0] + s * (task.own[0] - task.other[0]) for s in shares]
    return _scores(task, starts, apart=apart)


def _scores(task: Task, starts: Sequence[Tensor], *, apart: bool) -> Tensor:
    shape = *((WAYS,) if apart else ()), task.parts.n_readers, *task.own.shape[1:]
    gradient = task.own.new_zeros(shape)
    for start in starts:
        with torch.enable_grad():
            nudges = task.own.new_zeros(shape).requires_grad_()
            value = PartRun(task.meter, task.ids, start=start[None], nudges=nudges).run().value
            (found,) = torch.autograd.grad(value.sum(), nudges)
        gradient += found / len(starts)
    scores = torch.einsum("...rpd,wpd->...rwp", gradient, task.own - task.other)
    edges = task.parts.ways() if apart else task.parts.edges()
    return scores * edges.to(scores)[..., None]


def patched(task: Task, edges: Sequence[tuple[int, int, int]]) -> list[float]:
    """Return what the metric loses with each edge carrying the other run.

    Args:
        task: The prompt.
        edges: Each a reader, a writer and a position, -1 for all.
    """
    every = torch.ones(task.parts.n_readers, *task.own.shape[:2], device=task.own.device)

    def without() -> Iterator[Tensor]:
        for reader, writer, position in edges:
            one = every.clone()
            one[reader, writer, slice(None) if position < 0 else position] = 0
            yield one

    return [task.whole - value for value in task.values(without())]


def patched_parts(task: Task) -> Tensor:
    """Return what the metric loses with each writer replaced for all that read it, [writer]."""
    every = torch.ones(task.parts.n_readers, *task.own.shape[:2], device=task.own.device)

    def without() -> Iterator[Tensor]:
        for writer in range(task.parts.n_writers):
            one = every.clone()
            one[:, writer] = 0
            yield one

    return task.whole - torch.tensor(task.values(without()), dtype=torch.float64)
