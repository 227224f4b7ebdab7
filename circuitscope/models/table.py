"""A model family as a table: where its parts are, what it calls its settings, how it differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.models.family import (
    NORM_PARTS,
    AttentionWeights,
    HeadWeights,
    HfModule,
    MlpWeights,
    Norm,
    Part,
    linear,
    part_module,
    split_last,
)
from circuitscope.models.rope import rope_settings

if TYPE_CHECKING:
    from torch import Tensor

_QKV = (Part.QUERY, Part.KEY, Part.VALUE)
_NAMES = {
    "n_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_head": "head_dim",
    "d_mlp": "intermediate_size",
    "d_vocab": "vocab_size",
    "n_ctx": "max_position_embeddings",
    "activation": "hidden_act",
    "logit_softcap": "final_logit_softcapping",
    "attention_softcap": "attn_logit_softcapping",
    "parallel_blocks": "use_parallel_residual",
    "attention_window": "sliding_window",
}
"""What config.json calls the anatomy's numbers, in most families."""


@dataclass(frozen=True, slots=True)
class Table:
    """Describe one Hugging Face architecture by a table.

    Attributes:
        architecture: Class name in config.json.
        parts: Path of each part's submodule, with "{layer}" where it is repeated.
        norm_kind: Of all its norms.
        gain: Whether a norm multiplies by its weight or by 1 + weight.
        fused: How queries, keys and values lie in one projection: one after the other, or head by
            head; None where each has its own.
        names: Other names for settings, by field of the anatomy.
        defaults: What a setting is where the file leaves it out; the others must be there.
        activations: What the family means by a nonlinearity's name, where it is not that.
        theta: Rotary base where the file leaves it out.
        causal: Whether a token sees only those before it.
        head_activation: Of the map before the last norm; "" for the MLPs' own.
        labels: Whether the model puts texts into classes.
        after_padding: Whether positions are counted from the padding token's id, as in RoBERTa.
    """

    architecture: str
    parts: Mapping[Part, str]
    norm_kind: Literal["layer", "rms"] = "rms"
    gain: Literal["weight", "one_plus"] = "weight"
    fused: Literal["in_turn", "by_head"] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    theta: float = 10_000.0
    causal: bool = True
    head_activation: str = ""
    labels: bool = False
    after_padding: bool = False

    # From config.json

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json; needs no weights and no torch."""
        text = config.get("text_config") or config
        optional: dict[str, Any] = {"n_kv_heads": None, "d_head": None, "logit_softcap": None}
        optional |= {"attention_softcap": None, "attention_window": None, "parallel_blocks": False}

        def read(name: str) -> Any:
            key = self.names.get(name, _NAMES[name])
            if key in text:
                return text[key]
            found = {**optional, **self.defaults}
            if name not in found:
                raise KeyError(key)
            return found[name]

        d_model, n_heads = read("d_model"), read("n_heads")
        learned = Part.POS_EMBED in self.parts
        return ModelAnatomy(
            architecture=self.architecture,
            name=str(config.get("_name_or_path") or ""),
            n_layers=read("n_layers"),
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=read("n_kv_heads") or n_heads,
            d_head=read("d_head") or d_model // n_heads,
            d_mlp=read("d_mlp") or 4 * d_model,
            d_vocab=read("d_vocab"),
            n_ctx=read("n_ctx") - self._first_position(text),
            norm=self.norm_kind,
            norm_place=self._norm_place(),
            parallel_blocks=read("parallel_blocks"),
            positions="learned" if learned else "rotary",
            gated_mlp=Part.MLP_UP in self.parts,
            activation=self.activations.get(read("activation"), read("activation")),
            causal=self.causal,
            logit_softcap=read("logit_softcap"),
            attention_softcap=read("attention_softcap"),
            rotary="" if learned else rope_settings(text, theta=self.theta).text,
            n_labels=len(self._labels(config)),
            attention_window=_window(text, read("attention_window")),
            labels=self._labels(config),
        )

    def _norm_place(self) -> Literal["pre", "post", "sandwich", "post_add"]:
        if Part.RESID_MID_NORM in self.parts:
            return "post_add"
        if Part.ATTN_OUT_NORM in self.parts:
            return "sandwich" if Part.LN1 in self.parts else "post"
        return "pre"

    def _first_position(self, config: Mapping[str, Any]) -> int:
        return int(config.get("pad_token_id") or 0) + 1 if self.after_padding else 0

    def _labels(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.labels:
            return ()
        named = config.get("id2label") or {}
        n = len(named) or int(config.get("num_labels") or 2)
        return tuple(str(named.get(str(i), named.get(i, f"LABEL_{i}"))) for i in range(n))

    # From the module

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Return one layer's attention weights as views in the model's own dtype."""
        weights: list[Tensor] = []
        biases: list[Tensor | None] = []
        for part in _QKV:
            weight, bias = linear(part_module(self, model, part, layer))
            weights.append(self.view(model, part, weight).transpose(0, 1))
            biases.append(None if bias is None else self.view(model, part, bias))
        W_O, b_O = linear(part_module(self, model, Part.ATTENTION_WRITE, layer))
        W_O = W_O.reshape(-1, weights[0].shape[-1], W_O.shape[-1])
        attention = part_module(self, model, Part.ATTENTION, layer)
        W_Q, W_K, W_V = weights
        b_Q, b_K, b_V = biases
        return AttentionWeights(
            W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, len(W_V), getattr(attention, "scaling", None),
            self._read_norm(model, Part.Q_NORM, layer), self._read_norm(model, Part.K_NORM, layer),
        )  # fmt: skip

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Return one layer's MLP weights as views in the model's own dtype."""
        activation = str(getattr(_text_config(model), self.names.get("activation", "hidden_act")))

        def read(part: Part) -> tuple[Tensor, Tensor | None]:
            weight, bias = linear(part_module(self, model, part, layer))
            bias = None if bias is None else self.view(model, part, bias)
            return self.view(model, part, weight), bias

        W_out, b_out = read(Part.MLP_WRITE)
        W_gate, b_gate = read(Part.MLP_GATE)
        if Part.MLP_UP not in self.parts:
            return MlpWeights(W_gate, b_gate, None, None, W_out, b_out, activation)
        return MlpWeights(*read(Part.MLP_UP), W_gate, b_gate, W_out, b_out, activation)

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return the norm that a site names, of kind "none" where the model has none there."""
        found = self._read_norm(model, NORM_PARTS[site], layer)
        if found is not None:
            return found
        embed = part_module(self, model, Part.EMBED).weight
        return Norm(embed.new_ones(embed.shape[1]), None, 0.0, "none")

    def _read_norm(self, model: HfModule, part: Part, layer: int) -> Norm | None:
        if part not in self.parts:
            return None
        module = part_module(self, model, part, layer)
        eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
        weight = module.weight
        if self.gain == "one_plus":
            # Gemma adds in float32 whatever the weights' type.
            weight = 1.0 + (weight if weight.element_size() > 4 else weight.float())
        return Norm(weight, getattr(module, "bias", None), eps, self.norm_kind)

    def view(self, model: HfModule, part: Part, output: Tensor) -> Tensor:
        """Return a part's own numbers as a view of what its submodule computes."""
        if part in _QKV:
            return self._heads(model, part, output)
        joined = self.parts.get(Part.MLP_UP) == self.parts.get(Part.MLP_GATE)
        if joined and part in (Part.MLP_GATE, Part.MLP_UP):
            return output.chunk(2, -1)[part is Part.MLP_UP]
        return output

    def _heads(self, model: HfModule, part: Part, output: Tensor) -> Tensor:
        config, index = _text_config(model), _QKV.index(part)
        n = config.num_attention_heads
        d_head = getattr(config, "head_dim", None) or config.hidden_size // n
        if self.fused == "by_head":
            return split_last(output, -1, 3 * d_head).chunk(3, -1)[index]
        heads = split_last(output, -1, d_head)
        if self.fused is None:
            return heads
        n_kv = getattr(config, "num_key_value_heads", None) or n
        start = sum((n, n_kv, n_kv)[:index])
        return heads[..., start : start + (n, n_kv, n_kv)[index], :]

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Return queries or keys [.., d_head] as their position turns them before they meet."""
        if Part.ROTARY not in self.parts:
            return x
        rotary = part_module(self, model, Part.ROTARY)
        by_kind = isinstance(getattr(rotary, "rope_type", None), dict)
        kind = (_text_config(model).layer_types[layer],) if by_kind else ()
        return turn_halves(rotary, x, position, n_pos, *kind)

    def head(self, model: HfModule) -> HeadWeights | None:
        """Return what stands before the last norm and the unembedding, or None."""
        if Part.HEAD_DENSE not in self.parts:
            return None
        W, b = linear(part_module(self, model, Part.HEAD_DENSE))
        activation = self.head_activation or str(_text_config(model).hidden_act)
        return HeadWeights(W, b, activation, self.labels)

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and b_U [d_vocab] or None; of classes in a classifier."""
        return linear(part_module(self, model, Part.UNEMBED))

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_E [d_vocab, d_model] as written to the stream, and W_pos [n_ctx, d_model]."""
        module = part_module(self, model, Part.EMBED)
        words = module.weight
        scale = getattr(module, "embed_scale", None)
        if scale is not None:
            words = words * scale.to(words.dtype)
        if Part.POS_EMBED not in self.parts:
            return words, None
        first = self._first_position(vars(_text_config(model)))
        return words, part_module(self, model, Part.POS_EMBED).weight[first:]


def turn_halves(rotary: HfModule, x: Tensor, position: int, n_pos: int, *kind: str) -> Tensor:
    """Turn x [.., d_head] by a rotary embedding that pairs entry i with entry i + half.

    Args:
        rotary: The model's own module, which gives cosines and sines for positions.
        x: Queries or keys; where the cosines are narrower only the first entries are turned.
        position: Of x.
        n_pos: Length of the prompt, on which some embeddings depend.
        kind: Of the layer's attention, where the model turns local and global layers differently.
    """
    import torch

    cos, sin = rotary(x, torch.arange(n_pos, device=x.device)[None], *kind)
    cos, sin = cos[0, position].to(x), sin[0, position].to(x)
    first, second = x[..., : cos.shape[-1]].chunk(2, -1)
    turned = torch.cat([first, second], -1) * cos + torch.cat([-second, first], -1) * sin
    return torch.cat([turned, x[..., cos.shape[-1] :]], -1)


def _text_config(model: HfModule) -> Any:
    return model.config.get_text_config()


def _window(config: Mapping[str, Any], window: int | None) -> int | None:
    """Return the window of local attention; Qwen's files give one that is switched off."""
    return window if config.get("use_sliding_window", True) else None
