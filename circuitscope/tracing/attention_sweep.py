"""Attention modification as a sweep: whose look at a word does the answer hang on?

1. Run the prompt and read the metric.
2. Run it once for each head, what its softmax gives one key multiplied by a factor, for one query
   or for all that may see it; everything after it follows.
3. A cell is the metric's change. Patterns are not made to sum to 1 again.

Ortu et al. 2024 (arXiv 2402.11655) multiply such entries to turn a copied word into a remembered
one. All heads of a layer are one batch that starts at that layer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import circuitscope
from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import Logit, LogitDifference, target_as_json
from circuitscope.models.places import Change, has_site
from circuitscope.models.prompts import Written, position_in, read_prompt, token_text
from circuitscope.models.reading import model_record
from circuitscope.models.rerun import OUTPUT, open_stream, rerun
from circuitscope.models.threads import fitting_threads
from circuitscope.models.upcast import in_float32
from circuitscope.tracing.run import Clock, libraries

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

METHOD = "attention_modification"
COMPONENT = "pattern"


@torch.no_grad()
def attention_grid(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    prompt: Written,
    metric: Logit | LogitDifference,
    key: int,
    query: int | None = -1,
    *,
    factor: float = 0.0,
    progress: Progress | None = None,
) -> Grid:
    """Return how a metric changes as each head's look at one position is multiplied.

    Args:
        model: A causal language model.
        prompt: Text or ids.
        metric: A logit or a logit difference.
        key: The position looked at.
        query: The position that looks, -1 the last; None for all.
        factor: What the entries are multiplied by; 0 takes them away.
        progress: Hears of every layer; may cancel.

    Returns:
        Changes, [layer, head]; `provenance.scores` holds the metric before ("whole").

    Raises:
        TraceError: A position is not there, or the model's patterns or logits cannot be read.
    """
    hear, clock, model = progress or silent(), Clock(), in_float32(model)
    ids, anatomy = read_prompt(model, prompt).token_ids, model.anatomy
    n = len(ids)
    readable = anatomy.causal and has_site(model, Site.PATTERN)
    if not readable or not isinstance(metric, (Logit, LogitDifference)):
        raise TraceError(
            "Attention is multiplied in causal language models whose patterns can be read, by a "
            "logit or a logit difference.",
            hint="Choose Logit or LogitDifference.",
        )
    for position in (key, *([] if query is None else [query]), metric.position):
        position_in(n, position)
    words = [metric.a, metric.b] if isinstance(metric, LogitDifference) else [metric.token]
    if None in words:
        raise TraceError("A metric needs a word.", hint="Name the token.")
    columns = [model.find_token(word) for word in words if word is not None]
    values = np.zeros((anatomy.n_layers, anatomy.n_heads))
    hear.phase("Multiplying attention", anatomy.n_layers)
    with fitting_threads(anatomy):
        stream = open_stream(model, ids)

        def read(logits: Tensor) -> Tensor:
            picked = logits[:, metric.position, columns].double()
            return picked[:, 0] - (picked[:, 1] if len(columns) > 1 else 0)

        whole = float(read(stream.cache.logits[None])[0])
        for layer in range(anatomy.n_layers):
            for start in range(0, anatomy.n_heads, stream.most_copies):
                heads = range(anatomy.n_heads)[start : start + stream.most_copies]
                change = _multiply(heads, key % n, None if query is None else query % n, factor)
                place = (Site.PATTERN, layer)
                logits = rerun(stream, {place: change}, (OUTPUT,), len(heads))[OUTPUT]
                values[layer, list(heads)] = read(logits).cpu().numpy() - whole
            hear.advance()
    provenance = Provenance(
        method=METHOD, app_version=circuitscope.__version__,
        settings={
            "prompt": prompt if isinstance(prompt, str) else list(ids), "component": COMPONENT,
            "metric": target_as_json(metric), "key": key % n,
            "query": None if query is None else query % n, "factor": factor,
            "token_ids": list(ids), "looked_at": token_text(model, ids[key]).strip(),
        },
        model=model_record(model), dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=clock.seconds(), libraries=libraries(), scores={"whole": whole},
    )  # fmt: skip
    ticks = tuple(
        tuple(str(number) for number in range(size)) for size in (anatomy.n_layers, anatomy.n_heads)
    )
    return Grid(("layer", "head"), ticks, values.astype(np.float32), provenance)


def _multiply(heads: range, key: int, query: int | None, factor: float) -> Change:
    """Return the change in which copy k multiplies the entries of the k-th head."""

    def change(rows: Tensor) -> None:
        for copy, head in enumerate(heads):
            at = slice(None) if query is None else query
            rows[copy, at, head, key] *= factor

    return change
