"""Label features of several concepts by clustering the contexts of their examples.

What is done with the vectors is in `evidence.concepts`; here they are read from the model. A
context is what enters the model's first block at its last token, beside the mean over its last
`NEAR` tokens, both less their mean over the corpus and of length one. On features with planted
senses this told them apart best of all layers (resources/decisions/0057), and the model need not
be run beyond its embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.progress import Progress
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.evidence.concepts import METHOD, concepts_label
from circuitscope.evidence.labelling import Silences, active_places, different, split_texts
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import Label
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import read_rows

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

NEAR = 4
"""Tokens whose mean stands beside the last one."""
_CHOOSING = 96
"""Most contexts of the half that is clustered."""
_CENTRED = 256
"""Places of the even sample that tell where the middle is."""
_AT_ONCE = 1024


class _Seen(Exception):  # noqa: N818 - ends a run of the model, no error
    """The model was run as far as is needed."""


class ConceptLabeller:
    """Label features by the concepts among their examples; for `evidence.labels`.

    Args:
        model: The model that the dictionaries are of.
        dictionaries: Those whose features are to be labelled; others are passed over.
    """

    methods: tuple[str, ...] = (METHOD,)

    def __init__(self, model: LoadedModel, dictionaries: Iterable[Dictionary]) -> None:
        self._model = model
        self._known = {item.card.digest for item in dictionaries}
        self._centre: NDArray[np.float64] = np.zeros(0)

    def label(
        self,
        evidence: DictionaryEvidence,
        units: Sequence[int],
        sample: Silences,
        progress: Progress,
    ) -> Iterator[tuple[int, Label]]:
        """Label those of several concepts; others are left out."""
        if evidence.digest not in self._known:
            return
        if not self._centre.size:
            self._centre = self._read(sample.texts[:_CENTRED]).mean(0)
        active = active_places(evidence)
        for unit in units:
            progress.advance(0)
            places = active.get(unit, np.zeros(0, np.int64))
            texts = different(evidence.examples(unit), places, sample)
            halves = split_texts(texts, places, sample)
            if halves is None:
                continue
            step = -(-len(halves.choosing) // _CHOOSING)
            halves = halves.thinned(step)
            vectors = self._vectors(texts[:: 2 * step]), self._vectors(texts[1::2])
            found = concepts_label(halves, vectors, sample, evidence.text)
            if found is not None:
                yield unit, found[0]

    def _vectors(self, texts: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        """Return contexts as vectors, [context, d]."""
        parts = self._read(texts) - self._centre
        length = np.linalg.norm(parts, axis=2, keepdims=True)
        parts /= np.maximum(length, 1e-12)
        return parts.reshape(len(texts), -1)

    @torch.inference_mode()
    def _read(self, texts: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        """Return the last token and the mean of the last ones, [context, 2, d_model]."""
        found = np.zeros((len(texts), 2, self._model.anatomy.d_model))
        lengths = np.array([len(text) for text in texts])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for start in range(0, len(alike), _AT_ONCE):
                here = alike[start : start + _AT_ONCE]
                stream = first_stream(self._model, [texts[at] for at in here]).double()
                near = stream[:, -NEAR:].mean(1)
                found[here] = torch.stack([stream[:, -1], near], 1).cpu().numpy()
        return found


def first_stream(model: LoadedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Return what enters the first block, [text, pos, d_model]; texts are of one length."""
    found: list[Tensor] = []

    def keep(rows: Tensor) -> None:
        found.append(rows.clone())
        raise _Seen

    with Hooks(model) as hooks, suppress(_Seen):
        read_rows(model, hooks, (Site.RESID_PRE, 0), keep)
        hooks.forward(torch.tensor([list(text) for text in texts]))
    return found[0]
