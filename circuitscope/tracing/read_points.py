"""From what a node computes back to the residual stream it read: one frozen module deep.

For every row, a direction at the module's output is pulled back to the module's input, and what
the module adds whatever its input is booked on constants:

    logit                W_U column                 <- last norm            at its position
    stream feature       encoder row                           at its position
    transcoder feature   encoder row                <- norm before the MLP  at its position
    MLP feature          encoder row <- W_out <- frozen gates <- W_in <- norm  at its position
    neuron               one entry of the same      <- W_in <- norm         at its position
    attention feature    encoder row <- W_O <- frozen pattern <- W_V <- norm   at all before it
    head                 direction it writes <- the same for one head
    attention score      the other side <- W_Q or W_K <- norm   at the query and at the key

Rows are pulled at their own position only, so the cost does not grow with the prompt except where
attention spreads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.features import input_scale
from circuitscope.models.frozen import Constants, FrozenModel
from circuitscope.models.gates import Gates, freeze_gates
from circuitscope.tracing.attention_score import score_of, score_rows
from circuitscope.tracing.plan import Plan
from circuitscope.tracing.sources import STREAM, Bias
from circuitscope.tracing.writers import norm_back


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """The nodes whose rows can be computed, one entry of every array each.

    Attributes:
        kind, site, layer, position, unit: Keys, int64 [n].
        stage: A row reads everything written before this stage, int64 [n].
        preactivation: What the row adds up to, from the forward pass, float64 [n].
        column: Where the node is a writer itself, int64 [n]; -1 where it is not.
        vectors: Directions at the last norm's output of LOGIT rows, by row, [d_model].
        constants: What LOGIT rows add whatever the stream, by row.
    """

    kind: NDArray[np.int64]
    site: NDArray[np.int64]
    layer: NDArray[np.int64]
    position: NDArray[np.int64]
    unit: NDArray[np.int64]
    stage: NDArray[np.int64]
    preactivation: NDArray[np.float64]
    column: NDArray[np.int64]
    vectors: dict[int, Tensor]
    constants: dict[int, float]

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """Directions in the residual stream that some rows read.

    Attributes:
        vectors: [row, d_model] at each row's position, or [row, pos, d_model].
        constants: What the row holds whatever the stream, by constant, [row].
    """

    vectors: Tensor
    constants: dict[Bias, Tensor]


class Points(Protocol):
    """Whatever can say where rows read the stream."""

    def inject(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Injection]]:
        """Return the injections of some rows; indices are into `rows`."""


class ReadPoints:
    """Pull the rows' directions back to the residual stream.

    Args:
        frozen: The forward pass.
        plan: Which dictionary explains which module.
        explained: The rows.
    """

    def __init__(self, frozen: FrozenModel, plan: Plan, explained: Explained) -> None:
        self._frozen = frozen
        self._plan = plan
        self._rows = explained
        self._gates: dict[int, Gates] = {}
        self._constants: dict[tuple[object, ...], Constants] = {}
        self._scales: dict[tuple[Site, int], Tensor | None] = {}

    def inject(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Injection]]:
        """Return the injections of some rows, grouped by module; indices are into `rows`."""
        e = self._rows
        place = np.stack([e.kind[rows], e.site[rows], e.layer[rows]], axis=1)
        groups, member = np.unique(place, axis=0, return_inverse=True)
        found = []
        for index, (kind, site, layer) in enumerate(groups.tolist()):
            here = np.flatnonzero(member.reshape(-1) == index)
            found.append((here, self._pull(NodeKind(kind), Site(site), layer, rows[here])))
        return found

    def _pull(self, kind: NodeKind, site: Site, layer: int, rows: NDArray[np.int64]) -> Injection:
        if kind is NodeKind.LOGIT:
            return self._logits(rows)
        if kind is NodeKind.SCORE:
            return self._scores(layer, rows)
        at, units = self._index(self._rows.position[rows]), self._index(self._rows.unit[rows])
        if kind is NodeKind.HEAD:
            return self._heads(layer, at, units)
        if kind is NodeKind.NEURON:
            return self._neurons(layer, at, units)
        assert kind is NodeKind.FEATURE, f"{kind.name} nodes have no row"
        dictionary = self._plan.at(site, layer)
        assert dictionary is not None, "a feature without dictionary"
        rows_in = dictionary.encoder_rows(units).to(self._dtype)
        if (site, layer) not in self._scales:
            self._scales[site, layer] = input_scale(dictionary, self._frozen.cache)
        scale = self._scales[site, layer]
        if scale is not None:
            rows_in = rows_in / scale.to(rows_in)[at, None]
        if site in STREAM:
            constant = dictionary.encoder_constants(units).to(self._dtype)
            return Injection(rows_in, {(site, layer, BiasUnit.ENCODER): constant})
        pull = {
            Site.ATTN_OUT: self._attention_directions,
            Site.MLP_OUT: self._mlp_directions,
            Site.MLP_TRANSCODER: self._mlp_inputs,
        }[site]
        injection = pull(layer, at, rows_in, dictionary)
        constant = dictionary.encoder_constants(units).to(self._dtype)
        injection.constants[site, layer, BiasUnit.ENCODER] = constant
        return injection

    # The six readers

    def _logits(self, rows: NDArray[np.int64]) -> Injection:
        top = self._frozen.model.anatomy.n_layers
        g = torch.stack([self._rows.vectors[row] for row in rows.tolist()])
        at = self._index(self._rows.position[rows])
        bias = torch.tensor([self._rows.constants[row] for row in rows.tolist()])
        return Injection(
            self._frozen.norm_vjp(Site.LN_FINAL, top, g, at),
            {
                (Site.LN_FINAL, top, BiasUnit.NORM): g @ self._frozen.norm_bias(Site.LN_FINAL, top),
                (Site.LOGITS, top, BiasUnit.UNEMBED): bias.to(g),
            },
        )

    def _scores(self, layer: int, rows: NDArray[np.int64]) -> Injection:
        e, anatomy = self._rows, self._frozen.model.anatomy
        keys = [
            NodeKey(NodeKind.SCORE, Site.PATTERN, layer, int(e.position[row]), int(e.unit[row]))
            for row in rows
        ]
        return Injection(*score_rows(self._frozen, [score_of(anatomy, key) for key in keys]))

    def _mlp_inputs(self, layer: int, at: Tensor, g: Tensor, dictionary: Dictionary) -> Injection:
        read = dictionary.card.read_site
        back = norm_back(self._frozen, read, layer, g, at)
        if read is not Site.MLP_IN:
            return Injection(back, {})
        bias = g @ self._frozen.norm_bias(Site.LN2_NORMALIZED, layer)
        return Injection(back, {(Site.LN2_NORMALIZED, layer, BiasUnit.NORM): bias})

    def _mlp_directions(
        self, layer: int, at: Tensor, g: Tensor, dictionary: Dictionary
    ) -> Injection:
        frozen = self._frozen
        mlp, gates = frozen.weights.mlp(layer), self._gates_of(layer)
        read = dictionary.card.read_site
        back = g if read is Site.MLP_WRITE else frozen.norm_vjp(Site.MLP_OUT_NORM, layer, g, at)
        hidden = back @ mlp.W_out.T
        on_g = None if gates.on_g is None else hidden * gates.on_g[at]
        on_u = None if gates.on_u is None else hidden * gates.on_u[at]
        constants = self._kept(frozen.mlp_constants, layer, read)
        return Injection(
            self._preact_back(layer, on_g, on_u, at),
            self._booked(
                (Site.MLP_OUT, Site.LN2_NORMALIZED), layer,
                (g * constants.module[at]).sum(-1), (g * constants.norm[at]).sum(-1),
            ),
        )  # fmt: skip

    def _neurons(self, layer: int, at: Tensor, units: Tensor) -> Injection:
        frozen = self._frozen
        mlp = frozen.weights.mlp(layer)
        if mlp.W_gate is None:
            back = mlp.W_in[:, units].T
            constants = self._kept(frozen.preact_constants, layer)
            module, norm = constants.module[units], constants.norm[units]
        else:
            gates = self._gates_of(layer)
            parts = [(gates.on_g, mlp.W_gate), (gates.on_u, mlp.W_in)]
            pulled = [on[at, units, None] * W[:, units].T for on, W in parts if on is not None]
            back = sum(pulled[1:], pulled[0])
            constants = self._kept(frozen.hidden_constants, layer)
            module, norm = constants.module[at, units], constants.norm[at, units]
        return Injection(
            frozen.norm_vjp(Site.LN2_NORMALIZED, layer, back, at),
            self._booked((Site.MLP_OUT, Site.LN2_NORMALIZED), layer, module, norm),
        )

    def _attention_directions(
        self, layer: int, at: Tensor, g: Tensor, dictionary: Dictionary
    ) -> Injection:
        frozen = self._frozen
        read = dictionary.card.read_site
        back = g if read is Site.ATTN_WRITE else frozen.norm_vjp(Site.ATTN_OUT_NORM, layer, g, at)
        z = torch.einsum("rd,hed->rhe", back, frozen.weights.attention(layer).W_O)
        constants = self._kept(frozen.attn_constants, layer, read)
        return Injection(
            self._attention_back(layer, z, at),
            self._booked(
                (Site.ATTN_OUT, Site.LN1_NORMALIZED), layer,
                (g * constants.module[at]).sum(-1), (g * constants.norm[at]).sum(-1),
            ),
        )  # fmt: skip

    def _heads(self, layer: int, at: Tensor, heads: Tensor) -> Injection:
        frozen = self._frozen
        W_O = frozen.weights.attention(layer).W_O[heads]
        write = frozen.write_heads(layer, self._head_z(layer))[at, heads]
        direction = write / write.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        direction = frozen.norm_vjp(Site.ATTN_OUT_NORM, layer, direction, at)
        z_one = torch.einsum("rd,red->re", direction, W_O)
        z = z_one.new_zeros(len(at), frozen.model.anatomy.n_heads, z_one.shape[-1])
        z[torch.arange(len(at), device=z.device), heads] = z_one
        constants = self._kept(frozen.heads_constants, layer)
        return Injection(
            self._attention_back(layer, z, at),
            self._booked(
                (Site.ATTN_OUT, Site.LN1_NORMALIZED), layer,
                (z_one * constants.module[at, heads]).sum(-1),
                (z_one * constants.norm[at, heads]).sum(-1),
            ),
        )  # fmt: skip

    # Shared steps

    def _preact_back(self, layer: int, g: Tensor | None, u: Tensor | None, at: Tensor) -> Tensor:
        mlp = self._frozen.weights.mlp(layer)
        W_g = mlp.W_in if mlp.W_gate is None else mlp.W_gate
        parts = [part @ W.T for part, W in ((g, W_g), (u, mlp.W_in)) if part is not None]
        back = sum(parts[1:], parts[0])
        return self._frozen.norm_vjp(Site.LN2_NORMALIZED, layer, back, at)

    def _attention_back(self, layer: int, z: Tensor, at: Tensor) -> Tensor:
        """Pull z [row, head, d_head] at positions `at` to resid_pre, [row, pos, d_model]."""
        attention = self._frozen.weights.attention(layer)
        n = int(at.max()) + 1
        grouped = z.reshape(len(z), attention.n_kv, -1, z.shape[-1])
        values = torch.einsum("rvge,vde->rvgd", grouped, attention.W_V).flatten(1, 2)
        pattern = self._frozen.cache.patterns[layer].to(self._dtype)[:, at, :n]
        g = torch.bmm(pattern.permute(1, 2, 0), values)
        return self._frozen.norm_vjp(Site.LN1_NORMALIZED, layer, g)

    def _booked(
        self, sites: tuple[Site, Site], layer: int, module: Tensor, norm: Tensor
    ) -> dict[Bias, Tensor]:
        return {(sites[0], layer, BiasUnit.MODULE): module, (sites[1], layer, BiasUnit.NORM): norm}

    def _gates_of(self, layer: int) -> Gates:
        if layer not in self._gates:
            frozen = self._frozen
            u = frozen.cache.mlp_up.get(layer)
            self._gates[layer] = freeze_gates(
                frozen.weights.mlp(layer).activation,
                frozen.cache.mlp_gate[layer].to(self._dtype),
                None if u is None else u.to(self._dtype),
                frozen.gated,
            )
        return self._gates[layer]

    def _kept(self, read: Callable[..., Constants], layer: int, *site: Site) -> Constants:
        if (read, layer, *site) not in self._constants:
            self._constants[read, layer, *site] = read(layer, *site)
        return self._constants[read, layer, *site]

    def _head_z(self, layer: int) -> Tensor:
        return self._frozen.cache.head_z[layer].to(self._dtype)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return self._frozen.dtype

    def _index(self, values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._frozen.cache.token_ids)
