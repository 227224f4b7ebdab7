"""Llama: rotary positions, RMSNorm before each half block, grouped key-value heads, gated MLP."""

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
    turn_halves,
)

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = "model.layers.{layer}.self_attn"


class Llama:
    """Describe LlamaForCausalLM."""

    architecture = "LlamaForCausalLM"
    parts: Mapping[Part, str] = {
        Part.EMBED: "model.embed_tokens",
        Part.BLOCK: "model.layers.{layer}",
        Part.LN1: "model.layers.{layer}.input_layernorm",
        Part.ATTENTION: _ATTENTION,
        Part.VALUE: f"{_ATTENTION}.v_proj",
        Part.ATTENTION_WRITE: f"{_ATTENTION}.o_proj",
        Part.LN2: "model.layers.{layer}.post_attention_layernorm",
        Part.MLP_GATE: "model.layers.{layer}.mlp.gate_proj",
        Part.MLP_UP: "model.layers.{layer}.mlp.up_proj",
        Part.MLP_WRITE: "model.layers.{layer}.mlp.down_proj",
        Part.LN_FINAL: "model.norm",
        Part.UNEMBED: "lm_head",
    }

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json."""
        n_heads = config["num_attention_heads"]
        return ModelAnatomy(
            architecture=self.architecture,
            name=str(config.get("_name_or_path") or ""),
            n_layers=config["num_hidden_layers"],
            d_model=config["hidden_size"],
            n_heads=n_heads,
            n_kv_heads=config.get("num_key_value_heads") or n_heads,
            d_head=config.get("head_dim") or config["hidden_size"] // n_heads,
            d_mlp=config["intermediate_size"],
            d_vocab=config["vocab_size"],
            n_ctx=config.get("max_position_embeddings", 2048),
            norm="rms",
            positions="rotary",
            gated_mlp=True,
            activation=config.get("hidden_act", "silu"),
        )

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Return one layer's attention weights as views in the model's own dtype."""
        attention = part_module(self, model, Part.ATTENTION, layer)
        d_head = attention.head_dim
        W_Q, b_Q = split_heads(*linear(attention.get_submodule("q_proj")), d_head)
        W_K, b_K = split_heads(*linear(attention.get_submodule("k_proj")), d_head)
        W_V, b_V = split_heads(*linear(attention.get_submodule("v_proj")), d_head)
        W_O, b_O = linear(attention.get_submodule("o_proj"))
        W_O = W_O.reshape(-1, d_head, W_O.shape[1])
        heads = (W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, len(W_V))
        return AttentionWeights(*heads, attention.scaling)

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Return one layer's MLP weights as views in the model's own dtype."""
        return read_mlp(self, model, layer, model.config.hidden_act)

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return a norm: LN1_NORMALIZED or LN2_NORMALIZED of a layer, or LN_FINAL."""
        module = part_module(self, model, NORM_PARTS[site], layer)
        return read_norm(module, "rms", module.variance_epsilon)

    def values(self, model: HfModule, output: Tensor) -> Tensor:
        """Return a view of the values [.., pos, kv_head, d_head] in v_proj's output."""
        d_head = part_module(self, model, Part.ATTENTION).head_dim
        return split_last(output, -1, d_head)

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Return queries or keys [.., d_head] turned by the one rotary embedding."""
        return turn_halves(model.model.rotary_emb, x, position, n_pos)

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and no bias."""
        return read_unembed(self, model)

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_E [d_vocab, d_model] and None: positions are rotary."""
        return part_module(self, model, Part.EMBED).weight, None
