"""Split a prompt's logits, or what targets hold, into what sources are relevant for and the rest.

The front door of contextual decomposition: reads sources, means and targets as users write them,
checks them, chooses the walk and returns numpy arrays. Rules are in `decomposition`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.errors import TraceError
from circuitscope.core.progress import Progress, silent
from circuitscope.core.sources import Head, MeanActivations, Mlp, Source
from circuitscope.models.blueprint import Blueprint
from circuitscope.models.drafting import draft
from circuitscope.models.hooks import Hooks
from circuitscope.models.loading import available_memory
from circuitscope.models.preparing import prepare
from circuitscope.models.prompts import Written, find_token, read_prompt
from circuitscope.models.threads import fitting_threads
from circuitscope.models.upcast import in_float32
from circuitscope.tracing.decomposition import (
    AttentionRule,
    PairWalk,
    choose_rules,
    with_eps,
)
from circuitscope.tracing.injection import Injector, Means, Silent, SourceSet, Where
from circuitscope.tracing.naming_sources import check_place, read_means, read_sources
from circuitscope.tracing.relevance import Reading, RelevanceWalk, whole_logits
from circuitscope.tracing.totals import Totals, run_totals

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

Ablation = Literal["zero", "mean"]
Mode = Literal["exact", "reference"]
MeansLike = MeanActivations | NDArray[Any] | None
_KEPT = "Nothing has been computed."
_AGREEMENT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Relevant and irrelevant parts; their sum is what the model itself holds.

    Attributes:
        relevant, irrelevant: Logits: [source set, position, token], or [source set, label].
            Targets: [source set, target, width], positions between where targets name none.
        token_ids: The prompt.
        positions, tokens: What was read of the logits; None for all.
    """

    relevant: NDArray[np.floating]
    irrelevant: NDArray[np.floating]
    token_ids: tuple[int, ...]
    positions: tuple[int, ...] | None = None
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decomposer:
    """One prompt ready to be split by many source sets."""

    model: LoadedModel
    totals: Totals

    @property
    def n_pos(self) -> int:
        """Return the number of positions."""
        return self.totals.n_pos


def open_decomposer(
    model: LoadedModel,
    token_ids: Sequence[int],
    eps: float | None = None,
    weights: str = "raw",
) -> Decomposer:
    """Run a prompt and check that the walk reproduces the model.

    Raises:
        UnsupportedArchitecture: The model's operations are not known.
        TraceError: The model is not read right, or does something the walk does not.
    """
    blueprint = prepare(with_eps(draft(model), eps), weights)
    ids = torch.tensor(list(token_ids), device=model.device)
    with torch.no_grad():
        totals = run_totals(blueprint, ids)
        if eps is None and weights == "raw":
            _check(model, totals)
    return Decomposer(model, totals)


def every_position(blueprint: Blueprint, n: int) -> tuple[int, ...]:
    """Return the positions that logits have."""
    at = blueprint.readout.position
    return tuple(range(n)) if at is None else (at,)


def _check(model: LoadedModel, totals: Totals) -> None:
    n = totals.n_pos
    read = (n - 1,) if totals.blueprint.readout.position is None else (0,)
    ours = whole_logits(totals, Reading(read))[0]
    with Hooks(in_float32(model)) as hooks:
        found = hooks.forward(totals.ids[None])[0]
    theirs = found if found.dim() == 1 else found[-1]
    miss = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
    if not miss < _AGREEMENT:
        raise TraceError(
            f"The walk through {model.anatomy.name or model.anatomy.architecture} misses its "
            f"logits by {miss:.2g} of their size, so the model does something unknown.",
            kept=_KEPT,
            hint="Please report it with the model's config.json.",
        )


