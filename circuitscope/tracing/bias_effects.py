"""Switch a BIAS node off for one target: take its constant away where the target meets it.

A constant reaches a target in one of three ways:

- written into the stream below it (a dictionary's b_dec; b_O beside heads, b_out beside neurons):
  the module's output loses it at every position, and stays frozen otherwise;
- added by the norm before the target's module, or before a skip on the way: the norm's output
  loses it at every position;
- added inside the target's own module: what the target still holds when nothing enters the module
  is the constant. An encoder's bias is in no module; it is read from the dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.dictionaries.features import input_scale
from circuitscope.models.capture import exact
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.written import attn_bias, mlp_bias

if TYPE_CHECKING:
    from circuitscope.tracing.measurement import Switches

_NORM_OUTPUTS = {
    Site.LN1_NORMALIZED: Site.ATTN_IN,
    Site.LN2_NORMALIZED: Site.MLP_IN,
    Site.LN_FINAL: Site.LN_FINAL,
}
_INSIDE = {
    Site.ATTN_OUT: (Site.ATTN_OUT, Site.HEAD_Z, Site.PATTERN),
    Site.MLP_OUT: (Site.MLP_OUT, Site.MLP_HIDDEN),
}


def is_inside(bias: NodeKey, target: NodeKey) -> bool:
    """Return whether a constant is added inside the module that the target reads."""
    if bias.unit == BiasUnit.MODULE:
        return target.layer == bias.layer and target.site in _INSIDE[bias.site]
    return bias.unit in (BiasUnit.ENCODER, BiasUnit.UNEMBED)


def bias_off(switches: Switches, bias: NodeKey, target: NodeKey) -> Intervention | None:
    """Return the change that takes a constant away, or leaves it alone where it `is_inside`.

    None stands for an encoder's bias, which no run of the module shows.
    """
    if bias.unit == BiasUnit.ENCODER:
        return None
    if is_inside(bias, target):
        inputs = {Site.ATTN_OUT: Site.ATTN_IN, Site.MLP_OUT: Site.MLP_IN}
        return Intervention(inputs.get(bias.site, Site.LN_FINAL), bias.layer)
    site, vector = _written(switches, bias)
    return Intervention(site, bias.layer, mode="add", value=-exact(vector).cpu().numpy())


def _written(switches: Switches, bias: NodeKey) -> tuple[Site, torch.Tensor]:
    """Return where a constant is added to what passes, and it: [d_model] or [pos, d_model]."""
    family, module = switches.model.family, switches.model.module
    frozen = FrozenModel(switches.model, switches.cache)
    vector: torch.Tensor | None
    if bias.unit == BiasUnit.MODULE and _passed(switches, bias):
        frozen = FrozenModel(switches.model, switches.cache, switches.settings.gated, torch.float64)
        is_attention = bias.site is Site.ATTN_OUT
        constants = frozen.attn_constants if is_attention else frozen.mlp_constants
        return bias.site, constants(bias.layer).module
    if bias.unit == BiasUnit.DECODER:
        dictionary = switches.dictionary(bias)
        assert dictionary is not None, "a b_dec without dictionary"
        scale = input_scale(dictionary, switches.cache)
        vector = dictionary.decoder_bias
        return dictionary.card.write_site, vector if scale is None else vector * scale[:, None]
    if bias.unit == BiasUnit.NORM:
        layer = 0 if bias.site is Site.LN_FINAL else bias.layer
        site, vector = _NORM_OUTPUTS[bias.site], family.norm(module, bias.site, layer).bias
    elif bias.site is Site.ATTN_OUT:
        site, vector = bias.site, attn_bias(frozen, bias.layer)
    else:
        site, vector = bias.site, mlp_bias(frozen, bias.layer)
    assert vector is not None, f"{bias} holds nothing"
    return site, vector


def _passed(switches: Switches, bias: NodeKey) -> bool:
    return switches.plan.passes(bias.site, bias.layer)


def encoder_constant(switches: Switches, target: NodeKey) -> float:
    """Return what a feature reads whatever its input; 0 for targets that are no feature."""
    if target.kind is not NodeKind.FEATURE:
        return 0.0
    dictionary = switches.dictionary(target)
    assert dictionary is not None, "a feature without dictionary"
    ids = torch.tensor([target.unit], device=switches.cache.token_ids.device)
    return float(dictionary.encoder_constants(ids)[0].double())
