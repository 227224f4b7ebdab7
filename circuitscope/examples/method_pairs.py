"""Pairs of prompts about cities of two states, that methods are compared on."""

from __future__ import annotations

import circuitscope as cs
from circuitscope.examples import atlas
from circuitscope.examples.atlas_words import CITIES

TEXT = "the capital of the state containing {0} is"


def pairs(n: int) -> list[tuple[str, str, cs.LogitDifference]]:
    """Return pairs of prompts whose answers differ, each with its metric."""
    states = sorted(CITIES)
    found = []
    for k in range(n):
        here, there = states[k % len(states)], states[(k + 7) % len(states)]
        city, other = CITIES[here][k % len(CITIES[here])], CITIES[there][0]
        metric = cs.LogitDifference(atlas.capital_of(city), atlas.capital_of(other))
        found.append((TEXT.format(city), TEXT.format(other), metric))
    return found
