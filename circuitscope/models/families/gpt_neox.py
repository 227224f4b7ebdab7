"""GPT-NeoX (Pythia): attention and MLP side by side, rotary positions in part of each head."""

from __future__ import annotations

from functools import partial

from circuitscope.models.family import Part
from circuitscope.models.table import Table

_BLOCK = "gpt_neox.layers.{layer}"

GPTNeoX = partial(
    Table,
    architecture="GPTNeoXForCausalLM",
    norm_kind="layer",
    fused="by_head",
    parts={
        Part.EMBED: "gpt_neox.embed_in",
        Part.ROTARY: "gpt_neox.rotary_emb",
        Part.BLOCK: _BLOCK,
        Part.LN1: f"{_BLOCK}.input_layernorm",
        Part.ATTENTION: f"{_BLOCK}.attention",
        Part.QUERY: f"{_BLOCK}.attention.query_key_value",
        Part.KEY: f"{_BLOCK}.attention.query_key_value",
        Part.VALUE: f"{_BLOCK}.attention.query_key_value",
        Part.ATTENTION_WRITE: f"{_BLOCK}.attention.dense",
        Part.LN2: f"{_BLOCK}.post_attention_layernorm",
        Part.MLP: f"{_BLOCK}.mlp",
        Part.MLP_GATE: f"{_BLOCK}.mlp.dense_h_to_4h",
        Part.MLP_WRITE: f"{_BLOCK}.mlp.dense_4h_to_h",
        Part.LN_FINAL: "gpt_neox.final_layer_norm",
        Part.UNEMBED: "lm_head",
    },
    defaults={"n_ctx": 2048, "activation": "gelu", "parallel_blocks": True},
)
"""Describe GPTNeoXForCausalLM."""
