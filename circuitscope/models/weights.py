"""A model's weights in the precision of the attribution, one layer upcast at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.family import (
    BLOCK_NORMS,
    AttentionWeights,
    HeadWeights,
    MlpWeights,
    Norm,
)

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

W = TypeVar("W", AttentionWeights, MlpWeights, Norm, HeadWeights)


class Weights:
    """Hand out weights in a working dtype.

    Where the model has that dtype already they are views of its own tensors, all kept. Otherwise
    they are copies, of which only the last layer's is kept, so that a large model's do not pile up.
    """

    def __init__(self, model: LoadedModel, dtype: torch.dtype) -> None:
        self._model = model
        self.dtype = dtype
        self._held: dict[tuple[str, int], Any] = {}

    def attention(self, layer: int) -> AttentionWeights:
        """Return a layer's attention weights."""
        return self._hold(
            "attention",
            layer,
            lambda: self._model.family.attention_weights(self._model.module, layer),
        )

    def mlp(self, layer: int) -> MlpWeights:
        """Return a layer's MLP weights."""
        return self._hold(
            "mlp", layer, lambda: self._model.family.mlp_weights(self._model.module, layer)
        )

    def norm(self, site: Site, layer: int) -> Norm:
        """Return the weights of the norm that a site names; the layer counts in blocks alone."""
        at = layer if site in BLOCK_NORMS else 0
        return self._hold(
            site.text, at, lambda: self._model.family.norm(self._model.module, site, at)
        )

    def head(self) -> HeadWeights | None:
        """Return what stands before the last norm, or None."""
        found = self._model.family.head(self._model.module)
        return None if found is None else self._hold("head", 0, lambda: found)

    def unembed(self, tokens: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return unembedding columns as rows [token, d_model], and biases [token] (or zeros)."""
        W_U, b_U = self._model.family.unembed(self._model.module)
        ids = torch.as_tensor(tokens, device=W_U.device)
        rows = W_U.detach()[:, ids].T.to(self.dtype)
        biases = rows.new_zeros(len(ids)) if b_U is None else b_U.detach()[ids].to(self.dtype)
        return rows, biases

    def _hold(self, kind: str, layer: int, read: Callable[[], W]) -> W:
        key = (kind, layer)
        if key not in self._held:
            if self._model.dtype != self.dtype or self._model.upcasts:
                for old in [old for old in self._held if old[0] == kind]:
                    del self._held[old]
            self._held[key] = self._cast(read())
        weights: W = self._held[key]
        return weights

    def _cast(self, weights: W) -> W:
        tensors: dict[str, Any] = {
            field.name: self._cast(value)
            if isinstance(value, Norm)
            else value.detach().to(self.dtype)
            for field in fields(weights)
            if isinstance(value := getattr(weights, field.name), Tensor | Norm)
        }
        return replace(weights, **tensors)
