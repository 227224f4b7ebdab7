"""Activation patching as a sweep: where does the clean prompt's value bring the answer back?

1. Run the clean and the corrupted prompt, of as many tokens, and read the metric of both.
2. Run the corrupted prompt once for each cell, one site of one layer at one position (heads: one
   head at all positions) holding what it holds in the clean run; everything after it follows.
3. A cell is (m(patched) - m(corrupted)) / (m(clean) - m(corrupted)): 0 nothing, 1 all of it.

All cells of a layer are one batch that starts at that layer (`models.rerun`), so no layer below is
computed again. Zhang and Nanda 2024 (arXiv 2309.16042) discuss the choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import circuitscope
from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import Logit, LogitDifference, target_as_json
from circuitscope.models.capture import exact
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import Change, read_rows
from circuitscope.models.prompts import Written, read_prompt, token_text
from circuitscope.models.rerun import OUTPUT, Stream, open_stream, rerun
from circuitscope.models.threads import fitting_threads
from circuitscope.models.upcast import in_float32
from circuitscope.tracing.run import Clock, libraries

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Component = Literal["resid_pre", "attn_out", "mlp_out", "head_z"]
Read = Callable[[Tensor], Tensor]
COMPONENTS: tuple[Component, ...] = ("resid_pre", "attn_out", "mlp_out", "head_z")


@torch.no_grad()
def patching_grid(
    model: LoadedModel,
    clean: Written,
    corrupted: Written,
    metric: Logit | LogitDifference,
    component: Component = "resid_pre",
    *,
    progress: Progress | None = None,
) -> Grid:
    """Patch every cell of a sweep and measure what comes back of the clean answer.

    Args:
        model: A causal language model.
        clean: The prompt whose values are put in.
        corrupted: The prompt that is run, of as many tokens.
        metric: A logit or a logit difference.
        component: What is patched; "head_z" sweeps layers by heads, the others by positions.
        progress: Hears of every layer; may cancel.

    Raises:
        TraceError: The prompts differ in length, or the metric is the same on both.
    """
    hear = progress or silent()
    if component not in COMPONENTS:
        raise TraceError(
            f"There is no component {component!r}.", hint=f"Choices: {', '.join(COMPONENTS)}."
        )
    clock = Clock()
    good, bad = (read_prompt(model, prompt).token_ids for prompt in (clean, corrupted))
    if len(good) != len(bad):
        raise TraceError(
            f"The clean prompt has {len(good)} tokens, the corrupted one {len(bad)}.",
            kept="Nothing has been computed.",
            hint="Choose prompts of as many tokens, so that every position has its partner.",
        )
    if not model.anatomy.causal or not isinstance(metric, (Logit, LogitDifference)):
        raise TraceError(
            "Sweeps read a logit or a logit difference of a causal language model.",
            hint="Choose Logit or LogitDifference.",
        )
    columns = _columns(model, metric)
    n, site = len(bad), Site.parse(component)
    anatomy = model.anatomy
    width = anatomy.n_heads if site is Site.HEAD_Z else n
    values = np.zeros((anatomy.n_layers, width), np.float64)
    hear.phase("Patching", anatomy.n_layers)
    with fitting_threads(anatomy):
        (held, clean_logits), stream = _held(model, good, site), open_stream(model, bad)
        at = metric.position % n

        def read(logits: Tensor) -> Tensor:
            picked = logits[:, at, columns].double()
            return picked[:, 0] - (picked[:, 1] if len(columns) > 1 else 0)

        whole = float(read(clean_logits)[0])
        floor = float(read(stream.cache.logits[None])[0])
        if abs(whole - floor) < 1e-6 * max(1.0, abs(whole)):
            raise TraceError(
                f"The metric is {whole:.4g} on both prompts, so there is nothing to bring back.",
                hint="Choose a corrupted prompt with another answer.",
            )
        for layer in range(anatomy.n_layers):
            values[layer] = _row(stream, (site, layer), held[layer], width, read)
            hear.advance()
    scaled = (values - floor) / (whole - floor)
    tokens = tuple(f"{k} {token_text(model, one).strip()}" for k, one in enumerate(good))
    heads = tuple(str(head) for head in range(width))
    provenance = Provenance(
        method="patching", app_version=circuitscope.__version__,
        settings={
            "prompt": clean if isinstance(clean, str) else list(good),
            "corrupted": corrupted if isinstance(corrupted, str) else list(bad),
            "component": component, "metric": target_as_json(metric),
            "token_ids": list(good), "tokens": [token_text(model, one) for one in good],
            "words": columns,
        },
        model=anatomy.as_json(), dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=clock.seconds(), libraries=libraries(),
        scores={"clean": whole, "corrupted": floor},
    )  # fmt: skip
    second = ("head", heads) if site is Site.HEAD_Z else ("position", tokens)
    layers = tuple(str(layer) for layer in range(anatomy.n_layers))
    return Grid(("layer", second[0]), (layers, second[1]), scaled.astype(np.float32), provenance)


def _columns(model: LoadedModel, metric: Logit | LogitDifference) -> list[int]:
    words: Sequence[str | int | None]
    words = [metric.token] if isinstance(metric, Logit) else [metric.a, metric.b]
    if None in words:
        raise TraceError("A metric needs a word.", hint="Name the token.")
    return [model.find_token(word) for word in words if word is not None]


def _held(
    model: LoadedModel, token_ids: Sequence[int], site: Site
) -> tuple[dict[int, Tensor], Tensor]:
    """Return what a site holds in each layer [pos, ...], and the logits [1, pos, d_vocab]."""
    held: dict[int, Tensor] = {}
    model = in_float32(model)
    with Hooks(model) as hooks:
        for layer in range(model.anatomy.n_layers):
            read_rows(model, hooks, (site, layer), partial(_keep, held, layer))
        logits = hooks.forward([list(token_ids)])
    return held, exact(logits)


def _keep(held: dict[int, Tensor], layer: int, rows: Tensor) -> None:
    held[layer] = exact(rows[0])


def _row(
    stream: Stream, place: tuple[Site, int], held: Tensor, width: int, read: Read
) -> NDArray[np.float64]:
    """Return the metric of every cell of a layer, a batch of copies at a time."""
    found = []
    for start in range(0, width, stream.most_copies):
        cells = range(start, min(start + stream.most_copies, width))
        change = _patch(place[0], held, cells)
        logits = rerun(stream, {place: change}, (OUTPUT,), len(cells))[OUTPUT]
        found.append(read(logits).cpu().numpy())
    return np.concatenate(found)


def _patch(site: Site, held: Tensor, cells: range) -> Change:
    """Return the change that gives copy k the clean value of cell k."""

    def change(rows: Tensor) -> None:
        for copy, cell in enumerate(cells):
            if site is Site.HEAD_Z:
                rows[copy, :, cell] = held[:, cell].to(rows)
            else:
                rows[copy, cell] = held[cell].to(rows)

    return change
