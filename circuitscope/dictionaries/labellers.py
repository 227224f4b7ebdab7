"""The labellers that a loaded model adds to the rules of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitscope.dictionaries.concepts import ConceptLabeller
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.steering import TokenLabeller

if TYPE_CHECKING:
    from circuitscope.evidence.labels import Labeller
    from circuitscope.models.loading import LoadedModel


def model_labellers(model: LoadedModel, dictionaries: Sequence[Dictionary]) -> list[Labeller]:
    """Return them: what raising a feature does, and the concepts among its examples.

    Raises:
        DictionaryMismatch: A dictionary does not fit the model.
    """
    return [TokenLabeller(model, dictionaries), ConceptLabeller(model, dictionaries)]
