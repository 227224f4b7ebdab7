"""What is explained: from targets to rows at the top of the graph.

A logit difference is one root whose row is the difference of two logit rows; its pre-activation
is the difference itself. Its key must not collide with that of a logit, so its unit lies beyond
the vocabulary: unit = a + d_vocab * (b + 1), from which both tokens can be read. A direction has
unit d_vocab * (d_vocab + 1) + its number among the targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TargetNotFound
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import (
    AttentionScore,
    Direction,
    Feature,
    LogitDifference,
    Target,
    TraceSettings,
)
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.prompts import find_token, position_in, token_text
from circuitscope.tracing.attention_score import placed, score_key, score_label, sides_of
from circuitscope.tracing.plan import Plan
from circuitscope.tracing.read_points import Explained
from circuitscope.tracing.sources import (
    Columns,
    Sources,
    attention_stage,
    reading_stage,
    stage_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """One explained node.

    Attributes:
        key: Its name in the circuit.
        weight: Its share of what is explained.
        stage: Its row reads everything written before.
        preactivation: What its row adds up to.
        activation: What it holds.
        label: What it is called.
        vector: Direction at the last norm's output, [d_model]; None for features and scores.
        constant: What is added whatever the stream.
    """

    key: NodeKey
    weight: float
    stage: int
    preactivation: float
    activation: float
    label: str
    vector: Tensor | None = None
    constant: float = 0.0


def find_roots(frozen: FrozenModel, plan: Plan, settings: TraceSettings) -> list[Root]:
    """Turn the settings' targets into roots, each once, in the order asked.

    Raises:
        TargetNotFound: A token, position, feature or head does not exist in this run.
        TraceError: The model's scores cannot be explained.
    """
    found: dict[NodeKey, Root] = {}
    for number, target in enumerate(settings.targets):
        for root in _roots_of(frozen, plan, settings, target, number):
            known = found.get(root.key)
            if known is None or root.weight > known.weight:
                found[root.key] = root
    if not found:
        raise TargetNotFound(
            "No target was given.", hint="Choose at least one token, feature or direction."
        )
    return list(found.values())


def explained_rows(roots: Sequence[Root], sources: Sources, *, parallel: bool = False) -> Explained:
    """Put the roots and all expandable writers into one table; roots come first."""
    c, candidates = sources.columns, sources.candidates
    keys = [root.key for root in roots]
    columns = [column_of(c, key) for key in keys]

    def joined(name: str) -> NDArray[np.int64]:
        own = np.array([int(getattr(key, name)) for key in keys], np.int64)
        return np.concatenate([own, getattr(c, name)[candidates]])

    stages = np.concatenate([np.array([root.stage for root in roots]), c.stage[candidates]])
    pre = np.array([root.preactivation for root in roots], np.float64)
    return Explained(
        joined("kind"),
        joined("site"),
        joined("layer"),
        joined("position"),
        joined("unit"),
        reading_stage(stages, parallel=parallel),
        np.concatenate([pre, c.preactivation[candidates]]),
        np.concatenate([np.array(columns, np.int64), candidates]),
        {row: root.vector for row, root in enumerate(roots) if root.vector is not None},
        {row: root.constant for row, root in enumerate(roots) if root.vector is not None},
    )


def column_of(c: Columns, key: NodeKey) -> int:
    """Return where a writer stands in the rows, -1 where there is no such writer."""
    same = (c.kind == key.kind) & (c.site == key.site) & (c.layer == key.layer)
    found = np.flatnonzero(same & (c.position == key.position) & (c.unit == key.unit))
    return int(found[0]) if len(found) else -1


def top_tokens(logits: Tensor, mass: float, most: int) -> list[tuple[int, float]]:
    """Return the likeliest tokens and their probabilities.

    Args:
        logits: Of one position, [d_vocab].
        mass: The smallest set is taken whose probabilities reach this.
        most: At most this many tokens.
    """
    probabilities = logits.double().softmax(-1)
    values, ids = probabilities.topk(min(most, len(logits)))
    before = values.cumsum(0) - values
    n = max(int((before < mass).sum()), 1)
    return list(zip(ids[:n].tolist(), values[:n].tolist(), strict=True))


def _roots_of(
    frozen: FrozenModel, plan: Plan, settings: TraceSettings, target: Target, number: int
) -> list[Root]:
    if isinstance(target, AttentionScore):
        return [_score(frozen, placed(frozen, target))]
    position = position_in(frozen.cache.n_pos, target.position)
    if isinstance(target, Feature):
        return [_feature(frozen, plan, target, position)]
    if isinstance(target, Direction):
        return [_direction(frozen, target, position, number)]
    if isinstance(target, LogitDifference):
        return [_difference(frozen, target, position)]
    logits = frozen.cache.logits[position]  # after the soft cap, for probabilities
    if target.token is None:
        chosen = top_tokens(logits, settings.logit_mass, settings.max_logits)
    else:
        token = find_token(frozen.model, target.token)
        chosen = [(token, float(logits.double().softmax(-1)[token]))]
    if target.reading == "centred":
        return _centred(frozen, position, chosen)
    return [_logit(frozen, token, position, weight) for token, weight in chosen]


def _top(frozen: FrozenModel, position: int, unit: int) -> NodeKey:
    n_layers = frozen.model.anatomy.n_layers
    return NodeKey(NodeKind.LOGIT, Site.LOGITS, n_layers, position, unit)


def _top_stage(frozen: FrozenModel) -> int:
    return attention_stage(frozen.model.anatomy.n_layers)


def _logit(frozen: FrozenModel, token: int, position: int, weight: float) -> Root:
    value = float(frozen.cache.raw_logits[position, token])
    vectors, biases = frozen.weights.unembed([token])
    return Root(
        _top(frozen, position, token), weight, _top_stage(frozen), value, value,
        token_text(frozen.model, token).strip(), vectors[0], float(biases[0]),
    )  # fmt: skip


def _centred(frozen: FrozenModel, position: int, chosen: Sequence[tuple[int, float]]) -> list[Root]:
    """Return roots of logits less their mean over the vocabulary, before any soft cap."""
    W_U, b_U = frozen.model.family.unembed(frozen.model.module)
    vectors, biases = frozen.weights.unembed([token for token, _ in chosen])
    vectors = vectors - W_U.detach().mean(1, dtype=frozen.dtype)
    if b_U is not None:
        biases = biases - b_U.detach().mean(dtype=frozen.dtype)
    final = frozen.cache.final[position].double()
    values = (vectors.double() @ final + biases.double()).tolist()
    return [
        Root(
            _top(frozen, position, token), weight, _top_stage(frozen), value, value,
            token_text(frozen.model, token).strip(), vector, float(bias),
        )
        for (token, weight), value, vector, bias in zip(
            chosen, values, vectors, biases, strict=True
        )
    ]  # fmt: skip


def _difference(frozen: FrozenModel, target: LogitDifference, position: int) -> Root:
    a, b = (find_token(frozen.model, token) for token in (target.a, target.b))
    if a == b:
        raise TargetNotFound(
            f"Both sides of the logit difference are {token_text(frozen.model, a)!r}.",
            hint="Choose two different tokens.",
        )
    logits = frozen.cache.raw_logits[position].double()
    value = float(logits[a] - logits[b])
    vectors, biases = frozen.weights.unembed([a, b])
    words = [token_text(frozen.model, token).strip() for token in (a, b)]
    return Root(
        _top(frozen, position, a + frozen.model.anatomy.d_vocab * (b + 1)), 1.0,
        _top_stage(frozen), value, value, f"{words[0]} − {words[1]}", vectors[0] - vectors[1],
        float(biases[0] - biases[1]),
    )  # fmt: skip


def _direction(frozen: FrozenModel, target: Direction, position: int, number: int) -> Root:
    d_model, d_vocab = frozen.model.anatomy.d_model, frozen.model.anatomy.d_vocab
    if len(target.vector) != d_model:
        raise TargetNotFound(
            f"The direction {target.name!r} has {len(target.vector)} entries, but the model's "
            f"d_model is {d_model}.",
            hint="Give one number per entry of the residual stream.",
        )
    final = frozen.cache.final[position].to(frozen.dtype)
    vector = torch.tensor(target.vector, dtype=frozen.dtype, device=final.device)
    value = float(final.double() @ vector.double())
    key = _top(frozen, position, d_vocab * (d_vocab + 1) + number)
    return Root(key, 1.0, _top_stage(frozen), value, value, target.name, vector)


def _score(frozen: FrozenModel, target: AttentionScore) -> Root:
    value = sides_of(frozen, target).score
    return Root(
        score_key(frozen.model.anatomy, target), 1.0, attention_stage(target.layer), value, value,
        score_label(frozen, target),
    )  # fmt: skip


def _feature(frozen: FrozenModel, plan: Plan, target: Feature, position: int) -> Root:
    site, layer = Site.parse(target.site), target.layer
    parts = [part for part in (*plan.attention, *plan.mlp, *plan.stream) if part is not None]
    if site is Site.NONE and target.dictionary is None:
        site = _usual_site([part for part in parts if part.card.layers[0] == layer])
    by_place = {(d.card.feature_site, d.card.layers[0]): d for d in parts}
    dictionary = by_place.get((site, layer))
    if target.dictionary is not None:
        named = [d for d in parts if d.card.name == target.dictionary]
        named = [d for d in named if d.card.layers[0] == layer] or named
        dictionary = named[0] if named else None
        if dictionary is not None:
            site, layer = dictionary.card.feature_site, dictionary.card.layers[0]
    if dictionary is None:
        names = ", ".join(f"{place.text} {at}" for place, at in by_place) or "none"
        what = target.dictionary or ("features" if site is Site.NONE else site.text)
        raise TargetNotFound(
            f"No dictionary of this trace explains {what} in layer {layer}.",
            hint=f"Features can be explained at: {names}.",
        )
    card = dictionary.card
    if not 0 <= target.unit < card.n_features:
        raise TargetNotFound(
            f"There is no feature {target.unit}: {card.name} has {card.n_features}.",
            hint=f"Features go from 0 to {card.n_features - 1}.",
        )
    # All positions, as where features are found: a product of one row rounds differently.
    h = dictionary.preactivations(frozen.cache.site(card.read_site, layer))
    value = dictionary.activate(h)
    stage = stage_of(site, layer)
    return Root(
        NodeKey(NodeKind.FEATURE, site, layer, position, target.unit), 1.0, stage,
        float(h[position, target.unit]), float(value[position, target.unit]), "",
    )  # fmt: skip


def _usual_site(parts: Sequence[Dictionary]) -> Site:
    """Return the site that a feature named by its layer alone is at, NONE where that is unclear."""
    sites = {part.card.feature_site for part in parts}
    mlp = sites & {Site.MLP_OUT, Site.MLP_TRANSCODER}
    for few in (sites, mlp):
        if len(few) == 1:
            return next(iter(few))
    return Site.NONE
