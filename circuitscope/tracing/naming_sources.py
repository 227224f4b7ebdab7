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
            vectors.append(_feature(totals, model, source, dictionaries))
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
) -> tuple[WrittenPlace, int, int, Tensor]:
    site = Site.parse(source.site)
    for dictionary in dictionaries:
        card = dictionary.card
        named = source.dictionary in (None, card.name)
        if named and card.feature_site is site and card.layers[0] == source.layer:
            break
    else:
        raise TraceError(
            f"No dictionary given explains {site.text} in layer {source.layer}.",
            kept=_KEPT,
            hint="Pass the dictionaries that the feature is from.",
        )
    block = totals.blueprint.blocks[source.layer]
    place = _WRITTEN.get(site.writes)
    if place is None or block.branch1 is not None or block.post:
        raise TraceError(
            f"Features of {site.text} cannot be decomposed in this model.",
            kept=_KEPT,
            hint="Heads, MLPs and token spans can.",
        )
    if not 0 <= source.unit < card.n_features:
        raise TraceError(
            f"There is no feature {source.unit}: {card.name} has {card.n_features}.", kept=_KEPT
        )
    position = source.position % totals.n_pos
    x = model.capture(totals.ids.tolist()).site(card.read_site, source.layer)[position][None]
    value = dictionary.activate(dictionary.preactivations(x))[0, source.unit]
    row = dictionary.decoder_rows(torch.tensor([source.unit]))[0]
    return place, source.layer, position, (value * row).to(totals.embed)


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
        z, mlp = means.z, means.mlp
    else:
        z, mlp = np.asarray(means), None
    blueprint, n = totals.blueprint, totals.n_pos
    held = _tensor(totals, z, (blueprint.n_layers, n, *blueprint.heads))
    if mlp is None:
        return Means(held)
    return Means(held, _tensor(totals, mlp, (blueprint.n_layers, n, blueprint.d_model)))


def _tensor(totals: Totals, array: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    plain = (shape[0], *shape[2:])
    if array.shape not in (shape, plain):
        raise TraceError(
            f"The means have the shape {array.shape}, but this prompt needs {shape} or {plain}.",
            kept=_KEPT,
            hint="Means by position need prompts of this prompt's length, of the same model.",
        )
    tensor = torch.as_tensor(array).to(totals.embed)
    return tensor if array.shape == shape else tensor[:, None].expand(shape)
