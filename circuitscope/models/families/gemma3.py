"""Gemma 3: Gemma 2's blocks with norms of queries and keys instead of soft caps.

Local layers turn by a base of their own. The large models hold the same stack beside one for
images, which is loaded and left alone.
"""

from __future__ import annotations

from functools import partial

from circuitscope.models.rotary_parts import HEAD_NORMS, SANDWICH_NORMS, rotary_parts
from circuitscope.models.table import Table

_Gemma3 = partial(
    Table,
    gain="one_plus",
    names={"activation": "hidden_activation"},
    # The files of the large models leave most settings out.
    defaults={
        "n_layers": 26, "d_model": 2304, "d_mlp": 9216, "n_heads": 8, "n_kv_heads": 4,
        "d_head": 256, "d_vocab": 262_208, "n_ctx": 131_072, "activation": "gelu_pytorch_tanh",
        "attention_window": 4096,
    },
    theta=1_000_000.0,
)  # fmt: skip

Gemma3 = partial(
    _Gemma3,
    architecture="Gemma3ForCausalLM",
    parts=rotary_parts(SANDWICH_NORMS, attention=HEAD_NORMS),
)
"""Describe Gemma3ForCausalLM."""

Gemma3InSight = partial(
    _Gemma3,
    architecture="Gemma3ForConditionalGeneration",
    parts=rotary_parts(SANDWICH_NORMS, attention=HEAD_NORMS, base="model.language_model"),
)
"""Describe the text stack of Gemma3ForConditionalGeneration."""
