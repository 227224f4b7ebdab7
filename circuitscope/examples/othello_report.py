"""Write what holds of He et al.'s findings in our Othello-GPT: a page of the manual, with pictures.

1. Find what every feature means on the board (`othello_evidence`), which writes `boards.npz`.
2. Test the eight claims (`othello_findings`).
3. Write the page with every number and verdict, the table of all alive features, the pictures.

Run `python -m circuitscope.examples.othello_report` after the dictionaries are trained.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from circuitscope.core.shipped import shipped_path
from circuitscope.examples import othello, othello_boards, othello_evidence
from circuitscope.examples.dictionary_set import read_dictionary
from circuitscope.examples.othello_findings import examine, kind_shares
from circuitscope.examples.othello_pictures import draw_boards, draw_curve, draw_shares
from circuitscope.examples.othello_shares import Share, count_shares, section
from circuitscope.examples.othello_subject import GAMES, Finding, Place, Subject
from circuitscope.exchange.vector import svg_text

__all__ = ["make", "write_page"]

_log = logging.getLogger(__name__)


def make(
    folder: Path,
    page: Path,
    pictures: Path,
    *,
    games: int = othello_evidence.GAMES,
    fresh_games: int = GAMES,
) -> list[Finding]:
    """Measure everything and write the page.

    Args:
        folder: The example: `model` and `dictionaries`; gains `boards.npz` and `features.md`.
        page: The page of the manual to write.
        pictures: The folder of its pictures.
        games: Games that tell what features mean.
        fresh_games: Games that the claims about the model are tested on.

    Returns:
        The findings, in the order of the claims.
    """
    from transformers import GPT2LMHeadModel

    found = othello_evidence.make(folder, games)
    places = {
        name: Place(read_dictionary(folder / "dictionaries" / name), meaning)
        for name, (meaning, _) in found.items()
    }
    facts = next(iter(found.values()))[1]
    model = GPT2LMHeadModel.from_pretrained(folder / "model", attn_implementation="eager").eval()
    subject = Subject.with_fresh_games(model, places, facts, fresh_games)
    findings = examine(subject)
    shares = {name: kind_shares(places[name], facts) for name in subject.outputs}
    curve = json.loads((folder / "model" / "curve.json").read_text("utf-8"))
    boards = othello_boards.read(folder / "boards.npz")
    pictures.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("othello-shares", draw_shares(shares)),
        ("othello-boards", draw_boards(_best_boards(places, facts, boards))),
        ("othello-curve", draw_curve(curve)),
    ):
        (pictures / f"{name}.svg").write_text(svg_text(figure), encoding="utf-8")
    positions = games // 2 * (othello.MOVES - 1), len(subject.rows("embed"))
    write_page(page, findings, places, positions, count_shares(folder))
    _write_features(folder / "features.md", boards)
    for finding in findings:
        _log.info("%s: %s\n  %s", finding.claim, finding.verdict, "\n  ".join(finding.lines))
    return findings


def _best_boards(
    places: Mapping[str, Place], facts: othello_evidence.Facts, boards: othello_boards.FeatureBoards
) -> list[tuple[str, str, np.ndarray]]:
    """Choose the feature with the best rule of the kind that each of four places is known for."""
    last = max(int(name.rpartition("_")[2]) for name in places)
    wanted = (
        ("attn_out_0", "move"), ("mlp_out_2", "mine"),
        (f"attn_out_{last}", "empty"), (f"mlp_out_{last}", "legal"),
    )  # fmt: skip
    chosen = []
    for name, kind in wanted:
        meaning = places[name].meaning
        of_kind = facts.kinds[meaning.first] == kind
        if not of_kind.any():
            continue
        best = int(np.where(of_kind, meaning.f1, -1.0).argmax())
        row = boards.find(name, int(meaning.unit[best]))
        assert row is not None
        board = boards.boards[row, othello_boards.KINDS.index(kind)]
        line = f"{meaning.rule(facts, best)[:22]}, F1 {meaning.f1[best]:.2f}"
        chosen.append((f"{name} {meaning.unit[best]}: {kind}", line, board))
    return chosen


def write_page(
    path: Path,
    findings: Sequence[Finding],
    places: Mapping[str, Place],
    positions: tuple[int, int],
    shares: Sequence[Share],
) -> None:
    """Write the findings as a page of the manual.

    Args:
        path: Where to.
        findings: In the order of the claims.
        places: Every dictionary and what its features mean.
        positions: How many chose the rules, and how many tested the claims about the model.
        shares: How many features of each dictionary a rule describes well.
    """
    summary = "\n".join(
        f"| {n} | {f.claim} | **{f.verdict}** |" for n, f in enumerate(findings, start=1)
    )
    parts = [
        f"## {n}. {f.claim}: {f.verdict}\n\n*Measured:* {f.measure}\n\n"
        + "\n".join(f"- {line}" for line in f.lines)
        for n, f in enumerate(findings, start=1)
    ]
    rules = "\n".join(
        f"| {name} | {len(p.meaning.unit)} | {np.mean(p.meaning.f1):.2f} "
        f"| {np.mean(p.meaning.f1 >= 0.7):.0%} | {np.mean(p.meaning.f1 >= 0.9):.0%} |"
        for name, p in places.items()
    )
    text = _PAGE.format(
        shares=section(shares), summary=summary, findings="\n\n".join(parts), rules=rules,
        half=f"{positions[0]:,}", positions=f"{positions[1]:,}",
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")


def _write_features(path: Path, boards: othello_boards.FeatureBoards) -> None:
    """Write the table of every alive feature."""
    names = boards.names[boards.dictionary]
    rows = "\n".join(
        f"| {name} | {unit} | {often:.2%} | {rule} | {score:.2f} |"
        for name, unit, often, rule, score in zip(
            names, boards.unit, boards.frequency, boards.rule, boards.rule_f1, strict=True
        )
    )
    path.write_text(
        "# Best board rule of every alive feature\n\n"
        "Made by `python -m circuitscope.examples.othello_report`. F1 on games that took no part "
        "in choosing the rule.\n\n"
        f"| dictionary | feature | active | rule | F1 |\n|---|---|---|---|---|\n{rows}\n",
        encoding="utf-8",
    )


_PAGE = """\
# What holds in our Othello-GPT

