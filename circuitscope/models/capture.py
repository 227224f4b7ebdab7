"""One forward pass of a prompt, and everything in it that circuits are made from.

The real Hugging Face module runs; hooks read what passes, and are removed whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError
from circuitscope.models.family import (
    BLOCK_NORMS,
    NORM_PARTS,
    SITE_PLACES,
    ModelFamily,
    Norm,
    Part,
    Side,
    site_place,
    split_last,
)
from circuitscope.models.guessed import is_guessed, tells_patterns
from circuitscope.models.hooks import Hooks
from circuitscope.models.prompts import check_ids
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True, eq=False)
class ForwardCache:
    """Everything that circuits need of one forward pass; batch of one.

    Numbers are float32, float64 where the model is. Layers are dictionary keys.

    Attributes:
        token_ids: The prompt, int64 [pos].
        embed: What the word embedding writes, [pos, d_model].
        pos_embed: What learned positions write, [pos, d_model], or None.
        type_embed: What the segment writes, [pos, d_model], or None.
        resid: Residual stream by (RESID_PRE | RESID_MID | RESID_POST, layer), [pos, d_model].
        attn_in: Attention input after its norm, [pos, d_model].
        patterns: Attention probabilities, [head, query, key].
        values: Values, [pos, kv_head, d_head].
        head_z: Pattern times values, [pos, head, d_head].
        attn_write: What attention writes before the norm that follows it, with its biases,
            [pos, d_model]; where none follows, the same as attn_out.
        attn_out: What is added to the stream of it, [pos, d_model].
        mlp_in: MLP input after its norm, [pos, d_model].
        mlp_gate: Pre-activation g that goes through the nonlinearity, bias included, [pos, d_mlp].
        mlp_up: Ungated factor u of gated MLPs, bias included; empty for plain MLPs.
        mlp_hidden: act(g) or act(g) * u, [pos, d_mlp].
        mlp_write, mlp_out: What the MLP writes, with its bias, likewise.
        norm_scales: Denominators by the norm's site and layer, (EMBED_NORM, 0) and
            (LN_FINAL, n_layers), [pos]: normalised = (x - mean?) / scale.
        normalized: The normalised vectors themselves, before gain and bias, by the same keys.
        head_gate: Pre-activation between the last block and the last norm, as in BERT, or None.
        final: What the unembedding reads: output of the last norm, [pos, d_model]; [d_model] in
            a classifier.
        raw_logits: [pos, d_vocab], before any soft cap; [label] in a classifier.
        logits: The same after the soft cap, as the model gives them.
    """

    token_ids: Tensor
    embed: Tensor
    pos_embed: Tensor | None
    type_embed: Tensor | None
    resid: dict[tuple[Site, int], Tensor]
    attn_in: dict[int, Tensor]
    patterns: dict[int, Tensor]
    values: dict[int, Tensor]
    head_z: dict[int, Tensor]
    attn_write: dict[int, Tensor]
    attn_out: dict[int, Tensor]
    mlp_in: dict[int, Tensor]
    mlp_gate: dict[int, Tensor]
    mlp_up: dict[int, Tensor]
    mlp_hidden: dict[int, Tensor]
    mlp_write: dict[int, Tensor]
    mlp_out: dict[int, Tensor]
    norm_scales: dict[tuple[Site, int], Tensor]
    normalized: dict[tuple[Site, int], Tensor]
    head_gate: Tensor | None
    final: Tensor
    raw_logits: Tensor
    logits: Tensor

    @property
    def n_pos(self) -> int:
        """Return the number of positions."""
        return len(self.token_ids)

    def site(self, site: Site | str, layer: int = 0) -> Tensor:
        """Return what passed a site, [pos, ...] (patterns: [head, query, key]).

        Raises:
            CircuitScopeError: The site was not captured in that layer.
        """
        place = Site.parse(site)
        whole = {
            Site.EMBED: self.embed, Site.POS_EMBED: self.pos_embed,
            Site.LN_FINAL: self.final, Site.LOGITS: self.raw_logits,
        }  # fmt: skip
        by_layer = {
            Site.ATTN_IN: self.attn_in, Site.PATTERN: self.patterns, Site.HEAD_V: self.values,
            Site.HEAD_Z: self.head_z, Site.ATTN_OUT: self.attn_out, Site.MLP_IN: self.mlp_in,
            Site.MLP_HIDDEN: self.mlp_hidden, Site.MLP_OUT: self.mlp_out,
            Site.MLP_TRANSCODER: self.mlp_out, Site.ATTN_WRITE: self.attn_write,
            Site.MLP_WRITE: self.mlp_write,
        }  # fmt: skip
        if place in whole:
            found = whole[place]
        elif place in by_layer:
            found = by_layer[place].get(layer)
        else:
            found = self.resid.get((place, layer), self.normalized.get((place, layer)))
        if found is None:
            raise CircuitScopeError(
                f"This run holds nothing for the site {place.text} in layer {layer}.",
                hint="Layers count from 0; not every model has every site.",
            )
        return found


def capture(
    model: LoadedModel,
    token_ids: Sequence[int],
    prepare: Callable[[Hooks], None] | None = None,
) -> ForwardCache:
    """Run a prompt once and keep what circuits need.

    Args:
        model: A loaded model of a supported family.
        token_ids: The prompt, used exactly as given.
        prepare: Registers editing hooks, whose effect is captured, on the model in float32.

    Raises:
        PromptError: The prompt is empty, too long or holds an id outside the vocabulary.
    """
    model = in_float32(model)
    check_ids(model.anatomy, token_ids)
    raw, patterns, logits = _run(model, token_ids, prepare)
    n_layers, family = model.anatomy.n_layers, model.family

    def layers(part: Part, side: Side = "output") -> dict[int, Tensor]:
        if part not in family.parts:
            return {}
        return {layer: raw[part, side, layer] for layer in range(n_layers)}

    def seen(site: Site) -> dict[int, Tensor]:
        place = site_place(family, site)
        return {} if place is None else layers(*place)

    stream = (Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST)
    normalized, scales = _norms(model, raw)
    heads = (model.anatomy.n_heads, model.anatomy.d_head)
    return ForwardCache(
        token_ids=torch.tensor(list(token_ids), device=model.device),
        embed=raw[Part.EMBED, "output", 0],
        pos_embed=raw.get((Part.POS_EMBED, "output", 0)),
        type_embed=raw.get((Part.TYPE_EMBED, "output", 0)),
        resid={(site, layer): t for site in stream for layer, t in seen(site).items()},
        attn_in=seen(Site.ATTN_IN),
        patterns=patterns,
        values=seen(Site.HEAD_V),
        head_z={n: split_last(t, *heads) for n, t in seen(Site.HEAD_Z).items()},
        attn_write=seen(Site.ATTN_WRITE),
        attn_out=seen(Site.ATTN_OUT),
        mlp_in=seen(Site.MLP_IN),
        mlp_gate=layers(Part.MLP_GATE),
        mlp_up=layers(Part.MLP_UP),
        mlp_hidden=seen(Site.MLP_HIDDEN),
        mlp_write=seen(Site.MLP_WRITE),
        mlp_out=seen(Site.MLP_OUT),
        norm_scales=scales,
        normalized=normalized,
        head_gate=raw.get((Part.HEAD_DENSE, "output", 0)),
        final=raw[Part.UNEMBED, "input", 0],
        raw_logits=raw[Part.UNEMBED, "output", 0],
        logits=logits,
    )


_Key = tuple[Part, Side, int]
_WHOLE: tuple[tuple[Part, Side], ...] = (
    (Part.EMBED, "output"),
    (Part.POS_EMBED, "output"),
    (Part.TYPE_EMBED, "output"),
    (Part.EMBED_NORM, "input"),
    (Part.HEAD_DENSE, "output"),
    (Part.LN_FINAL, "input"),
    (Part.UNEMBED, "input"),
    (Part.UNEMBED, "output"),
)
"""What is read once in a pass."""


def _in_blocks(family: ModelFamily) -> list[tuple[Part, Side]]:
    """Return what is read in each layer."""
    outside = (Site.EMBED, Site.POS_EMBED, Site.LN_FINAL, Site.LOGITS)
    places = [site_place(family, site) for site in SITE_PLACES if site not in outside]
    norms: list[tuple[Part, Side]] = [(NORM_PARTS[site], "input") for site in BLOCK_NORMS]
    gates: list[tuple[Part, Side]] = [(Part.MLP_GATE, "output"), (Part.MLP_UP, "output")]
    return list(dict.fromkeys([place for place in places if place] + norms + gates))


def _run(
    model: LoadedModel, token_ids: Sequence[int], prepare: Callable[[Hooks], None] | None
) -> tuple[dict[_Key, Tensor], dict[int, Tensor], Tensor]:
    """Run the module with reading hooks; the first of a batch, upcast to at least float32."""
    raw: dict[_Key, Tensor] = {}
    patterns: dict[int, Tensor] = {}
    with Hooks(model) as hooks:
        if prepare is not None:
            prepare(hooks)
        for layer in range(model.anatomy.n_layers):
            for part, side in _in_blocks(model.family):
                _keep(hooks, raw, (part, side, layer))
            if tells_patterns(model.family):
                _keep_pattern(hooks, patterns, layer)
        for part, side in _WHOLE:
            _keep(hooks, raw, (part, side, 0))
        logits = exact(hooks.forward([list(token_ids)])[0])
    if model.anatomy.logit_softcap is None and not is_guessed(model.family):
        logits = raw[Part.UNEMBED, "output", 0]
    return raw, patterns, logits


def _keep(hooks: Hooks, raw: dict[_Key, Tensor], key: _Key) -> None:
    hooks.read(*key, lambda tensor: raw.update({key: exact(tensor[0])}))


def _keep_pattern(hooks: Hooks, patterns: dict[int, Tensor], layer: int) -> None:
    hooks.read_pattern(layer, lambda pattern: patterns.update({layer: exact(pattern[0])}))


def exact(tensor: Tensor) -> Tensor:
    """Return a copy in float32, float64 where it is already that."""
    wanted = tensor.dtype if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(wanted, copy=True)


def norm_scale(norm: Norm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a norm's centred input [.., d_model] and its denominator [..]."""
    if norm.kind == "none":
        return x, torch.ones_like(x[..., 0])
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    return centred, (centred.square().mean(-1) + norm.eps).sqrt()


def _norms(
    model: LoadedModel, raw: dict[_Key, Tensor]
) -> tuple[dict[tuple[Site, int], Tensor], dict[tuple[Site, int], Tensor]]:
    """Return normalised vectors and denominators; LN1 and LN2 also where they change nothing."""
    n_layers, family = model.anatomy.n_layers, model.family
    reads = {Site.LN1_NORMALIZED: Site.RESID_PRE, Site.LN2_NORMALIZED: Site.RESID_MID}
    places = [(site, layer, layer) for layer in range(n_layers) for site in BLOCK_NORMS]
    places += [(Site.EMBED_NORM, 0, 0), (Site.LN_FINAL, n_layers, 0)]
    normalized, scales = {}, {}
    for site, layer, at in places:
        place: tuple[Part, Side] | None = (NORM_PARTS[site], "input")
        if NORM_PARTS[site] not in family.parts:
            place = site_place(family, reads[site]) if site in reads else None
        if place is not None:
            norm = family.norm(model.module, site, at)
            centred, scales[site, layer] = norm_scale(norm, raw[*place, at])
            normalized[site, layer] = centred / scales[site, layer][:, None]
    return normalized, scales
