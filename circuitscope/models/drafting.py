"""Draw the blueprint of a loaded model, architecture by architecture.

GPT-2; the Llama kind (Llama, Mistral, Qwen 2 and 3); Gemma 1 to 3; BERT and RoBERTa with labels or
masked words. Everything is read from the module, so that what a checkpoint switches on or off
(biases, windows, caps, norms of queries and keys) is followed or refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitscope.core.errors import UnsupportedArchitecture
from circuitscope.models.blueprint import (
    Affine,
    Attention,
    Block,
    Blueprint,
    MadeBlocks,
    Mlp,
    Readout,
    Rotation,
    Stage,
    wide,
)
from circuitscope.models.family import HfModule, Norm, linear
from circuitscope.models.reading import as_traced
from circuitscope.models.upcast import upcasting

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


def draft(model: LoadedModel) -> Blueprint:
    """Return the blueprint of a model.

    Raises:
        UnsupportedArchitecture: Its operations are not known; the message names it.
        TraceError: It is not read right.
    """
    name = model.anatomy.architecture
    drawn = _DRAFTS.get(name)
    if drawn is None:
        raise UnsupportedArchitecture(
            f"Contextual decomposition does not know the operations of {name}.",
            kept="Nothing has been changed.",
            hint=f"It knows {', '.join(sorted(_DRAFTS))}.",
        )
    model = as_traced(model)
    drawing = drawn(model.module)
    return _in_float32(drawing, model) if model.upcasts else drawing


def _in_float32(drawing: Blueprint, model: LoadedModel) -> Blueprint:
    """Return the blueprint with weights in half precision upcast, a layer at a time."""

    def embed(ids: Tensor) -> Tensor:
        with upcasting(model):
            return drawing.embed(ids)

    blocks = MadeBlocks(drawing.blocks, wide)
    return replace(drawing, embed=embed, blocks=blocks, readout=wide(drawing.readout))


def _affine(module: HfModule) -> Affine:
    weight, bias = linear(module)
    return Affine(weight.detach(), None if bias is None else bias.detach())


def _layer_norm(module: HfModule) -> Norm:
    bias = None if module.bias is None else module.bias.detach()
    return Norm(module.weight.detach(), bias, module.eps, "layer")


def _rms_norm(module: HfModule) -> Norm:
    eps = getattr(module, "variance_epsilon", None)
    return Norm(module.weight.detach(), None, module.eps if eps is None else eps, "rms")


def _gemma_norm(module: HfModule) -> Norm:
    return Norm(1.0 + wide(module.weight.detach()), None, module.eps, "rms")


def _gpt2(module: HfModule) -> Blueprint:
    config, body = module.config, module.transformer
    n_heads = config.n_head

    def embed(ids: Tensor) -> Tensor:
        places = torch.arange(len(ids), device=ids.device)
        embedded: Tensor = body.wte(ids) + body.wpe(places)
        return embedded

    def block(layer: int, part: HfModule) -> Block:
        d_head = config.n_embd // n_heads
        scale = d_head**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        attention = Attention(
            (_affine(part.attn.c_attn),), _affine(part.attn.c_proj), n_heads, n_heads, d_head, scale
        )
        mlp = Mlp(_affine(part.mlp.c_fc), _affine(part.mlp.c_proj), config.activation_function)
        return Block(_layer_norm(part.ln_1), attention, _layer_norm(part.ln_2), mlp)

    blocks = tuple(block(layer, part) for layer, part in enumerate(body.h))
    readout = Readout(_layer_norm(body.ln_f), (Stage(_affine(module.lm_head)),))
    return Blueprint(embed, blocks, readout, causal=True)


def _rotation(module: HfModule, kind: str | None, like: Tensor, n: int) -> Rotation:
    places = torch.arange(n, device=like.device)[None]
    extra = () if kind is None else (kind,)
    cos, sin = module(like[:1, None], places, *extra)
    return cos[0], sin[0]


def _gated_kind(
    module: HfModule, norm: Callable[[HfModule], Norm], sandwich: bool, *, capped: bool = False
) -> Blueprint:
    config, body = module.config, module.model
    n_heads, n_kv = config.num_attention_heads, config.num_key_value_heads
    kinds = getattr(config, "layer_types", None) or [None] * config.num_hidden_layers
    rotary = body.rotary_emb
    by_kind = hasattr(rotary, "layer_types")

    def attention(layer: int, part: HfModule) -> Attention:
        own = part.self_attn
        window = getattr(config, "sliding_window", None)
        if kinds[layer] is not None and kinds[layer] != "sliding_attention":
            window = None
        elif hasattr(own, "sliding_window"):
            window = own.sliding_window
        kind = kinds[layer] if by_kind else None
        return Attention(
            tuple(_affine(one) for one in (own.q_proj, own.k_proj, own.v_proj)),
            _affine(own.o_proj), n_heads, n_kv, own.head_dim, own.scaling,
            norm(own.q_norm) if hasattr(own, "q_norm") else None,
            norm(own.k_norm) if hasattr(own, "k_norm") else None,
            partial(_rotation, rotary, kind, wide(own.q_proj.weight[:1])), window,
            getattr(config, "attn_logit_softcapping", None) if capped else None,
        )  # fmt: skip

    def block(layer: int, part: HfModule) -> Block:
        name = getattr(config, "hidden_activation", None) or config.hidden_act
        mlp = Mlp(
            _affine(part.mlp.gate_proj), _affine(part.mlp.down_proj), name,
            _affine(part.mlp.up_proj),
        )  # fmt: skip
        first = norm(part.input_layernorm)
        if not sandwich:
            second = norm(part.post_attention_layernorm)
            return Block(first, attention(layer, part), second, mlp)
        return Block(
            first, attention(layer, part), norm(part.pre_feedforward_layernorm), mlp,
            norm(part.post_attention_layernorm), norm(part.post_feedforward_layernorm),
        )  # fmt: skip

    blocks = tuple(block(layer, part) for layer, part in enumerate(body.layers))
    cap = getattr(config, "final_logit_softcapping", None) if capped else None
    readout = Readout(norm(body.norm), (Stage(_affine(module.lm_head)),), cap)
    return Blueprint(body.embed_tokens, blocks, readout, causal=True)


def _encoder(module: HfModule, body: HfModule, readout: Readout) -> Blueprint:
    config = module.config
    if config.is_decoder:
        raise UnsupportedArchitecture(
            "This model is a decoder with BERT's layout, whose operations are not known.",
            kept="Nothing has been changed.",
        )
    n_heads, d_head = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def block(part: HfModule) -> Block:
        own, written = part.attention.self, part.attention.output
        attention = Attention(
            tuple(_affine(one) for one in (own.query, own.key, own.value)),
            _affine(written.dense), n_heads, n_heads, d_head, d_head**-0.5,
        )  # fmt: skip
        mlp = Mlp(_affine(part.intermediate.dense), _affine(part.output.dense), config.hidden_act)
        return Block(
            _layer_norm(written.LayerNorm), attention, _layer_norm(part.output.LayerNorm), mlp,
            post=True,
        )  # fmt: skip

    def embed(ids: Tensor) -> Tensor:
        embedded: Tensor = body.embeddings(input_ids=ids[None])[0]
        return embedded

    blocks = tuple(block(part) for part in body.encoder.layer)
    return Blueprint(embed, blocks, readout, causal=False)


def _bert_labels(module: HfModule) -> Blueprint:
    pooler = Stage(_affine(module.bert.pooler.dense), "tanh")
    return _encoder(
        module, module.bert, Readout(None, (pooler, Stage(_affine(module.classifier))), position=0)
    )


def _roberta_labels(module: HfModule) -> Blueprint:
    head = module.classifier
    stages = (Stage(_affine(head.dense), "tanh"), Stage(_affine(head.out_proj)))
    return _encoder(module, module.roberta, Readout(None, stages, position=0))


def _bert_words(module: HfModule) -> Blueprint:
    head = module.cls.predictions
    first = Stage(
        _affine(head.transform.dense), module.config.hidden_act,
        _layer_norm(head.transform.LayerNorm),
    )  # fmt: skip
    return _encoder(module, module.bert, Readout(None, (first, Stage(_affine(head.decoder)))))


def _roberta_words(module: HfModule) -> Blueprint:
    head = module.lm_head
    first = Stage(_affine(head.dense), "gelu", _layer_norm(head.layer_norm))
    return _encoder(module, module.roberta, Readout(None, (first, Stage(_affine(head.decoder)))))


_plain = partial(_gated_kind, norm=_rms_norm, sandwich=False)

_DRAFTS: dict[str, Callable[[Any], Blueprint]] = {
    "GPT2LMHeadModel": _gpt2,
    "LlamaForCausalLM": _plain,
    "MistralForCausalLM": _plain,
    "Qwen2ForCausalLM": _plain,
    "Qwen3ForCausalLM": _plain,
    "GemmaForCausalLM": partial(_gated_kind, norm=_gemma_norm, sandwich=False),
    "Gemma2ForCausalLM": partial(_gated_kind, norm=_gemma_norm, sandwich=True, capped=True),
    "Gemma3ForCausalLM": partial(_gated_kind, norm=_gemma_norm, sandwich=True, capped=True),
    "BertForSequenceClassification": _bert_labels,
    "RobertaForSequenceClassification": _roberta_labels,
    "BertForMaskedLM": _bert_words,
    "RobertaForMaskedLM": _roberta_words,
}
"""Blueprints by architecture."""


def known_architectures() -> tuple[str, ...]:
    """Return the architectures whose operations are known."""
    return tuple(sorted(_DRAFTS))
