"""What a result of a model rests on: that it is read right, in float32, and in which it is held."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitscope.core.errors import ModelError, TraceError
from circuitscope.core.model_check import HELD, TOLERANCE
from circuitscope.models.guessed import is_guessed
from circuitscope.models.hooks import Hooks
from circuitscope.models.prompts import token_text
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_KEPT = "The model is loaded: it runs, generates, is changed and shows its lens."


def as_traced(model: LoadedModel) -> LoadedModel:
    """Return the model as traces read it: in float32, however its weights are held.

    Raises:
        TraceError: Its class is not known, or it failed its self-check when it was loaded.
    """
    refuse_unknown(model)
    check = model.check
    if check is not None and not check.passed:
        name = model.anatomy.name or model.anatomy.architecture
        why = f"{name} is not read right: {check.words}."
        raise TraceError(
            f"{why} At most {TOLERANCE:g} counts as rounding, so a circuit would not be this "
            "model's.",
            kept=_KEPT,
            hint='Load it with dtype="float32", or "float64"; if it stays, please report it with '
            "the model's config.json.",
        )
    return in_float32(model)


def refuse_unknown(model: LoadedModel) -> None:
    """Refuse to take apart a model whose parts are only guessed.

    Raises:
        TraceError: Its class is not known.
    """
    if is_guessed(model.family):
        raise TraceError(
            f"{model.anatomy.architecture} is a class whose arithmetic CircuitScope does not "
            "know, so it cannot be traced or decomposed.",
            kept=_KEPT,
            hint="The page Which models lists the classes that can be traced; an outside package "
            "can add one by an entry point.",
        )


def model_record(model: LoadedModel) -> dict[str, Any]:
    """Return what provenance says of a model: its anatomy, its precision and its self-check."""
    check = None if model.check is None else model.check.as_json()
    held = str(model.held).removeprefix("torch.")
    return {**model.anatomy.as_json(), "held_in": held, "self_check": check}


@torch.no_grad()
def precision_remark(model: LoadedModel, token_ids: Tensor, logits: Tensor) -> str:
    """Say where the model in its own precision gives another answer than in float32.

    Args:
        model: As traces read it.
        token_ids: The prompt, int64 [pos].
        logits: In float32, [pos, d_vocab]; [label] in a classifier.

    Returns:
        A sentence, "" where both agree or the weights are held in float32.
    """
    if not model.upcasts:
        return ""
    own = replace(model, dtype=model.held, upcasts=False)
    with Hooks(own) as hooks:
        found = hooks.forward(token_ids[None])[0]
    first, second = (int((x if x.dim() == 1 else x[-1]).float().argmax()) for x in (logits, found))
    if first == second:
        return ""
    held = str(model.held).removeprefix("torch.")
    return (
        f"In {held}, {HELD}, the model says {_answer(model, second)}; this "
        f"circuit explains the same weights in float32, which say {_answer(model, first)}."
    )


def _answer(model: LoadedModel, index: int) -> str:
    if model.anatomy.labels:
        return f"“{model.anatomy.labels[index]}”"
    try:
        return f"“{token_text(model, index).strip()}”"
    except ModelError:
        return f"token {index}"
