"""The frozen model: the linear maps of one forward pass, forwards and backwards.

1. Attention patterns are constants: each head is a fixed linear map of its input.
2. Norm denominators are constants; the mean of LayerNorm is still subtracted, being linear.
3. MLP gates are constants (`gates`): plain h = gate(g0) * g. Gated, by the rule chosen:
   half: h = 1/2 gate(g0) u0 * g + 1/2 act(g0) * u; through_u: h = act(g0) * u;
   gradient: h = act'(g0) u0 * g + act(g0) * u, plus a constant.
4. Where a map and a nonlinearity stand before the last norm, as in BERT, its gate is a constant.
5. What is left is affine. Each map here comes as `*_jvp` (push a change forward), `*_vjp` (pull a
   direction back) and its constants, so that map(input) + constants = what the module wrote.

All tensors may have leading batch axes. Inputs may be shorter than the prompt: in a causal model
the first n positions do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.capture import ForwardCache
from circuitscope.models.family import split_last
from circuitscope.models.gates import GatedRule, Gates, freeze_gates
from circuitscope.models.weights import Weights
from circuitscope.models.written import attn_bias, mlp_bias, write_hidden

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class Constants:
    """The part of a module's output that does not depend on its input in this pass.

    Attributes:
        module: From the module's own biases (b_V through the pattern, b_O, b_in, b_out, and the
            constant of the gradient rule), [pos, ...].
        norm: From the bias of the norm before it, [pos, ...].
    """

    module: Tensor
    norm: Tensor


class FrozenModel:
    """Hold one forward pass and offer its linear maps.

    Args:
        model: The model that was run.
        cache: Its forward pass.
        gated: How a gated MLP's product is shared between its two factors.
        dtype: float32, or float64 when asked.
    """

    def __init__(
        self,
        model: LoadedModel,
        cache: ForwardCache,
        gated: GatedRule = "half",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model
        self.cache = cache
        self.gated: GatedRule = gated
        self.dtype = dtype
        self.weights = Weights(model, dtype)
        self._gates: dict[int, Gates] = {}

    # Norms

    def _scale(self, site: Site, layer: int, n: int) -> Tensor:
        at = {Site.LN_FINAL: self.model.anatomy.n_layers, Site.EMBED_NORM: 0}.get(site, layer)
        return self.cache.norm_scales[site, at][:n, None].to(self.dtype)

    def norm_jvp(self, site: Site, layer: int, x: Tensor) -> Tensor:
        """Push x [.., pos, d_model] through a norm with frozen scale, bias left out."""
        norm = self.weights.norm(site, layer)
        if norm.kind == "none":
            return x
        centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
        return centred / self._scale(site, layer, x.shape[-2]) * norm.weight

    def norm_vjp(self, site: Site, layer: int, g: Tensor, at: Tensor | None = None) -> Tensor:
        """Pull g at a norm's output back to its input.

        Args:
            site: Names the norm.
            layer: Its layer.
            g: [.., pos, d_model] at the first positions, or [row, d_model] with `at`.
            at: The position of each row.
        """
        norm = self.weights.norm(site, layer)
        if norm.kind == "none":
            return g
        scale = self._scale(site, layer, g.shape[-2] if at is None else self.cache.n_pos)
        back = g * norm.weight / (scale if at is None else scale[at])
        return back - back.mean(-1, keepdim=True) if norm.kind == "layer" else back

    def norm_bias(self, site: Site, layer: int) -> Tensor:
        """Return a norm's bias, [d_model], zeros where it has none."""
        norm = self.weights.norm(site, layer)
        return torch.zeros_like(norm.weight) if norm.bias is None else norm.bias

    # Attention with frozen patterns

    def _pattern(self, layer: int, n: int) -> Tensor:
        """Return patterns with heads grouped by the kv head they read, [kv, group, n, n]."""
        pattern = self.cache.patterns[layer][:, :n, :n].to(self.dtype)
        return pattern.reshape(self.weights.attention(layer).n_kv, -1, n, n)

    def heads_jvp(self, layer: int, x: Tensor) -> Tensor:
        """Push x [.., pos, d_model] at resid_pre to head_z [.., pos, head, d_head]."""
        return self._mix(layer, self._read_values(layer, self._ln1(layer, x)))

    def _ln1(self, layer: int, x: Tensor) -> Tensor:
        return self.norm_jvp(Site.LN1_NORMALIZED, layer, x)

    def _read_values(self, layer: int, attn_in: Tensor) -> Tensor:
        W_V = self.weights.attention(layer).W_V
        flat = W_V.transpose(0, 1).flatten(1)
        return split_last(attn_in @ flat, W_V.shape[0], W_V.shape[2])

    def _mix(self, layer: int, values: Tensor) -> Tensor:
        pattern = self._pattern(layer, values.shape[-3])
        return torch.einsum("vgqk,...kve->...qvge", pattern, values).flatten(-3, -2)

    def heads_vjp(self, layer: int, g: Tensor) -> Tensor:
        """Pull g [.., pos, head, d_head] at head_z back to resid_pre [.., pos, d_model]."""
        W_V = self.weights.attention(layer).W_V
        pattern = self._pattern(layer, g.shape[-3])
        grouped = g.reshape(*g.shape[:-2], *pattern.shape[:2], g.shape[-1])
        values = torch.einsum("vgqk,...qvge->...kve", pattern, grouped)
        attn_in = values.flatten(-2) @ W_V.transpose(1, 2).flatten(0, 1)
        return self.norm_vjp(Site.LN1_NORMALIZED, layer, attn_in)

    def heads_constants(self, layer: int) -> Constants:
        """Return the constant part of head_z, each [pos, head, d_head]."""
        weights = self.weights.attention(layer)
        shape = (self.cache.n_pos, weights.n_kv, weights.W_V.shape[2])
        b_V = weights.W_V.new_zeros(shape[1:]) if weights.b_V is None else weights.b_V
        norm = self._read_values(layer, self.norm_bias(Site.LN1_NORMALIZED, layer))
        return Constants(self._mix(layer, b_V.expand(shape)), self._mix(layer, norm.expand(shape)))

    def write_heads(self, layer: int, z: Tensor) -> Tensor:
        """Return what each head writes for head_z, [.., pos, head, d_model], without b_O."""
        writes = torch.einsum("...phe,hed->...hpd", z, self.weights.attention(layer).W_O)
        return self.norm_jvp(Site.ATTN_OUT_NORM, layer, writes).transpose(-3, -2)

    def attn_jvp(self, layer: int, x: Tensor) -> Tensor:
        """Push x [.., pos, d_model] at resid_pre through norm and attention to attn_out."""
        W_O = self.weights.attention(layer).W_O
        out = self.heads_jvp(layer, x).flatten(-2) @ W_O.flatten(0, 1)
        return self.norm_jvp(Site.ATTN_OUT_NORM, layer, out)

    def attn_vjp(self, layer: int, g: Tensor) -> Tensor:
        """Pull g [.., pos, d_model] at attn_out back to resid_pre (the skip not added)."""
        W_O = self.weights.attention(layer).W_O
        g = self.norm_vjp(Site.ATTN_OUT_NORM, layer, g)
        z = split_last(g @ W_O.flatten(0, 1).T, *W_O.shape[:2])
        return self.heads_vjp(layer, z)

    def attn_constants(self, layer: int, site: Site = Site.ATTN_OUT) -> Constants:
        """Return the constant part of attn_out, or of attn_write, each [pos, d_model]."""
        heads, weights = self.heads_constants(layer), self.weights.attention(layer)
        flat = weights.W_O.flatten(0, 1)
        module, norm = (part.flatten(-2) @ flat for part in (heads.module, heads.norm))
        if site is Site.ATTN_WRITE:
            return Constants(module if weights.b_O is None else module + weights.b_O, norm)
        module, norm = (self.norm_jvp(Site.ATTN_OUT_NORM, layer, part) for part in (module, norm))
        return Constants(module + attn_bias(self, layer), norm)

    # MLPs with frozen gates

    def preact_jvp(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Push x at resid_mid to g and, where gated, u: [.., pos, d_mlp]; biases left out."""
        return self._preact(layer, self.norm_jvp(Site.LN2_NORMALIZED, layer, x))

    def _preact(self, layer: int, mlp_in: Tensor) -> tuple[Tensor, Tensor | None]:
        mlp = self.weights.mlp(layer)
        if mlp.W_gate is None:
            return mlp_in @ mlp.W_in, None
        return mlp_in @ mlp.W_gate, mlp_in @ mlp.W_in

    def preact_vjp(self, layer: int, g: Tensor | None, u: Tensor | None = None) -> Tensor:
        """Pull directions at g and u, [.., pos, d_mlp], back to resid_mid [.., pos, d_model]."""
        mlp = self.weights.mlp(layer)
        W_g = mlp.W_in if mlp.W_gate is None else mlp.W_gate
        parts = [] if g is None else [g @ W_g.T]
        if u is not None:
            parts.append(u @ mlp.W_in.T)
        assert parts, "nothing to pull back"
        return self.norm_vjp(Site.LN2_NORMALIZED, layer, sum(parts[1:], parts[0]))

    def preact_constants(self, layer: int) -> Constants:
        """Return the constant part of g, each [d_mlp], the same at every position."""
        mlp = self.weights.mlp(layer)
        bias = mlp.b_in if mlp.W_gate is None else mlp.b_gate
        norm, _ = self._preact(layer, self.norm_bias(Site.LN2_NORMALIZED, layer))
        return Constants(torch.zeros_like(norm) if bias is None else bias, norm)

    def _gates_of(self, layer: int) -> Gates:
        if layer not in self._gates:
            u = self.cache.mlp_up.get(layer)
            self._gates[layer] = freeze_gates(
                self.weights.mlp(layer).activation,
                self.cache.mlp_gate[layer].to(self.dtype),
                None if u is None else u.to(self.dtype),
                self.gated,
            )
        return self._gates[layer]

    def _gate(self, layer: int, g: Tensor, u: Tensor | None) -> Tensor:
        """Apply the frozen gates to g and u, without the rule's constant."""
        gates = self._gates_of(layer)
        n = g.shape[-2]
        hidden = torch.zeros_like(g) if gates.on_g is None else g * gates.on_g[:n]
        return hidden if u is None or gates.on_u is None else hidden + u * gates.on_u[:n]

    def hidden_jvp(self, layer: int, x: Tensor) -> Tensor:
        """Push x at resid_mid to the MLP's hidden values under the gate rule, [.., pos, d_mlp]."""
        return self._gate(layer, *self.preact_jvp(layer, x))

    def hidden_vjp(self, layer: int, g: Tensor) -> Tensor:
        """Pull g [.., pos, d_mlp] at the hidden values back to resid_mid [.., pos, d_model]."""
        gates, n = self._gates_of(layer), g.shape[-2]
        return self.preact_vjp(
            layer,
            None if gates.on_g is None else g * gates.on_g[:n],
            None if gates.on_u is None else g * gates.on_u[:n],
        )

    def hidden_constants(self, layer: int) -> Constants:
        """Return the constant part of the hidden values, each [pos, d_mlp]."""
        mlp, n = self.weights.mlp(layer), self.cache.n_pos
        on_g, on_u = self._preact(layer, self.norm_bias(Site.LN2_NORMALIZED, layer))
        zeros = torch.zeros_like(on_g)
        b_g = mlp.b_in if mlp.W_gate is None else mlp.b_gate
        b_u = None if mlp.W_gate is None else zeros if mlp.b_in is None else mlp.b_in
        module = self._gate(
            layer,
            (zeros if b_g is None else b_g).expand(n, -1),
            None if b_u is None else b_u.expand(n, -1),
        )
        constant = self._gates_of(layer).constant
        norm = self._gate(layer, on_g.expand(n, -1), None if on_u is None else on_u.expand(n, -1))
        return Constants(module if constant is None else module + constant, norm)

    def mlp_jvp(self, layer: int, x: Tensor) -> Tensor:
        """Push x [.., pos, d_model] at resid_mid through norm and MLP to mlp_out."""
        return write_hidden(self, layer, self.hidden_jvp(layer, x))

    def mlp_vjp(self, layer: int, g: Tensor) -> Tensor:
        """Pull g [.., pos, d_model] at mlp_out back to resid_mid (the skip not added)."""
        g = self.norm_vjp(Site.MLP_OUT_NORM, layer, g)
        return self.hidden_vjp(layer, g @ self.weights.mlp(layer).W_out.T)

    def mlp_constants(self, layer: int, site: Site = Site.MLP_OUT) -> Constants:
        """Return the constant part of mlp_out, or of mlp_write, each [pos, d_model]."""
        hidden = self.hidden_constants(layer)
        if site is Site.MLP_WRITE:
            mlp = self.weights.mlp(layer)
            module, norm = (part @ mlp.W_out for part in (hidden.module, hidden.norm))
            return Constants(module if mlp.b_out is None else module + mlp.b_out, norm)
        module = write_hidden(self, layer, hidden.module) + mlp_bias(self, layer)
        return Constants(module, write_hidden(self, layer, hidden.norm))

    # Unembedding

    def logit_vectors(self, tokens: Tensor | Sequence[int]) -> Tensor:
        """Return unembedding columns as rows, [token, d_model], at the last norm's output."""
        return self.weights.unembed(tokens)[0]


__all__ = ["Constants", "FrozenModel", "GatedRule"]
