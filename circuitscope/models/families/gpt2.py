"""GPT-2: learned positions, LayerNorm before each half block, one fused projection, plain MLP."""

from __future__ import annotations

from functools import partial

from circuitscope.models.family import Part
from circuitscope.models.table import Table

_BLOCK = "transformer.h.{layer}"

GPT2 = partial(
    Table,
    architecture="GPT2LMHeadModel",
    norm_kind="layer",
    fused="in_turn",
    parts={
        Part.EMBED: "transformer.wte",
        Part.POS_EMBED: "transformer.wpe",
        Part.BLOCK: _BLOCK,
        Part.LN1: f"{_BLOCK}.ln_1",
        Part.ATTENTION: f"{_BLOCK}.attn",
        Part.QUERY: f"{_BLOCK}.attn.c_attn",
        Part.KEY: f"{_BLOCK}.attn.c_attn",
        Part.VALUE: f"{_BLOCK}.attn.c_attn",
        Part.ATTENTION_WRITE: f"{_BLOCK}.attn.c_proj",
        Part.LN2: f"{_BLOCK}.ln_2",
        Part.MLP: f"{_BLOCK}.mlp",
        Part.MLP_GATE: f"{_BLOCK}.mlp.c_fc",
        Part.MLP_WRITE: f"{_BLOCK}.mlp.c_proj",
        Part.LN_FINAL: "transformer.ln_f",
        Part.UNEMBED: "lm_head",
    },
    names={
        "n_layers": "n_layer",
        "d_model": "n_embd",
        "n_heads": "n_head",
        "d_mlp": "n_inner",
        "n_ctx": "n_positions",
        "activation": "activation_function",
    },
    # Old files leave most settings out.
    defaults={
        "n_layers": 12, "d_model": 768, "n_heads": 12, "d_mlp": None, "n_ctx": 1024,
        "d_vocab": 50257, "activation": "gelu_new",
    },
)  # fmt: skip
"""Describe GPT2LMHeadModel."""
