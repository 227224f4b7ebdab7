"""The submodule names of BERT and RoBERTa: encoders whose norms stand after each addition."""

from __future__ import annotations

from circuitscope.models.family import Part


def encoder_parts(base: str, head: dict[Part, str]) -> dict[Part, str]:
    """Return the table of parts.

    Args:
        base: Path of the encoder: "bert" or "roberta".
        head: Paths of what turns the last layer into logits.
    """
    embeddings, block = f"{base}.embeddings", f"{base}.encoder.layer.{{layer}}"
    return {
        Part.EMBED: f"{embeddings}.word_embeddings",
        Part.POS_EMBED: f"{embeddings}.position_embeddings",
        Part.TYPE_EMBED: f"{embeddings}.token_type_embeddings",
        Part.EMBED_NORM: f"{embeddings}.LayerNorm",
        Part.BLOCK: block,
        Part.ATTENTION: f"{block}.attention.self",
        Part.QUERY: f"{block}.attention.self.query",
        Part.KEY: f"{block}.attention.self.key",
        Part.VALUE: f"{block}.attention.self.value",
        Part.ATTENTION_WRITE: f"{block}.attention.output.dense",
        Part.RESID_MID_NORM: f"{block}.attention.output.LayerNorm",
        Part.MLP: f"{block}.intermediate",
        Part.MLP_GATE: f"{block}.intermediate.dense",
        Part.MLP_WRITE: f"{block}.output.dense",
        Part.RESID_POST_NORM: f"{block}.output.LayerNorm",
        **head,
    }
