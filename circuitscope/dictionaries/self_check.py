"""Measure a dictionary on the model in use: does it read and write where it says?

1. Encode a short text at the declared site: active features a position against what its maker
   promises, share of features that stay silent, explained variance.
2. Where less than half of the variance is explained, try the neighbouring sites of the same
   width and offer the best, if it is clearly better.
3. Splice: run the model with the reconstruction in place of what it writes, one layer at a time,
   and compare the loss of the next token. Position 0, where most models write one huge constant
   vector, keeps the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.dictionary_check import POOR, DictionaryCheck
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.features import SparseFeatures, encode_prompt, explained_variance
from circuitscope.dictionaries.fit import as_read, check_fit
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.family import SITE_PLACES
from circuitscope.models.hooks import Hooks
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_CLEARLY = 0.1
_INPUTS = (Site.RESID_MID, Site.LN2_NORMALIZED, Site.MLP_IN, Site.RESID_PRE)
_STREAM = (
    Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_OUT, Site.MLP_OUT, Site.ATTN_WRITE,
    Site.MLP_WRITE,
)  # fmt: skip


def check_dictionaries(
    model: LoadedModel,
    token_ids: Sequence[int],
    dictionaries: Sequence[Dictionary],
    progress: Progress | None = None,
) -> tuple[DictionaryCheck, ...]:
    """Check dictionaries on a short text, each layer by itself.

    Args:
        model: The model they are to be used with.
        token_ids: The text, used exactly as given.
        dictionaries: What to check.
        progress: Advanced once a layer.

    Raises:
        DictionaryMismatch: One has other shapes or layers than the model.
    """
    hear, model = progress or silent(), in_float32(model)
    hear.phase("Checking dictionaries", sum(len(item.card.layers) for item in dictionaries))
    cache = capture(model, token_ids)
    loss = next_token_loss(cache.logits, token_ids)
    checks = []
    for declared in dictionaries:
        check_fit(declared.card, model.anatomy)
        dictionary = as_read(declared, model.anatomy)
        features = encode_prompt([dictionary], cache)
        for check in check_features(dictionary, features, cache):
            place = dictionary.card.write_site, check.layer
            error = features.error[dictionary.card.feature_site, check.layer]
            spliced = None if loss is None else spliced_loss(model, token_ids, cache, place, error)
            found = replace(check, loss=loss, spliced_loss=spliced)
            checks.append(_with_neighbours(found, dictionary, cache))
            hear.advance()
    return tuple(checks)


def check_features(
    dictionary: Dictionary, features: SparseFeatures, cache: ForwardCache
) -> tuple[DictionaryCheck, ...]:
    """Return what active features and errors say, without running the model again."""
    card, checks = dictionary.card, []
    for layer in card.layers:
        found = features.active[card.feature_site, layer]
        later = found.position > 0 if cache.n_pos > 1 else found.position >= 0
        n_pos = max(1, cache.n_pos - 1)
        out = cache.site(card.write_site, layer).flatten(1)
        error = features.error[card.feature_site, layer]
        variance = explained_variance(out, error - _mean(card, out))
        check = DictionaryCheck(
            card.name, layer, card.read_site,
            l0=round(int(later.sum()) / n_pos, 2),
            promised_l0=_promised(card),
            explained_variance=round(variance, 4),
            silent_share=round(1 - len(torch.unique(found.unit)) / card.n_features, 4),
        )  # fmt: skip
        checks.append(check)
    return tuple(checks)


def _mean(card: DictionaryCard, out: Tensor) -> Tensor:
    # The mean that a centred dictionary restores is no error of its features.
    return out.mean(-1, keepdim=True) if card.restores_mean else out.new_zeros(())


def _promised(card: DictionaryCard) -> float | None:
    if card.k is not None:
        return float(card.k)
    for name in ("l0", "L0", "mean_l0"):
        if name in card.metrics:
            return card.metrics[name]
    return None


def _with_neighbours(
    check: DictionaryCheck, dictionary: Dictionary, cache: ForwardCache
) -> DictionaryCheck:
    """Try other sites of the same width where little is explained."""
    card = dictionary.card
    if check.explained_variance >= POOR or len(card.layers) > 1:
        return check
    best = check
    for site in _INPUTS if card.is_transcoder else _STREAM:
        if site is card.read_site:
            continue
        try:
            x = cache.site(site, check.layer)
        except CircuitScopeError:
            continue
        if x.shape[-1] != card.d_in:
            continue
        moved = dictionary.reading(site)
        out = cache.site(moved.card.write_site, check.layer).flatten(1)
        rebuilt = moved.decode(moved.encode(x), len(x), x)
        variance = round(explained_variance(out, out - rebuilt), 4)
        if variance > max(POOR, check.explained_variance + _CLEARLY, best.better_variance):
            best = replace(check, better_site=site, better_variance=variance)
    return best


def next_token_loss(logits: Tensor, token_ids: Sequence[int]) -> float | None:
    """Return the mean loss of the next token, nats; None where the text is too short for one."""
    if logits.ndim != 2 or len(token_ids) < 3:
        return None
    wanted = torch.tensor(list(token_ids[1:]), device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits[:-1].float(), wanted))


def spliced_loss(
    model: LoadedModel,
    token_ids: Sequence[int],
    cache: ForwardCache,
    place: tuple[Site, int],
    error: Tensor,
) -> float | None:
    """Return the loss with a reconstruction in place of what the model writes.

    Args:
        model: The model that made the cache.
        token_ids: The text.
        cache: Its run.
        place: What is replaced, from the second position on.
        error: What the reconstruction misses, [pos, d].
    """
    site, layer = place
    if site not in SITE_PLACES:
        return None
    rebuilt = cache.site(site, layer).flatten(1) - error

    def put(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed[:, 1:] = rebuilt[1:].reshape(tensor[0, 1:].shape).to(tensor)
        return changed

    with Hooks(model) as hooks:
        hooks.edit_site(site, layer, put)
        return next_token_loss(hooks.forward([list(token_ids)])[0], token_ids)
