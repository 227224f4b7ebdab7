"""Which tokens a feature promotes and suppresses, read off the weights: decoder row times W_U.

The row passes the gain of the last norm, and where that norm subtracts the mean, the row's mean is
taken off. Attention and MLPs after it, and the norm's denominator, are left out: it is a direct
effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.dictionaries.dictionary import Dictionary

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

LISTED, SIMILAR = 8, 6
_AT_ONCE = 512
_STREAM = (
    Site.RESID_PRE,
    Site.RESID_MID,
    Site.RESID_POST,
    Site.ATTN_OUT,
    Site.MLP_OUT,
    Site.ATTN_WRITE,
    Site.MLP_WRITE,
    Site.HEAD_Z,
)
_NORMED = {
    Site.HEAD_Z: Site.ATTN_OUT_NORM,
    Site.ATTN_WRITE: Site.ATTN_OUT_NORM,
    Site.MLP_WRITE: Site.MLP_OUT_NORM,
}
"""The norms between what is written and the stream, in models that have them."""


def writes_to_stream(model: LoadedModel, dictionary: Dictionary) -> bool:
    """Say whether what a dictionary writes can be read through the unembedding."""
    return dictionary.card.write_site in _STREAM and not model.anatomy.n_labels


def stream_rows(model: LoadedModel, dictionary: Dictionary, ids: Tensor) -> Tensor:
    """Return what features write to the residual stream, [feature, d_model].

    Through the gain of the norm that follows the module, where there is one.
    """
    card = dictionary.card
    rows = dictionary.decoder_rows(ids)
    if card.write_site is Site.HEAD_Z:
        W_O = model.family.attention_weights(model.module, card.layers[0]).W_O
        rows = rows @ W_O.flatten(0, 1).to(rows)
    if card.write_site in _NORMED:
        gain = model.family.norm(model.module, _NORMED[card.write_site], card.layers[0]).weight
        rows = rows * gain.to(rows)
    return rows


def token_effects(model: LoadedModel, rows: Tensor) -> Tensor:
    """Return by how much directions in the stream move each logit, [row, d_vocab]."""
    norm = model.family.norm(model.module, Site.LN_FINAL, 0)
    W_U, _ = model.family.unembed(model.module)
    if norm.kind == "layer":
        rows = rows - rows.mean(-1, keepdim=True)
    if norm.kind != "none":
        rows = rows * norm.weight.to(rows)
    effects = rows @ W_U.to(rows)
    return effects - effects.mean(-1, keepdim=True)


@torch.inference_mode()
def promoted_tokens(
    model: LoadedModel, dictionary: Dictionary
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return ids and weights, [feature, token], of "promoted" and "suppressed" tokens."""
    if not writes_to_stream(model, dictionary):
        return {}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {"promoted": [], "suppressed": []}
    n = dictionary.card.n_features
    for start in range(0, n, _AT_ONCE):
        ids = torch.arange(start, min(start + _AT_ONCE, n), device=model.device)
        effects = token_effects(model, stream_rows(model, dictionary, ids))
        most = min(LISTED, effects.shape[1])
        for name, largest in (("promoted", True), ("suppressed", False)):
            best = effects.topk(most, dim=-1, largest=largest)
            found[name].append((best.indices, best.values))
    return {
        name: (
            torch.cat([ids for ids, _ in parts]).cpu().numpy().astype(np.int32),
            torch.cat([weights for _, weights in parts]).cpu().numpy().astype(np.float16),
        )
        for name, parts in found.items()
    }


@torch.inference_mode()
def similar_features(dictionary: Dictionary) -> dict[str, NDArray[Any]]:
    """Return the features whose decoder rows point the same way, and the cosines, [feature, n]."""
    n = dictionary.card.n_features
    rows = dictionary.decoder_rows(torch.arange(n))
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-8)
    most = min(SIMILAR, n - 1)
    units, cosines = [], []
    for start in range(0, n, _AT_ONCE):
        alike = rows[start : start + _AT_ONCE] @ rows.T
        own = torch.arange(len(alike))
        alike[own, start + own] = -2
        best = alike.topk(most, dim=-1)
        units.append(best.indices)
        cosines.append(best.values)
    return {
        "similar": torch.cat(units).numpy().astype(np.int32),
        "similar_cosine": torch.cat(cosines).numpy().astype(np.float16),
    }
