"""The logit lens: which tokens each state of the residual stream promotes (nostalgebraist 2020).

1. Run the prompt and read the residual stream before the first block and after each block.
2. Send every state through the model's own last norm, unembedding and soft cap, as if the rest
   of the model did nothing. Where that does not give the model's own logits for the last state,
   the head holds more than these, and states are put in after the last block of a whole run.
3. List the likeliest tokens of each state with their full-softmax probabilities.

What it ignores: that later blocks expect states of their own depth, so early rows say little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.progress import Progress, silent
from circuitscope.models.capture import exact
from circuitscope.models.family import Part, part_module
from circuitscope.models.hooks import Hooks
from circuitscope.models.prompts import Written, read_prompt, token_texts
from circuitscope.models.reading import model_record
from circuitscope.models.upcast import in_float32, upcasting

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

METHOD = "lens"
BEFORE = "embed"
"""Tick of the row before the first block; the other rows are named by the block they follow."""
_SAME = 1e-3


def lens(
    model: LoadedModel, prompt: Written, top: int = 5, progress: Progress | None = None
) -> Grid:
    """Return the tokens that each residual state promotes.

    Args:
        model: The model.
        prompt: Text, or ids used exactly as given.
        top: Tokens listed for each state.
        progress: Advanced once a layer.

    Returns:
        Probabilities [layer, position, rank], best first, with texts and ids of the tokens. Row 0
        is the embedding, row l + 1 the stream after block l; the last row is what the model says.

    Raises:
        ModelError: The model's logits are not over tokens.
    """
    model = in_float32(model)
    hear, begun = progress or silent(), time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    read = read_prompt(model, prompt)
    states, logits = _states(model, read.token_ids)
    if logits.shape != (len(read.token_ids), model.anatomy.d_vocab):
        raise ModelError(
            f"{model.anatomy.name or model.anatomy.architecture} has no logits over tokens.",
            hint="The lens needs a language model.",
        )
    head = _head(model, read.token_ids, states[-1], logits)
    k = min(top, model.anatomy.d_vocab)
    chances, ids = [], []
    hear.phase("Reading the residual stream", len(states))
    for state in states:
        best = torch.softmax(head(state).double(), -1).topk(k)
        chances.append(best.values.float().cpu().numpy())
        ids.append(best.indices.cpu().numpy())
        hear.advance()
    flat = np.stack(ids).ravel().tolist()
    ticks = (BEFORE, *(str(layer) for layer in range(model.anatomy.n_layers)))
    ranks = tuple(str(rank + 1) for rank in range(k))
    return Grid(
        ("layer", "position", "rank"), (ticks, read.tokens, ranks), np.stack(chances),
        _provenance(model, read.token_ids, top, started, time.monotonic() - begun),
        tuple(token_texts(model, flat)), tuple(flat),
    )  # fmt: skip


def _states(model: LoadedModel, ids: tuple[int, ...]) -> tuple[list[Tensor], Tensor]:
    """Return the residual stream before and after each block, [pos, d_model], and the logits."""
    n_layers = model.anatomy.n_layers
    found: dict[int, Tensor] = {}
    with Hooks(model) as hooks:
        hooks.read(Part.BLOCK, "input", 0, lambda x: found.update({0: x[0].clone()}))
        for layer in range(n_layers):
            _keep(hooks, found, layer)
        logits = exact(hooks.forward([list(ids)])[0])
    return [found[row] for row in range(n_layers + 1)], logits


def _keep(hooks: Hooks, found: dict[int, Tensor], layer: int) -> None:
    hooks.read(Part.BLOCK, "output", layer, lambda x: found.update({layer + 1: x[0].clone()}))


def _head(
    model: LoadedModel, ids: tuple[int, ...], last: Tensor, logits: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the function from a state [pos, d_model] to logits [pos, d_vocab]."""

    def short(state: Tensor) -> Tensor:
        with upcasting(model):
            if Part.LN_FINAL in model.family.parts:
                state = part_module(model.family, model.module, Part.LN_FINAL)(state)
            out = exact(part_module(model.family, model.module, Part.UNEMBED)(state))
        cap = model.anatomy.logit_softcap
        return out if cap is None else cap * torch.tanh(out / cap)

    def whole(state: Tensor) -> Tensor:
        with Hooks(model) as hooks:
            after_all = model.anatomy.n_layers - 1
            hooks.edit_site(Site.RESID_POST, after_all, lambda x: state[None].expand_as(x).clone())
            return exact(hooks.forward([list(ids)])[0])

    try:
        with torch.no_grad():
            found = short(last)
    except (KeyError, RuntimeError, AttributeError):
        return whole
    is_same = found.shape == logits.shape and float((found - logits).abs().max()) < _SAME * float(
        logits.abs().max()
    )
    return short if is_same else whole


def _provenance(
    model: LoadedModel, ids: tuple[int, ...], top: int, started: str, seconds: float
) -> Provenance:
    return Provenance(
        METHOD,
        app_version=version("circuitscope"),
        settings={"prompt": list(ids), "top": top},
        model=model_record(model),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        started=started,
        seconds=seconds,
    )
