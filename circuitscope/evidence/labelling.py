"""Label features from their examples, and measure how well each label tells where they fire.

1. Places where a feature is active (its examples) and places where it is silent (the even sample of
   contexts) are each split in half: one half chooses, the other measures.
2. A rule says what a place looks like: this token, the token before it, both, or a token anywhere
   before. The rule that holds most often where the feature is active and least where it is silent
   is taken; the examples that it covers are one cluster, one concept of the feature, and what it
   leaves over is looked at again. How many concepts a feature has is decided by the Bayesian
   information criterion on this half, none being a possible answer.
3. The label is scored on the other half: the mean of how often it holds where the feature is active
   and how often it does not where the feature is silent. Chance is 0.5. Each concept's share of
   that half is told with it.

`evidence.concepts` clusters the examples first, for which it needs a model.

A label describes when a feature fires; it is no cause and no proof. Nothing but the evidence file
is read: no model, no language model, no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import CONCEPTS, Example, FeatureId, Label

METHOD = "tokens and n-grams"
LEAST_SCORE = 0.6
"""Labels that do worse than this are not kept: they would say nothing."""
LEAST_PLACES = 3
_SIMPLER = 0.002

Rule = tuple[str, int, int]
"""Kind, token, and the token before it for "pair"."""
_KINDS = ("token", "previous", "pair", "earlier")


@dataclass(frozen=True, slots=True)
class Silences:
    """Places of the even sample, by the rules that hold there.

    Attributes:
        texts: The tokens up to each place, its own last.
        holds: Places where a rule holds, ascending, by rule.
    """

    texts: tuple[tuple[int, ...], ...]
    holds: Mapping[Rule, NDArray[np.int64]]

    @property
    def n(self) -> int:
        """Return how many places there are."""
        return len(self.texts)

    def rates(self, places: NDArray[np.int64]) -> Callable[[Rule], float]:
        """Return what tells at which share of some places a rule holds."""
        mask = np.zeros(self.n, bool)
        mask[places] = True
        size = max(len(places), 1)

        def rate(rule: Rule) -> float:
            at = self.holds.get(rule)
            return 0.0 if at is None else float(mask[at].sum()) / size

        return rate


def rules_at(ids: Sequence[int], peak: int) -> set[Rule]:
    """Return all rules that hold at a place."""
    token = ids[peak]
    found: set[Rule] = {("token", token, -1)}
    if peak:
        found |= {("previous", ids[peak - 1], -1), ("pair", token, ids[peak - 1])}
        found |= {("earlier", one, -1) for one in ids[:peak]}
    return found


def silences(file: EvidenceFile) -> Silences:
    """Read the even sample of contexts."""
    ids = file.array("", -1, "context_ids").tolist()
    offset = file.array("", -1, "context_offset").tolist()
    peaks = file.array("", -1, "context_peak").tolist()
    holds: dict[Rule, list[int]] = {}
    texts = tuple(
        tuple(ids[start : start + peak + 1])
        for start, peak in zip(offset[:-1], peaks, strict=True)
    )  # fmt: skip
    for at, text in enumerate(texts):
        for rule in rules_at(text, len(text) - 1):
            holds.setdefault(rule, []).append(at)
    return Silences(texts, {rule: np.array(places) for rule, places in holds.items()})


def active_places(evidence: DictionaryEvidence) -> dict[int, NDArray[np.int64]]:
    """Return at which places of the even sample each feature is active."""
    file, key = evidence.file, (evidence.digest, evidence.layer)
    offset = file.array(*key, "active_offset").astype(np.int64)
    unit = file.array(*key, "active_unit")
    place = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    order = np.argsort(unit, kind="stable")
    units, first = np.unique(unit[order], return_index=True)
    parts = np.split(place[order], first[1:])
    return {int(number): part for number, part in zip(units, parts, strict=True)}


def choose(active: Sequence[set[Rule]], rate: Callable[[Rule], float]) -> tuple[Rule, ...]:
    """Choose the rules of a feature's concepts, and how many there are.

    Args:
        active: The rules that hold at each place where it is active.
        rate: How often a rule holds where it is silent.
    """
    left = list(active)
    chosen: list[Rule] = []
    best: tuple[float, int] = (information(len(active), 0, 0.0, 0), 0)
    while len(left) >= LEAST_PLACES:
        counts: dict[Rule, int] = {}
        for rules in left:
            for rule in rules:
                counts[rule] = counts.get(rule, 0) + 1

        def worth(rule: Rule, counts: Mapping[Rule, int] = counts) -> tuple[float, Rule]:
            gain = counts[rule] / len(active) - rate(rule)
            return gain - _SIMPLER * _KINDS.index(rule[0]), rule

        fitting = [rule for rule in sorted(counts) if counts[rule] >= LEAST_PLACES]
        if not fitting:
            break
        chosen.append(max(fitting, key=worth))
        left = [rules for rules in left if chosen[-1] not in rules]
        wrong = min(sum(map(rate, chosen)), 1.0)
        told = information(len(active), len(active) - len(left), wrong, len(chosen))
        best = max(best, (told, len(chosen)), key=lambda found: (found[0], -found[1]))
    return tuple(chosen[: best[1]])


def information(n: int, covered: int, wrong: float, concepts: int) -> float:
    """Return the Bayesian information criterion of rules; more is better.

    Active and silent places count alike, n of each, and a place's side is told by whether a rule
    holds there.

    Args:
        n: Places where the feature is active.
        covered: Of these those where a rule holds.
        wrong: Share of silent places where one holds.
        concepts: How many rules.
    """
    likelihood = 0.0
    for active, silent in ((covered, wrong * n), (n - covered, (1 - wrong) * n)):
        for count in (active, silent):
            if count > 0:
                likelihood += count * math.log(count / (active + silent))
    return 2 * likelihood - concepts * math.log(2 * max(n, 1))


def detection(
    rules: Iterable[Rule], active: Sequence[set[Rule]], silent: Silences, tested: NDArray[np.int64]
) -> float:
    """Return how well rules tell places where a feature is active from silent ones; chance is 0.5.

    Args:
        rules: The label.
        active: The rules that hold at each held-out place where it is active.
        silent: The even sample.
        tested: Held-out places of it where the feature is silent.
    """
    wanted = set(rules)
    hit = sum(bool(wanted & found) for found in active) / max(len(active), 1)
    held = np.zeros(silent.n, bool)
    for rule in wanted & set(silent.holds):
        held[silent.holds[rule]] = True
    return (hit + 1 - float(held[tested].mean() if len(tested) else 0.0)) / 2


@dataclass(frozen=True, slots=True)
class Halves:
    """The places of a feature, split: those that choose a label and those that measure it."""

    choosing: list[set[Rule]]
    measuring: list[set[Rule]]
    silent_choosing: NDArray[np.int64]
    silent_measuring: NDArray[np.int64]

    def thinned(self, step: int) -> Halves:
        """Return these with every `step`-th of the places that choose."""
        return replace(self, choosing=self.choosing[::step])


def split(
    examples: Sequence[Example], active: NDArray[np.int64], sample: Silences
) -> Halves | None:
    """Split the places of a feature, texts that repeat counted once; None where they are few.

    Args:
        examples: Its examples.
        active: Places of the even sample where it is active: further examples.
        sample: The even sample.
    """
    return split_texts(different(examples, active, sample), active, sample)


def split_texts(
    texts: Sequence[tuple[int, ...]], active: NDArray[np.int64], sample: Silences
) -> Halves | None:
    """Split the places at the ends of texts, every other one; None where they are few."""
    places = [rules_at(text, len(text) - 1) for text in texts]
    if len(places) < 2 * LEAST_PLACES:
        return None
    silent = np.setdiff1d(np.arange(sample.n), active)
    return Halves(places[::2], places[1::2], silent[::2], silent[1::2])


def different(
    examples: Sequence[Example], active: NDArray[np.int64], sample: Silences
) -> list[tuple[int, ...]]:
    """Return the texts up to the places of a feature, each once, in order."""
    texts = {example.token_ids[: example.peak + 1] for example in examples}
    return sorted(texts | {sample.texts[at] for at in active.tolist()})


def say(rules: Sequence[Rule], text: Callable[[int], str]) -> str:
    """Write rules in words."""
    said = []
    for kind, token, before in rules:
        name = f"“{text(token).strip() or text(token)}”"
        if kind == "pair":
            said.append(f"“{text(before).strip()} {text(token).strip()}”")
        elif kind == "token":
            said.append(name)
        else:
            said.append(f"after {name}" if kind == "previous" else f"{name} earlier")
    return CONCEPTS.join(said)


def label_dictionary(
    evidence: DictionaryEvidence, silent: Silences, units: Iterable[int] | None = None
) -> dict[FeatureId, tuple[Label, tuple[Rule, ...]]]:
    """Label the features of one dictionary; those of which no label says anything are left out.

    Args:
        evidence: Of the dictionary.
        silent: The even sample.
        units: Which features; None takes all that are alive.
    """
    found: dict[FeatureId, tuple[Label, tuple[Rule, ...]]] = {}
    places = active_places(evidence)
    for unit in evidence.alive().tolist() if units is None else units:
        active = places.get(unit, np.zeros(0, np.int64))
        halves = split(evidence.examples(unit), active, silent)
        made = None if halves is None else _labelled(halves, silent, evidence.text)
        if made is not None:
            found[FeatureId(evidence.digest, evidence.layer, unit)] = made
    return found


def _labelled(
    halves: Halves, silent: Silences, text: Callable[[int], str]
) -> tuple[Label, tuple[Rule, ...]] | None:
    rules = choose(halves.choosing, silent.rates(halves.silent_choosing))
    score = detection(rules, halves.measuring, silent, halves.silent_measuring)
    if not rules or score < LEAST_SCORE:
        return None
    detail = shares(rules, halves.measuring) if len(rules) > 1 else None
    label = Label(say(rules, text), METHOD, "machine", round(score, 4), "detection", detail=detail)
    return label, rules


def shares(rules: Sequence[Rule], measuring: Sequence[set[Rule]]) -> dict[str, float]:
    """Return of how many held-out active places each concept is the first that holds."""
    first = [next((at for at, rule in enumerate(rules) if rule in one), -1) for one in measuring]
    return {
        f"share of concept {at + 1}": round(first.count(at) / max(len(first), 1), 4)
        for at in range(len(rules))
    }
