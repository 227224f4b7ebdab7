"""Phi-3: Llama's blocks with one projection for queries, keys and values, and one for g and u."""

from __future__ import annotations

from functools import partial

from circuitscope.models.family import Part
from circuitscope.models.rotary_parts import rotary_parts
from circuitscope.models.table import Table

Phi3 = partial(
    Table,
    architecture="Phi3ForCausalLM",
    parts=rotary_parts(
        attention=dict.fromkeys((Part.QUERY, Part.KEY, Part.VALUE), "qkv_proj"),
        mlp=dict.fromkeys((Part.MLP_GATE, Part.MLP_UP), "gate_up_proj"),
    ),
    fused="in_turn",
    defaults={"n_ctx": 4096, "activation": "silu"},
)
"""Describe Phi3ForCausalLM."""
