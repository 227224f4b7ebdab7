"""From the hook names that dictionaries carry to our sites.

Spellings are TransformerLens' (HookedTransformer and TransformerBridge). What a name means for a
family is decided there; here only the name is read.
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
    "attn.hook_out": Site.ATTN_OUT,
    "ln2.hook_normalized": Site.LN2_NORMALIZED,
    "mlp.hook_in": Site.MLP_IN,
    "ln2.hook_out": Site.MLP_IN,
    "mlp.hook_post": Site.MLP_HIDDEN,
    "mlp.out.hook_in": Site.MLP_HIDDEN,
    "hook_mlp_out": Site.MLP_OUT,
    "mlp.hook_out": Site.MLP_OUT,
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