def decompose(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    prompt: Written,
    sources: Sequence[Sequence[Source] | Source],
    ablation: Ablation = "zero",
    means: MeansLike = None,
    targets: Literal["logits"] | Sequence[Head | Mlp] = "logits",
    *,
    mode: Mode = "exact",
    eps: float | None = None,
    attention: AttentionRule | None = None,
    weights: str = "raw",
    positions: Sequence[int] | None = None,
    tokens: Sequence[str | int] | None = None,
    dictionaries: Sequence[Dictionary] = (),
    progress: Progress | None = None,
) -> Split:
    """Split logits or targets by each set of sources.

    Args:
        model: A loaded model.
        prompt: Text, token ids used as given, or chat messages.
        sources: Sets of heads, MLPs, spans or features that are decomposed together; a source
            alone is a set of one.
        ablation: "zero": all that a source holds is relevant; "mean": what exceeds the mean.
        means: For "mean": from `mean_activations`, or z of heads as an array [layer, position,
            head, d_head] or [layer, head, d_head].
        targets: "logits", or heads and MLPs of which all have a position or none has.
        mode: "exact", or "reference": operation by operation as the public code.
        eps: Epsilon of every norm instead of the model's own.
        attention: "relrel" or "frozen"; None takes frozen where an encoder's sources are spans.
        weights: "raw", "centred" or "folded"; biases split differently in each basis.
        positions: Positions whose logits are wanted; None for all.
        tokens: Tokens whose logits are wanted; None for all.
        dictionaries: Those of feature sources.
        progress: Hears of the sets and may cancel.

    Raises:
        TraceError: No sources, a place that does not exist, means of another model or shape.
    """
    hear = progress or silent()
    _check_words(ablation=ablation, mode=mode, attention=attention)
    read = read_prompt(model, prompt)
    hear.phase("Forward pass", 1)
    with fitting_threads(model.anatomy), torch.no_grad():
        one = open_decomposer(model, read.token_ids, eps, weights)
        hear.advance()
        sets = read_sources(one.totals, model, sources, dictionaries)
        held = (
            read_means(one.totals, model.anatomy.digest, means) if ablation == "mean" else Means()
        )
        if ablation == "mean":
            _check_means(held, sets)
        rule = attention or usual_attention(one.totals.blueprint, sets)
        if isinstance(targets, str):
            ids = None if tokens is None else [_token(model, one, token) for token in tokens]
            asked = _positions(one, positions)
            return _logits(one, sets, held, rule, mode, asked, ids, positions, hear)
        return _targets(one, sets, held, rule, mode, list(targets), hear)


def usual_attention(blueprint: Blueprint, sets: Sequence[SourceSet]) -> AttentionRule:
    """Return the public code's rule: frozen for spans in encoders, relevant queries elsewhere."""
    only_spans = all(one.only_spans or not one.places() for one in sets)
    return "frozen" if only_spans and not blueprint.causal else "relrel"


_WORDS = {
    "ablation": ("zero", "mean"),
    "mode": ("exact", "reference"),
    "attention": (None, "relrel", "frozen"),
}


def _check_words(**given: str | None) -> None:
    for name, value in given.items():
        if value not in _WORDS[name]:
            choices = ", ".join(str(word) for word in _WORDS[name])
            raise TraceError(
                f"There is no {name}={value!r}.", kept=_KEPT, hint=f"Choices: {choices}."
            )


def _check_means(means: Means, sets: Sequence[SourceSet]) -> None:
    if means.mlp is None and any(one.mlp for one in sets):
        raise TraceError(
            "The means given hold heads only, but an MLP is among the sources.",
            kept=_KEPT,
            hint="Measure them with mean_activations(model, prompts).",
        )


def _token(model: LoadedModel, one: Decomposer, token: str | int) -> int:
    """Return a column of the logits: a token's id, or a label's number."""
    if one.totals.blueprint.readout.position is None:
        return find_token(model, token)
    if not isinstance(token, int) or not 0 <= token < one.totals.blueprint.n_out:
        raise TraceError(
            f"There is no label {token!r}: the classifier has {one.totals.blueprint.n_out}.",
            kept=_KEPT,
        )
    return token


