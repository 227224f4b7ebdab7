"""A dictionary circuit beside one of contextual decomposition: do they name the same heads?

1. Project the dictionary circuit to heads by its head split. An attention feature reads the sum
   over heads of z_h W_O at its position: a head's share is |its part| / (sum of |parts|) of what
   the feature reads, and it gets that share of the feature's influence. Heads that are nodes keep
   their own influence. What dictionaries do not explain (error nodes) belongs to no head.
2. Take every head's relevance for the same word from the discovered circuit.
3. Spearman's correlation of the two orders over all heads; ROC AUC of influences against the heads
   that discovery took; the heads that only one of them has at the top.

The two measure different things: influence counts direct effects along frozen attention, relevance
all paths together. Where they disagree neither is wrong; it says where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.agreement import Agreement, compare_heads
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Direction, Logit, LogitDifference, Target, TraceSettings
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.threads import fitting_threads
from circuitscope.models.weights import Weights
from circuitscope.tracing.method import trace
from circuitscope.tracing.reopen import dictionaries_of, settings_of

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_KEPT = "Both circuits are unchanged."


def agreement(
    model: LoadedModel,
    circuit: Circuit,
    contextual: Circuit | None = None,
    *,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Agreement:
    """Compare a dictionary circuit with a circuit of heads by contextual decomposition.

    Args:
        model: The model of both.
        circuit: Traced with method "direct", with dictionaries of attention or with heads.
        contextual: Of the same prompt; None traces one for the same word.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of the work.

    Raises:
        TraceError: A circuit has no heads to compare, or they are of different prompts.
    """
    heads = contextual or trace(model, contextual_settings(circuit, model), (), progress)
    return compare(model, circuit, heads, dictionaries)


def contextual_settings(circuit: Circuit, model: LoadedModel) -> TraceSettings:
    """Return the settings that explain a circuit's strongest word by contextual decomposition.

    Raises:
        TraceError: It explains no word.
    """
    settings = settings_of(circuit, model)
    return replace(
        settings, method="contextual", targets=(_target(circuit, settings),), dictionaries=(),
        max_nodes=None,
    )  # fmt: skip


def _target(circuit: Circuit, settings: TraceSettings) -> Target:
    if len(settings.targets) == 1:
        asked = settings.targets[0]
        if isinstance(asked, (LogitDifference, Direction)):
            return asked
    root = circuit.nodes.key(int(circuit.roots[int(np.argmax(circuit.root_weights))]))
    if root.kind is not NodeKind.LOGIT or not isinstance(settings.targets[0], Logit):
        raise TraceError(
            "The circuit explains no word, so contextual decomposition has nothing to explain.",
            kept=_KEPT,
            hint="Trace a word's logit, or one word against another.",
        )
    return Logit(root.unit, root.position)


def compare(
    model: LoadedModel,
    circuit: Circuit,
    contextual: Circuit,
    dictionaries: Sequence[Dictionary] | None = None,
) -> Agreement:
    """Compare two circuits of one prompt; see `agreement`."""
    if contextual.provenance.method != "contextual":
        raise TraceError(
            "The second circuit is not one of contextual decomposition.",
            kept=_KEPT,
            hint='Make it with discover, or with method="contextual".',
        )
    if circuit.token_ids != contextual.token_ids:
        raise TraceError(
            f"The circuits are of different prompts: “{circuit.prompt}” and “{contextual.prompt}”.",
            kept=_KEPT,
            hint="Compare two circuits of the same prompt.",
        )
    anatomy = model.anatomy
    shape = (anatomy.n_layers, anatomy.n_heads)
    relevance = np.array(contextual.provenance.settings.get("relevance", ()), np.float64)
    if relevance.shape != shape:
        raise TraceError(
            "The circuit of contextual decomposition does not say how relevant every head is.",
            kept=_KEPT,
            hint="Trace it again in this model.",
        )
    discovered = np.zeros(shape, bool)
    heads = contextual.nodes.of_kind(NodeKind.HEAD)
    discovered[contextual.nodes.layer[heads], contextual.nodes.unit[heads]] = True
    influence, projected = project_to_heads(model, circuit, dictionaries)
    return compare_heads(influence, relevance, discovered, projected)


@torch.no_grad()
def project_to_heads(
    model: LoadedModel, circuit: Circuit, dictionaries: Sequence[Dictionary] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Return the influence of every head, [layer, head], and the share that went to heads.

    Args:
        model: The model it was traced in.
        circuit: With attention features or heads.
        dictionaries: Those of the trace; None opens the folders named in the provenance.

    Raises:
        TraceError: Nothing in the circuit passes a head, or it cannot be run again here.
    """
    settings = settings_of(circuit, model)
    nodes = circuit.nodes
    features = nodes.of_kind(NodeKind.FEATURE) & (nodes.site == Site.ATTN_OUT)
    heads, errors = nodes.of_kind(NodeKind.HEAD), nodes.of_kind(NodeKind.ERROR)
    errors &= nodes.site == Site.ATTN_OUT
    out = np.zeros((model.anatomy.n_layers, model.anatomy.n_heads))
    if settings.method != "direct" or not (features | heads).any():
        raise TraceError(
            "Nothing in this circuit can be split by head.",
            kept=_KEPT,
            hint='Trace with method="direct", with dictionaries of attention outputs or with '
            "neurons and heads as units.",
        )
    np.add.at(out, (nodes.layer[heads], nodes.unit[heads]), nodes.influence[heads])
    if features.any():
        used = dictionaries_of(circuit, dictionaries)
        by_layer = {d.card.layers[0]: d for d in used if d.card.feature_site is Site.ATTN_OUT}
        with fitting_threads(model.anatomy):
            cache, weights = capture(model, circuit.token_ids), Weights(model, torch.float32)
            for layer in np.unique(nodes.layer[features]).tolist():
                mine = np.flatnonzero(features & (nodes.layer == layer))
                shares = _shares(
                    cache, weights, layer, by_layer[layer],
                    nodes.position[mine], nodes.unit[mine],
                )  # fmt: skip
                out[layer] += nodes.influence[mine].astype(np.float64) @ shares
    lost = float(nodes.influence[errors].sum(dtype=np.float64))
    found = float(out.sum())
    return out, found / (found + lost) if found + lost else 0.0


def _shares(
    cache: ForwardCache,
    weights: Weights,
    layer: int,
    dictionary: Dictionary,
    positions: NDArray[np.int32],
    units: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return each head's share of what features read, [feature, head]."""
    W_O = weights.attention(layer).W_O
    rows, place = np.unique(units, return_inverse=True)
    read = dictionary.encoder_rows(torch.from_numpy(rows)).to(W_O)[torch.from_numpy(place)]
    z = cache.head_z[layer][torch.from_numpy(positions)].to(W_O)
    if dictionary.card.read_site is not Site.ATTN_WRITE:
        # Its denominator is the same for all heads, and a share does not know it.
        read = read * weights.norm(Site.ATTN_OUT_NORM, layer).weight
    parts = torch.einsum("fd,hed,fhe->fh", read, W_O, z).double().abs()
    shares: NDArray[np.float64] = (parts / parts.sum(-1, keepdim=True).clamp(min=1e-30)).numpy()
    return shares
