"""Gather the writers of a run: break every module's output as the plan says.

1. Token and position embeddings.
   Where a dictionary explains the stream itself, its features, errors and b_dec stand there for
   all that was written below.
2. Layer by layer, attention before MLP: features, errors and b_dec where there is a dictionary;
   what passes straight through where the method lets it; else heads or neurons and the module's
   bias; else the whole output as one error per position.
3. The constants, one column each, and what is left of weak neurons as one vector per position.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import BiasUnit, NodeKind
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.features import SparseFeatures, input_scale
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.gates import activation
from circuitscope.models.written import NORMS_AFTER, attn_bias, mlp_bias, norm_at, write_hidden
from circuitscope.tracing.plan import Plan
from circuitscope.tracing.sources import (
    STREAM,
    Bias,
    Columns,
    Group,
    Passage,
    Sources,
    Stage,
    attention_stage,
    mlp_stage,
    stage_of,
)

_REST: Final = None


def collect_sources(
    frozen: FrozenModel, plan: Plan, features: SparseFeatures, max_neurons: int | None = None
) -> Sources:
    """Gather every writer of a run.

    Args:
        frozen: The forward pass.
        plan: What each module is broken into.
        features: The active features and errors of the plan's dictionaries.
        max_neurons: Most neurons that become columns, strongest first; None for all.
    """
    n_layers = frozen.model.anatomy.n_layers
    writers = _Writers(frozen, plan, features, _neuron_floor(frozen, plan, max_neurons))
    writers.add_embeddings()
    for layer in range(n_layers):
        for site, dictionary in plan.places(layer):
            if dictionary is not None:
                writers.add_features(dictionary)
            elif site in STREAM:
                continue
            elif site is Site.ATTN_OUT and plan.passes(site, layer):
                writers.pass_attention(layer)
            elif plan.passes(site, layer):
                writers.pass_mlp(layer)
            elif plan.whole:
                writers.add_whole(site, layer)
            elif site is Site.ATTN_OUT:
                writers.add_heads(layer)
            else:
                writers.add_neurons(layer)
    return writers.finish(_all_biases(plan, n_layers))


class _Writers:
    """Collect columns and the groups of vectors behind them.

    Args:
        frozen: The forward pass.
        plan: What is left out of the columns and only summed.
        features: Active features and errors of the dictionaries.
        floor: Neurons that write no more than this are summed, not columns.
    """

    def __init__(
        self, frozen: FrozenModel, plan: Plan, features: SparseFeatures, floor: float
    ) -> None:
        self._frozen, self._plan = frozen, plan
        self._features, self._floor = features, floor
        self._dtype = frozen.dtype
        self._stages = [Stage() for _ in range(2 + 4 * frozen.model.anatomy.n_layers)]
        self._names: list[NDArray[np.int64]] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._constants: list[tuple[int, Bias | None, Tensor]] = []
        self._n, self._n_dropped = 0, 0

    def add_embeddings(self) -> None:
        """Add one writer per token, and one per learned position."""
        cache = self._frozen.cache
        for position, token in enumerate(cache.token_ids.tolist()):
            here = slice(position, position + 1)
            vector = cache.embed[here].to(self._dtype)
            self._add(0, (NodeKind.TOKEN, Site.EMBED, -1, position), [token], vector)
            if cache.pos_embed is not None and self._plan.constants:
                vector = cache.pos_embed[here].to(self._dtype)
                self._add(0, (NodeKind.POSITION, Site.POS_EMBED, -1, position), [position], vector)
        if cache.pos_embed is not None and not self._plan.constants:
            self._constants.append((0, _REST, cache.pos_embed.to(self._dtype)))

    def add_features(self, dictionary: Dictionary) -> None:
        """Add a dictionary's active features, its errors, its b_dec, and let its skip pass."""
        card = dictionary.card
        layer, site = card.layers[0], card.feature_site
        stage, norm = stage_of(site, layer), NORMS_AFTER.get(card.write_site)
        self._stages[stage].cuts = site in STREAM
        found = self._features.active[site, layer]
        error = self._features.error[site, layer].to(self._dtype)
        places = torch.arange(len(error) + 1, device=error.device)
        ends = torch.searchsorted(found.position, places).tolist()
        value, pre = found.value.to(self._dtype), found.preactivation.to(self._dtype)
        scale = input_scale(dictionary, self._frozen.cache)
        written = value if scale is None else value * scale.to(value)[found.position]
        # Features of a position, then its error, one position after the other in one piece of
        # memory, as they are read.
        whole = error.new_empty(len(found) + len(error), error.shape[1])
        place = torch.arange(len(found), device=error.device) + found.position
        whole[place] = written[:, None] * dictionary.decoder_rows(found.unit).to(self._dtype)
        for position, rest in enumerate(error):
            here = slice(ends[position], ends[position + 1])
            vectors = whole[here.start + position : here.stop + position]
            vector = whole[here.stop + position]
            vector[:] = rest
            if norm is not None:
                both = whole[here.start + position : here.stop + position + 1]
                both[:] = norm_at(self._frozen, norm, layer, both, position)
            columns = slice(self._n, self._n + len(vectors))
            if position < self._plan.left_out:
                vector = self._leave_out(stage, position, vectors.sum(0) + vector)
            else:
                key = (NodeKind.FEATURE, site, layer, position)
                units = found.unit[here].tolist()
                self._add(stage, key, units, vectors, (value[here], pre[here]))
            self._add_error(stage, site, layer, (position, vector))
            if self._plan.cross is not None and site is Site.MLP_TRANSCODER:
                self._add_later(dictionary, position, columns, (found.unit[here], value[here]))
        bias = dictionary.decoder_bias.to(self._dtype)
        if scale is not None:
            bias = bias * scale.to(bias)[:, None]
        if norm is not None:
            whole_bias = bias.expand(self._frozen.cache.n_pos, -1)
            bias = self._frozen.norm_jvp(norm, layer, whole_bias)
            own = self._frozen.norm_bias(norm, layer)
            self._constants.append((stage, (site.writes, layer, BiasUnit.MODULE), own))
        self._constants.append((stage, (site, layer, BiasUnit.DECODER), bias))
        if dictionary.skip is not None:
            self._pass_skip(dictionary, dictionary.skip.to(self._dtype), stage)

    def _leave_out(self, stage: int, position: int, vector: Tensor) -> Tensor:
        """Sum what is written at a position that is left out, and return the error node's zero."""
        whole = vector.new_zeros(self._frozen.cache.n_pos, len(vector))
        whole[position] = vector
        self._constants.append((stage, _REST, whole))
        return torch.zeros_like(vector)

    def _add_later(
        self, part: Dictionary, position: int, columns: slice, found: tuple[Tensor, Tensor]
    ) -> None:
        """Add what a cross-layer transcoder's features (unit, value) write to later layers."""
        unit, value = found
        norm = NORMS_AFTER.get(part.card.write_site)
        for layer in part.written_layers[1:]:
            vectors = value[:, None] * part.decoder_rows(unit, layer).to(self._dtype)
            if norm is not None:
                vectors = norm_at(self._frozen, norm, layer, vectors, position)
            if position < self._plan.left_out:
                self._leave_out(mlp_stage(layer), position, vectors.sum(0))
            else:
                group = Group(position, columns, vectors)
                self._stages[mlp_stage(layer)].additions.append(group)

    def _pass_skip(self, dictionary: Dictionary, skip: Tensor, stage: int) -> None:
        frozen, layer = self._frozen, dictionary.card.layers[0]
        read, norm = dictionary.card.read_site, NORMS_AFTER.get(dictionary.card.write_site)

        def through(g: Tensor, at: Tensor | None = None) -> Tensor:
            if norm is not None:
                g = frozen.norm_vjp(norm, layer, g, at)
            return norm_back(frozen, read, layer, g @ skip, at)

        def onward(x: Tensor) -> Tensor:
            out = norm_forth(frozen, read, layer, x) @ skip.T
            return out if norm is None else frozen.norm_jvp(norm, layer, out)

        self._pass_beside(layer, Passage(through, onward))
        if read is Site.MLP_IN:
            bias = frozen.norm_bias(Site.LN2_NORMALIZED, layer) @ skip.T
            if norm is not None:
                bias = frozen.norm_jvp(norm, layer, bias.expand(frozen.cache.n_pos, -1))
            self._constants.append((stage, (Site.LN2_NORMALIZED, layer, BiasUnit.NORM), bias))

    def _pass_beside(self, layer: int, through: Passage) -> None:
        """Let directions at an MLP's output pass, beside the attention in parallel blocks."""
        if self._frozen.model.anatomy.parallel_blocks:
            self._stages[attention_stage(layer)].beside = through
        else:
            self._stages[mlp_stage(layer)].through = through

    def pass_attention(self, layer: int) -> None:
        """Let attention pass effects on through its frozen pattern; add its constants."""
        frozen, stage = self._frozen, attention_stage(layer)

        def through(g: Tensor, at: Tensor | None = None) -> Tensor:
            assert at is None, "attention joins positions"
            return frozen.attn_vjp(layer, g)

        self._stages[stage].through = Passage(through, lambda x: frozen.attn_jvp(layer, x))
        self._stages[stage].spreads = True
        constants = frozen.attn_constants(layer)
        self._constants += [
            (stage, (Site.ATTN_OUT, layer, BiasUnit.MODULE), constants.module),
            (stage, (Site.LN1_NORMALIZED, layer, BiasUnit.NORM), constants.norm),
        ]

    def pass_mlp(self, layer: int) -> None:
        """Let an MLP pass effects on through its frozen gates; add its constants."""
        frozen, stage = self._frozen, mlp_stage(layer)

        def through(g: Tensor, at: Tensor | None = None) -> Tensor:
            assert at is None, "the walk that packs positions knows no cuts"
            return frozen.mlp_vjp(layer, g)

        self._pass_beside(layer, Passage(through, lambda x: frozen.mlp_jvp(layer, x)))
        constants = frozen.mlp_constants(layer)
        self._constants += [
            (stage, (Site.MLP_OUT, layer, BiasUnit.MODULE), constants.module),
            (stage, (Site.LN2_NORMALIZED, layer, BiasUnit.NORM), constants.norm),
        ]

    def add_whole(self, site: Site, layer: int) -> None:
        """Add a module's output as one error per position."""
        stage = stage_of(site, layer)
        for position, vector in enumerate(self._frozen.cache.site(site, layer).to(self._dtype)):
            if position < self._plan.left_out:
                vector = self._leave_out(stage, position, vector)
            self._add_error(stage, site, layer, (position, vector))

    def add_heads(self, layer: int) -> None:
        """Add one writer per head and position, and b_O."""
        frozen, stage = self._frozen, attention_stage(layer)
        writes = frozen.write_heads(layer, frozen.cache.head_z[layer].to(self._dtype))
        sizes = writes.norm(dim=-1)
        for position, size in enumerate(sizes):
            key = (NodeKind.HEAD, Site.HEAD_Z, layer, position)
            self._add(stage, key, range(len(size)), writes[position], (size, size))
        self._constants.append(
            (stage, (Site.ATTN_OUT, layer, BiasUnit.MODULE), attn_bias(frozen, layer))
        )

    def add_neurons(self, layer: int) -> None:
        """Add the strong neurons, b_out, and what the weak ones write together."""
        frozen, stage = self._frozen, mlp_stage(layer)
        mlp = frozen.weights.mlp(layer)
        hidden = frozen.cache.mlp_hidden[layer].to(self._dtype)
        before = frozen.cache.mlp_gate[layer].to(self._dtype)
        if mlp.gated:
            # In closed form: far in GELU's tail the module's own float32 product keeps only three
            # digits, too few for a row to add up to.
            up = frozen.cache.mlp_up[layer].to(self._dtype)
            before = activation(mlp.activation).value(before) * up
        strong = _strengths(frozen, layer) > self._floor
        for position, chosen in enumerate(strong):
            units = chosen.nonzero()[:, 0]
            value = hidden[position, units]
            key = (NodeKind.NEURON, Site.MLP_HIDDEN, layer, position)
            vectors = value[:, None] * mlp.W_out[units]
            vectors = norm_at(frozen, Site.MLP_OUT_NORM, layer, vectors, position)
            self._add(stage, key, units.tolist(), vectors, (value, before[position, units]))
        weak = torch.where(strong, 0.0, hidden)
        if bool(weak.any()):
            self._n_dropped += int((weak != 0).sum())
            self._constants.append((stage, _REST, write_hidden(frozen, layer, weak)))
        self._constants.append(
            (stage, (Site.MLP_OUT, layer, BiasUnit.MODULE), mlp_bias(frozen, layer))
        )

    def _add_error(self, stage: int, site: Site, layer: int, at: tuple[int, Tensor]) -> None:
        position, vector = at
        size = vector.norm()[None]
        key = (NodeKind.ERROR, site, layer, position)
        self._add(stage, key, [-1], vector[None], (size, torch.zeros_like(size)))

    def _add(
        self,
        stage: int,
        key: tuple[NodeKind, Site, int, int],
        units: Iterable[int],
        vectors: Tensor,
        values: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Add writers of one kind at one position; values are activations, pre-activations."""
        ids = np.fromiter(units, np.int64)
        names = np.empty((len(ids), 6), np.int64)
        names[:, :4], names[:, 4], names[:, 5] = [int(part) for part in key], ids, stage
        numbers = np.ones((len(ids), 2))
        if values is not None:
            numbers = torch.stack(values, dim=1).double().cpu().numpy()
        self._names.append(names)
        self._numbers.append(numbers)
        here = slice(self._n, self._n + len(ids))
        self._n = here.stop
        self._stages[stage].groups.append(Group(key[3], here, vectors))

    def finish(self, biases: list[Bias]) -> Sources:
        """Add a column for every constant and hand over all that was collected."""
        rest = self._n + (len(biases) if self._plan.constants else 0)
        column = {bias: min(self._n + index, rest) for index, bias in enumerate(biases)}
        for stage, bias, vector in self._constants:
            if bool(vector.any()):
                at = rest if bias is None else column[bias]
                self._stages[stage].constants.append((at, vector))
        kind = int(NodeKind.BIAS)
        own = [(kind, int(site), layer, -1, int(unit), -1) for site, layer, unit in biases]
        own = own[: rest - self._n]
        names = np.concatenate([*self._names, np.array(own, np.int64).reshape(-1, 6)])
        numbers = np.concatenate([*self._numbers, np.zeros((len(own), 2))])
        columns = Columns(*names.T.copy(), *numbers.T.copy())
        return Sources(columns, self._stages, column, rest, self._n_dropped)


def norm_back(
    frozen: FrozenModel, read: Site, layer: int, g: Tensor, at: Tensor | None = None
) -> Tensor:
    """Pull g from where a transcoder reads back to resid_mid.

    Args:
        frozen: The forward pass.
        read: MLP_IN (after the norm's gain), LN2_NORMALIZED (before it) or RESID_MID.
        layer: Its layer.
        g: [.., pos, d_model] at the first positions, or [row, d_model] with `at`.
        at: The position of each row.
    """
    if read is Site.RESID_MID:
        return g
    if read is Site.MLP_IN:
        return frozen.norm_vjp(Site.LN2_NORMALIZED, layer, g, at)
    norm = frozen.weights.norm(Site.LN2_NORMALIZED, layer)
    if norm.kind == "none":
        return g
    here = slice(g.shape[-2]) if at is None else at
    scale = frozen.cache.norm_scales[Site.LN2_NORMALIZED, layer].to(frozen.dtype)[here, None]
    back = g / scale
    return back - back.mean(-1, keepdim=True) if norm.kind == "layer" else back


def norm_forth(frozen: FrozenModel, read: Site, layer: int, x: Tensor) -> Tensor:
    """Push x [pos, d_model] at resid_mid to where a transcoder reads; `norm_back`'s transpose."""
    norm = frozen.weights.norm(Site.LN2_NORMALIZED, layer)
    if read is Site.RESID_MID or norm.kind == "none":
        return x
    if read is Site.MLP_IN:
        return frozen.norm_jvp(Site.LN2_NORMALIZED, layer, x)
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    scale = frozen.cache.norm_scales[Site.LN2_NORMALIZED, layer].to(frozen.dtype)
    return centred / scale[:, None]


def _strengths(frozen: FrozenModel, layer: int) -> Tensor:
    """Return the length of what each neuron writes, [pos, d_mlp]."""
    hidden = frozen.cache.mlp_hidden[layer].to(frozen.dtype)
    W_out, norm = frozen.weights.mlp(layer).W_out, frozen.weights.norm(Site.MLP_OUT_NORM, layer)
    strengths: Tensor = hidden.abs() * (W_out * norm.weight).norm(dim=1)
    if norm.kind != "none":
        strengths /= frozen.cache.norm_scales[Site.MLP_OUT_NORM, layer].to(frozen.dtype)[:, None]
    return strengths


def _neuron_floor(frozen: FrozenModel, plan: Plan, most: int | None) -> float:
    """Return the strength above which a neuron is a column."""
    layers = [layer for layer, found in enumerate(plan.mlp) if found is None and not plan.whole]
    if most is None or not layers:
        return 0.0
    strengths = torch.cat([_strengths(frozen, layer).flatten() for layer in layers])
    if len(strengths) <= most:
        return 0.0
    return float(strengths.kthvalue(len(strengths) - most).values)


def _all_biases(plan: Plan, n_layers: int) -> list[Bias]:
    found: list[Bias] = []
    for layer in range(n_layers):
        for module, norm, dictionary in (
            (Site.ATTN_OUT, Site.LN1_NORMALIZED, plan.attention[layer]),
            (Site.MLP_OUT, Site.LN2_NORMALIZED, plan.mlp[layer]),
        ):
            found.append((norm, layer, BiasUnit.NORM))
            found.append((module, layer, BiasUnit.MODULE))
            if dictionary is not None:
                own = dictionary.card.feature_site
                found += [(own, layer, BiasUnit.ENCODER), (own, layer, BiasUnit.DECODER)]
    for dictionary in plan.stream:
        place = dictionary.card.feature_site, dictionary.card.layers[0]
        found += [(*place, BiasUnit.ENCODER), (*place, BiasUnit.DECODER)]
    return [
        *found,
        (Site.LN_FINAL, n_layers, BiasUnit.NORM),
        (Site.LOGITS, n_layers, BiasUnit.UNEMBED),
    ]
