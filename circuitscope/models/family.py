"""What a model family tells CircuitScope, and the parts families share.

A family is mostly a table: which submodule of the Hugging Face model plays which `Part`. From it
the shared code finds where to hook each `Site` and reads the weights in one layout, so capture,
interventions and frozen maps are written once. One description covers all blocks:

    attention reads LN1(resid_pre) and writes attn_out = ATTN_OUT_NORM(heads W_O)
    resid_mid = RESID_MID_NORM(resid_pre + attn_out)
    the MLP reads LN2(resid_mid) and writes mlp_out = MLP_OUT_NORM(hidden W_out)
    resid_post = RESID_POST_NORM(resid_mid + mlp_out)

A norm that a family does not list changes nothing; in parallel blocks the MLP reads LN2(resid_pre).
Everything here is free of torch at import time: a model's folder is described from config.json.
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
    """Name a submodule by what it does; a family lists those that its models have."""

    EMBED = "embed"
    POS_EMBED = "pos_embed"
    TYPE_EMBED = "type_embed"
    EMBED_NORM = "embed_norm"
    BLOCK = "block"
    LN1 = "ln1"
    """Norm of what attention reads."""
    ATTENTION = "attention"
    """Gets the attention's input and returns its patterns second."""
    QUERY = "query"
    """Computes the queries, maybe together with keys and values; see `ModelFamily.view`."""
    KEY = "key"
    VALUE = "value"
    ATTENTION_WRITE = "attention_write"
    ATTN_OUT_NORM = "attn_out_norm"
    """Norm of what attention writes, before it is added."""
    RESID_MID_NORM = "resid_mid_norm"
    """Norm of the stream after attention was added."""
    LN2 = "ln2"
    """Norm of what the MLP reads."""
    MLP = "mlp"
    """Gets the MLP's input."""
    MLP_GATE = "mlp_gate"
    """Computes the pre-activation that goes through the nonlinearity (W_in of a plain MLP)."""
    MLP_UP = "mlp_up"
    """Computes the ungated factor u of a gated MLP; absent in plain MLPs."""
    MLP_WRITE = "mlp_write"
    MLP_OUT_NORM = "mlp_out_norm"
    RESID_POST_NORM = "resid_post_norm"
    HEAD_DENSE = "head_dense"
    """Linear map before a nonlinearity between the last block and the last norm, as in BERT."""
    LN_FINAL = "ln_final"
    UNEMBED = "unembed"
    ROTARY = "rotary"
    Q_NORM = "q_norm"
    K_NORM = "k_norm"


Side = Literal["input", "output"]

SITE_PLACES: dict[Site, tuple[tuple[Part, Side], ...]] = {
    Site.EMBED: ((Part.EMBED, "output"),),
    Site.POS_EMBED: ((Part.POS_EMBED, "output"),),
    Site.RESID_PRE: ((Part.BLOCK, "input"),),
    Site.ATTN_IN: ((Part.ATTENTION, "input"),),
    Site.HEAD_V: ((Part.VALUE, "output"),),
    Site.HEAD_Z: ((Part.ATTENTION_WRITE, "input"),),
    Site.ATTN_WRITE: ((Part.ATTN_OUT_NORM, "input"), (Part.ATTENTION_WRITE, "output")),
    Site.ATTN_OUT: ((Part.ATTN_OUT_NORM, "output"), (Part.ATTENTION_WRITE, "output")),
    Site.RESID_MID: ((Part.LN2, "input"), (Part.MLP, "input")),
    Site.MLP_IN: ((Part.MLP, "input"),),
    Site.MLP_HIDDEN: ((Part.MLP_WRITE, "input"),),
    Site.MLP_WRITE: ((Part.MLP_OUT_NORM, "input"), (Part.MLP_WRITE, "output")),
    Site.MLP_OUT: ((Part.MLP_OUT_NORM, "output"), (Part.MLP_WRITE, "output")),
    Site.RESID_POST: ((Part.BLOCK, "output"),),
    Site.LN_FINAL: ((Part.UNEMBED, "input"),),
    Site.LOGITS: ((Part.UNEMBED, "output"),),
}
"""Where each site is seen: at the first of these parts that a model has.

resid_mid is what the MLP, or the norm before it, reads. In a parallel block that is resid_pre.
"""

