"""Measure what every feature of Othello-GPT's dictionaries means on the board.

1. Play fresh random games and run the model on them; rows are positions that have a next move.
2. List facts of each position: a square is mine, theirs, empty, turned, just played or legal; a
   move at a square turned discs in a direction; Black made the move.
3. A feature fires where it is active, or where it is more than half as active as it mostly gets
   (99th percentile). For each way, the fact with the best F1 is taken; then the best second fact
   that must hold as well; the shorter rule is kept unless the longer one is clearly better.
4. The fact that a feature tells most about is the one with the highest mutual information with its
   firing. It is kept beside the rule: a sparse feature often fires for sure, but not always, where
   a fact holds, and then has a telling fact and a poor F1.
5. Average the boards on which it is active, weighted by activation, and keep the games in which it
   is most active.

F1 is measured on games that took no part in choosing the rule. A rule is a description, not a
cause.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from circuitscope.examples import othello, othello_boards
from circuitscope.examples.dictionary_set import KINDS, dictionary_name, ends, read_dictionary
from circuitscope.examples.othello_dictionaries import Sample, collect

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GPT2LMHeadModel

    from circuitscope.dictionaries.training import DictionaryWeights

__all__ = ["Facts", "Meaning", "explain", "list_facts", "make"]

_log = logging.getLogger(__name__)

SEED = 3_000_017
GAMES = 600
"""Half of them choose the rules, half of them measure their F1: 17 700 positions each."""
ALIVE = 20
"""A feature that fires at fewer of the chosen positions is not described."""
_BETTER = 0.03
DIRECTIONS = {"right": 1, "down": 8, "down right": 9, "down left": 7,
              "left": -1, "up": -8, "up left": -9, "up right": -7}  # fmt: skip
_HALF, _ANY = 0.5, 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what is true of each position.

    Attributes:
        names: Words of each fact, [fact].
        kinds: What each is about: one of `othello_boards.KINDS`, "turn" (a move that turned discs
            in a direction) or "player", [fact].
        squares: The square that each is about; -1 for none, int [fact].
        true: bool [row, fact].
    """

    names: tuple[str, ...]
    kinds: NDArray[np.str_]
    squares: NDArray[np.int64]
    true: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Meaning:
    """Hold what one dictionary's features mean.

    Attributes:
        unit: Features that are alive, int [n].
        first: Index of the fact that says best when each fires, int [n].
        second: Index of the fact that must hold as well; -1 for none, int [n].
        strong: Whether the rule is for strong firing, bool [n].
        f1: F1 on fresh games, float [n].
        single_f1: F1 of the best single fact there, float [n].
        direction_f1: F1 of the best fact of kind "turn"; flipped_f1: of kind "flipped", [n].
        telling: Index of the fact that each tells most about, int [n].
        precision: How often that fact holds where the feature fires, on fresh games, float [n].
    """

    unit: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    strong: NDArray[np.bool_]
    f1: NDArray[np.float64]
    single_f1: NDArray[np.float64]
    direction_f1: NDArray[np.float64]
    flipped_f1: NDArray[np.float64]
    telling: NDArray[np.int64]
    precision: NDArray[np.float64]

    def rule(self, facts: Facts, row: int) -> str:
        """Say a feature's rule in words."""
        second = int(self.second[row])
        words = facts.names[self.first[row]]
        words = words if second < 0 else f"{words} and {facts.names[second]}"
        return f"{words} (strongly)" if self.strong[row] else words


def turned(games: othello.Games) -> NDArray[np.bool_]:
    """Tell in which directions each move turned discs, bool [game, pos, direction]."""
    move = np.zeros(games.tokens.shape, np.uint64)
    played = games.tokens > 0
    move[played] = np.uint64(1) << othello.square_of(games.tokens[played]).astype(np.uint64)
    flipped, at = othello.planes(games.flipped), othello.planes(move)
    found = np.zeros((*games.tokens.shape, len(DIRECTIONS)), bool)
    column = np.arange(64) % 8
    for index, step in enumerate(DIRECTIONS.values()):
        # The disc next to the move in this direction turned; no line goes round the edge.
        target = np.arange(64) + step
        inside = (target >= 0) & (target < 64) & (abs(target % 8 - column) <= 1)
        squares = np.flatnonzero(inside)
        found[..., index] = (at[..., squares] & flipped[..., target[squares]]).any(-1)
    return found


