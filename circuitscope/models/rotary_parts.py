"""The submodule names that Llama began and most decoders with rotary positions kept."""

from __future__ import annotations

from collections.abc import Mapping

from circuitscope.models.family import Part

Names = Mapping[Part, str]
PRE_NORMS: Names = {Part.LN1: "input_layernorm", Part.LN2: "post_attention_layernorm"}
"""Norms of what attention and MLP read."""
POST_NORMS: Names = {
    Part.ATTN_OUT_NORM: "post_attention_layernorm",
    Part.MLP_OUT_NORM: "post_feedforward_layernorm",
}
"""Norms of what they write."""
SANDWICH_NORMS: Names = {
    Part.LN1: "input_layernorm",
    Part.LN2: "pre_feedforward_layernorm",
    **POST_NORMS,
}
HEAD_NORMS: Names = {Part.Q_NORM: "q_norm", Part.K_NORM: "k_norm"}
"""Norms inside attention, of queries and keys."""
_ATTENTION: Names = {
    Part.QUERY: "q_proj", Part.KEY: "k_proj", Part.VALUE: "v_proj", Part.ATTENTION_WRITE: "o_proj",
}  # fmt: skip
_MLP: Names = {
    Part.MLP_GATE: "gate_proj", Part.MLP_UP: "up_proj", Part.MLP_WRITE: "down_proj",
}  # fmt: skip


def rotary_parts(
    norms: Names = PRE_NORMS,
    *,
    attention: Names | None = None,
    mlp: Names | None = None,
    base: str = "model",
) -> dict[Part, str]:
    """Return the table of parts.

    Args:
        norms: The block's norms by their names in it.
        attention: Other or more parts of attention by their names in it.
        mlp: Other parts of the MLP by their names in it.
        base: Path of the module that holds the layers.
    """
    block = f"{base}.layers.{{layer}}"
    in_attention, in_mlp = {**_ATTENTION, **(attention or {})}, {**_MLP, **(mlp or {})}
    return {
        Part.EMBED: f"{base}.embed_tokens",
        Part.ROTARY: f"{base}.rotary_emb",
        Part.BLOCK: block,
        Part.ATTENTION: f"{block}.self_attn",
        Part.MLP: f"{block}.mlp",
        **{part: f"{block}.{name}" for part, name in norms.items()},
        **{part: f"{block}.self_attn.{name}" for part, name in in_attention.items()},
        **{part: f"{block}.mlp.{name}" for part, name in in_mlp.items()},
        Part.LN_FINAL: f"{base}.norm",
        Part.UNEMBED: "lm_head",
    }
