"""Count, layer by layer, the features of the Othello example that a board rule describes well.

The share of alive features whose best rule has an F1 of at least 0.8, against what He et al. say of
theirs; a section of the page of findings. Alive is counted twice: among the features that have
boards, those that fired on the positions that chose the rules, and among all that are alive in the
evidence, of many more games. A feature without boards has no rule.

Run `python -m circuitscope.examples.othello_shares` to write the section anew.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitscope.core.shipped import shipped_path
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing
from circuitscope.examples import othello_boards

GOOD = 0.8
TITLE = "## Features that one rule describes well, by layer"


@dataclass(frozen=True, slots=True)
class Share:
    """The features of one dictionary.

    Attributes:
        n_good: With a rule of at least `GOOD`.
        n_boards: With boards; n_alive: alive in the evidence, 0 where nothing was collected.
    """

    name: str
    n_good: int
    n_boards: int
    n_alive: int

    @property
    def layer(self) -> int:
        """Return the layer, the last part of the name."""
        return int(self.name.rsplit("_", 1)[1])


def count_shares(folder: Path) -> list[Share]:
    """Count the features of every dictionary of the example."""
    boards = othello_boards.read(folder / "boards.npz")
    alive: dict[str, int] = {}
    try:
        with EvidenceFile(folder / "dictionaries") as file:
            for (digest, layer), card in file.cards.items():
                evidence = DictionaryEvidence(file, digest, layer)
                alive[str(card["name"])] = len(evidence.alive())
    except EvidenceMissing:
        alive = {}
    found = []
    for which, name in enumerate(boards.names.tolist()):
        here = boards.dictionary == which
        good = here & (boards.rule_f1 >= GOOD) & (boards.rule != "")
        found.append(Share(name, int(good.sum()), int(here.sum()), alive.get(name, 0)))
    return sorted(found, key=lambda share: (share.layer, share.name))


def section(shares: Sequence[Share]) -> str:
    """Write the section: its words, one line for each dictionary and one for each layer."""
    lines = [
        TITLE,
        "",
        f"The bar is an F1 of {GOOD} on positions that did not choose the rule. He et al. validate "
        "theirs by looking: they count how often a square is mine, theirs or empty, or a move is "
        "legal, where a feature fires, and show features for which this is almost always so; they "
        "give no F1 to compare with. By this bar few of ours are described by one rule: "
        f"{_of(shares, 'n_boards')} of the features with boards, and {_of(shares, 'n_alive')} of "
        "all that are alive in the evidence. Most of them lie in layer 0; most features later on "
        "fire in ways that a fact of the board, or two, does not describe.",
        "",
        f"| layer | dictionary | F1 >= {GOOD} | with boards | share | alive | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for layer in sorted({share.layer for share in shares}):
        here = [share for share in shares if share.layer == layer]
        lines += [_row(str(layer), share.name, [share]) for share in here]
        lines.append(_row(f"**{layer}**", "**all**", here))
    lines.append(_row("**all**", "**all**", shares))
    return "\n".join(lines)


def _row(layer: str, name: str, shares: Sequence[Share]) -> str:
    good, boards, alive = (
        sum(getattr(share, part) for share in shares) for part in ("n_good", "n_boards", "n_alive")
    )
    cells = (layer, name, good, boards, _of(shares, "n_boards"), alive, _of(shares, "n_alive"))
    return f"| {' | '.join(map(str, cells))} |"


def _of(shares: Sequence[Share], whole: str) -> str:
    total = sum(getattr(share, whole) for share in shares)
    return f"{sum(share.n_good for share in shares) / total:.1%}" if total else "not collected"


def renew(page: Path, shares: Sequence[Share]) -> None:
    """Put the section in the place of the one that the page has."""
    text = page.read_text("utf-8")
    pattern = re.compile(rf"{re.escape(TITLE)}\n.*?(?=\n## )", re.DOTALL)
    page.write_text(pattern.sub(lambda _: section(shares) + "\n", text, count=1), "utf-8")


def main() -> None:
    """Write the section from the command line."""
    parser = argparse.ArgumentParser(description=renew.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped_path("projects", "othello"))
    page = shipped_path("resources") / "manual" / "othello-findings.md"
    parser.add_argument("--page", type=Path, default=page)
    chosen = parser.parse_args()
    renew(chosen.page, count_shares(chosen.folder))


if __name__ == "__main__":
    main()
