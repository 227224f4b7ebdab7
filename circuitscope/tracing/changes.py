"""What a test changes: what switching a node off adds, and as much of something else.

A change is rows added at places of the model, [draw, position, ...]. That of a node:

    feature      minus its activation times its decoder row; the error stays
    error        minus itself
    head, MLP    what it holds in the counterfactual prompt, or on average, minus what it holds
    neuron       likewise, its one entry
    token        the counterfactual's embedding, or the mean of all, minus its own

Controls are matched by layer, position, kind and size: for a feature as much of another feature
of the dictionary; for a neuron of another neuron of the layer; for a head, an MLP or an error
what nodes of its kind hold elsewhere in the prompt, mixed at random, with the same norm; for a
token the difference of two other tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.models.capture import ForwardCache
from circuitscope.models.places import Change, Place
from circuitscope.tracing.measurement import Switches

Ablation = Literal["auto", "zero", "mean", "resample"]
ABLATIONS: tuple[Ablation, ...] = ("auto", "zero", "mean", "resample")
COUNTERFACTUAL, MEAN, OVER_PROMPTS = "counterfactual", "mean over positions", "mean over prompts"
_FIXED = (NodeKind.LOGIT, NodeKind.SCORE, NodeKind.BIAS, NodeKind.OPAQUE)


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """Rows added at one place.

    Attributes:
        at: Positions, int64 [n].
        rows: [draw, n, ...], like the place's rows.
    """

    place: Place
    at: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """What takes the place of what heads, MLPs, neurons and tokens hold.

    Attributes:
        words: What a reader is told.
        cache: A run of the counterfactual prompt, of as many tokens, or None.
        means: Runs of prompts of as many tokens, to be averaged, or none.
    """

    words: str
    cache: ForwardCache | None = None
    means: tuple[ForwardCache, ...] = ()


def check_ablatable(key: NodeKey) -> None:
    """Refuse nodes that stand for nothing that can be changed.

    Raises:
        TraceError: It is a logit, a score, a constant, or stands at the first position.
    """
    if key.kind in _FIXED:
        raise TraceError(
            f"{key} cannot be switched off.",
            hint="Choose tokens, features, heads, MLPs, neurons or errors.",
        )
    if key.position == 0:
        raise TraceError(
            f"{key} stands at the first position, which models use as a resting place: changing "
            "it breaks everything and tells nothing.",
            hint="Choose nodes at other positions.",
        )


class Changes:
    """Make a circuit's nodes into changes.

    Args:
        switches: The circuit and its plain run.
        ablation: "auto" switches features and errors off and replaces the rest.
        replacement: What the rest is replaced by.
        seed: Seeds the controls.
    """

    def __init__(
        self, switches: Switches, ablation: Ablation, replacement: Replacement, seed: int = 0
    ) -> None:
        self._switches, self._ablation, self._replacement = switches, ablation, replacement
        self._seed = seed
        self._rows: dict[Place, Tensor] = {}

    @property
    def counterfactual(self) -> tuple[int, ...]:
        """Return the other prompt's token ids, () where there is none."""
        cache = self._replacement.cache
        return () if cache is None else tuple(map(int, cache.token_ids))

    @property
    def means(self) -> tuple[tuple[int, ...], ...]:
        """Return the token ids of the prompts that are averaged."""
        return tuple(tuple(map(int, one.token_ids)) for one in self._replacement.means)

    def words(self, key: NodeKey) -> str:
        """Return how a node is changed, in words."""
        return "zero" if self._is_zeroed(key) else self._replacement.words

    def of(self, key: NodeKey) -> list[Added]:
        """Return what changing a node adds, one draw."""
        check_ablatable(key)
        if key.kind is NodeKind.FEATURE:
            value = self._activation(key)
            return self._written(key, -value * self._decoder(key, torch.tensor([key.unit])))
        at, own = self._positions(key), self._held(key, self._switches.cache)
        rows = (self._instead(key, at, own) - own[at])[None]
        return [Added(self._place(key), at, self._spread(key, rows))]

    def controls(self, key: NodeKey, n: int) -> list[Added]:
        """Return n matched controls for a node."""
        check_ablatable(key)
        random = torch.Generator().manual_seed(_seed(self._seed, key))
        if key.kind is NodeKind.FEATURE:
            return self._other_features(key, n, random)
        if key.kind is NodeKind.NEURON and key.unit >= 0:
            return self._other_neurons(key, n, random)
        at, own = self._positions(key), self._held(key, self._switches.cache)
        size = (self._instead(key, at, own) - own[at]).norm(dim=-1)
        mixed = self._elsewhere(key, n, random, len(at))
        rows = mixed / mixed.norm(dim=-1, keepdim=True).clamp_min(1e-12) * size[:, None]
        return [Added(self._place(key), at, self._spread(key, rows))]

    # What nodes hold

    def _is_zeroed(self, key: NodeKey) -> bool:
        by_kind = key.kind in (NodeKind.FEATURE, NodeKind.ERROR, NodeKind.POSITION)
        return by_kind or self._ablation == "zero"

    def _positions(self, key: NodeKey) -> Tensor:
        n = self._switches.cache.n_pos
        return torch.arange(1, n) if key.position < 0 else torch.tensor([key.position])

    def _place(self, key: NodeKey) -> Place:
        if key.kind is NodeKind.HEAD:
            return Site.HEAD_Z, key.layer
        if key.kind is NodeKind.NEURON and key.unit >= 0:
            return Site.MLP_HIDDEN, key.layer
        if key.kind in (NodeKind.FEATURE, NodeKind.ERROR):
            return self._switches.written_at(key), key.layer
        return key.site.writes, max(key.layer, 0)

    def _held(self, key: NodeKey, cache: ForwardCache) -> Tensor:
        """Return what a node of this kind and unit holds at every position, [pos, d]."""
        site, layer = self._place(key)
        if key.kind is NodeKind.ERROR:
            return self._errors((key.site, key.layer))
        held = cache.site(site, layer)
        if key.kind is NodeKind.HEAD:
            return held[:, key.unit]
        return held[:, key.unit, None] if site is Site.MLP_HIDDEN else held

    def _errors(self, place: Place) -> Tensor:
        if place not in self._rows:
            cache, dictionary = self._switches.cache, self._switches.plan.at(*place)
            if dictionary is None:
                rows = cache.site(*place)
            else:
                rows = cache.site(dictionary.card.write_site, place[1])
                x = cache.site(dictionary.card.read_site, place[1])
                rows = rows - dictionary.written(dictionary.encode(x), len(rows), x)
            self._rows[place] = rows
        return self._rows[place]

    def _instead(self, key: NodeKey, at: Tensor, own: Tensor) -> Tensor:
        """Return what a node holds after the change, [n, d]."""
        if self._is_zeroed(key):
            return torch.zeros_like(own[at])
        found = self._replacement
        if found.cache is not None:
            return self._held(key, found.cache)[at]
        if found.means:
            return torch.stack([self._held(key, one)[at] for one in found.means]).mean(0)
        if key.kind is NodeKind.TOKEN:
            table, _ = self._embedding()
            return table.mean(0).to(own).expand(len(at), -1)
        return own[1:].mean(0).expand(len(at), -1)

    def _spread(self, key: NodeKey, rows: Tensor) -> Tensor:
        """Put a head's or neuron's rows [draw, n, d] among zeros for the others."""
        anatomy = self._switches.model.anatomy
        if key.kind is NodeKind.HEAD:
            whole = rows.new_zeros(*rows.shape[:2], anatomy.n_heads, rows.shape[-1])
            whole[:, :, key.unit] = rows
            return whole
        if self._place(key)[0] is Site.MLP_HIDDEN:
            whole = rows.new_zeros(*rows.shape[:2], anatomy.d_mlp)
            whole[:, :, key.unit] = rows[..., 0]
            return whole
        return rows

    # Controls

    def _elsewhere(self, key: NodeKey, n: int, random: torch.Generator, width: int) -> Tensor:
        """Return random mixtures of what nodes of the kind hold elsewhere, [draw, width, d]."""
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            table, _ = self._embedding()
            pick = torch.randint(len(table), (2, n, width), generator=random)
            mixed = table[pick[0]] - table[pick[1]]
            return mixed + 1e-6 * torch.randn(mixed.shape, generator=random).to(mixed)
        caches = [self._switches.cache]
        if key.kind is not NodeKind.ERROR and self._replacement.cache is not None:
            caches.append(self._replacement.cache)
        site, layer = self._place(key)
        if key.kind is NodeKind.HEAD:
            rows = torch.cat([one.site(site, layer)[1:].flatten(0, 1) for one in caches])
        else:
            rows = torch.cat([self._held(key, one)[1:] for one in caches])
        rows = rows - rows.mean(0)
        weights = torch.randn(n, width, len(rows), generator=random).to(rows)
        return weights @ rows

    def _other_features(self, key: NodeKey, n: int, random: torch.Generator) -> list[Added]:
        dictionary = self._dictionary(key)
        size = dictionary.card.n_features
        ids = torch.randperm(size - 1, generator=random)[:n]
        if len(ids) < n:
            ids = torch.randint(size - 1, (n,), generator=random)
        ids = ids + (ids >= key.unit).long()
        rows = self._decoder(key, ids)
        own = self._decoder(key, torch.tensor([key.unit])).norm()
        whole = rows.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
        return self._written(key, -self._activation(key) * rows / whole * own)

    def _other_neurons(self, key: NodeKey, n: int, random: torch.Generator) -> list[Added]:
        d_mlp = self._switches.model.anatomy.d_mlp
        family, module = self._switches.model.family, self._switches.model.module
        norms = family.mlp_weights(module, key.layer).W_out.detach().float().norm(dim=1)
        at, own = self._positions(key), self._held(key, self._switches.cache)
        step = (self._instead(key, at, own) - own[at])[:, 0]
        ids = torch.randint(d_mlp - 1, (n,), generator=random)
        ids = ids + (ids >= key.unit).long()
        rows = step.new_zeros(n, len(at), d_mlp)
        scale = norms[key.unit] / norms[ids].clamp_min(1e-12)
        rows[torch.arange(n)[:, None], torch.arange(len(at)), ids[:, None]] = step * scale[:, None]
        return [Added((Site.MLP_HIDDEN, key.layer), at, rows)]

    # Dictionaries

    def _dictionary(self, key: NodeKey) -> Any:
        found = self._switches.dictionary(key)
        if found is None:
            raise TraceError(
                f"No dictionary here holds {key}.",
                hint="Give the dictionaries that the circuit was traced with.",
            )
        return found

    def _activation(self, key: NodeKey) -> float:
        dictionary = self._dictionary(key)
        x = self._switches.cache.site(dictionary.card.read_site, dictionary.card.layers[0])
        found = dictionary.encode(x)
        here = (found.position == key.position) & (found.unit == key.unit)
        return float(found.value[here].sum() * dictionary.scale(x)[key.position])

    def _decoder(self, key: NodeKey, ids: Tensor) -> Tensor:
        """Return what features write per unit of activation, [feature, layer, d_model]."""
        dictionary = self._dictionary(key)
        ids = ids.to(self._switches.model.device)
        layers = dictionary.written_layers
        return torch.stack([dictionary.decoder_rows(ids, layer) for layer in layers], 1)

    def _written(self, key: NodeKey, rows: Tensor) -> list[Added]:
        at, site = torch.tensor([key.position]), self._switches.written_at(key)
        layers = self._dictionary(key).written_layers
        return [Added((site, layer), at, rows[:, k, None]) for k, layer in enumerate(layers)]

    def _embedding(self) -> tuple[Tensor, Tensor | None]:
        family, module = self._switches.model.family, self._switches.model.module
        table, positions = family.embedding(module)
        return table.detach().float(), positions


def _seed(seed: int, key: NodeKey) -> int:
    """Return a seed of the node's own, so that its controls do not depend on what else is asked."""
    mixed = seed
    for number in (int(key.kind), int(key.site), key.layer, key.position, key.unit):
        mixed = (mixed * 1_000_003 + number + 7) % (2**61 - 1)
    return mixed


def joined(parts: Iterable[Sequence[Added]]) -> dict[Place, list[Added]]:
    """Return what is added, by place."""
    found: dict[Place, list[Added]] = {}
    for part in parts:
        for added in part:
            found.setdefault(added.place, []).append(added)
    return found


def adding(added: Sequence[Added], draws: slice = slice(None)) -> Change:
    """Return the change of rows [copy, pos, ...] that adds one draw to each copy."""

    def change(rows: Tensor) -> None:
        for one in added:
            at = one.at.to(rows.device)
            rows[:, at] += one.rows[draws].to(rows)

    return change
