"""What a circuit is measured by: one number from the logits of a prompt.

A logit, a logit difference and a direction are targets too (`core.settings`); the others are only
metrics. Words are tokens' texts or ids. `position` counts from 0, and from -1 backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from circuitscope.core.settings import Direction, Logit, LogitDifference


@dataclass(frozen=True, slots=True)
class ProbabilityDifference:
    """Measure the probability of some words minus that of others."""

    a: tuple[str | int, ...]
    b: tuple[str | int, ...]
    position: int = -1


@dataclass(frozen=True, slots=True)
class GreaterThan:
    """Measure the probability of words beyond a threshold minus that of the rest.

    Attributes:
        words: In ascending order, such as "00" ... "99".
        threshold: Index among the words: those after it count as greater.
    """

    words: tuple[str | int, ...]
    threshold: int
    position: int = -1


@dataclass(frozen=True, slots=True)
class AnswerVersusOthers:
    """Measure the logit of the answer minus the largest logit of the others."""

    answer: str | int
    others: tuple[str | int, ...]
    position: int = -1


Metric = (
    Logit | LogitDifference | Direction | ProbabilityDifference | GreaterThan | AnswerVersusOthers
)
