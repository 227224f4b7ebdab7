"""Sentiment: a small classifier of film reviews, and sentences whose negations it should hear.

The sentences are ours; the reviews that the model was trained on are not part of the project.
"""

from __future__ import annotations

from typing import Final

LABELS: Final = ("negative", "positive")

SENTENCES: Final = (
    "a warm and funny film",
    "not bad at all",
    "the plot is not good",
    "there is nothing funny about this dull comedy",
    "never boring , always charming",
    "a beautiful film without a story",
    "i did not like the ending",
    "it fails to be interesting",
    "the actors are wonderful but the script is a mess",
    "you will not be disappointed",
)
"""Ten sentences of our own, with negations whose phrases say what their words do not."""

NEGATIONS: Final = {1: "not bad", 2: "not good", 4: "never boring", 9: "not be disappointed"}
"""The phrase to look at, by the number of its sentence."""
