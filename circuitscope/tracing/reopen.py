"""From a circuit back to the run it was computed in: same settings, tokens and dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import TraceError
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.tracing.method import cards_of

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel


def settings_of(circuit: Circuit, model: LoadedModel) -> TraceSettings:
    """Return the settings of a circuit that this program traced, with its exact tokens.

    Raises:
        TraceError: The circuit was imported, or belongs to another model.
    """
    provenance = circuit.provenance
    if "targets" not in provenance.settings:
        raise TraceError(
            "This circuit was not traced here, so it cannot be run again.",
            kept="The circuit is unchanged.",
            hint="Trace the prompt with a model and dictionaries first.",
        )
    for name in ("d_model", "n_layers", "d_vocab"):
        known, here = provenance.model.get(name), getattr(model.anatomy, name)
        if known is not None and known != here:
            raise TraceError(
                f"The circuit was traced in a model with {name} {known}, this one has {here}.",
                kept="The circuit is unchanged.",
                hint=f"Load {provenance.model.get('name') or 'the model it was traced in'}.",
            )
    return replace(TraceSettings.from_json(provenance.settings), prompt=circuit.token_ids)


def dictionaries_of(circuit: Circuit, given: Sequence[Dictionary] | None) -> Sequence[Dictionary]:
    """Return the dictionaries a circuit was traced with, from those given or from their folders.

    Raises:
        TraceError: One of them is not among those given, or has changed on disk.
    """
    cards = [DictionaryCard.from_json(dict(card)) for card in circuit.provenance.dictionaries]
    if not cards:
        return ()
    found = load_dictionaries([card.path for card in cards]) if given is None else given
    by_digest = {card.digest: index for index, card in enumerate(cards_of(found))}
    missing = [card.name for card in cards if card.digest not in by_digest]
    if missing:
        raise TraceError(
            f"The circuit was traced with {missing[0]}, which is not among these dictionaries or "
            "has changed since.",
            kept="The circuit is unchanged.",
            hint="Give the dictionaries it was traced with, or trace it again.",
        )
    used = [found[by_digest[card.digest]] for card in cards]
    # A site chosen by hand stands in the provenance, not in the dictionary's own settings.
    return [
        item.described(replace(item.card, read_site=card.read_site, write_site=card.write_site))
        for item, card in zip(used, cards, strict=True)
    ]
