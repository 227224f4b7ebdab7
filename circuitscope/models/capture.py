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
from circuitscope.models.family import NORM_PARTS, Norm, Part, Side, split_last
from circuitscope.models.hooks import Hooks
from circuitscope.models.prompts import check_ids

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
        resid: Residual stream by (RESID_PRE | RESID_MID | RESID_POST, layer), [pos, d_model].
        attn_in: Attention input after its norm, [pos, d_model].
        patterns: Attention probabilities, [head, query, key].
        values: Values, [pos, kv_head, d_head].
        head_z: Pattern times values, [pos, head, d_head].
        attn_out: What attention writes, with its biases, [pos, d_model].
        mlp_in: MLP input after its norm, [pos, d_model].
        mlp_gate: Pre-activation g that goes through the nonlinearity, bias included, [pos, d_mlp].
        mlp_up: Ungated factor u of gated MLPs, bias included; empty for plain MLPs.
        mlp_hidden: act(g) or act(g) * u, [pos, d_mlp].
        mlp_out: What the MLP writes, with its bias, [pos, d_model].
        norm_scales: Denominators by (LN1_NORMALIZED | LN2_NORMALIZED, layer) and
            (LN_FINAL, n_layers), [pos]: normalised = (x - mean?) / scale.
        normalized: The normalised vectors themselves, before gain and bias, by the same keys.
        final: Output of the last norm, [pos, d_model].
        logits: [pos, d_vocab].
    """

    token_ids: Tensor
    embed: Tensor
    pos_embed: Tensor | None
    resid: dict[tuple[Site, int], Tensor]
    attn_in: dict[int, Tensor]
    patterns: dict[int, Tensor]
    values: dict[int, Tensor]
    head_z: dict[int, Tensor]
    attn_out: dict[int, Tensor]
    mlp_in: dict[int, Tensor]
    mlp_gate: dict[int, Tensor]
    mlp_up: dict[int, Tensor]
    mlp_hidden: dict[int, Tensor]
    mlp_out: dict[int, Tensor]
    norm_scales: dict[tuple[Site, int], Tensor]
    normalized: dict[tuple[Site, int], Tensor]
    final: Tensor
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
            Site.LN_FINAL: self.final, Site.LOGITS: self.logits,
        }  # fmt: skip
        by_layer = {
            Site.ATTN_IN: self.attn_in, Site.PATTERN: self.patterns, Site.HEAD_V: self.values,
            Site.HEAD_Z: self.head_z, Site.ATTN_OUT: self.attn_out, Site.MLP_IN: self.mlp_in,
            Site.MLP_HIDDEN: self.mlp_hidden, Site.MLP_OUT: self.mlp_out,
            Site.MLP_TRANSCODER: self.mlp_out,
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
        prepare: Registers editing hooks, whose effect is captured.

    Raises:
        PromptError: The prompt is empty, too long or holds an id outside the vocabulary.
    """
    check_ids(model.anatomy, token_ids)
    raw, patterns, logits = _run(model, token_ids, prepare)
    n_layers = model.anatomy.n_layers

    def layers(part: Part, side: Side = "output") -> dict[int, Tensor]:
        return {layer: raw[part, side, layer] for layer in range(n_layers)}

    resid = {(Site.RESID_PRE, layer): t for layer, t in layers(Part.BLOCK, "input").items()}
    resid |= {(Site.RESID_MID, layer): t for layer, t in layers(Part.LN2, "input").items()}
    resid |= {(Site.RESID_POST, layer): t for layer, t in layers(Part.BLOCK).items()}
    normalized, scales = _norms(model, raw)
    z = layers(Part.ATTENTION_WRITE, "input")
    heads = (model.anatomy.n_heads, model.anatomy.d_head)
    value = layers(Part.VALUE)
    return ForwardCache(
        token_ids=torch.tensor(list(token_ids), device=model.device),
        embed=raw[Part.EMBED, "output", 0],
        pos_embed=raw.get((Part.POS_EMBED, "output", 0)),
        resid=resid,
        attn_in=layers(Part.LN1),
        patterns=patterns,
        values={n: model.family.values(model.module, t) for n, t in value.items()},
        head_z={n: split_last(t, *heads) for n, t in z.items()},
        attn_out=layers(Part.ATTENTION_WRITE),
        mlp_in=layers(Part.LN2),
        mlp_gate=layers(Part.MLP_GATE),
        mlp_up=layers(Part.MLP_UP) if Part.MLP_UP in model.family.parts else {},
        mlp_hidden=layers(Part.MLP_WRITE, "input"),
        mlp_out=layers(Part.MLP_WRITE),
        norm_scales=scales,
        normalized=normalized,
        final=raw[Part.LN_FINAL, "output", 0],
        logits=logits,
    )