def list_facts(games: othello.Games) -> Facts:
    """List the facts of every position that has a next move."""
    asked = (games.legal != 0)[:, : othello.MOVES - 1]
    boards = _boards(games)
    directions = turned(games)[:, : othello.MOVES - 1][asked]
    names = [f"{square} {kind}" for kind in othello_boards.KINDS for square in othello.SQUARES]
    kinds = [kind for kind in othello_boards.KINDS for _ in othello.SQUARES]
    columns = [boards[kind] for kind in othello_boards.KINDS]
    for index, direction in enumerate(DIRECTIONS):
        names += [f"{square} turns {direction}" for square in othello.SQUARES]
        kinds += ["turn"] * 64
        columns.append(boards["move"] & directions[:, index, None])
    columns.append(games.black[:, : othello.MOVES - 1][asked][:, None])
    squares = np.concatenate([np.tile(np.arange(64), len(columns) - 1), [-1]])
    return Facts(
        (*names, "Black moved"), np.array([*kinds, "player"]), squares, np.concatenate(columns, 1)
    )


def _boards(games: othello.Games) -> dict[str, NDArray[np.bool_]]:
    """Return the boards of all asked positions by kind, bool [row, 64]."""
    asked = (games.legal != 0)[:, : othello.MOVES - 1]
    tokens = games.tokens[:, : othello.MOVES - 1][asked]
    bits = {
        "mine": games.mine, "theirs": games.theirs, "empty": games.empty,
        "flipped": games.flipped, "legal": games.legal,
    }  # fmt: skip
    boards = {k: othello.planes(v[:, : othello.MOVES - 1][asked]) for k, v in bits.items()}
    boards["move"] = np.arange(64) == othello.square_of(tokens)[:, None]
    return boards


