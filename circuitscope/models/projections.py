"""Where queries, keys and values are in the outputs of an attention block's projections.

Found by the names that Hugging Face gives its submodules: separate projections, GPT-2's thirds,
GPT-NeoX's interleaved heads, Phi-3's fused rows. What is seen is the projection's output, before
any norm over a head and before rotary positions turn it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.errors import ModelError
from circuitscope.models.family import HfModule, Part, part_module, split_last
from circuitscope.models.guessed import is_guessed

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

PROJECTED = (Site.HEAD_Q, Site.HEAD_K, Site.HEAD_V)
View = Callable[[Tensor], Tensor]
"""From a projection's output [.., pos, width] to a view [.., pos, head, d_head]."""

_SEPARATE = {
    Site.HEAD_Q: ("q_proj", "query", "q_lin"),
    Site.HEAD_K: ("k_proj", "key", "k_lin"),
    Site.HEAD_V: ("v_proj", "value", "v_lin"),
}


def find_projection(model: LoadedModel, site: Site, layer: int) -> tuple[HfModule, View]:
    """Return the submodule that computes queries, keys or values, and how to see the heads.

    Raises:
        ModelError: The attention block has none of the layouts known here.
    """
    anatomy, place = model.anatomy, PROJECTED.index(site)
    if Part.ATTENTION not in model.family.parts:
        raise _not_known(anatomy, site)
    attention = part_module(model.family, model.module, Part.ATTENTION, layer)
    found = {name.rpartition(".")[2]: part for name, part in attention.named_modules()}
    d_head = anatomy.d_head
    for name in _SEPARATE[site]:
        if name in found:
            return found[name], lambda output: split_last(output, -1, d_head)
    if is_guessed(model.family):
        raise _not_known(anatomy, site)  # how a fused projection is cut differs by class
    if "c_attn" in found:
        return found["c_attn"], lambda output: split_last(output.chunk(3, -1)[place], -1, d_head)
    if "query_key_value" in found:
        return found["query_key_value"], lambda output: split_last(output, -1, 3, d_head)[
            ..., place, :
        ]
    if "qkv_proj" in found:
        heads = (anatomy.n_heads, anatomy.n_kv_heads, anatomy.n_kv_heads)
        widths = [n * d_head for n in heads]
        return found["qkv_proj"], lambda output: split_last(
            output.split(widths, -1)[place], -1, d_head
        )
    raise _not_known(anatomy, site)


def _not_known(anatomy: ModelAnatomy, site: Site) -> ModelError:
    return ModelError(
        f"Where {anatomy.architecture} computes {site.text} is not known.",
        kept="The model is unchanged.",
        hint="Change head_z or pattern instead.",
    )
