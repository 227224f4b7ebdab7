"""Predict what switching nodes off does to a root: the first hop exact, the rest to first order.

A circuit's own prediction holds patterns, norm denominators and gates, and knows only its edges.
Here everything is live:

1. Run the model once, and once backwards: how the root moves with what each head mixes, what each
   MLP writes and what the last norm returns.
2. A node's vector is taken away from the stream at its position. Every later module is computed
   anew with its input so changed: norm, softmax, gate and all. These are the first hops.
3. Each module's change is carried to the root by the gradient; the last norm is exact.

It costs two runs and, for each node, one position of every later module, a share of a run that
shrinks with the length of the prompt. Ignored: what further hops do beyond the first order.
Recomputing the softmax is what AtP* does (Kramar et al. 2024, arXiv 2403.00745); here norms and
MLPs are recomputed too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.models.blueprint import Affine, Attention, Block, Blueprint
from circuitscope.models.drafting import draft
from circuitscope.models.family import Norm
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import Place
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.measurement import Switches
from circuitscope.tracing.totals import (
    LayerTotals,
    Totals,
    capped,
    run_mlp,
    run_totals,
    scaled,
    spread,
    turned,
)

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_BATCH = 256
SWITCHABLE = (
    NodeKind.TOKEN, NodeKind.POSITION, NodeKind.FEATURE, NodeKind.ERROR, NodeKind.HEAD,
    NodeKind.NEURON,
)  # fmt: skip


def gradients(
    model: LoadedModel,
    ids: Sequence[int],
    places: Sequence[Place],
    read: Callable[[dict[Place, Tensor]], Tensor],
    edit: Callable[[Hooks], None] | None = None,
) -> dict[Place, Tensor]:
    """Run the real module once and backwards.

    Args:
        model: A causal language model.
        ids: The prompt.
        places: Where gradients are wanted.
        read: From what passes (LOGITS, 0) and (LN_FINAL, 0), [1, pos, ...], to one number.
        edit: Registers changes that are made before.

    Returns:
        Gradients by place, [pos, ...].
    """
    nudges: dict[Place, Tensor] = {}
    seen: dict[Place, Tensor] = {}

    def nudged(place: Place) -> Callable[[Tensor], Tensor]:
        def add(tensor: Tensor) -> Tensor:
            nudges[place] = torch.zeros_like(tensor).requires_grad_()
            seen[place] = tensor + nudges[place]
            return seen[place]

        return add

    def keep(tensor: Tensor) -> Tensor:
        seen[Site.LOGITS, 0] = tensor
        return tensor

    with torch.enable_grad(), Hooks(model) as hooks:
        if edit is not None:
            edit(hooks)
        for place in dict.fromkeys([*places, (Site.LN_FINAL, 0)]):
            hooks.edit_site(*place, nudged(place))
        hooks.edit_site(Site.LOGITS, 0, keep)
        hooks.forward([list(ids)])
        value = read(seen)
        found = torch.autograd.grad(value, list(nudges.values()))
    return {place: one[0].detach() for place, one in zip(nudges, found, strict=True)}


@torch.no_grad()
def predict_live(
    switches: Switches,
    chosen: NDArray[np.int64],
    root: int,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return how a root is predicted to change as each node is switched off, float64 [node].

    Args:
        switches: The circuit and its run.
        chosen: Nodes: tokens, positions, features, errors, heads and neurons.
        root: A logit, difference or direction of the circuit.
        progress: Hears of every batch.

    Raises:
        TraceError: The root or a node is of another kind, or the model's operations are not known.
    """
    model, circuit = switches.model, switches.circuit
    key, hear = circuit.nodes.key(root), progress or silent()
    if key.kind is not NodeKind.LOGIT:
        raise TraceError(f"{key} is no logit.", hint="Choose a root that is a logit.")
    blueprint = draft(model)
    if blueprint.blocks[0].post or not blueprint.causal:
        raise TraceError("Only causal language models are predicted so.")
    with fitting_threads(model.anatomy):
        place, see = switches.reads(key)
        layers = range(blueprint.n_layers)
        places = [(site, n) for n in layers for site in (Site.HEAD_Z, Site.MLP_WRITE)]
        at = gradients(model, circuit.token_ids, places, lambda seen: see(seen[place]).sum())
        run = _Run(run_totals(blueprint, switches.cache.token_ids), at, key.position)
        found, keys = np.zeros(len(chosen)), [circuit.nodes.key(int(n)) for n in chosen]
        position = np.array([one.position for one in keys])
        hear.phase("Predicting", len(chosen))
        for p in np.unique(position).tolist():
            here = np.flatnonzero(position == p)
            for part in np.split(here, range(_BATCH, len(here), _BATCH)):
                taken = [_written(switches, blueprint, run.totals, keys[k]) for k in part]
                vectors = torch.stack([vector for _, vector in taken])
                stage = torch.tensor([number for number, _ in taken], device=vectors.device)
                found[part] = run.effects(p, vectors, stage).double().cpu().numpy()
                hear.advance(len(part))
    return found


