"""What each component adds to a logit or a logit difference, directly (logit inspection).

1. Run the prompt. The metric is the last norm's output along a vector; with the norm's size as it
   was, that is a sum over all that was ever written to the stream at a position.
2. `parts`: every head, every MLP, each layer's attention constants, and what no layer writes
   (embedding, the constants of the last norm and the unembedding), at the metric's position.
3. `sources`: the same by where heads look: one column for each word that their values come from.
4. `attn_out`, `mlp_out`: every layer's at every position. `resid_post`: the logit lens of the same
   words, each state sent through the last norm with its own size.

All cells of the first two add up to the metric; those of `attn_out` and `mlp_out`, with what is
left, to the metric of each position. The lens sums nothing. Direct logit attribution says nothing
of what a part does through later ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import circuitscope
from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ConservationBroken, TraceError
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.progress import Progress, silent
from circuitscope.core.settings import Logit, LogitDifference, target_as_json
from circuitscope.models.capture import ForwardCache, capture, norm_scale
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.lens import BEFORE
from circuitscope.models.prompts import Written, position_in, read_prompt, token_text
from circuitscope.models.reading import as_traced, model_record
from circuitscope.models.threads import fitting_threads
from circuitscope.models.upcast import in_float32
from circuitscope.models.written import attn_bias
from circuitscope.tracing.run import Clock, libraries

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

METHOD = "logit_inspection"
Component = Literal["parts", "sources", "resid_post", "attn_out", "mlp_out"]
COMPONENTS: tuple[Component, ...] = ("parts", "sources", "resid_post", "attn_out", "mlp_out")
MLP, OTHER = "MLP", "other"
_WORST = 1e-4


@torch.no_grad()
def logit_parts(
    model: LoadedModel,
    prompt: Written,
    metric: Logit | LogitDifference,
    component: Component = "parts",
    *,
    progress: Progress | None = None,
) -> Grid:
    """Return what components add to a logit or logit difference.

    Args:
        model: A causal language model.
        prompt: Text or ids.
        metric: Which words, and at which position; raw logits, before any soft cap.
        component: "parts" and "sources" have the axes layer and column, the others layer and
            position; row 0 is what no layer writes.
        progress: Hears of every layer.

    Returns:
        A grid in logits; `provenance.scores` holds the metric ("whole"), the sum of the cells that
        must give it ("sum") and their distance over the sum of sizes ("off").

    Raises:
        TraceError: There is no such component, or the model has no logits over tokens.
        ConservationBroken: The cells do not add up.
    """
    hear, clock = progress or silent(), Clock()
    if component not in COMPONENTS:
        raise TraceError(
            f"There is no component {component!r}.", hint=f"Choices: {', '.join(COMPONENTS)}."
        )
    model = as_traced(in_float32(model))
    if not model.anatomy.causal or not isinstance(metric, (Logit, LogitDifference)):
        raise TraceError(
            "Logits are inspected by a word or one word against another, in a causal language "
            "model.",
            hint="Choose Logit or LogitDifference.",
        )
    ids = read_prompt(model, prompt).token_ids
    hear.phase("Reading logits", model.anatomy.n_layers)
    with fitting_threads(model.anatomy):
        subject = _open(model, ids, metric)
        values, columns = _ROWS[component](subject, hear)
        whole, total, off = subject.check(component, values)
    words = [token_text(model, one).strip() for one in subject.tokens]
    provenance = Provenance(
        method=METHOD, app_version=circuitscope.__version__,
        settings={
            "prompt": prompt if isinstance(prompt, str) else list(ids), "component": component,
            "metric": target_as_json(metric), "token_ids": list(ids), "words": words,
            "position": subject.position,
        },
        model=model_record(model), dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device), started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=clock.seconds(), libraries=libraries(),
        scores={"whole": whole, "sum": total, "off": off},
    )  # fmt: skip
    rows = (BEFORE, *(str(layer) for layer in range(model.anatomy.n_layers)))
    axis = "component" if component == "parts" else "position"
    return Grid(("layer", axis), (rows, columns), values.astype(np.float32), provenance)


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A run read along a vector.

    Attributes:
        tokens: The word, or the two words.
        along: The metric as a vector at the last norm's output, [d_model]; bias: added to it.
        back: The same before the norm, with its size at each position, [pos, d_model].
    """

    frozen: FrozenModel
    cache: ForwardCache
    tokens: tuple[int, ...]
    position: int
    along: Tensor
    bias: float
    back: Tensor
    names: tuple[str, ...]

    @property
    def n_layers(self) -> int:
        return self.frozen.model.anatomy.n_layers

    def at(self, x: Tensor) -> Tensor:
        """Return what vectors written at every position [.., pos, d_model] add, [.., pos]."""
        return (x * self.back).sum(-1)

    def constant(self) -> float:
        """Return what belongs to no position: the constants of the norm and the unembedding."""
        norm = self.frozen.norm_bias(Site.LN_FINAL, self.n_layers)
        return float(norm.double() @ self.along) + self.bias

    def start(self) -> Tensor:
        """Return what the stream begins with adds at each position, with the constants, [pos]."""
        return self.at(self.cache.site(Site.RESID_PRE, 0).double()) + self.constant()

    def value(self) -> NDArray[np.float64]:
        """Return the metric at every position as the forward pass has it, [pos]."""
        logits = self.cache.raw_logits[:, list(self.tokens)].double().cpu().numpy()
        found: NDArray[np.float64] = logits[:, 0] - (logits[:, 1] if logits.shape[1] > 1 else 0)
        return found

    def check(self, component: str, values: NDArray[np.float64]) -> tuple[float, float, float]:
        """Return the metric, the sum of cells, and how far apart they are; refuse what is not."""
        whole = float(self.value()[self.position])
        if component == "resid_post":
            cells = values[-1:, self.position]
        elif component in ("attn_out", "mlp_out"):
            other = _attention if component == "mlp_out" else _mlp
            rest = [float(other(self, n)[self.position]) for n in range(self.n_layers)]
            cells = np.array([*values[:, self.position], *rest])
        else:
            cells = values.ravel()
        total, size = float(cells.sum()), float(np.abs(cells).sum())
        off = abs(whole - total) / max(size, 1e-12)
        if off > _WORST:
            raise ConservationBroken(
                f"The parts add up to {total:.5g}, the model says {whole:.5g}.",
                kept="Nothing has been kept.",
                hint="Report this with the model's name; try float64.",
            )
        return whole, total, off


