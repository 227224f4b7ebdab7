"""Gemma: Llama's blocks; embeddings scaled by sqrt(d_model), norms that multiply by 1 + w."""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import rotary_parts
from circuitscope.models.table import Table

Gemma = partial(
    Table,
    architecture="GemmaForCausalLM",
    parts=rotary_parts(),
    gain="one_plus",
    defaults={"d_head": 256, "n_ctx": 8192, "activation": "gelu_pytorch_tanh"},
    activations={"gelu": "gelu_pytorch_tanh"},
)
"""Describe GemmaForCausalLM."""
