"""Measure a dictionary on texts: how much it explains, with how many features, at what cost.

1. Encode each text at the dictionary's site; compare what is rebuilt with what the model wrote.
2. Do so again with only the 1, 2, 4, ... strongest features of every position: explained variance
   against L0.
3. Splice: run the model with the reconstruction in place of what it wrote, and with nothing there,
   and compare the loss of the next token.

The first position of a text, where most models write one huge constant vector, is counted in none
of the averages, and splicing keeps the model's own there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitscope.core.dictionary_quality import DictionaryQuality
from circuitscope.dictionaries.dictionary import Dictionary, top_k
from circuitscope.dictionaries.self_check import next_token_loss, spliced_loss
from circuitscope.evidence.records import DENSE
from circuitscope.models.capture import capture

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.models.loading import LoadedModel


@torch.inference_mode()
def measure_quality(
    model: LoadedModel,
    dictionary: Dictionary,
    texts: Sequence[Sequence[int]],
    progress: Progress,
) -> DictionaryQuality:
    """Measure a dictionary of one layer.

    Args:
        model: In float32.
        dictionary: It reads and writes this model.
        texts: Token ids, each used exactly as given.
        progress: Advanced once a text.
    """
    card = dictionary.card
    layer, part = card.layers[0], dictionary.layer(card.layers[0])
    every = torch.arange(card.n_features, device=dictionary.weights.W_enc.device)
    rows = part.decoder_rows(every).float()
    budgets = [1 << step for step in range(12) if 1 << step < card.n_features]
    counts = torch.zeros(card.n_features, dtype=torch.int64)
    wrong, kept = torch.zeros(len(budgets) + 1, dtype=torch.float64), torch.zeros(len(budgets) + 1)
    kept = kept.double()
    total, square, n_rows = torch.zeros(card.d_out, dtype=torch.float64), 0.0, 0
    losses, n_losses = [0.0, 0.0, 0.0], 0
    progress.phase("Measuring the dictionary", len(texts))
    for ids in texts:
        if len(ids) < 2:
            continue
        cache = capture(model, ids)
        x = cache.site(card.read_site, layer).flatten(1).float()
        y = cache.site(card.write_site, layer).flatten(1).float()
        features = part.activate(part.preactivations(x))
        # What is added whatever is active: bias, mean and skip.
        constant = part.decode(part.encode(x), len(x), x) - features @ rows
        error = y - features @ rows - constant
        counts += (features[1:] != 0).sum(0).cpu()
        total += y[1:].sum(0, dtype=torch.float64).cpu()
        square += float(y[1:].square().sum(dtype=torch.float64))
        n_rows += len(y) - 1
        for at, budget in enumerate((*budgets, card.n_features)):
            some = features if budget == card.n_features else top_k(features, budget)
            missed = (y - some @ rows - constant)[1:]
            wrong[at] += missed.square().sum(dtype=torch.float64).cpu()
            kept[at] += (some[1:] != 0).sum().cpu()
        place = (card.write_site, layer)
        found = [next_token_loss(cache.logits, ids)] + [
            spliced_loss(model, ids, cache, place, off) for off in (error, y)
        ]
        if None not in found:
            n = len(ids) - 1
            losses = [a + n * float(b or 0.0) for a, b in zip(losses, found, strict=True)]
            n_losses += n
        progress.advance()
    variance = square - float(total.square().sum()) / max(n_rows, 1)
    explained = (1 - wrong / max(variance, 1e-30)).tolist()
    l0 = (kept / max(n_rows, 1)).tolist()
    as_is, spliced, without = (value / max(n_losses, 1) for value in losses)
    whole = [(l0[at], explained[at]) for at in range(len(budgets)) if l0[at] < 0.999 * l0[-1]]
    return DictionaryQuality(
        n_rows, explained[-1], l0[-1],
        dead_share=_share(counts == 0), dense_share=_share(counts > DENSE * n_rows),
        loss=as_is, loss_spliced=spliced, loss_without=without,
        curve=(*whole, (l0[-1], explained[-1])),
    )  # fmt: skip


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
