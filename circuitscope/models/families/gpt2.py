"""GPT-2: learned positions, LayerNorm before each half block, one fused projection, plain MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.models.family import (
    NORM_PARTS,
    AttentionWeights,
    HfModule,
    MlpWeights,
    Norm,
    Part,
    linear,
    part_module,
    read_mlp,
    read_norm,
    read_unembed,
    split_heads,
    split_last,
)

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = "transformer.h.{layer}"


class GPT2:
    """Describe GPT2LMHeadModel."""

    architecture = "GPT2LMHeadModel"
    parts: Mapping[Part, str] = {
        Part.EMBED: "transformer.wte",
        Part.POS_EMBED: "transformer.wpe",
        Part.BLOCK: _BLOCK,
        Part.LN1: f"{_BLOCK}.ln_1",
        Part.ATTENTION: f"{_BLOCK}.attn",
        Part.VALUE: f"{_BLOCK}.attn.c_attn",
        Part.ATTENTION_WRITE: f"{_BLOCK}.attn.c_proj",
        Part.LN2: f"{_BLOCK}.ln_2",
        Part.MLP_GATE: f"{_BLOCK}.mlp.c_fc",
        Part.MLP_WRITE: f"{_BLOCK}.mlp.c_proj",
        Part.LN_FINAL: "transformer.ln_f",
        Part.UNEMBED: "lm_head",
    }

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json; old files leave most fields to their defaults."""
        d_model, n_heads = config.get("n_embd", 768), config.get("n_head", 12)
        return ModelAnatomy(
            architecture=self.architecture,
            name=str(config.get("_name_or_path") or ""),
            n_layers=config.get("n_layer", 12),
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=n_heads,
            d_head=d_model // n_heads,
            d_mlp=config.get("n_inner") or 4 * d_model,
            d_vocab=config.get("vocab_size", 50257),
            n_ctx=config.get("n_positions", 1024),
            norm="layer",
            positions="learned",
            activation=config.get("activation_function", "gelu_new"),
        )

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Return one layer's attention weights as views in the model's own dtype."""
        attention = part_module(self, model, Part.ATTENTION, layer)
        d_head = attention.head_dim
        weight, bias = linear(attention.get_submodule("c_attn"))
        assert bias is not None, "GPT-2's projections always have biases"
        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = (
            split_heads(part, part_bias, d_head)
            for part, part_bias in zip(weight.chunk(3, 1), bias.chunk(3), strict=True)
        )
        W_O, b_O = linear(attention.get_submodule("c_proj"))
        W_O = W_O.reshape(-1, d_head, W_O.shape[1])
        heads = (W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, len(W_V))
        return AttentionWeights(*heads, attention.scaling)

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Return one layer's MLP weights as views in the model's own dtype."""
        return read_mlp(self, model, layer, model.config.activation_function)

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return a norm: LN1_NORMALIZED or LN2_NORMALIZED of a layer, or LN_FINAL."""
        module = part_module(self, model, NORM_PARTS[site], layer)
        return read_norm(module, "layer", module.eps)

    def values(self, model: HfModule, output: Tensor) -> Tensor:
        """Return a view of the values [.., pos, head, d_head] in c_attn's last third."""
        d_head = part_module(self, model, Part.ATTENTION).head_dim
        return split_last(output.chunk(3, -1)[2], -1, d_head)

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Return queries or keys as they are: positions are learned."""
        return x

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and no bias."""
        return read_unembed(self, model)

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_E [d_vocab, d_model] and the learned positions [n_ctx, d_model]."""
        words = part_module(self, model, Part.EMBED).weight
        return words, part_module(self, model, Part.POS_EMBED).weight
