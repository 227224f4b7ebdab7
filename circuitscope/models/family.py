"""What a model family tells CircuitScope, and the parts families share.

A family is mostly a table: which submodule of the Hugging Face model plays which `Part`. From it
the shared code below finds where to hook each `Site` and reads the weights in one layout, so
capture, interventions and frozen maps are written once. Everything here is free of torch at
import time: a model's folder is described from config.json alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from circuitscope.core.anatomy import ModelAnatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

HfModule = Any
"""A Hugging Face module; `nn.Module` would type each of its attributes as Tensor | Module."""

FAMILIES = "circuitscope.families"
"""Entry-point group of the families; an entry is named like the architecture class."""


class Part(StrEnum):
    """Name a submodule by what it does in a block."""

    EMBED = "embed"
    POS_EMBED = "pos_embed"
    BLOCK = "block"
    LN1 = "ln1"
    ATTENTION = "attention"
    VALUE = "value"
    """Computes the values, maybe together with queries and keys; see `ModelFamily.values`."""
    ATTENTION_WRITE = "attention_write"
    LN2 = "ln2"
    MLP_GATE = "mlp_gate"
    """Computes the pre-activation that goes through the nonlinearity (W_in of a plain MLP)."""
    MLP_UP = "mlp_up"
    """Computes the ungated factor u of a gated MLP; absent in plain MLPs."""
    MLP_WRITE = "mlp_write"
    LN_FINAL = "ln_final"
    UNEMBED = "unembed"


Side = Literal["input", "output"]

SITE_PLACES: dict[Site, tuple[Part, Side]] = {
    Site.EMBED: (Part.EMBED, "output"),
    Site.POS_EMBED: (Part.POS_EMBED, "output"),
    Site.RESID_PRE: (Part.BLOCK, "input"),
    Site.ATTN_IN: (Part.LN1, "output"),
    Site.HEAD_V: (Part.VALUE, "output"),
    Site.HEAD_Z: (Part.ATTENTION_WRITE, "input"),
    Site.ATTN_OUT: (Part.ATTENTION_WRITE, "output"),
    Site.RESID_MID: (Part.LN2, "input"),
    Site.MLP_IN: (Part.LN2, "output"),
    Site.MLP_HIDDEN: (Part.MLP_WRITE, "input"),
    Site.MLP_OUT: (Part.MLP_WRITE, "output"),
    Site.RESID_POST: (Part.BLOCK, "output"),
    Site.LN_FINAL: (Part.LN_FINAL, "output"),
    Site.LOGITS: (Part.UNEMBED, "output"),
}
"""Where each site is seen in a pre-norm, sequential block."""

NORM_PARTS: dict[Site, Part] = {
    Site.LN1_NORMALIZED: Part.LN1,
    Site.LN2_NORMALIZED: Part.LN2,
    Site.LN_FINAL: Part.LN_FINAL,
}
"""The norms by the sites that name them in `ForwardCache.norm_scales`."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation y = weight * (x - mean?) / scale + bias.

    Attributes:
        weight: Gain, [d_model], as multiplied (Gemma's 1 + w is already added).
        bias: [d_model] or None.
        kind: "layer" subtracts the mean and divides by the standard deviation; "rms" divides by
            the root mean square.
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    kind: Literal["layer", "rms"]


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """One layer's attention, one matrix per head; key and value heads are shared by groups.

    Query head h reads key and value head h // (n_heads // n_kv).

    Attributes:
        W_Q: [head, d_model, d_head]; W_K, W_V: [kv_head, d_model, d_head].
        W_O: [head, d_head, d_model].
        b_Q: [head, d_head] or None; b_K, b_V: [kv_head, d_head] or None; b_O: [d_model] or None.
        n_kv: Number of key and value heads.
        scale: Factor of the scores; None for 1 / sqrt(d_head).
        q_norm, k_norm: Norms over d_head of queries and keys before they are turned, or None.
    """

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor
    b_Q: Tensor | None  # noqa: N815 - the field's name for it
    b_K: Tensor | None  # noqa: N815 - the field's name for it
    b_V: Tensor | None  # noqa: N815 - the field's name for it
    b_O: Tensor | None  # noqa: N815 - the field's name for it
    n_kv: int
    scale: float | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class MlpWeights:
    """One layer's MLP, out = h W_out + b_out with h = act(g), or act(g) * u where gated.

    Attributes:
        W_in: Plain: g = x W_in + b_in. Gated: u = x W_in + b_in. [d_model, d_mlp].
        W_gate: Gated: g = x W_gate + b_gate, [d_model, d_mlp]; None in plain MLPs.
        W_out: [d_mlp, d_model]; b_out: [d_model] or None.
        activation: Name of the nonlinearity in transformers' spelling.
    """

    W_in: Tensor
    b_in: Tensor | None
    W_gate: Tensor | None
    b_gate: Tensor | None
    W_out: Tensor
    b_out: Tensor | None
    activation: str

    @property
    def gated(self) -> bool:
        """Return whether the nonlinearity multiplies a second factor."""
        return self.W_gate is not None


class ModelFamily(Protocol):
    """Describe one Hugging Face architecture; registered under its class name.

    Attributes:
        architecture: Class name in config.json.
        parts: Path of each part's submodule, with "{layer}" where it is repeated.
    """

    architecture: str
    parts: Mapping[Part, str]

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json; needs no weights and no torch."""

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Return one layer's attention weights as views in the model's own dtype."""

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Return one layer's MLP weights as views in the model's own dtype."""

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return a norm: LN1_NORMALIZED or LN2_NORMALIZED of a layer, or LN_FINAL."""

    def values(self, model: HfModule, output: Tensor) -> Tensor:
        """Return a view of the values [.., pos, kv_head, d_head] in the VALUE part's output."""

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Return queries or keys [.., d_head] as their position turns them before they meet.

        The same x where positions are not rotary; n_pos is the length of the prompt.
        """

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and b_U [d_vocab] or None."""

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_E [d_vocab, d_model] as written to the stream, and W_pos [n_ctx, d_model]."""


def part_module(family: ModelFamily, model: HfModule, part: Part, layer: int = 0) -> HfModule:
    """Return the submodule that plays a part."""
    return model.get_submodule(family.parts[part].format(layer=layer))


def linear(module: HfModule) -> tuple[Tensor, Tensor | None]:
    """Return weight [d_in, d_out] and bias of a Linear or of GPT-2's transposed Conv1D."""
    weight = module.weight if hasattr(module, "nf") else module.weight.T
    return weight, module.bias


def split_last(tensor: Tensor, *shape: int) -> Tensor:
    """Return a view whose last axis is split; one entry of shape may be -1."""
    return tensor.view(*tensor.shape[:-1], *shape)


def split_heads(weight: Tensor, bias: Tensor | None, d_head: int) -> tuple[Tensor, Tensor | None]:
    """Split a projection [d_model, head * d_head] into [head, d_model, d_head] and its bias."""
    d_model = weight.shape[0]
    per_head = weight.reshape(d_model, -1, d_head).transpose(0, 1)
    return per_head, None if bias is None else bias.reshape(-1, d_head)


def turn_halves(rotary: HfModule, x: Tensor, position: int, n_pos: int) -> Tensor:
    """Turn x [.., d_head] by a rotary embedding that pairs entry i with entry i + half.

    Args:
        rotary: The model's own module, which gives cosines and sines for positions.
        x: Queries or keys; where the cosines are narrower only the first entries are turned.
        position: Of x.
        n_pos: Length of the prompt, on which some embeddings depend.
    """
    import torch

    cos, sin = rotary(x, torch.arange(n_pos, device=x.device)[None])
    cos, sin = cos[0, position].to(x), sin[0, position].to(x)
    first, second = x[..., : cos.shape[-1]].chunk(2, -1)
    turned = torch.cat([first, second], -1) * cos + torch.cat([-second, first], -1) * sin
    return torch.cat([turned, x[..., cos.shape[-1] :]], -1)


def read_norm(module: HfModule, kind: Literal["layer", "rms"], eps: float) -> Norm:
    """Return a norm whose gain is its weight as stored."""
    return Norm(module.weight, getattr(module, "bias", None), eps, kind)


def read_mlp(family: ModelFamily, model: HfModule, layer: int, activation: str) -> MlpWeights:
    """Return the weights of an MLP whose projections are separate submodules."""
    W_gate, b_gate = linear(part_module(family, model, Part.MLP_GATE, layer))
    W_out, b_out = linear(part_module(family, model, Part.MLP_WRITE, layer))
    if Part.MLP_UP not in family.parts:
        return MlpWeights(W_gate, b_gate, None, None, W_out, b_out, activation)
    W_in, b_in = linear(part_module(family, model, Part.MLP_UP, layer))
    return MlpWeights(W_in, b_in, W_gate, b_gate, W_out, b_out, activation)


def read_unembed(family: ModelFamily, model: HfModule) -> tuple[Tensor, Tensor | None]:
    """Return W_U [d_model, d_vocab] and its bias or None."""
    return linear(part_module(family, model, Part.UNEMBED))