def _open(model: LoadedModel, ids: tuple[int, ...], metric: Logit | LogitDifference) -> _Subject:
    cache = capture(model, ids)
    frozen = FrozenModel(model, cache, dtype=torch.float64)
    position = position_in(len(ids), metric.position)
    words = [metric.a, metric.b] if isinstance(metric, LogitDifference) else [metric.token]
    tokens = tuple(
        int(cache.logits[position].argmax()) if word is None else model.find_token(word)
        for word in words
    )
    vectors, biases = frozen.weights.unembed(list(tokens))
    one = vectors[0].double() - (vectors[1].double() if len(tokens) > 1 else 0)
    bias = float(biases[0]) - (float(biases[1]) if len(tokens) > 1 else 0.0)
    every = one.expand(len(ids), -1)
    back = frozen.norm_vjp(Site.LN_FINAL, model.anatomy.n_layers, every)
    names = tuple(f"{k} {token_text(model, t).strip()}" for k, t in enumerate(ids))
    return _Subject(frozen, cache, tokens, position, one, bias, back, names)


Rows = tuple[NDArray[np.float64], tuple[str, ...]]


def _attention(subject: _Subject, layer: int) -> Tensor:
    return subject.at(subject.cache.attn_out[layer].double())


def _mlp(subject: _Subject, layer: int) -> Tensor:
    return subject.at(subject.cache.mlp_out[layer].double())


def _heads(subject: _Subject, layer: int) -> Tensor:
    """Return what each head's write adds at the metric's position, [head]."""
    z = subject.cache.head_z[layer].double()
    writes = subject.frozen.write_heads(layer, z)[subject.position]
    return writes @ subject.back[subject.position]


def _constant(subject: _Subject, layer: int) -> float:
    """Return what attention's output bias and the bias of a norm after it add."""
    bias = attn_bias(subject.frozen, layer).expand_as(subject.back)[subject.position]
    return float(bias @ subject.back[subject.position])


def _by_part(subject: _Subject, progress: Progress) -> Rows:
    n_heads = subject.frozen.model.anatomy.n_heads
    found = np.zeros((1 + subject.n_layers, n_heads + 2))
    found[0, -1] = float(subject.start()[subject.position])
    for layer in range(subject.n_layers):
        heads = _heads(subject, layer)
        found[1 + layer, :n_heads] = heads.cpu().numpy()
        found[1 + layer, n_heads] = float(_mlp(subject, layer)[subject.position])
        found[1 + layer, -1] = _constant(subject, layer)
        progress.advance()
    return found, (*(str(head) for head in range(n_heads)), MLP, OTHER)


def _by_source(subject: _Subject, progress: Progress) -> Rows:
    cache, at = subject.cache, subject.position
    n = cache.n_pos
    found = np.zeros((1 + subject.n_layers, n + 2))
    found[0, -1] = float(subject.start()[at])
    for layer in range(subject.n_layers):
        pattern, values = cache.patterns[layer][:, at].double(), cache.values[layer].double()
        group = len(pattern) // values.shape[1]
        spread = values.repeat_interleave(group, 1)
        moved = torch.einsum("hk,khe->khe", pattern, spread)
        # Each word's share stands at the metric's position, whose norm follows.
        held = moved.new_zeros(n, n, *moved.shape[1:])
        held[:, at] = moved
        writes = subject.frozen.write_heads(layer, held)[:, at].sum(-2)
        found[1 + layer, :n] = (writes @ subject.back[at]).cpu().numpy()
        found[1 + layer, n] = float(_mlp(subject, layer)[at])
        found[1 + layer, -1] = _constant(subject, layer)
        progress.advance()
    return found, (*subject.names, MLP, OTHER)


def _by_position(
    one: Callable[[_Subject, int], Tensor],
) -> Callable[[_Subject, Progress], Rows]:
    def rows(subject: _Subject, progress: Progress) -> Rows:
        found = [subject.start()]
        for layer in range(subject.n_layers):
            found.append(one(subject, layer))
            progress.advance()
        return torch.stack(found).cpu().numpy(), subject.names

    return rows


def _by_lens(subject: _Subject, progress: Progress) -> Rows:
    norm = subject.frozen.weights.norm(Site.LN_FINAL, subject.n_layers)
    states = [subject.cache.site(Site.RESID_PRE, 0)]
    states += [subject.cache.site(Site.RESID_POST, n) for n in range(subject.n_layers)]
    found = []
    for state in states:
        x, scale = norm_scale(norm, state.double())
        gain = 1.0 if norm.kind == "none" else norm.weight.double()
        found.append((x / scale[:, None] * gain) @ subject.along + subject.constant())
        progress.advance()
    return torch.stack(found).cpu().numpy(), subject.names


_ROWS: dict[str, Callable[[_Subject, Progress], Rows]] = {
    "parts": _by_part, "sources": _by_source, "resid_post": _by_lens,
    "attn_out": _by_position(_attention), "mlp_out": _by_position(_mlp),
}  # fmt: skip
