"""Read sources and means as users write them, and refuse those that do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.settings import Feature
from circuitscope.core.sources import Head, MeanActivations, Mlp, Source, Span
from circuitscope.tracing.injection import Means, SourceSet, WrittenPlace
from circuitscope.tracing.totals import Totals

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_KEPT = "Nothing has been computed."
_WRITTEN: dict[Site, WrittenPlace] = {
    Site.RESID_PRE: "residual",
    Site.ATTN_OUT: "attn_out",
    Site.MLP_OUT: "mlp_out",
}


def read_sources(
    totals: Totals,
    model: LoadedModel,
    sources: Sequence[Sequence[Source] | Source],
    dictionaries: Sequence[Dictionary] = (),
) -> list[SourceSet]:
    """Return the sets with absolute positions.

    Raises:
        TraceError: No sources, or a place that does not exist in this model or prompt.
    """
    sets: list[Sequence[Source]] = []
    for one in sources:
        if isinstance(one, (Head, Mlp, Span, Feature)):
            sets.append([one])
        else:
            sets.append(list(one))
    if not sets:
        raise TraceError(
            "No sources were given.", kept=_KEPT, hint="Name at least one head or span."
        )
    return [_read_set(totals, model, one, dictionaries) for one in sets]


def _read_set(
    totals: Totals, model: LoadedModel, one: Sequence[Source], dictionaries: Sequence[Dictionary]
) -> SourceSet:
    z: dict[tuple[int, int, int], None] = {}
    residual: dict[tuple[int, int], None] = {}
    mlp: dict[tuple[int, int], None] = {}
    vectors = []
    for source in one:
        check_place(totals, source)
        if isinstance(source, Head):
            z |= {(source.layer, at, source.head): None for at in _positions(totals, source)}
        elif isinstance(source, Mlp):
            mlp |= {(source.layer, at): None for at in _positions(totals, source)}
        elif isinstance(source, Span):
            residual |= {(source.layer, at): None for at in range(source.start, source.stop)}
        else:
            vectors += _feature(totals, model, source, dictionaries)
    return SourceSet(tuple(z), tuple(residual), tuple(mlp), tuple(vectors))


def _positions(totals: Totals, source: Head | Mlp) -> Sequence[int]:
    if source.position is None:
        return range(totals.n_pos)
    return (source.position % totals.n_pos,)


def check_place(totals: Totals, source: Source) -> None:
    """Refuse a layer, head or position that does not exist.

    Raises:
        TraceError: With the numbers that do exist.
    """
    n, n_layers = totals.n_pos, totals.blueprint.n_layers
    if not isinstance(source, (Head, Mlp, Span, Feature)):
        raise TraceError(
            f"{source!r} is no source.",
            kept=_KEPT,
            hint="Sources are Head, Mlp, Span and Feature.",
        )
    if not 0 <= source.layer < n_layers:
        raise TraceError(
            f"There is no layer {source.layer}: the model has {n_layers}.",
            kept=_KEPT,
            hint=f"Layers go from 0 to {n_layers - 1}.",
        )
    if isinstance(source, Span):
        if not 0 <= source.start < source.stop <= n:
            raise TraceError(
                f"There is no span {source.start} to {source.stop}: the prompt has {n} tokens.",
                kept=_KEPT,
                hint="A span is start and stop, the stop not included.",
            )
        return
    if isinstance(source, Head) and not 0 <= source.head < totals.blueprint.heads[0]:
        n_heads = totals.blueprint.heads[0]
        raise TraceError(
            f"There is no head {source.head} in layer {source.layer}: the model has {n_heads}.",
            kept=_KEPT,
            hint=f"Heads go from 0 to {n_heads - 1}.",
        )
    if source.position is not None and not -n <= source.position < n:
        raise TraceError(
            f"There is no position {source.position}: the prompt has {n} tokens.",
            kept=_KEPT,
            hint=f"Positions go from 0 to {n - 1}, or from -1 backwards.",
        )


def _feature(
    totals: Totals, model: LoadedModel, source: Feature, dictionaries: Sequence[Dictionary]
) -> list[tuple[WrittenPlace, int, int, Tensor]]:
    """Return what a feature writes; one of a cross-layer transcoder writes to several layers."""
    site = Site.parse(source.site)
    dictionary = _reading(site, source, dictionaries)
    card = dictionary.card
    place = _WRITTEN.get(site.writes)
    post = totals.blueprint.blocks[source.layer]
    if place is None or post.branch1 is not None or post.post:
        raise TraceError(
            f"Features of {site.text} cannot be decomposed in this model.",
            kept=_KEPT,
            hint="Heads, MLPs and token spans can.",
        )
    if not 0 <= source.unit < card.n_features:
        raise TraceError(
            f"There is no feature {source.unit}: {card.name} has {card.n_features}.",
            kept=_KEPT,
            hint=f"Features go from 0 to {card.n_features - 1}.",
        )
    position = source.position % totals.n_pos
    part = dictionary.layer(source.layer)
    # All positions, as where features are found: a product of one row rounds differently.
    x = model.capture(totals.ids.tolist()).site(card.read_site, source.layer)
    value = part.activate(part.preactivations(x))[position, source.unit]
    if card.scales_input:
        value = value * part.scale(x)[position]
    unit = torch.tensor([source.unit], device=totals.embed.device)
    return [
        (place, layer, position, (value * part.decoder_rows(unit, layer)[0]).to(totals.embed))
        for layer in part.written_layers
    ]


def _reading(site: Site, source: Feature, dictionaries: Sequence[Dictionary]) -> Dictionary:
    for dictionary in dictionaries:
        card = dictionary.card
        named = source.dictionary in (None, card.name)
        if named and card.feature_site is site and source.layer in card.layers:
            return dictionary
    raise TraceError(
        f"No dictionary given explains {site.text} in layer {source.layer}.",
        kept=_KEPT,
        hint="Pass the dictionaries that the feature is from.",
    )


def read_means(totals: Totals, digest: str, means: MeanActivations | NDArray[Any] | None) -> Means:
    """Return means as tensors with one entry per position.

    Raises:
        TraceError: None given, of another model, or of another shape.
    """
    if means is None:
        raise TraceError(
            'The ablation "mean" needs means.',
            kept=_KEPT,
            hint="Measure them with mean_activations(model, prompts), or choose zero.",
        )
    if isinstance(means, MeanActivations):
        if means.digest and digest and means.digest != digest:
            raise TraceError(
                "The means were measured in another model.",
                kept=_KEPT,
                hint="Measure them in this model with mean_activations(model, prompts).",
            )
        _check_weights(totals, means)
        z, mlp = means.z, means.mlp
    else:
        z, mlp = np.asarray(means), None
    blueprint, n = totals.blueprint, totals.n_pos
    held = _tensor(totals, z, (blueprint.n_layers, n, *blueprint.heads))
    if mlp is None:
        return Means(held)
    return Means(held, _tensor(totals, mlp, (blueprint.n_layers, n, blueprint.d_model)))


def _check_weights(totals: Totals, means: MeanActivations) -> None:
    prepared = totals.blueprint.preparation
    if means.weights != prepared:
        raise TraceError(
            f"The means were measured with {means.weights} weights, but {prepared} ones are asked "
            "for.",
            kept=_KEPT,
            hint=f'Measure them with mean_activations(model, prompts, weights="{prepared}").',
        )


def _tensor(totals: Totals, array: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    plain = (shape[0], *shape[2:])
    if array.shape not in (shape, plain):
        raise TraceError(
            f"The means have the shape {array.shape}, but this prompt needs {shape} or {plain}.",
            kept=_KEPT,
            hint="Means by position need prompts of this prompt's length, of the same model.",
        )
    tensor = torch.tensor(array).to(totals.embed)
    return tensor if array.shape == shape else tensor[:, None].expand(shape)
