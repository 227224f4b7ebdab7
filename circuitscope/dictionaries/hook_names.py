"""From the hook names that dictionaries carry to our sites.

Spellings are TransformerLens' (HookedTransformer and TransformerBridge), or the names of Hugging
Face modules. What a name means for a family is decided there; here only the name is read.
"""

from __future__ import annotations

import re

from circuitscope.core.anatomy import Site

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_NAMES = {
    "hook_resid_pre": Site.RESID_PRE,
    "hook_in": Site.RESID_PRE,
    "hook_resid_mid": Site.RESID_MID,
    "hook_mlp_in": Site.RESID_MID,
    "ln2.hook_in": Site.RESID_MID,
    "hook_resid_post": Site.RESID_POST,
    "hook_out": Site.RESID_POST,
    "ln1.hook_normalized": Site.LN1_NORMALIZED,
    "attn.hook_in": Site.ATTN_IN,
    "ln1.hook_out": Site.ATTN_IN,
    "attn.hook_q": Site.HEAD_Q,
    "attn.hook_k": Site.HEAD_K,
    "attn.hook_v": Site.HEAD_V,
    "attn.hook_z": Site.HEAD_Z,
    "attn.o.hook_in": Site.HEAD_Z,
    "hook_attn_out": Site.ATTN_OUT,
    "attn.hook_out": Site.ATTN_WRITE,
    "ln2.hook_normalized": Site.LN2_NORMALIZED,
    "mlp.hook_in": Site.MLP_IN,
    "ln2.hook_out": Site.MLP_IN,
    "mlp.hook_post": Site.MLP_HIDDEN,
    "mlp.out.hook_in": Site.MLP_HIDDEN,
    "hook_mlp_out": Site.MLP_OUT,
    "mlp.hook_out": Site.MLP_WRITE,
}
_WHOLE = {"hook_embed": Site.EMBED, "embed.hook_out": Site.EMBED, "hook_pos_embed": Site.POS_EMBED}


def parse_hook_name(name: str) -> tuple[Site, int] | None:
    """Return the site and layer of a hook name; None where it names no site of ours."""
    if name in _WHOLE:
        return _WHOLE[name], 0
    match = _BLOCK.fullmatch(name)
    if match is None or match[2] not in _NAMES:
        return None
    return _NAMES[match[2]], int(match[1])


_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(.+))?")
_MODULES = {
    "input": Site.RESID_PRE,
    "": Site.RESID_POST,
    "output": Site.RESID_POST,
    "pre_feedforward_layernorm.output": Site.MLP_IN,
    "post_feedforward_layernorm.output": Site.MLP_OUT,
    "mlp.input": Site.MLP_IN,
    "mlp": Site.MLP_WRITE,
    "mlp.output": Site.MLP_WRITE,
    "self_attn.o_proj.input": Site.HEAD_Z,
}
_MODULES |= {
    f"{name}{end}": Site.ATTN_WRITE
    for name in ("attn", "self_attn", "attention")
    for end in ("", ".output")
}


def parse_module_name(name: str) -> tuple[Site, int] | None:
    """Return the site and layer of a module such as "model.layers.3.mlp" or its input or output.

    A module alone means its output.
    """
    match = _MODULE.fullmatch(name)
    if match is None or (match[2] or "") not in _MODULES:
        return None
    return _MODULES[match[2] or ""], int(match[1])
