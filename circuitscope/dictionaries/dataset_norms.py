"""Fold the norms of a training set into weights, as OpenMOSS' dictionaries were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from circuitscope.dictionaries.dictionary import DictionaryWeights


def folded_weights(
    settings: Mapping[str, Any], found: Mapping[str, Any], into: float, out: list[float]
) -> DictionaryWeights:
    """Fold the factors of input and outputs into one layer's weights.

    Args:
        settings: Of the dictionary: act_fn and sparsity_include_decoder_norm.
        found: W_E, b_E, b_D or None, the matrices W_D by layer written, and, where there are
            thresholds, their logarithms in training units.
        into: By what the input was multiplied.
        out: By what the outputs were, by layer written.

    In training units h' = into (x W_E + b_E / into) = into h, and the output is divided by out.
    """
    own, *later = found["W_D"]
    rank = threshold = write = None
    if settings.get("sparsity_include_decoder_norm"):
        squares = torch.stack([matrix.float().square().sum(-1) for matrix in found["W_D"]])
        rank = squares.sum(0).sqrt()
    if "threshold" in found:
        threshold = found["threshold"].float().exp() / into
        threshold = threshold if rank is None else threshold / rank
    b_dec = own.new_zeros(own.shape[-1]) if found["b_D"] is None else found["b_D"]
    if any(factor != into for factor in out):
        write = torch.tensor([into / factor for factor in out])[:, None]
        write = write.expand(-1, own.shape[0]) if later else write.expand(1, own.shape[0])[0]
    return DictionaryWeights(
        found["W_E"], found["b_E"].float() / into, own, b_dec.float() / out[0], threshold,
        write_scale=write, rank_scale=rank if settings["act_fn"] == "topk" else None,
        W_dec_later=tuple(later),
    )  # fmt: skip