NORM_PARTS: dict[Site, Part] = {
    Site.LN1_NORMALIZED: Part.LN1,
    Site.ATTN_OUT_NORM: Part.ATTN_OUT_NORM,
    Site.RESID_MID_NORM: Part.RESID_MID_NORM,
    Site.LN2_NORMALIZED: Part.LN2,
    Site.MLP_OUT_NORM: Part.MLP_OUT_NORM,
    Site.RESID_POST_NORM: Part.RESID_POST_NORM,
    Site.EMBED_NORM: Part.EMBED_NORM,
    Site.LN_FINAL: Part.LN_FINAL,
}
"""The norms by the sites that name them in `ForwardCache.norm_scales`."""

BLOCK_NORMS = tuple(NORM_PARTS)[:6]
"""The norms that each layer may have."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation y = weight * (x - mean?) / scale + bias.

    Attributes:
        weight: Gain, [d_model], as multiplied (Gemma's 1 + w is already added).
        bias: [d_model] or None.
        kind: "layer" subtracts the mean and divides by the standard deviation; "rms" divides by
            the root mean square; "none" changes nothing: the model has no norm there.
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    kind: Literal["layer", "rms", "none"]


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
        q_norm, k_norm: Norms of queries and keys before they are turned, or None. Their weight is
            [d_head], or [head * d_head] where one norm spans all heads.
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


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """What stands between the last block and the unembedding: act(x W + b), then the last norm.

    Attributes:
        W: [d_model, d_model]; b: [d_model] or None.
        activation: Name of the nonlinearity.
        first_only: True where it reads the first position alone, as classifiers do.
    """

    W: Tensor
    b: Tensor | None
    activation: str
    first_only: bool


class ModelFamily(Protocol):
    """Describe one Hugging Face architecture; registered under its class name.

    Most families are a `models.table.Table`.
    """

    @property
    def architecture(self) -> str:
        """Return the class name in config.json."""

    @property
    def parts(self) -> Mapping[Part, str]:
        """Return the path of each part's submodule, with "{layer}" where it is repeated."""

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json; needs no weights and no torch."""

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Return one layer's attention weights as views in the model's own dtype."""

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Return one layer's MLP weights as views in the model's own dtype."""

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return the norm that a site names, of kind "none" where the model has none there."""

    def view(self, model: HfModule, part: Part, output: Tensor) -> Tensor:
        """Return a part's own numbers as a view of what its submodule computes.

        QUERY, KEY and VALUE have their heads split off, [.., pos, head, d_head].
        """

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Return queries or keys [.., d_head] as their position turns them before they meet.

        The same x where positions are not rotary; n_pos is the length of the prompt.
        """

    def head(self, model: HfModule) -> HeadWeights | None:
        """Return what stands before the last norm and the unembedding, or None."""

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and b_U [d_vocab] or None; of classes in a classifier."""

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_E [d_vocab, d_model] as written to the stream, and W_pos [n_ctx, d_model]."""


def site_place(family: ModelFamily, site: Site) -> tuple[Part, Side] | None:
    """Return where a site is seen in models of a family; None where they do not have it."""
    places = (place for place in SITE_PLACES.get(site, ()) if place[0] in family.parts)
    return next(places, None)


def part_module(family: ModelFamily, model: HfModule, part: Part, layer: int = 0) -> HfModule:
    """Return the submodule that plays a part."""
    return model.get_submodule(family.parts[part].format(layer=layer))


def linear(module: HfModule) -> tuple[Tensor, Tensor | None]:
    """Return weight [d_in, d_out] and bias of a Linear or of GPT-2's transposed Conv1D."""
    weight = module.weight if hasattr(module, "nf") else module.weight.T
    return weight, module.bias


def split_last(tensor: Tensor, *shape: int) -> Tensor:
    """Return a view whose last axis is split; one entry of shape may be -1."""
    split: Tensor = tensor.unflatten(-1, shape)  # type: ignore[no-untyped-call]  # torch has no types
    return split
