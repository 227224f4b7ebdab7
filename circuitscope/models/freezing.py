"""Freeze parts of the real Hugging Face module by hooks, to measure direct effects on it.

1. Norms divide by the denominators of the cached pass.
2. Heads mix the values of this run by the patterns of the cached pass.
3. MLPs use the gates of the cached pass.
4. Chosen module outputs are held at their cached value, so that nothing flows through them.
5. Edits change what passes chosen sites; the module itself computes all the rest.

Nothing here walks over weights: this is the check on `frozen`, not another form of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.capture import ForwardCache
from circuitscope.models.family import BLOCK_NORMS, NORM_PARTS, Part, site_place, split_last
from circuitscope.models.gates import GatedRule, activation, freeze_gates
from circuitscope.models.hooks import Editor, Hooks

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Place = tuple[Site, int]
_HOLDABLE = (
    Site.ATTN_OUT, Site.MLP_OUT, Site.MLP_HIDDEN, Site.HEAD_Z,
    Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST,
)  # fmt: skip


def frozen_run(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    cache: ForwardCache,
    edits: Mapping[Place, Editor] | None = None,
    read: Sequence[Place] = ((Site.LOGITS, 0),),
    *,
    hold: Sequence[Place] = (),
    gated: GatedRule = "half",
    batch: int = 1,
) -> dict[Place, Tensor]:
    """Run the real module with patterns, norm denominators and MLP gates of a pass frozen.

    With no edits the result equals the cached pass. Sites are seen after the freezing and the
    edits; head_z and values have their heads as axes.

    Args:
        model: The model.
        cache: The pass to freeze at; its prompt is run.
        edits: Functions of the tensor [batch, pos, ...] that passes a site, returning the new one.
        read: Sites to return.
        hold: attn_out, head_z, mlp_hidden, mlp_out or the stream of layers, held at their cached
            value before any edit there.
        gated: Rule for gated MLPs, as in the trace that is checked.
        batch: Copies of the prompt to run; an edit may treat each differently.

    Returns:
        What passed each site read, [batch, pos, ...], in the model's dtype.
    """
    found: dict[Place, Tensor] = {}
    with Hooks(model) as hooks:
        for layer in range(model.anatomy.n_layers):
            for site in BLOCK_NORMS:
                _freeze_norm(model, hooks, cache, site, layer)
            _freeze_pattern(model, hooks, cache, layer)
            _freeze_gates(model, hooks, cache, layer, gated)
        _freeze_norm(model, hooks, cache, Site.EMBED_NORM, 0)
        _freeze_norm(model, hooks, cache, Site.LN_FINAL, model.anatomy.n_layers)
        _freeze_head(model, hooks, cache)
        for site, layer in hold:
            assert site in _HOLDABLE, f"{site.text} cannot be held"
            _hold(hooks, site, layer, cache.site(site, layer))
        for (site, layer), editor in (edits or {}).items():
            hooks.edit_site(site, layer, _shaped(hooks, site, editor))
        for site, layer in read:
            _read(model, hooks, found, site, layer)
        ids = cache.token_ids.expand(batch, -1)
        hooks.forward(ids)
    return found


def _freeze_norm(
    model: LoadedModel, hooks: Hooks, cache: ForwardCache, site: Site, layer: int
) -> None:
    if not hooks.has(NORM_PARTS[site]):
        return
    at = 0 if site is Site.LN_FINAL else layer
    norm = model.family.norm(model.module, site, at)
    scale = cache.norm_scales[site, layer][:, None].to(model.dtype)

    def normalise(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
        out = centred / scale * norm.weight
        return out if norm.bias is None else out + norm.bias

    hooks.replace(NORM_PARTS[site], at, normalise)


def _freeze_head(model: LoadedModel, hooks: Hooks, cache: ForwardCache) -> None:
    """Let the map before the last norm pass with its gate fixed."""
    head = model.family.head(model.module)
    if head is None or cache.head_gate is None:
        return
    gate = activation(head.activation).gate(cache.head_gate).to(model.dtype)
    kept: list[Tensor] = []

    def remember(output: Tensor) -> None:
        kept[:] = [output]

    hooks.read(Part.HEAD_DENSE, "output", 0, remember)
    reader = Part.LN_FINAL if hooks.has(Part.LN_FINAL) else Part.UNEMBED
    hooks.edit(reader, "input", 0, lambda _: kept[0] * gate)


def _freeze_pattern(model: LoadedModel, hooks: Hooks, cache: ForwardCache, layer: int) -> None:
    pattern = cache.patterns[layer].to(model.dtype)
    values: list[Tensor] = []

    def remember(output: Tensor) -> None:
        values[:] = [output]

    def mix(z: Tensor) -> Tensor:
        per_head = values[0].repeat_interleave(model.anatomy.n_heads // values[0].shape[-2], -2)
        return torch.einsum("hqk,bkhe->bqhe", pattern, per_head).flatten(-2)

    hooks.read(Part.VALUE, "output", layer, remember)
    hooks.edit(Part.ATTENTION_WRITE, "input", layer, mix)


def _freeze_gates(
    model: LoadedModel, hooks: Hooks, cache: ForwardCache, layer: int, gated: GatedRule
) -> None:
    name = model.family.mlp_weights(model.module, layer).activation
    gates = freeze_gates(name, cache.mlp_gate[layer], cache.mlp_up.get(layer), gated)
    inputs: dict[Part, Tensor] = {}

    def remember(part: Part) -> None:
        hooks.read(part, "output", layer, lambda tensor: inputs.update({part: tensor}))

    def gate(hidden: Tensor) -> Tensor:
        total = torch.zeros_like(hidden)
        for part, factor in ((Part.MLP_GATE, gates.on_g), (Part.MLP_UP, gates.on_u)):
            if factor is not None:
                total = total + inputs[part] * factor.to(model.dtype)
        return total if gates.constant is None else total + gates.constant.to(model.dtype)

    remember(Part.MLP_GATE)
    remember(Part.MLP_UP)
    hooks.edit(Part.MLP_WRITE, "input", layer, gate)


def _hold(hooks: Hooks, site: Site, layer: int, value: Tensor) -> None:
    flat = value.flatten(1)
    hooks.edit_site(site, layer, lambda tensor: flat.to(tensor.dtype).expand_as(tensor).clone())


def _shaped(hooks: Hooks, site: Site, editor: Editor) -> Editor:
    if site is not Site.HEAD_Z:
        return lambda tensor: editor(tensor.clone())
    return lambda tensor: editor(split_last(tensor.clone(), *hooks.head_shape)).flatten(-2)


def _read(
    model: LoadedModel, hooks: Hooks, found: dict[Place, Tensor], site: Site, layer: int
) -> None:
    place = site_place(model.family, site)
    assert place is not None, f"the model has no {site.text}"
    part, side = place

    def store(tensor: Tensor) -> None:
        shaped = split_last(tensor, *hooks.head_shape) if site is Site.HEAD_Z else tensor
        found[site, layer] = shaped.clone()

    hooks.read(part, side, layer, store)
