"""OLMo 2: no norm of what a module reads, one of what it writes; norms of queries and keys."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import HEAD_NORMS, POST_NORMS, rotary_parts
from circuitscope.models.table import Table

Olmo2 = partial(
    Table,
    architecture="Olmo2ForCausalLM",
    parts=rotary_parts(POST_NORMS, attention=HEAD_NORMS),
    defaults={"n_ctx": 2048, "activation": "silu"},
)
"""Describe Olmo2ForCausalLM."""
