"""Badges: what tests on the unfrozen model say of a node, an edge or a group.

1. A test changes one thing and lets everything follow: the total effect on a root.
2. The same is done with matched controls: as much of something else at the same place.
3. p is the share of controls whose effect is at least as large, the test itself counted; the band
   is what 95 % of the controls stay within.
4. Over all tests that are shown together, p becomes q by Benjamini and Hochberg (1995).
5. Beyond the controls (q at most 0.05): supported where the sign is the predicted one, else
   contradicted. Within them: compensated where the frozen effect is real, because it lies outside
   the band; else inconclusive, also where the circuit predicts nothing. What was never run is
   untested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.05
"""Largest q that counts as beyond the controls."""
_LISTS: Final = ("subject", "chances", "remarks", "counterfactual")


class Badge(StrEnum):
    """Say what tests on the model have shown."""

    SUPPORTED = "supported"
    COMPENSATED = "compensated"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    UNTESTED = "untested"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test on the unfrozen model.

    Attributes:
        kind: "node", "edge" (its source is changed, its target watched) or "group".
        subject: Keys of the node, of the edge's two ends, or of the group's members.
        root: Key of what was watched.
        ablation: How it was changed, in words: "zero", "counterfactual", "mean over positions".
        predicted: What the circuit predicts; where it predicts only switching off, the frozen
            model: patterns, norm denominators and gates held.
        effect: Total effect: the change that was measured, everything recomputed.
        band: 95 % of the controls' effects are no larger.
        p: Share of controls with an effect as large, the test counted; n: number of controls.
        before, after: What was watched, before and after.
        chances: Full-softmax probability of the answer before and after; -1 where none is watched.
        divergence: KL of the next-token distribution from the unchanged one, in nats.
        top: The likeliest next tokens before and after, each with its probability.
        seed: Seeds the controls.
        remarks: What a reader must know, such as members left out.
        counterfactual: Token ids of the prompt whose values took the place, () for none.
        means: Token ids of the prompts that were averaged, () for none.
    """

    kind: str
    subject: tuple[str, ...]
    root: str
    ablation: str
    predicted: float
    effect: float
    band: float
    p: float
    n: int
    before: float = 0.0
    after: float = 0.0
    chances: tuple[float, float] = (-1.0, -1.0)
    divergence: float = 0.0
    top: tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]] = ((), ())
    seed: int = 0
    remarks: tuple[str, ...] = ()
    counterfactual: tuple[int, ...] = ()
    means: tuple[tuple[int, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads."""
        data = asdict(self)
        for name in _LISTS:
            data[name] = list(data[name])
        data["means"] = [list(ids) for ids in self.means]
        data["top"] = [[list(pair) for pair in side] for side in self.top]
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Outcome":
        """Rebuild from `as_json`; unknown keys of newer versions are dropped."""
        known = {item.name for item in fields(Outcome)}
        values = {name: value for name, value in data.items() if name in known}
        for name in _LISTS:
            values[name] = tuple(values.get(name, ()))
        values["means"] = tuple(tuple(ids) for ids in values.get("means", ()))
        before, after = values.get("top") or ((), ())
        values["top"] = tuple(
            tuple((str(t), float(c)) for t, c in side) for side in (before, after)
        )
        return Outcome(**values)


def adjusted(p: Sequence[float]) -> NDArray[np.float64]:
    """Return q: p-values corrected for their number by Benjamini and Hochberg."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    found = np.empty(len(values))
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def badge_of(tested: Outcome, q: float) -> Badge:
    """Return the badge of one test from its corrected p-value."""
    if tested.predicted == 0:
        return Badge.INCONCLUSIVE
    if q <= LEVEL:
        same = tested.effect * tested.predicted > 0
        return Badge.SUPPORTED if same else Badge.CONTRADICTED
    real = abs(tested.predicted) > tested.band
    return Badge.COMPENSATED if real else Badge.INCONCLUSIVE


def badges(results: Sequence[Outcome]) -> tuple[Badge, ...]:
    """Return the badges of tests that are shown together."""
    q = adjusted([tested.p for tested in results])
    return tuple(badge_of(tested, float(one)) for tested, one in zip(results, q, strict=True))