def _positions(one: Decomposer, positions: Sequence[int] | None) -> tuple[int, ...]:
    every = every_position(one.totals.blueprint, one.n_pos)
    if positions is None or one.totals.blueprint.readout.position is not None:
        return every
    outside = [at for at in positions if not -one.n_pos <= at < one.n_pos]
    if outside or not positions:
        said = f"There is no position {outside[0]}" if outside else "No position is read"
        raise TraceError(
            f"{said}: the prompt has {one.n_pos} tokens.",
            kept=_KEPT,
            hint=f"Positions go from 0 to {one.n_pos - 1}, or from -1 backwards.",
        )
    return tuple(sorted({at % one.n_pos for at in positions}))


class _Logits(Silent):
    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.parts = like.new_zeros(shape)

    def logits(self, logits: Tensor, at: Where) -> None:
        self.parts[list(at.numbers)] = logits


def _logits(  # noqa: PLR0913 - one call
    one: Decomposer,
    sets: Sequence[SourceSet],
    means: Means,
    rule: AttentionRule,
    mode: Mode,
    positions: tuple[int, ...],
    tokens: list[int] | None,
    asked: Sequence[int] | None,
    progress: Progress,
) -> Split:
    totals, embed = one.totals, one.totals.embed
    rules = choose_rules(totals.blueprint, rule)
    columns = None if tokens is None else torch.tensor(tokens, device=embed.device)
    n_tokens = totals.blueprint.n_out if tokens is None else len(tokens)
    shape = (len(sets), len(positions), n_tokens)
    _check_room(shape, embed)
    progress.phase("Source sets", len(sets))
    if mode == "exact":
        reading = Reading(positions, columns)
        relevant = _Logits(shape, embed)
        RelevanceWalk(totals, rules, reading).run(sets, means, relevant, progress)
        r = relevant.parts
        i = whole_logits(totals, reading)[None] - r
    else:
        every = (
            len(sets),
            len(every_position(totals.blueprint, one.n_pos)),
            totals.blueprint.n_out,
        )
        both = _Logits(every, embed), _Logits(every, embed)
        PairWalk(totals, rules).run(Injector(sets, totals, means), *both)
        r, i = (part.parts for part in both)
        at = slice(None) if every[1] == 1 else list(positions)
        r, i = r[:, at], i[:, at]
        if columns is not None:
            r, i = r[..., columns], i[..., columns]
    order = (
        [positions.index(at % one.n_pos) for at in asked] if asked and len(positions) > 1 else None
    )
    if order is not None:
        r, i = r[:, order], i[:, order]
        positions = tuple(positions[k] for k in order)
    if totals.blueprint.readout.position is not None:
        r, i = r[:, 0], i[:, 0]
    ids = tuple(totals.ids.tolist())
    return Split(
        _numpy(r), _numpy(i), ids, None if asked is None else positions,
        None if tokens is None else tuple(tokens),
    )  # fmt: skip


def _check_room(shape: tuple[int, ...], like: Tensor) -> None:
    needed = 2 * int(np.prod(shape, dtype=np.int64)) * like.element_size()
    free = available_memory(like.device)
    if needed > 0.8 * free:
        raise TraceError(
            f"The parts of all these logits need {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB "
            "are free.",
            kept=_KEPT,
            hint="Name the positions or tokens that you want.",
        )


