"""Mistral: Llama's blocks; attention may look back over a window only."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import rotary_parts
from circuitscope.models.table import Table

Mistral = partial(
    Table,
    architecture="MistralForCausalLM",
    parts=rotary_parts(),
    defaults={"n_kv_heads": 8, "n_ctx": 131_072, "activation": "silu", "attention_window": 4096},
)
"""Describe MistralForCausalLM."""
