"""See and change what passes a site, row by row: [batch, pos, ...] with heads as an axis.

This adds to `Hooks` what is no submodule's own input or output: queries, keys and values inside a
fused projection, attention patterns inside the softmax, and normalised vectors before the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.models.capture import norm_scale
from circuitscope.models.family import NORM_PARTS, site_place, split_last
from circuitscope.models.guessed import tells_patterns
from circuitscope.models.hooks import Editor, Hooks, Reader
from circuitscope.models.projections import PROJECTED, find_projection

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Place = tuple[Site, int]
Change = Callable[[Tensor], None]
"""Changes the rows [batch, pos, ...] that it is given, in place."""

EDITABLE = (
    Site.EMBED, Site.POS_EMBED, Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_IN,
    *PROJECTED, Site.PATTERN, Site.HEAD_Z, Site.ATTN_WRITE, Site.ATTN_OUT,
    Site.MLP_IN, Site.MLP_HIDDEN, Site.MLP_WRITE, Site.MLP_OUT,
)  # fmt: skip
"""Sites where an intervention may act."""

WHOLE = (Site.EMBED, Site.POS_EMBED)
"""Sites that belong to no layer."""


def has_site(model: LoadedModel, site: Site) -> bool:
    """Say whether a model has a site that can be changed."""
    if site not in EDITABLE:
        return False
    if site is Site.PATTERN:
        return tells_patterns(model.family)
    if site in PROJECTED:
        try:
            find_projection(model, site, 0)
        except ModelError:
            return False
        return True
    if site is Site.RESID_MID and model.anatomy.parallel_blocks:
        return False  # the stream has no state between attention and MLP
    return site_place(model.family, site) is not None


def n_heads(model: LoadedModel, site: Site) -> int:
    """Return how many heads a site has as an axis, 0 where it has none."""
    if site in (Site.HEAD_K, Site.HEAD_V):
        return model.anatomy.n_kv_heads
    return model.anatomy.n_heads if site in (Site.HEAD_Q, Site.HEAD_Z, Site.PATTERN) else 0


def change_rows(model: LoadedModel, hooks: Hooks, place: Place, change: Change) -> None:
    """Register a change of a site's rows; those of pattern are queries, [batch, q, head, key]."""
    site, layer = place

    def edit(tensor: Tensor) -> Tensor:
        # Changed in a copy: the module may still need the tensor it gave us.
        new = tensor.clone(memory_format=torch.contiguous_format)
        change(_rows(hooks, site, new))
        return new

    if site is Site.PATTERN:
        hooks.edit_pattern(layer, edit)
    elif site in PROJECTED:
        module, view = find_projection(model, site, layer)

        def edit_heads(tensor: Tensor) -> Tensor:
            new = tensor.clone(memory_format=torch.contiguous_format)
            change(view(new))
            return new

        hooks.edit_module(module, "output", edit_heads)
    else:
        hooks.edit_site(site, layer, edit)


def read_rows(model: LoadedModel, hooks: Hooks, place: Place, reader: Reader) -> None:
    """Show a site's rows to a reader; also those of norms before their gain."""
    site, layer = place
    if site in (Site.LN1_NORMALIZED, Site.LN2_NORMALIZED):
        norm = model.family.norm(model.module, site, layer)

        def normalised(x: Tensor) -> None:
            centred, scale = norm_scale(norm, x)
            reader(centred / scale[..., None])

        hooks.read(NORM_PARTS[site], "input", layer, normalised)
    elif site is Site.PATTERN:
        hooks.read_pattern(layer, lambda pattern: reader(pattern.transpose(1, 2)))
    elif site in PROJECTED:
        module, view = find_projection(model, site, layer)
        hooks.edit_module(module, "output", _shown(lambda tensor: reader(view(tensor))))
    else:
        place_of = site_place(model.family, site)
        assert place_of is not None, f"the model has no {site.text}"
        part, side = place_of
        hooks.read(part, side, layer, lambda tensor: reader(_rows(hooks, site, tensor)))


def read_flat(
    model: LoadedModel, token_ids: Tensor, places: Sequence[Place]
) -> dict[Place, Tensor]:
    """Run sequences [batch, pos] unchanged and return what passes, [batch * pos, d]; heads joined.

    Not copied: read it before the model runs again.
    """
    found: dict[Place, Tensor] = {}

    def keep(place: Place) -> Reader:
        return lambda rows: found.update({place: rows.flatten(0, 1).flatten(1)})

    with Hooks(model) as hooks:
        for place in dict.fromkeys(places):
            read_rows(model, hooks, place, keep(place))
        hooks.forward(token_ids)
    return found


def read_run(
    model: LoadedModel, token_ids: Sequence[int], places: Sequence[Place]
) -> dict[Place, Tensor]:
    """Run the unchanged model and return what passes some places, [pos, ...], in its dtype."""
    found: dict[Place, Tensor] = {}

    def keep(place: Place) -> Reader:
        return lambda rows: found.update({place: rows[0].clone()})

    with Hooks(model) as hooks:
        for place in dict.fromkeys(places):
            read_rows(model, hooks, place, keep(place))
        hooks.forward([list(token_ids)])
    return found


def _shown(reader: Reader) -> Editor:
    def look(tensor: Tensor) -> Tensor:
        reader(tensor)
        return tensor

    return look


def _rows(hooks: Hooks, site: Site, tensor: Tensor) -> Tensor:
    if site is Site.PATTERN:
        return tensor.transpose(1, 2)
    return split_last(tensor, *hooks.head_shape) if site is Site.HEAD_Z else tensor
