"""Qwen2: Llama's blocks with biases on queries, keys and values; some layers may be local."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import rotary_parts
from circuitscope.models.table import Table

Qwen2 = partial(
    Table,
    architecture="Qwen2ForCausalLM",
    parts=rotary_parts(),
    defaults={"n_ctx": 32_768, "activation": "silu"},
)
"""Describe Qwen2ForCausalLM."""
