"""The active features of a prompt over all dictionaries, and what these leave unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.dictionary import ActiveFeatures, Dictionary
from circuitscope.models.capture import ForwardCache

Place = tuple[Site, int]
"""A dictionary's feature site and layer: (MLP_TRANSCODER, 2)."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseFeatures:
    """Features of one prompt by place.

    Attributes:
        active: Active features by (feature site, layer), sorted by position, then unit.
        error: True output minus reconstruction, [pos, d_model], by the same keys.
    """

    active: Mapping[Place, ActiveFeatures]
    error: Mapping[Place, Tensor]

    @property
    def n_active(self) -> int:
        """Return the number of active features at all places."""
        return sum(len(features) for features in self.active.values())

    def table(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return layer, position, unit (int64 [n]) and value [n], sorted by (layer, pos, unit)."""
        parts = [
            (torch.full_like(found.unit, layer), found.position, found.unit, found.value)
            for (_, layer), found in self.active.items()
        ]
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        order = _lexical(columns[:3])
        layer, position, unit, value = (column[order] for column in columns)
        return layer, position, unit, value


def _lexical(keys: Sequence[Tensor]) -> Tensor:
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    return order


def encode_prompt(
    dictionaries: Sequence[Dictionary], cache: ForwardCache, progress: Progress | None = None
) -> SparseFeatures:
    """Encode a forward pass with every dictionary, each at its own site and layer.

    A cross-layer transcoder's features lie at the layers they read; the error of a layer is what
    all that is written there leaves.

    Args:
        dictionaries: Dictionaries that fit the model, at most one per place.
        cache: The forward pass.
        progress: Advanced once per dictionary.
    """
    hear = progress or silent()
    active: dict[Place, ActiveFeatures] = {}
    error: dict[Place, Tensor] = {}
    for dictionary in dictionaries:
        card = dictionary.card
        for layer in card.layers:
            part = dictionary.layer(layer)
            x = cache.site(card.read_site, layer)
            place = (card.feature_site, layer)
            active[place] = part.encode(x)
            out = cache.site(card.write_site, layer)
            written = part.written(active[place], len(x), x)
            for earlier in range(card.layers[0], layer):
                found = active[card.feature_site, earlier]
                rows = dictionary.layer(earlier).decoder_rows(found.unit, layer)
                written.index_add_(0, found.position, found.value[:, None] * rows.to(written))
            error[place] = out.reshape(written.shape) - written
        hear.advance()
    return SparseFeatures(active, error)


def input_scale(dictionary: Dictionary, cache: ForwardCache) -> Tensor | None:
    """Return by what a dictionary of one layer divides its input, [pos]; None where by nothing."""
    card = dictionary.card
    if not card.scales_input:
        return None
    return dictionary.scale(cache.site(card.read_site, card.layers[0]))


def explained_variance(out: Tensor, error: Tensor) -> float:
    """Return 1 - |error|^2 / |out - mean|^2 over positions, both [pos, d_model].

    The first position is left out: most models write one huge constant vector there.
    """
    seen = out[1:] if len(out) > 1 else out
    left = error[1:] if len(out) > 1 else error
    spread = float((seen - seen.mean(0)).double().square().sum())
    return 1 - float(left.double().square().sum()) / spread if spread else 0.0
