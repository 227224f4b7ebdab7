"""Llama: rotary positions, RMSNorm before each half block, grouped key-value heads, gated MLP."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import rotary_parts
from circuitscope.models.table import Table

Llama = partial(
    Table,
    architecture="LlamaForCausalLM",
    parts=rotary_parts(),
    defaults={"n_ctx": 2048, "activation": "silu"},
)
"""Describe LlamaForCausalLM."""