He et al. ([arXiv 2402.12201](https://arxiv.org/abs/2402.12201)) named eight things about their
Othello-GPT. Here each is tested on ours, with a bar that was set before the numbers were seen. The
model, the games and the dictionaries are not theirs; theirs had 31 to 122 active features of 128
dimensions, ours about 16. Telling facts (the fact that a feature's firing tells most about) came in
after a first run had shown few good rules: they can only lift a claim to "in part", and claim 6,
whose features they choose, does not hold with features chosen by rules (50 %).

| | claim | in our model |
|---|---|---|
{summary}

![What the features of each output are about](../pictures/othello-shares.svg)

*Share of alive features whose best rule is of each kind, F1 at least 0.7; white: no such rule.*

![Boards of four features](../pictures/othello-boards.svg)

*The feature with the best rule of four kinds; darker: more of its activation falls there.*

Rules were chosen on {half} positions and their F1 measured on as many others; claims 4 to 8 use
{positions} further positions. A rule says when a feature is active, not what it does.

{findings}

## How well rules fit

A rule is a fact of the board, or two that must both hold. *(strongly)* in a rule means that it
tells when the feature is more than half as active as it gets.

| dictionary | alive | mean F1 | F1 >= 0.7 | F1 >= 0.9 |
|---|---|---|---|---|
{rules}

Every alive feature's rule is in `projects/othello/features.md`.

{shares}

## The model learning

![Legal moves against games seen](../pictures/othello-curve.svg)

Made by `make othello`.
"""


def main() -> None:
    """Write the page from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=make.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped_path("projects", "othello"))
    resources = shipped_path("resources")
    parser.add_argument("--page", type=Path, default=resources / "manual" / "othello-findings.md")
    parser.add_argument("--pictures", type=Path, default=resources / "pictures")
    chosen = parser.parse_args()
    make(chosen.folder, chosen.page, chosen.pictures)


if __name__ == "__main__":
    main()
