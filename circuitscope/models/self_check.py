"""Prove that a loaded model is read right, on a short run of ids.

1. Logits rebuilt from the captured parts equal the model's own.
2. Every attention pattern sums to one.
3. The residual stream is the sum of what was written to it.
4. Every head mix, norm and MLP of the frozen maps gives back what the module wrote.

Numbers are the worst relative error over layers: largest difference / largest entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.model_check import SelfCheck
from circuitscope.models.capture import capture
from circuitscope.models.frozen import Constants, FrozenModel
from circuitscope.models.guessed import is_guessed
from circuitscope.models.head import head_constants, head_jvp
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


def check_loaded(model: LoadedModel) -> SelfCheck | None:
    """Check a model that was just loaded; None where its class is not known."""
    if is_guessed(model.family):
        return None
    try:
        return self_check(model)
    except (CircuitScopeError, RuntimeError, KeyError, AttributeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        said = " ".join((getattr(error, "message", "") or repr(error)).split())
        return SelfCheck(reason=said[:200])


@torch.no_grad()
def self_check(model: LoadedModel, token_ids: Sequence[int] | None = None) -> SelfCheck:
    """Check a model on a short prompt.

    Args:
        model: The model to check.
        token_ids: A prompt; None takes eight ids spread over the vocabulary.
    """
    if token_ids is None:
        n = min(8, model.anatomy.n_ctx)
        token_ids = [(7 + 101 * i) % model.anatomy.d_vocab for i in range(n)]
    model = in_float32(model)
    cache = capture(model, token_ids)
    dtype = cache.logits.dtype
    frozen = FrozenModel(model, cache, dtype=dtype)
    layers = range(model.anatomy.n_layers)
    return SelfCheck(
        logits=relative_error(_logits(frozen), cache.raw_logits),
        patterns=max(float((cache.patterns[n].sum(-1) - 1).abs().max()) for n in layers),
        residual=_residual(frozen),
        attention=max(
            relative_error(
                frozen.attn_jvp(n, cache.resid[Site.RESID_PRE, n]) + _sum(frozen.attn_constants(n)),
                cache.attn_out[n],
            )
            for n in layers
        ),
        mlp=max(
            relative_error(
                frozen.mlp_jvp(n, cache.resid[Site.RESID_MID, n]) + _sum(frozen.mlp_constants(n)),
                cache.mlp_out[n],
            )
            for n in layers
        ),
    )


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference over the largest entry."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def _sum(constants: Constants) -> Tensor:
    return constants.module + constants.norm


def _logits(frozen: FrozenModel) -> Tensor:
    n_layers = frozen.model.anatomy.n_layers
    resid = frozen.cache.resid[Site.RESID_POST, n_layers - 1]
    final = head_jvp(frozen, resid) + head_constants(frozen)
    W_U, _ = frozen.model.family.unembed(frozen.model.module)
    rows, biases = frozen.weights.unembed(range(W_U.shape[1]))
    return final @ rows.T + biases


def _residual(frozen: FrozenModel) -> float:
    """Return how far each residual state is from the running sum of writes."""
    cache, parallel = frozen.cache, frozen.model.anatomy.parallel_blocks
    written = [cache.embed, cache.pos_embed, cache.type_embed]
    parts = [part for part in written if part is not None]
    total = _normed(frozen, Site.EMBED_NORM, 0, torch.stack(parts).sum(0))
    worst = relative_error(total, cache.resid[Site.RESID_PRE, 0])
    for layer in range(frozen.model.anatomy.n_layers):
        before = total
        total = _normed(frozen, Site.RESID_MID_NORM, layer, total + cache.attn_out[layer])
        read = before if parallel else total
        worst = max(worst, relative_error(read, cache.resid[Site.RESID_MID, layer]))
        total = _normed(frozen, Site.RESID_POST_NORM, layer, total + cache.mlp_out[layer])
        worst = max(worst, relative_error(total, cache.resid[Site.RESID_POST, layer]))
    return worst


def _normed(frozen: FrozenModel, site: Site, layer: int, x: Tensor) -> Tensor:
    """Return the stream after a norm of its own, where the model has one."""
    return frozen.norm_jvp(site, layer, x) + frozen.norm_bias(site, layer)
