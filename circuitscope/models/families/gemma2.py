"""Gemma 2: norms around each half block, soft caps, local and global attention in turn."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import SANDWICH_NORMS, rotary_parts
from circuitscope.models.table import Table

Gemma2 = partial(
    Table,
    architecture="Gemma2ForCausalLM",
    parts=rotary_parts(SANDWICH_NORMS),
    gain="one_plus",
    names={"activation": "hidden_activation"},
    defaults={
        "n_kv_heads": 4, "d_head": 256, "n_ctx": 8192, "activation": "gelu_pytorch_tanh",
        "logit_softcap": 30.0, "attention_softcap": 50.0, "attention_window": 4096,
    },
)  # fmt: skip
"""Describe Gemma2ForCausalLM."""
