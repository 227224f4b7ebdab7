"""Label features from their examples, and measure how well each label tells where they fire.

1. Places where a feature is active (its examples) and places where it is silent (the even sample of
   contexts) are each split in half: one half chooses, the other measures.
2. A rule says what a place looks like: this token, the token before it, both, or a token anywhere
   before. The rule that holds most often where the feature is active and least where it is silent
   is taken; what it leaves over is looked at again, so a feature of several concepts gets up to
   three rules, one for each cluster of its examples.
3. The label is scored on the other half: the mean of how often it holds where the feature is active
   and how often it does not where the feature is silent. Chance is 0.5.

A label describes when a feature fires; it is no cause and no proof. Nothing but the evidence file
is read: no model, no language model, no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import Example, FeatureId, Label

METHOD = "tokens and n-grams"
LEAST_SCORE = 0.6
"""Labels that do worse than this are not kept: they would say nothing."""
_MOST_RULES = 3
_LEAST_PLACES = 3
_WORTH_A_RULE = 0.15
_SIMPLER = 0.002

Rule = tuple[str, int, int]
"""Kind, token, and the token before it for "pair"."""
_KINDS = ("token", "previous", "pair", "earlier")


@dataclass(frozen=True, slots=True)
class Silences:
    """Places of the even sample, by the rules that hold there.

    Attributes:
        n: How many places.
        holds: Places where a rule holds, ascending, by rule.
    """

    n: int
    holds: Mapping[Rule, NDArray[np.int64]]


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
    for at, peak in enumerate(peaks):
        for rule in rules_at(ids[offset[at] : offset[at + 1]], peak):
            holds.setdefault(rule, []).append(at)
    return Silences(len(peaks), {rule: np.array(places) for rule, places in holds.items()})


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
    """Choose rules that together hold where a feature is active.

    Args:
        active: The rules that hold at each place where it is active.
        rate: How often a rule holds where it is silent.
    """
    left = list(active)
    chosen: list[Rule] = []
    while left and len(chosen) < _MOST_RULES:
        counts: dict[Rule, int] = {}
        for rules in left:
            for rule in rules:
                counts[rule] = counts.get(rule, 0) + 1

        def worth(rule: Rule, counts: Mapping[Rule, int] = counts) -> tuple[float, Rule]:
            gain = counts[rule] / len(active) - rate(rule)
            return gain - _SIMPLER * _KINDS.index(rule[0]), rule

        best = max(sorted(counts), key=worth)
        if worth(best)[0] < _WORTH_A_RULE:
            break
        chosen.append(best)
        left = [rules for rules in left if best not in rules]
    return tuple(chosen)


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


def split(examples: Sequence[Example], active: NDArray[np.int64], n_contexts: int) -> Halves | None:
    """Split the places of a feature, texts that repeat counted once; None where they are few."""
    different = {example.token_ids[: example.peak + 1]: example for example in examples}
    places = [rules_at(e.token_ids, e.peak) for _, e in sorted(different.items())]
    if len(places) < 2 * _LEAST_PLACES:
        return None
    silent = np.setdiff1d(np.arange(n_contexts), active)
    return Halves(places[::2], places[1::2], silent[::2], silent[1::2])


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
    return "; or ".join(said)


def label_dictionary(
    evidence: DictionaryEvidence, silent: Silences
) -> dict[FeatureId, tuple[Label, tuple[Rule, ...]]]:
    """Label the features of one dictionary; those of which no label says anything are left out."""
    found: dict[FeatureId, tuple[Label, tuple[Rule, ...]]] = {}
    places = active_places(evidence)
    for unit in evidence.alive().tolist():
        active = places.get(unit, np.zeros(0, np.int64))
        halves = split(evidence.examples(unit), active, silent.n)
        if halves is None:
            continue
        mask = np.zeros(silent.n, bool)
        mask[halves.silent_choosing] = True
        size = max(len(halves.silent_choosing), 1)

        def rate(rule: Rule, mask: NDArray[np.bool_] = mask, size: int = size) -> float:
            at = silent.holds.get(rule)
            return 0.0 if at is None else float(mask[at].sum()) / size

        rules = choose(halves.choosing, rate)
        score = detection(rules, halves.measuring, silent, halves.silent_measuring)
        if rules and score >= LEAST_SCORE:
            label = Label(
                say(rules, evidence.text), METHOD, "machine", round(score, 4), "detection"
            )
            found[FeatureId(evidence.digest, evidence.layer, unit)] = (label, rules)
    return found