class _Targets(Silent):
    """Keep what targets hold; targets with a position [set, target, width], else all positions."""

    def __init__(self, targets: Sequence[Head | Mlp], n_sets: int, totals: Totals) -> None:
        d_head, d_model = totals.blueprint.heads[1], totals.blueprint.d_model
        width = d_model if isinstance(targets[0], Mlp) else d_head
        spread = () if targets[0].position is not None else (totals.n_pos,)
        self.parts = totals.embed.new_zeros(n_sets, len(targets), *spread, width)
        self._targets = list(enumerate(targets))
        self._group = totals.blueprint.heads[0] // totals.blueprint.blocks[0].attention.n_kv
        self._d_head = d_head

    def _keep(self, layer: int, part: str, value: Tensor, at: Where) -> None:
        for number, target in self._targets:
            own = "mlp" if isinstance(target, Mlp) else target.part
            if target.layer != layer or own != part:
                continue
            here = value
            if isinstance(target, Head):
                shared = part in ("key", "value")
                here = value[..., target.head // self._group if shared else target.head, :]
            rows = list(at.numbers)
            if target.position is not None:
                place = int(at.place[target.position])
                if place >= 0:
                    self.parts[rows, number] = here[:, place]
                continue
            there = (at.place >= 0).nonzero()[:, 0]
            for row, values in zip(rows, here[:, at.place[there]], strict=True):
                self.parts[row, number, there] = values

    def qkv(self, layer: int, parts: tuple[Tensor, Tensor, Tensor], at: Where) -> None:
        for name, part in zip(("query", "key", "value"), parts, strict=True):
            self._keep(layer, name, part, at)

    def z(self, layer: int, z: Tensor, at: Where) -> None:
        self._keep(layer, "z", z, at)

    def residual(self, layer: int, mid: Tensor, at: Where) -> None:
        self._keep(layer, "residual", torch.unflatten(mid, -1, (-1, self._d_head)), at)

    def mlp(self, layer: int, out: Tensor, at: Where) -> None:
        self._keep(layer, "mlp", out, at)


def _whole_targets(totals: Totals, targets: Sequence[Head | Mlp]) -> Tensor:
    """Return what targets hold themselves, as one set."""
    keep = _Targets(targets, 1, totals)
    at = Where(slice(0, 1), torch.arange(totals.n_pos, device=totals.embed.device), (0,))
    for layer, t in enumerate(totals.layers):
        keep.qkv(layer, (t.attention.q[None], t.attention.k[None], t.attention.v[None]), at)
        keep.z(layer, t.attention.z[None], at)
        keep.residual(layer, t.mid[None], at)
        keep.mlp(layer, t.mlp.out.after[None], at)
    return keep.parts


def _targets(  # noqa: PLR0913 - one call
    one: Decomposer,
    sets: Sequence[SourceSet],
    means: Means,
    rule: AttentionRule,
    mode: Mode,
    targets: list[Head | Mlp],
    progress: Progress,
) -> Split:
    totals = one.totals
    targets = [_checked(one, target) for target in targets]
    kinds = {(isinstance(target, Mlp), target.position is None) for target in targets}
    if len(kinds) != 1:
        raise TraceError(
            "Heads and MLPs, or targets with and without a position, do not fit one array."
            if kinds
            else "No target was given.",
            kept=_KEPT,
            hint="Ask for each kind of target in a call of its own.",
        )
    rules = choose_rules(totals.blueprint, rule)
    progress.phase("Source sets", len(sets))
    relevant = _Targets(targets, len(sets), totals)
    depth = max(target.layer for target in targets) + 1
    if mode == "exact":
        walk = RelevanceWalk(totals, rules, None, depth=depth)
        walk.run(sets, means, relevant, progress)
        r = relevant.parts
        i = _whole_targets(totals, targets) - r
    else:
        irrelevant = _Targets(targets, len(sets), totals)
        PairWalk(totals, rules).run(Injector(sets, totals, means), relevant, irrelevant)
        r, i = relevant.parts, irrelevant.parts
    return Split(_numpy(r), _numpy(i), tuple(totals.ids.tolist()))


def _checked(one: Decomposer, target: Head | Mlp) -> Head | Mlp:
    check_place(one.totals, target)
    if target.position is None:
        return target
    return replace(target, position=target.position % one.n_pos)


def _numpy(tensor: Tensor) -> NDArray[np.floating]:
    array: NDArray[np.floating] = tensor.cpu().numpy()
    return array
