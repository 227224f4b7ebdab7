"""Rewrite a blueprint's weights without changing what the model says.

Shares of biases depend on the basis, so decompositions differ between these forms: "raw" as
stored; "centred": what is written to the stream has zero mean (and the unembedding, so that logits
lose their mean over the vocabulary); "folded": centred, with the gains and biases of norms moved
into the maps that read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from circuitscope.core.errors import TraceError
from circuitscope.models.blueprint import Affine, Block, Blueprint
from circuitscope.models.family import Norm

PREPARATIONS = ("raw", "centred", "folded")


def prepare(blueprint: Blueprint, preparation: str) -> Blueprint:
    """Return the blueprint in another form of its weights.

    Raises:
        TraceError: There is no such form, or this kind of model has none.
    """
    if preparation == "raw":
        return blueprint
    if preparation not in PREPARATIONS:
        raise TraceError(
            f"There is no weight preparation {preparation!r}.",
            hint=f"Choices: {', '.join(PREPARATIONS)}.",
        )
    first, out = blueprint.blocks[0], blueprint.readout
    if first.post or first.norm1.kind != "layer" or first.branch1 is not None or out.norm is None:
        raise TraceError(
            "Weights can be centred and folded only where LayerNorm comes before every branch, "
            "as in GPT-2.",
            kept="Nothing has been computed.",
            hint='Choose weights="raw".',
        )
    centred = _centred(blueprint)
    return centred if preparation == "centred" else _folded(centred)


def _without_mean(affine: Affine) -> Affine:
    bias = affine.bias
    return Affine(
        affine.weight - affine.weight.mean(-1, keepdim=True),
        None if bias is None else bias - bias.mean(),
    )


def _centred(blueprint: Blueprint) -> Blueprint:
    embed: Callable[[Tensor], Tensor] = blueprint.embed

    def centred_embed(ids: Tensor) -> Tensor:
        x = embed(ids)
        return x - x.mean(-1, keepdim=True)

    def block(old: Block) -> Block:
        attention = replace(old.attention, out=_without_mean(old.attention.out))
        return replace(
            old, attention=attention, mlp=replace(old.mlp, out=_without_mean(old.mlp.out))
        )

    out = blueprint.readout
    stages = (
        *out.stages[:-1],
        replace(out.stages[-1], affine=_without_mean(out.stages[-1].affine)),
    )
    return replace(
        blueprint, embed=centred_embed, blocks=blueprint.with_blocks(block),
        readout=replace(out, stages=stages), preparation="centred",
    )  # fmt: skip


def _folded(blueprint: Blueprint) -> Blueprint:
    def block(old: Block) -> Block:
        attention = replace(
            old.attention, qkv=tuple(_fold(old.norm1, a) for a in old.attention.qkv)
        )
        mlp = replace(old.mlp, gate=_fold(old.norm2, old.mlp.gate))
        return replace(
            old, norm1=_bare(old.norm1), attention=attention, norm2=_bare(old.norm2), mlp=mlp
        )

    out = blueprint.readout
    assert out.norm is not None
    first = replace(out.stages[0], affine=_fold(out.norm, out.stages[0].affine))
    readout = replace(out, norm=_bare(out.norm), stages=(first, *out.stages[1:]))
    return replace(
        blueprint, blocks=blueprint.with_blocks(block), readout=readout, preparation="folded"
    )


def _fold(norm: Norm, affine: Affine) -> Affine:
    weight = norm.weight[:, None] * affine.weight
    if norm.bias is None:
        return Affine(weight, affine.bias)
    extra = norm.bias @ affine.weight
    return Affine(weight, extra if affine.bias is None else affine.bias + extra)


def _bare(norm: Norm) -> Norm:
    return replace(norm, weight=torch.ones_like(norm.weight), bias=None)
