"""Every shape that the families come in, as random models; a new family adds its lines here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from circuitscope.core.anatomy import Site

IDS = [1, 17, 5, 5, 22, 9, 30, 2]
LAYERS = 3
LOCAL, GLOBAL = "sliding_attention", "full_attention"
GPT2 = {"vocab_size": 37, "n_positions": 16, "n_embd": 24, "n_layer": 3, "n_head": 4}
LLAMA = {
    "vocab_size": 37, "max_position_embeddings": 16, "hidden_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 40,
}  # fmt: skip
GROUPED = LLAMA | {"num_key_value_heads": 2, "head_dim": 8}
HALF_ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
NEOX = LLAMA | {"rope_parameters": HALF_ROPE}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8,
}  # fmt: skip
MIXED = {"layer_types": [LOCAL, GLOBAL, LOCAL], "sliding_window": 3}
GEMMA = GROUPED | MIXED | {"query_pre_attn_scalar": 12}
GEMMA3_ROPE = {
    LOCAL: {"rope_type": "default", "rope_theta": 10_000.0},
    GLOBAL: {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
}
BERT = LLAMA | {"max_position_embeddings": 18, "pad_token_id": 0}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", GPT2 | {"tie_word_embeddings": False}),
    "gpt2-tied-gelu": ("GPT2LMHeadModel", GPT2 | {"activation_function": "gelu", "n_inner": 20}),
    "gpt2-relu-scaled": (
        "GPT2LMHeadModel",
        GPT2 | {"activation_function": "relu", "scale_attn_by_inverse_layer_idx": True},
    ),
    "gpt-neox": ("GPTNeoXForCausalLM", NEOX),
    "gpt-neox-in-turn": ("GPTNeoXForCausalLM", NEOX | {"use_parallel_residual": False}),
    "llama-grouped": ("LlamaForCausalLM", GROUPED),
    "llama-scaled-rotary": ("LlamaForCausalLM", GROUPED | {"rope_parameters": LLAMA3_ROPE}),
    "llama-one-kv-tied": (
        "LlamaForCausalLM", LLAMA | {"num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "llama-biases": (
        "LlamaForCausalLM",
        LLAMA | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu_pytorch_tanh"},
    ),
    "mistral-window": ("MistralForCausalLM", GROUPED | {"sliding_window": 3}),
    "qwen2-mixed": (
        "Qwen2ForCausalLM", GROUPED | MIXED | {"use_sliding_window": True, "head_dim": 6},
    ),
    "qwen3-mixed": (
        "Qwen3ForCausalLM",
        GROUPED | MIXED | {"use_sliding_window": True, "attention_bias": True},
    ),
    "gemma": ("GemmaForCausalLM", GROUPED),
    "gemma2": (
        "Gemma2ForCausalLM",
        GEMMA | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0},
    ),
    "gemma2-biases": ("Gemma2ForCausalLM", GEMMA | {"attention_bias": True}),
    "gemma3": ("Gemma3ForCausalLM", GEMMA | {"rope_parameters": GEMMA3_ROPE}),
    "gemma3-images": (
        "Gemma3ForConditionalGeneration",
        {"text_config": GEMMA | {"rope_parameters": GEMMA3_ROPE}, "vision_config": VISION,
         "mm_tokens_per_image": 4},
    ),
    "olmo2": ("Olmo2ForCausalLM", LLAMA | {"num_key_value_heads": 2, "attention_bias": True}),
    "phi3": (
        "Phi3ForCausalLM", LLAMA | {"num_key_value_heads": 2, "pad_token_id": 0},
    ),
    "bert-classifier": ("BertForSequenceClassification", BERT | {"num_labels": 3}),
    "bert-masked": ("BertForMaskedLM", BERT),
    "roberta-classifier": ("RobertaForSequenceClassification", BERT | {"num_labels": 3}),
    "roberta-masked": ("RobertaForMaskedLM", BERT | {"hidden_act": "relu"}),
}  # fmt: skip


def make_folder(folder: Path, architecture: str, settings: dict[str, Any]) -> Path:
    """Write a random model whose gains, biases and embeddings all matter."""
    torch.manual_seed(3)
    kind = getattr(transformers, architecture)
    module = kind(kind.config_class(**{"bos_token_id": 1, "eos_token_id": 1} | settings))
    adds_one = architecture.startswith("Gemma")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_gain = ("norm" in name.lower() or ".ln_" in name) and name.endswith("weight")
            parameter.copy_(0.3 * torch.randn_like(parameter) + float(is_gain and not adds_one))
    module.save_pretrained(folder)
    return folder


Place = tuple[nn.Module, bool]
"""A module of Hugging Face's, and whether its input is meant."""