def _written(
    switches: Switches, blueprint: Blueprint, totals: Totals, key: NodeKey
) -> tuple[int, Tensor]:
    """Return after which module a node writes, -1 the embedding, and what the stream loses."""
    p, cache = key.position, switches.cache
    if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
        learned = torch.zeros_like(totals.embed) if cache.pos_embed is None else cache.pos_embed
        return -1, (totals.embed - learned if key.kind is NodeKind.TOKEN else learned)[p]
    if key.kind not in SWITCHABLE:
        raise TraceError(f"{key} cannot be switched off with everything recomputed.")
    block, layer = blueprint.blocks[key.layer], totals.layers[key.layer]
    attention = block.attention
    if key.kind is NodeKind.HEAD:
        out = torch.unflatten(attention.out.weight, 0, (attention.n_heads, -1))
        vector, site = layer.attention.z[p, key.unit] @ out[key.unit], Site.ATTN_WRITE
    elif key.kind is NodeKind.NEURON:
        row = block.mlp.out.weight[key.unit]
        vector, site = layer.mlp.hidden[p, key.unit] * row, Site.MLP_WRITE
    else:
        change = switches.off(switches.circuit.nodes.find(key) or 0)
        site = Site.parse(change.site)
        vector = -torch.as_tensor(change.value).to(totals.embed)
    of_attention = site in (Site.ATTN_OUT, Site.ATTN_WRITE)
    norm = block.branch1 if of_attention else block.branch2
    if norm is not None and site in (Site.ATTN_WRITE, Site.MLP_WRITE):
        whole = (layer.out if of_attention else layer.mlp.out).after[p]
        vector = scaled(whole, norm).after - scaled(whole - vector, norm).after
    return 2 * key.layer + (0 if of_attention else 1), vector


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A plain run with gradients; `position` is the root's."""

    totals: Totals
    gradient: dict[Place, Tensor]
    position: int

    def effects(self, p: int, vectors: Tensor, stage: Tensor) -> Tensor:
        """Return the change of the root as each vector [n, d_model] leaves the stream at p, [n]."""
        found = vectors.new_zeros(len(vectors))
        for number, block in enumerate(self.totals.blueprint.blocks):
            layer = self.totals.layers[number]
            if bool((sees := stage < 2 * number).any()):
                moved = self._attention(number, block, layer, p, layer.pre[p] - vectors[sees])
                found[sees] += moved
            if bool((sees := stage < 2 * number + 1).any()):
                change = run_mlp(block, layer.mid[p] - vectors[sees]) - layer.mlp.out.after[p]
                found[sees] += change @ self.gradient[Site.MLP_WRITE, number][p]
        if p == self.position:
            norm, along = self.totals.blueprint.readout.norm, self.gradient[Site.LN_FINAL, 0][p]
            found += (_normed(self.totals.final[p] - vectors, norm)
                      - _normed(self.totals.final[p], norm)) @ along  # fmt: skip
        return found

    def _attention(
        self, number: int, block: Block, layer: LayerTotals, p: int, x: Tensor
    ) -> Tensor:
        """Return what the root gains as attention reads x [n, d_model] at p, [n]."""
        attention, plain = block.attention, layer.attention
        q, k, v = _heads(attention, _normed(x, block.norm1), p)
        gradient = torch.unflatten(self.gradient[Site.HEAD_Z, number], -1, (attention.n_heads, -1))
        values = spread(plain.v, attention.n_heads)
        keys, queries = _rows(attention, plain.k, plain.q)
        mask = self.totals.masks[number]
        own = capped((q * k).sum(-1) * attention.scale, attention.softcap)
        return _looks(attention, (q, v, own), keys, values, mask, p, plain.z[p], gradient[p]) + (
            _looked_at(attention, (k, v), (keys[p], values[p]), queries, plain.pattern, mask, p,
                       plain.z, gradient)
        )  # fmt: skip


