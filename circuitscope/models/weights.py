"""A model's weights in the precision of the attribution, one layer upcast at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.family import AttentionWeights, MlpWeights, Norm

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

W = TypeVar("W", AttentionWeights, MlpWeights, Norm)


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
        """Return a norm's weights: LN1_NORMALIZED or LN2_NORMALIZED of a layer, or LN_FINAL."""
        return self._hold(
            site.text, layer, lambda: self._model.family.norm(self._model.module, site, layer)
        )

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
            if self._model.dtype != self.dtype:
                for old in [old for old in self._held if old[0] == kind]:
                    del self._held[old]
            self._held[key] = self._cast(read())
        weights: W = self._held[key]
        return weights

    def _cast(self, weights: W) -> W:
        tensors: dict[str, Any] = {
            field.name: value.detach().to(self.dtype)
            for field in fields(weights)
            if isinstance(value := getattr(weights, field.name), Tensor)
        }
        return replace(weights, **tensors)
