"""Dictionaries read at another site than their files declare, as a user chose it.

Some published sets name a site by a hook that means another place in the model at hand; the
self-check finds out, and this is how its finding is used.
"""

from __future__ import annotations

from collections.abc import Sequence

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError


def read_elsewhere(
    cards: Sequence[DictionaryCard], chosen: Sequence[str]
) -> tuple[DictionaryCard, ...]:
    """Return cards with the sites that were chosen.

    Args:
        cards: All dictionaries of a trace.
        chosen: "SITE" moves all transcoders, or all dictionaries where none is one; "NAME=SITE"
            moves one. Later ones win.

    Raises:
        DictionaryError: There is no dictionary of that name.
        CircuitScopeError: There is no such site.
    """
    found = list(cards)
    for text in chosen:
        name, _, site_name = text.rpartition("=")
        site = Site.parse(site_name.strip())
        for index in _meant(found, name.strip()):
            found[index] = found[index].reading(site)
    return tuple(found)


def _meant(cards: Sequence[DictionaryCard], name: str) -> list[int]:
    if not name:
        transcoders = [index for index, card in enumerate(cards) if card.is_transcoder]
        return transcoders or list(range(len(cards)))
    named = [index for index, card in enumerate(cards) if card.name == name]
    if not named:
        raise DictionaryError(
            f"There is no dictionary called {name!r} to be read elsewhere.",
            hint=f"There are: {', '.join(card.name for card in cards)}.",
        )
    return named
