"""Attention scores as targets: where the two sides of a head read, and what they hold.

A score is a product, score = scale * q . k, and each side is a sum over what was written to the
stream at its own position, so it is exactly a table over all pairs (source at the query, source
at the key). A row has one entry per source, so every pair is shared evenly between its two:

    edge of s at the query = 1/2 q_s . k        edge of t at the key = 1/2 q . k_t

with the other side at its full value. The sum over both positions is the score, every sign
included. The shares are half of what would change if a source of one side alone were taken away;
the whole pairs are in `attention_table`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.errors import TargetNotFound, TraceError
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.settings import AttentionScore
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.prompts import token_text
from circuitscope.models.scores import Side, side
from circuitscope.tracing.sources import Bias

SHARE = 0.5
"""What each of the two sources of a pair gets of it in a row."""
_SCORED = ("learned", "rotary")


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Both sides of one score."""

    query: Side
    key: Side

    @property
    def score(self) -> float:
        """Return the score, before soft cap, mask and softmax."""
        return float(self.query.value.double() @ self.key.value.double())


def score_key(anatomy: ModelAnatomy, target: AttentionScore) -> NodeKey:
    """Return the name of a score's node; its positions count from the first token."""
    unit = target.head * anatomy.n_ctx + target.key
    return NodeKey(NodeKind.SCORE, Site.PATTERN, target.layer, target.query, unit)


def score_of(anatomy: ModelAnatomy, key: NodeKey) -> AttentionScore:
    """Return the score that a node stands for."""
    head, at = divmod(key.unit, anatomy.n_ctx)
    return AttentionScore(key.layer, head, key.position, at)


def placed(frozen: FrozenModel, target: AttentionScore) -> AttentionScore:
    """Return a score with positions counted from the first token.

    Raises:
        TargetNotFound: No such layer, head or position, or a key after the query.
        TraceError: The model adds to its scores something that no source writes.
    """
    anatomy, n_pos = frozen.model.anatomy, frozen.cache.n_pos
    for name, value, most in (
        ("layer", target.layer, anatomy.n_layers), ("head", target.head, anatomy.n_heads),
    ):  # fmt: skip
        if not 0 <= value < most:
            raise TargetNotFound(
                f"There is no {name} {value}: the model has {most} {name}s"
                + (" in each layer." if name == "head" else "."),
                hint=f"{name.capitalize()}s go from 0 to {most - 1}.",
            )
    for name, value in (("query", target.query), ("key", target.key)):
        if not -n_pos <= value < n_pos:
            raise TargetNotFound(
                f"There is no {name} position {value}: the prompt has {n_pos} tokens.",
                hint=f"Positions go from 0 to {n_pos - 1}, or from -1 backwards.",
            )
    query, key = target.query % n_pos, target.key % n_pos
    if key > query and anatomy.causal:
        raise TargetNotFound(
            f"Position {query} cannot look at position {key}: attention only looks back.",
            hint="Choose a key at or before the query.",
        )
    if anatomy.positions not in _SCORED:
        raise TraceError(
            f"Scores of models with {anatomy.positions} positions cannot be traced.",
            kept="Nothing has been changed.",
            hint="Choose a logit, a logit difference, a direction or a feature.",
        )
    return AttentionScore(target.layer, target.head, query, key)


def sides_of(frozen: FrozenModel, target: AttentionScore) -> Sides:
    """Return both sides of a placed score."""
    return Sides(
        side(frozen, target.layer, target.head, target.query, "query"),
        side(frozen, target.layer, target.head, target.key, "key"),
    )


def score_label(frozen: FrozenModel, target: AttentionScore) -> str:
    """Return what a placed score is called, such as "head 1.2: is → Dallas"."""
    ids = frozen.cache.token_ids.tolist()
    query, key = (token_text(frozen.model, ids[at]).strip() for at in (target.query, target.key))
    return f"head {target.layer}.{target.head}: {query} looks at {key}"


def pull_side(frozen: FrozenModel, layer: int, position: int, g: Tensor) -> Tensor:
    """Pull g [row, d_model] at the attention's input at one position back to resid_pre."""
    norm = frozen.weights.norm(Site.LN1_NORMALIZED, layer)
    scale = frozen.cache.norm_scales[Site.LN1_NORMALIZED, layer].to(frozen.dtype)[position]
    back = g * norm.weight / scale
    return back - back.mean(-1, keepdim=True) if norm.kind == "layer" else back


def score_rows(
    frozen: FrozenModel, targets: list[AttentionScore]
) -> tuple[Tensor, dict[Bias, Tensor]]:
    """Return where scores of one layer read the stream, and what they hold whatever it is.

    Returns:
        Directions [row, pos, d_model], and the constants of the module's and the norm's biases.
    """
    layer = targets[0].layer
    n = max(target.query for target in targets) + 1
    norm_bias = frozen.norm_bias(Site.LN1_NORMALIZED, layer)
    vectors = norm_bias.new_zeros(len(targets), n, len(norm_bias))
    module, norm = norm_bias.new_zeros(len(targets)), norm_bias.new_zeros(len(targets))
    for row, target in enumerate(targets):
        sides = sides_of(frozen, target)
        for position, own, other in (
            (target.query, sides.query, sides.key), (target.key, sides.key, sides.query),
        ):  # fmt: skip
            g = SHARE * (own.weight @ other.value)
            vectors[row, position] += pull_side(frozen, layer, position, g[None])[0]
            module[row] += SHARE * torch.dot(own.bias, other.value)
            norm[row] += torch.dot(g, norm_bias)
    return vectors, {
        (Site.ATTN_OUT, layer, BiasUnit.MODULE): module,
        (Site.LN1_NORMALIZED, layer, BiasUnit.NORM): norm,
    }