def hugging_face_places(module: Any, layer: int) -> Mapping[Site, Place]:
    """Return where sites are in a model, by the names in its own source."""
    kind = type(module).__name__
    if kind.startswith("GPT2"):
        return _gpt2(module.transformer, layer)
    if kind.startswith("GPTNeoX"):
        return _neox(module.gpt_neox, layer)
    if kind.startswith(("Bert", "Roberta")):
        return _encoder(module.bert if kind.startswith("Bert") else module.roberta, layer)
    return _decoder(module.get_decoder(), layer)


def _gpt2(base: Any, layer: int) -> Mapping[Site, Place]:
    block = base.h[layer]
    return _ends(base.wte, block) | {
        Site.ATTN_IN: (block.ln_1, False),
        Site.HEAD_Z: (block.attn.c_proj, True),
        Site.ATTN_OUT: (block.attn.c_proj, False),
        Site.MLP_IN: (block.ln_2, False),
        Site.MLP_HIDDEN: (block.mlp.c_proj, True),
        Site.MLP_OUT: (block.mlp, False),
    }


def _neox(base: Any, layer: int) -> Mapping[Site, Place]:
    block = base.layers[layer]
    return _ends(base.embed_in, block) | {
        Site.ATTN_IN: (block.input_layernorm, False),
        Site.HEAD_Z: (block.attention.dense, True),
        Site.ATTN_OUT: (block.attention.dense, False),
        Site.MLP_IN: (block.post_attention_layernorm, False),
        Site.MLP_HIDDEN: (block.mlp.dense_4h_to_h, True),
        Site.MLP_OUT: (block.mlp, False),
    }


def _decoder(base: Any, layer: int) -> Mapping[Site, Place]:
    block = base.layers[layer]
    names = dict(block.named_children())
    found = _ends(base.embed_tokens, block) | {
        Site.HEAD_Z: (block.self_attn.o_proj, True),
        Site.ATTN_OUT: (block.self_attn.o_proj, False),
        Site.MLP_IN: (block.mlp, True),
        Site.MLP_HIDDEN: (block.mlp.down_proj, True),
        Site.MLP_OUT: (block.mlp, False),
    }
    if "input_layernorm" in names:
        found[Site.ATTN_IN] = (block.input_layernorm, False)
    if "post_feedforward_layernorm" in names:
        found[Site.ATTN_OUT] = (block.post_attention_layernorm, False)
        found[Site.MLP_OUT] = (block.post_feedforward_layernorm, False)
    return found


def _encoder(base: Any, layer: int) -> Mapping[Site, Place]:
    block = base.encoder.layer[layer]
    return _ends(base.embeddings.word_embeddings, block) | {
        Site.ATTN_IN: (block.attention.self, True),
        Site.HEAD_Z: (block.attention.output.dense, True),
        Site.ATTN_OUT: (block.attention.output.dense, False),
        Site.RESID_MID: (block.attention.output, False),
        Site.MLP_IN: (block.intermediate, True),
        Site.MLP_HIDDEN: (block.output.dense, True),
        Site.MLP_OUT: (block.output.dense, False),
    }


def _ends(embed: nn.Module, block: nn.Module) -> dict[Site, Place]:
    return {
        Site.EMBED: (embed, False), Site.RESID_PRE: (block, True), Site.RESID_POST: (block, False),
    }  # fmt: skip
