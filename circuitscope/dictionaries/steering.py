"""Raise features while the model runs, and label them by the tokens that become likelier.

1. Short contexts of the even sample are run plainly.
2. A feature's largest activation times its decoder row is added where its dictionary writes, at the
   last position of a context; the model computes everything that follows.
3. On half of the contexts the tokens whose log-probability rises most are chosen; on the other half
   they, and those that the unembedding says are promoted, are scored (`evidence.token_labels`).

Only what a dictionary writes to the stream of a causal language model can be labelled so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.effects import writes_to_stream
from circuitscope.dictionaries.fit import as_read, check_fit
from circuitscope.evidence.labelling import Silences
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing, Label
from circuitscope.evidence.token_labels import (
    CHANGE,
    NAMED,
    PROJECTION,
    named_tokens,
    token_label,
)
from circuitscope.models.places import Place
from circuitscope.models.rerun import OUTPUT, Stream, open_stream, rerun
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

CONTEXTS = 24
_SHORTEST, _LONGEST = 3, 24
_AT_ONCE = 64
_NUMBERS = 2**25
"""Changes of log-probabilities held at once: 128 MB."""


def choose_contexts(evidence: DictionaryEvidence, sample: Silences) -> list[tuple[int, ...]]:
    """Take contexts of the even sample: whole from the beginning of their text, and short."""
    start = evidence.file.array("", -1, "context_position").tolist()
    places = list(dict.fromkeys(zip(sample.texts, start, strict=True)))
    whole = [text for text, position in places if len(text) == position + 1]
    found = whole if len(whole) >= CONTEXTS // 2 else [text for text, _ in places]
    found = list(dict.fromkeys(found))
    fitting = [text for text in found if _SHORTEST <= len(text) <= _LONGEST]
    return (fitting if len(fitting) >= CONTEXTS // 2 else found)[:CONTEXTS]


class Steering:
    """Contexts run plainly, in which features can be raised.

    Args:
        model: A causal language model.
        texts: Token ids.
    """

    def __init__(self, model: LoadedModel, texts: Sequence[Sequence[int]]) -> None:
        self._streams: list[Stream] = []
        self._plain: list[Tensor] = []
        for text in texts:
            stream = open_stream(model, text)
            self._streams.append(stream)
            self._plain.append(_log_probabilities(rerun(stream, {}, [OUTPUT], 1)[OUTPUT])[0])

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def d_vocab(self) -> int:
        """Return how many tokens there are."""
        return self._plain[0].shape[-1] if self._plain else 1

    @torch.inference_mode()
    def changes(
        self, context: int, dictionary: Dictionary, units: Tensor, strengths: Tensor
    ) -> NDArray[np.float32]:
        """Return by how much every token's log-probability changes, [feature, d_vocab].

        Args:
            context: Number of the context.
            dictionary: One that reads one layer.
            units: Features, each raised alone.
            strengths: By how much.
        """
        stream = self._streams[context]
        found = []
        for start in range(0, len(units), stream.most_copies):
            here = slice(start, start + stream.most_copies)
            added = self._added(stream, dictionary, units[here], strengths[here])
            logits = rerun(stream, added, [OUTPUT], len(units[here]))[OUTPUT]
            found.append(_log_probabilities(logits) - self._plain[context])
        return torch.cat(found).cpu().numpy()

    def _added(
        self, stream: Stream, dictionary: Dictionary, units: Tensor, strengths: Tensor
    ) -> dict[Place, Callable[[Tensor], None]]:
        card = dictionary.card
        if card.scales_input:
            x = stream.cache.site(card.read_site, card.layers[0])
            strengths = strengths * dictionary.scale(x)[-1].to(strengths)

        def raising(layer: int) -> Callable[[Tensor], None]:
            to_layer = layer if len(dictionary.written_layers) > 1 else None
            rows = strengths[:, None] * dictionary.decoder_rows(units, to_layer)

            def change(held: Tensor) -> None:
                held[:, -1] += rows.to(held).view_as(held[:, -1])

            return change

        return {(card.write_site, layer): raising(layer) for layer in dictionary.written_layers}


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits[:, -1].float().log_softmax(-1)


class TokenLabeller:
    """Label features by vocabulary projection and by token change; for `evidence.labels`.

    Args:
        model: The model that the dictionaries are of.
        dictionaries: Those whose features are to be labelled; others are passed over.

    Raises:
        DictionaryMismatch: A dictionary does not fit the model.
    """

    methods: tuple[str, ...] = (PROJECTION, CHANGE)

    def __init__(self, model: LoadedModel, dictionaries: Sequence[Dictionary]) -> None:
        self._model = in_float32(model)
        for item in dictionaries:
            check_fit(item.card, model.anatomy)
        self._parts = {
            (item.card.digest, layer): as_read(item, model.anatomy).layer(layer)
            for item in dictionaries for layer in item.card.layers
        }  # fmt: skip
        self._steering: Steering | None = None

    def label(
        self,
        evidence: DictionaryEvidence,
        units: Sequence[int],
        sample: Silences,
        progress: Progress,
    ) -> list[tuple[int, Label]]:
        """Return labels by feature; none where raising a feature changes no next token."""
        dictionary = self._parts.get((evidence.digest, evidence.layer))
        if dictionary is None or not can_steer(self._model, dictionary):
            return []
        if self._steering is None:
            self._steering = Steering(self._model, choose_contexts(evidence, sample))
        return list(_labels(self._steering, dictionary, evidence, units, progress))


def can_steer(model: LoadedModel, dictionary: Dictionary) -> bool:
    """Say whether raising a feature of a dictionary changes what the model says next."""
    return writes_to_stream(model, dictionary) and model.anatomy.causal


def _labels(
    steering: Steering,
    dictionary: Dictionary,
    evidence: DictionaryEvidence,
    units: Sequence[int],
    progress: Progress,
) -> Iterator[tuple[int, Label]]:
    largest = evidence.file.array(evidence.digest, evidence.layer, "maximum")
    if len(steering) < 2:
        return
    rows = max(1, min(_AT_ONCE, _NUMBERS // (len(steering) * steering.d_vocab)))
    for start in range(0, len(units), rows):
        progress.advance(0)
        here = list(units[start : start + rows])
        asked = torch.tensor(here), torch.tensor(largest[here])
        changes = np.stack([
            steering.changes(at, dictionary, *asked) for at in range(len(steering))
        ], axis=1)  # fmt: skip
        for row, unit in enumerate(here):
            chosen, held_out = changes[row, ::2].mean(0), changes[row, 1::2]
            best = np.argsort(-chosen, kind="stable")[:NAMED]
            named = {
                CHANGE: named_tokens(best.tolist(), chosen[best].tolist()),
                PROJECTION: _promoted(evidence, unit),
            }
            for method, tokens in named.items():
                label = token_label(method, tokens, held_out, evidence.text)
                if label is not None:
                    yield unit, label


def _promoted(evidence: DictionaryEvidence, unit: int) -> tuple[int, ...]:
    try:
        ids = evidence.file.array(evidence.digest, evidence.layer, "promoted_id")[unit]
        weights = evidence.file.array(evidence.digest, evidence.layer, "promoted_weight")[unit]
    except EvidenceMissing:
        return ()
    return named_tokens(ids.tolist(), weights.tolist())