_Key = tuple[Part, Side, int]
_IN_BLOCKS: tuple[tuple[Part, tuple[Side, ...]], ...] = (
    (Part.BLOCK, ("input", "output")),
    (Part.LN1, ("input", "output")),
    (Part.VALUE, ("output",)),
    (Part.ATTENTION_WRITE, ("input", "output")),
    (Part.LN2, ("input", "output")),
    (Part.MLP_GATE, ("output",)),
    (Part.MLP_UP, ("output",)),
    (Part.MLP_WRITE, ("input", "output")),
)


def _run(
    model: LoadedModel, token_ids: Sequence[int], prepare: Callable[[Hooks], None] | None
) -> tuple[dict[_Key, Tensor], dict[int, Tensor], Tensor]:
    """Run the module with reading hooks; the first of a batch, upcast to at least float32."""
    raw: dict[_Key, Tensor] = {}
    patterns: dict[int, Tensor] = {}
    with Hooks(model) as hooks:
        if prepare is not None:
            prepare(hooks)

        def keep(part: Part, side: Side, layer: int) -> None:
            def store(tensor: Tensor) -> None:
                raw[part, side, layer] = exact(tensor[0])

            hooks.read(part, side, layer, store)

        def keep_pattern(layer: int) -> None:
            def store(pattern: Tensor) -> None:
                patterns[layer] = exact(pattern[0])

            hooks.read_pattern(layer, store)

        for layer in range(model.anatomy.n_layers):
            for part, sides in _IN_BLOCKS:
                for side in sides:
                    keep(part, side, layer)
            keep_pattern(layer)
        keep(Part.EMBED, "output", 0)
        keep(Part.POS_EMBED, "output", 0)
        keep(Part.LN_FINAL, "input", 0)
        keep(Part.LN_FINAL, "output", 0)
        logits = hooks.forward([list(token_ids)])
    return raw, patterns, exact(logits[0])


def exact(tensor: Tensor) -> Tensor:
    """Return a copy in float32, float64 where it is already that."""
    wanted = tensor.dtype if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(wanted, copy=True)


def norm_scale(norm: Norm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a norm's centred input [.., d_model] and its denominator [..]."""
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    return centred, (centred.square().mean(-1) + norm.eps).sqrt()


def _norms(
    model: LoadedModel, raw: dict[_Key, Tensor]
) -> tuple[dict[tuple[Site, int], Tensor], dict[tuple[Site, int], Tensor]]:
    n_layers = model.anatomy.n_layers
    places = [(site, layer) for layer in range(n_layers) for site in list(NORM_PARTS)[:2]]
    normalized, scales = {}, {}
    for site, layer in [*places, (Site.LN_FINAL, n_layers)]:
        at = 0 if site is Site.LN_FINAL else layer
        norm = model.family.norm(model.module, site, at)
        centred, scale = norm_scale(norm, raw[NORM_PARTS[site], "input", at])
        scales[site, layer] = scale
        normalized[site, layer] = centred / scale[:, None]
    return normalized, scales
