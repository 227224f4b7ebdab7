"""Board rules of the Othello example's features as labels, with their measured F1."""

from __future__ import annotations

from pathlib import Path

from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.records import FeatureId, Label
from circuitscope.examples import othello_boards

METHOD = "board rule"


def board_labels(evidence: Path | str, boards: Path | str) -> dict[FeatureId, list[Label]]:
    """Return the best board rule of every feature that has one.

    Args:
        evidence: The evidence file, which says which dictionary has which digest.
        boards: `boards.npz`; its F1 was measured on games that took no part in choosing a rule.
    """
    found: dict[FeatureId, list[Label]] = {}
    known = othello_boards.read(boards)
    with EvidenceFile(evidence) as file:
        places = {str(card["name"]): place for place, card in file.cards.items()}
    names = known.names.tolist()
    columns = (known.dictionary, known.unit, known.rule, known.rule_f1)
    for which, unit, rule, score in zip(*(c.tolist() for c in columns), strict=True):
        if rule and names[which] in places:
            label = Label(rule, METHOD, "machine", round(score, 4), "F1")
            found[FeatureId(*places[names[which]], unit)] = [label]
    return found