def f1(fires: NDArray[np.float32], true: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute F1 of every fact for every feature, [row, feature] and [row, fact] of 0 and 1."""
    both = fires.T @ true
    total = fires.sum(0)[:, None] + true.sum(0)
    return np.divide(2.0 * both, total, out=np.zeros(both.shape), where=total > 0)


def explain(values: NDArray[np.float32], facts: Facts) -> Meaning:
    """Find the best rule of every feature; the first half of the rows choose, the second measure.

    Args:
        values: Activations, [row, feature].
        facts: Of the same rows.
    """
    half = len(values) // 2
    unit = np.flatnonzero((values[:half] > 0).sum(0) >= ALIVE)
    values = values[:, unit]
    true = facts.true.astype(np.float32)
    high = np.array([np.percentile(v[v > 0], 99) for v in values[:half].T])
    best: dict[str, NDArray] = {}
    for share in (_ANY, _HALF):
        fires = (values > share * high).astype(np.float32)
        found = _choose(fires[:half], true[:half])
        measured = _measure(fires[half:], true[half:], *found)
        single = f1(fires[half:], true[half:])
        kinds = {k: single[:, facts.kinds == k].max(1) for k in ("turn", "flipped")}
        part = {
            "first": found[0], "second": found[1], "f1": measured,
            "strong": np.full(len(unit), share > 0),
            "single_f1": single[np.arange(len(unit)), found[0]],
            "direction_f1": kinds["turn"], "flipped_f1": kinds["flipped"],
        }  # fmt: skip
        if best:
            better = part["f1"] > best["f1"] + _BETTER
            part = {name: np.where(better, part[name], best[name]) for name in part}
        best = part
    fires = (values > 0).astype(np.float32)
    telling = information(fires[:half], true[:half]).argmax(1)
    there = np.maximum(fires[half:].sum(0), 1)
    precision = (fires[half:] * true[half:][:, telling]).sum(0) / there
    return Meaning(unit, **best, telling=telling, precision=precision.astype(np.float64))


def information(fires: NDArray[np.float32], true: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the mutual information, in nats, of every feature's firing with every fact.

    Only facts that become likelier where the feature fires count; the others get 0.

    Args:
        fires: 0 or 1, [row, feature].
        true: 0 or 1, [row, fact].
    """
    n = len(fires)
    both = (fires.T @ true).astype(np.float64) / n
    fire, fact = fires.mean(0, dtype=np.float64)[:, None], true.mean(0, dtype=np.float64)
    cells = (
        (both, fire * fact),
        (fire - both, fire * (1 - fact)),
        (fact - both, (1 - fire) * fact),
        (1 - fire - fact + both, (1 - fire) * (1 - fact)),
    )
    total = np.zeros_like(both)
    for share, alone in cells:
        seen = (share > 1e-12) & (alone > 1e-12)
        total[seen] += share[seen] * np.log(share[seen] / alone[seen])
    return np.where(both > fire * fact, total, 0.0)


def _choose(
    fires: NDArray[np.float32], true: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose one fact for each feature, and a second where both together are clearly better."""
    scores = f1(fires, true)
    first = scores.argmax(1)
    second = np.full(len(first), -1)
    for row, fact in enumerate(first):
        held = true[:, fact] > 0
        inside, among = fires[held, row], true[held]
        both = inside @ among
        joint = 2 * both / np.maximum(fires[:, row].sum() + among.sum(0), 1)
        other = int(joint.argmax())
        if joint[other] > scores[row, fact] + _BETTER:
            second[row] = other
    return first, second


def _measure(
    fires: NDArray[np.float32],
    true: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Measure the F1 of one rule for each feature, [feature]."""
    rule = true[:, first] * np.where(second >= 0, true[:, second], 1.0)
    total = fires.sum(0) + rule.sum(0)
    return np.divide(2.0 * (fires * rule).sum(0), total, out=np.zeros(len(first)), where=total > 0)


def dictionaries(
    folder: Path, model: GPT2LMHeadModel, sample: Sample
) -> Iterator[tuple[str, DictionaryWeights, NDArray[np.float32]]]:
    """Yield the name, weights and activations, [row, feature], of every dictionary of a folder."""
    for layer in range(model.config.n_layer):
        rows = collect(model, layer, sample)
        for kind in KINDS:
            weights = read_dictionary(folder / dictionary_name(kind, layer))
            yield dictionary_name(kind, layer), weights, weights.encode(ends(kind, rows)[0])


def _averages(values: NDArray[np.float32], games: othello.Games) -> NDArray[np.uint8]:
    """Average boards, weighted by activation, uint8 [feature, kind, 64]."""
    boards = _boards(games)
    share = values / np.maximum(values.sum(0), 1e-9)
    averaged = np.stack(
        [share.T @ boards[kind].astype(np.float32) for kind in othello_boards.KINDS], 1
    )
    return np.rint(255 * averaged.clip(0, 1)).astype(np.uint8)


def _examples(
    values: NDArray[np.float32], games: othello.Games
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Find the games, and the moves in them, at which each feature is most active."""
    asked = (games.legal != 0)[:, : othello.MOVES - 1]
    game, move = np.nonzero(asked)
    n, most = values.shape[1], othello_boards.EXAMPLES
    tokens = np.zeros((n, most, othello.MOVES), np.uint8)
    position, activation = np.zeros((n, most), np.uint8), np.zeros((n, most), np.float32)
    for feature in range(n):
        order = np.argsort(-values[:, feature], kind="stable")[: 40 * most]
        _, firsts = np.unique(game[order], return_index=True)
        chosen = order[np.sort(firsts)][:most]
        chosen = chosen[values[chosen, feature] > 0]
        k = len(chosen)
        tokens[feature, :k] = games.tokens[game[chosen]]
        position[feature, :k] = move[chosen]
        activation[feature, :k] = values[chosen, feature]
    return tokens, position, activation


@torch.no_grad()
def make(folder: Path, n_games: int = GAMES) -> dict[str, tuple[Meaning, Facts]]:
    """Write `boards.npz` for the model and dictionaries in a folder.

    Returns:
        What every dictionary's features mean, by name, with the facts they are told in.
    """
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder / "model", attn_implementation="sdpa").eval()
    games, sample = Sample.played(SEED, n_games)
    facts = list_facts(games)
    found: dict[str, tuple[Meaning, Facts]] = {}
    columns: dict[str, list[NDArray]] = {}
    for name, _, values in dictionaries(folder / "dictionaries", model, sample):
        meaning = explain(values, facts)
        found[name] = meaning, facts
        alive = values[:, meaning.unit]
        tokens, position, activation = _examples(alive, games)
        n = len(meaning.unit)
        part = {
            "dictionary": np.full(n, len(found) - 1, np.uint8),
            "unit": meaning.unit.astype(np.int16),
            "frequency": (alive > 0).mean(0).astype(np.float32),
            "mean_activation": (alive.sum(0) / (alive > 0).sum(0)).astype(np.float32),
            "boards": _averages(alive, games),
            "examples": tokens, "example_position": position, "example_activation": activation,
            "rule": np.array([meaning.rule(facts, row) for row in range(n)], "U"),
            "rule_f1": meaning.f1.astype(np.float32),
        }  # fmt: skip
        for column, array in part.items():
            columns.setdefault(column, []).append(array)
        _log.info("%s: %d alive, mean F1 %.2f", name, n, meaning.f1.mean() if n else 0)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    boards = othello_boards.FeatureBoards(names=np.array(list(found), "U"), **joined)
    othello_boards.write(folder / "boards.npz", boards)
    return found
