"""Qwen3: Llama's blocks with norms of queries and keys; some layers may be local."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import HEAD_NORMS, rotary_parts
from circuitscope.models.table import Table

Qwen3 = partial(
    Table,
    architecture="Qwen3ForCausalLM",
    parts=rotary_parts(attention=HEAD_NORMS),
    defaults={"d_head": 128, "n_ctx": 32_768, "activation": "silu"},
)
"""Describe Qwen3ForCausalLM."""