def _normed(x: Tensor, norm: Norm | None) -> Tensor:
    return x if norm is None else scaled(x, norm).after


def _apply(x: Tensor, affine: Affine) -> Tensor:
    y = x @ affine.weight
    return y if affine.bias is None else y + affine.bias


def _turned_at(x: Tensor, norm: Norm | None, attention: Attention, p: int) -> Tensor:
    """Norm and rotate queries or keys [n, head, d_head] that all stand at position p."""
    x = _normed(x, norm)
    if attention.rotate is None:
        return x
    rows = x.new_zeros(len(x), p + 1, *x.shape[1:])
    rows[:, p] = x
    return turned(rows, rows, attention, p + 1)[:, p]


def _heads(attention: Attention, x: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of a changed input [n, d_model] at p, [n, head, d_head]."""
    joined = torch.cat([_apply(x, one) for one in attention.qkv], -1)
    q, k, v = (
        torch.unflatten(part, -1, (-1, attention.d_head))
        for part in torch.split(joined, list(attention.widths), -1)
    )
    q = _turned_at(q, attention.q_norm, attention, p)
    k = _turned_at(k, attention.k_norm, attention, p)
    return q, spread(k, attention.n_heads), spread(v, attention.n_heads)


def _rows(attention: Attention, k: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return all keys and queries, normed and rotated, [pos, head, d_head]."""
    n = len(k)
    keys = turned(k, _normed(k, attention.k_norm), attention, n)
    return spread(keys, attention.n_heads), turned(q, _normed(q, attention.q_norm), attention, n)


def _looks(  # noqa: PLR0913 - the parts of one row of a pattern
    attention: Attention,
    changed: tuple[Tensor, Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    p: int,
    z: Tensor,
    gradient: Tensor,
) -> Tensor:
    """Return the gain where position p looks, its own key and value changed too."""
    q, v, own = changed
    scores = torch.einsum("nhe,khe->nhk", q, keys) * attention.scale
    scores = capped(scores, attention.softcap)
    scores[..., p] = own
    pattern = (scores if mask is None else scores + mask[p]).softmax(-1)
    new = torch.einsum("nhk,khe->nhe", pattern, values)
    new = new + pattern[..., p, None] * (v - values[p])
    return torch.einsum("nhe,he->n", new - z, gradient)


def _looked_at(  # noqa: PLR0913 - the parts of one column of a pattern
    attention: Attention,
    changed: tuple[Tensor, Tensor],
    plain: tuple[Tensor, Tensor],
    queries: Tensor,
    pattern: Tensor,
    mask: Tensor | None,
    p: int,
    z: Tensor,
    gradient: Tensor,
) -> Tensor:
    """Return the gain where later positions look at p: one score of each softmax changes."""
    (k, v), (key, value) = changed, plain
    after = slice(p + 1, None)
    q, g = queries[after], gradient[after]
    share = pattern[:, after, p]
    new, old = (
        capped(torch.einsum("qhe,nhe->nhq", q, one) * attention.scale, attention.softcap)
        for one in (k, key[None])
    )
    grown = share * (new - old).exp()
    if mask is not None:
        grown = torch.where(mask[after, p] == 0, grown, torch.zeros_like(grown))
    whole = torch.einsum("qhe,qhe->hq", z[after], g)
    by_old = torch.einsum("he,qhe->hq", value, g)
    by_new = torch.einsum("nhe,qhe->nhq", v, g)
    moved = (whole - share * by_old + grown * by_new) / (1 - share + grown)
    return (moved - whole).sum((1, 2))
