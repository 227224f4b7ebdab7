"""Read metrics off logits: of a plain or changed run, or of a relevant part alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.errors import TargetNotFound, TraceError
from circuitscope.core.metrics import AnswerVersusOthers, GreaterThan, Metric, ProbabilityDifference
from circuitscope.core.settings import Direction, Logit, LogitDifference
from circuitscope.models.blueprint import Affine, Blueprint, Stage
from circuitscope.models.prompts import find_token

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_KEPT = "Nothing has been computed."


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """A metric made ready for one prompt.

    Attributes:
        blueprint: The model, its way out replaced where a direction is read.
        position: Where it reads.
        tokens: The columns of logits that it needs, or None for all.
        value: From those columns [.., token] to the metric [..].
    """

    blueprint: Blueprint
    position: int
    tokens: Tensor | None
    value: Callable[[Tensor], Tensor]


def read_metric(model: LoadedModel, blueprint: Blueprint, metric: Metric, n_pos: int) -> Meter:
    """Make a metric ready.

    Raises:
        TargetNotFound: A word is not one token, or the position does not exist.
        TraceError: It is no metric.
    """
    at = blueprint.readout.position
    if at is None:
        if not -n_pos <= metric.position < n_pos:
            raise TargetNotFound(
                f"There is no position {metric.position}: the prompt has {n_pos} tokens.",
                hint=f"Positions go from 0 to {n_pos - 1}, or from -1 backwards.",
            )
        at = metric.position % n_pos
    if isinstance(metric, Direction):
        return _direction(blueprint, metric, at)
    groups = _words(metric)
    ids = [[_column(model, blueprint, word) for word in group] for group in groups]
    flat = torch.tensor([one for group in ids for one in group], device=model.device)
    sizes = [len(group) for group in ids]
    if isinstance(metric, (ProbabilityDifference, GreaterThan)):
        return Meter(blueprint, at, None, lambda logits: _probability(logits, flat, sizes))
    return Meter(blueprint, at, flat, lambda logits: _contrast(logits, sizes))


def _words(metric: Metric) -> list[Sequence[str | int]]:
    if isinstance(metric, Logit):
        if metric.token is None:
            raise TraceError("A metric needs a word.", kept=_KEPT, hint="Name the token.")
        return [[metric.token], []]
    if isinstance(metric, LogitDifference):
        return [[metric.a], [metric.b]]
    if isinstance(metric, AnswerVersusOthers):
        return [[metric.answer], metric.others]
    if isinstance(metric, GreaterThan):
        cut = metric.threshold + 1
        return [metric.words[cut:], metric.words[:cut]]
    if isinstance(metric, ProbabilityDifference):
        return [metric.a, metric.b]
    raise TraceError(
        f"{metric!r} is no metric.",
        kept=_KEPT,
        hint="Metrics are Logit, LogitDifference, ProbabilityDifference, GreaterThan, "
        "AnswerVersusOthers and Direction.",
    )


def _column(model: LoadedModel, blueprint: Blueprint, word: str | int) -> int:
    if blueprint.readout.position is None:
        return find_token(model, word)
    return find_label(model, blueprint, word)


def find_label(model: LoadedModel, blueprint: Blueprint, label: str | int) -> int:
    """Return a classifier's label by name or number.

    Raises:
        TargetNotFound: There is none; the message lists those there are.
    """
    names = label_names(model, blueprint.n_out)
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    if label in names:
        return names.index(str(label))
    raise TargetNotFound(f"There is no label {label!r}.", hint=f"Labels: {', '.join(names)}.")


def label_names(model: LoadedModel, n: int) -> list[str]:
    """Return the names of a classifier's labels."""
    held = getattr(model.module.config, "id2label", None) or {}
    return [str(held.get(k, held.get(str(k), f"LABEL_{k}"))) for k in range(n)]


def _contrast(logits: Tensor, sizes: list[int]) -> Tensor:
    answer = logits[..., 0]
    return answer if sizes[1] == 0 else answer - logits[..., 1:].amax(-1)


def _probability(logits: Tensor, columns: Tensor, sizes: list[int]) -> Tensor:
    a, b = torch.split(logits.softmax(-1)[..., columns], sizes, -1)
    difference: Tensor = a.sum(-1) - b.sum(-1)
    return difference


def _direction(blueprint: Blueprint, metric: Direction, at: int) -> Meter:
    if len(metric.vector) != blueprint.d_model:
        raise TargetNotFound(
            f"The direction {metric.name!r} has {len(metric.vector)} entries, but the model's "
            f"d_model is {blueprint.d_model}.",
            hint="Give one number per entry of the residual stream.",
        )
    like = blueprint.blocks[0].attention.out.weight
    column = torch.tensor(metric.vector, dtype=like.dtype, device=like.device)[:, None]
    out = replace(blueprint.readout, stages=(Stage(Affine(column)),), softcap=None)
    return Meter(replace(blueprint, readout=out), at, None, lambda logits: logits[..., 0])
