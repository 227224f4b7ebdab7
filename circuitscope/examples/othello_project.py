"""The ready project of the Othello example: a legal move, a board feature, an attention score.

1. Play one game that nothing was trained on; the prompt is its first moves.
2. Trace the likeliest legal move; the feature of the middle MLP with the best rule "... mine" or
   "... theirs" among those active at the last move; the score of the most one-sided head between
   the last move and the earlier one it looks at most.
3. Name features by their board rule where it is good, group the strongest by what the rule is
   about, pin the moves and the target.
4. Test the groups, trace the move by heads, measure its circuit (`investigation`).

Run `python -m circuitscope.examples.othello_project` to make it again.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import othello, othello_boards
from circuitscope.examples.investigation import (
    add_heads,
    add_measurement,
    add_tests,
    public,
)
from circuitscope.project import verbs
from circuitscope.session.feature_work import take_along

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel
    from circuitscope.project.file import ProjectFile

log = logging.getLogger(__name__)

SEED, MOVES = 5_000_011, 17
NAMES = ("Legal move", "Board feature", "Attention score")
_GOOD = 0.7
_SHOWN = 14
# Second word of a rule: the group's name and colour.
_GROUPS = {
    "legal": ("legal moves", "violet"),
    "empty": ("empty squares", "slate"),
    "mine": ("mine", "amber"),
    "theirs": ("theirs", "brick"),
    "flipped": ("turned discs", "teal"),
    "turns": ("turns one way", "olive"),
    "move": ("moves played", "sky"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """Say what a node's feature means on the board."""

    boards: othello_boards.FeatureBoards

    def of(self, key: cs.NodeKey, least: float = _GOOD) -> str:
        """Return the rule of a feature; "" where there is none as good as `least`."""
        row = self.boards.find(f"{key.site.text}_{key.layer}", key.unit)
        if key.kind is not cs.NodeKind.FEATURE or row is None:
            return ""
        return str(self.boards.rule[row]) if self.boards.rule_f1[row] >= least else ""

    def score(self, key: cs.NodeKey) -> float:
        """Return the F1 of a feature's rule; 0 where there is none."""
        row = self.boards.find(f"{key.site.text}_{key.layer}", key.unit)
        return 0.0 if row is None else float(self.boards.rule_f1[row])


def choose_prompt() -> str:
    """Return the first moves of the game that the project shows."""
    return " ".join(othello.play(SEED, 1).prompts()[0].split()[:MOVES])


def choose_feature(circuit: cs.Circuit, layer: int, rules: Rules) -> cs.NodeKey:
    """Return the board feature of a layer's MLP that is told best, of those active at the end."""
    nodes = circuit.nodes
    last = len(circuit.tokens) - 1
    mask = nodes.of_kind(cs.NodeKind.FEATURE) & (nodes.site == cs.Site.MLP_OUT)
    mask &= (nodes.layer == layer) & (nodes.position == last)
    keys = [nodes.key(int(i)) for i in np.flatnonzero(mask)]
    board = [key for key in keys if rules.of(key, 0.0).split()[1:2] in (["mine"], ["theirs"])]
    return max(board or keys, key=rules.score)


def choose_score(model: LoadedModel, prompt: str) -> cs.AttentionScore:
    """Return the score of the head that looks most at every second move, at its strongest key."""
    run, last = model.run(prompt), len(prompt.split()) - 1
    best: tuple[float, int, int] = (0.0, 0, 0)
    for layer in range(1, model.anatomy.n_layers):
        pattern = run.pattern(layer)
        for head in range(model.anatomy.n_heads):
            shares = [
                pattern[head, query, :query][(query - np.arange(query)) % 2 == 1].sum()
                / max(pattern[head, query, :query].sum(), 1e-9)
                for query in range(4, last + 1)
            ]
            odd = float(np.mean(shares))
            best = max(best, (max(odd, 1 - odd), layer, head))
    _, layer, head = best
    return cs.AttentionScore(layer, head, last, int(run.pattern(layer)[head, last, :last].argmax()))


def draw(project: ProjectFile, name: str, rules: Rules) -> None:
    """Name, group and pin the strongest nodes as a person would."""
    circuit, drawing = project.circuits()[name], project.drawing(name)
    nodes = circuit.nodes
    order = np.argsort(-nodes.influence, kind="stable")
    groups: dict[str, list[cs.NodeKey]] = {}
    labels = {}
    for index in order[: 20 * _SHOWN]:
        key = nodes.key(int(index))
        if not (rule := rules.of(key)):
            continue
        labels[key] = rule
        shown = sum(map(len, groups.values()))
        if shown < _SHOWN and (kind := rule.split()[1]) in _GROUPS:
            groups.setdefault(kind, []).append(key)
    for key, rule in labels.items():
        drawing.label(key, rule)
    for kind, keys in groups.items():
        drawing.group(keys, *_GROUPS[kind])
    tokens = [i for i in order if nodes.kind[i] == cs.NodeKind.TOKEN][:2]
    drawing.pin(*(nodes.key(int(i)) for i in (*tokens, *circuit.roots)))
    drawing.set_view(node_threshold=0.5, edge_threshold=0.85)


def build(folder: Path) -> Path:
    """Make `othello.circuitscope`, its picture and its card in the example's folder.

    Args:
        folder: Holds `model`, `dictionaries` and `boards.npz`.

    Returns:
        The project's path.
    """
    model = cs.load_model(folder / "model", device="cpu")
    dictionaries = cs.load_dictionaries(folder / "dictionaries")
    rules = Rules(othello_boards.read(folder / "boards.npz"))
    prompt = choose_prompt()
    board = othello.read(prompt)
    legal = othello.legal_tokens(board.legal)[0, -1]
    logits = np.where(legal, model.run(prompt).logits[-1], -np.inf)
    move = othello.VOCABULARY[int(logits.argmax())]
    middle = model.anatomy.n_layers // 2 - 1

    def trace(target: cs.Target | str) -> cs.Circuit:
        circuit = cs.trace(
            model, prompt, dictionaries=dictionaries, mlp="secant", targets=[target],
            max_nodes=512,
        )  # fmt: skip
        return public(circuit)

    first = trace(f"logit:{move}")
    wide = cs.trace(
        model, prompt, dictionaries=dictionaries, mlp="secant", targets=[f"logit:{move}"],
        max_nodes=None,
    )  # fmt: skip
    feature = choose_feature(wide, middle, rules)
    score = choose_score(model, prompt)
    circuits = (
        first,
        trace(cs.Feature(feature.site.text, feature.layer, feature.unit, feature.position)),
        trace(score),
    )
    path = folder / "othello.circuitscope"
    with cs.new_project(path, overwrite=True) as project:
        for name, circuit in zip(NAMES, circuits, strict=True):
            added = project.add(circuit, name=name)
            list(take_along(project, added, circuit, [folder / "dictionaries"]))
            draw(project, name, rules)
            add_tests(model, dictionaries, project, name)
        add_heads(model, project, NAMES[0])
        add_measurement(model, dictionaries, project, NAMES[0])
        note = _NOTE.format(
            prompt=prompt, move=move, feature=f"mlp_out_{feature.layer} {feature.unit}",
            rule=rules.of(feature, 0.0) or "no rule", f1=rules.score(feature), layer=score.layer,
            head=score.head, key=score.key, square=prompt.split()[score.key],
        )  # fmt: skip
        log.info("%s", note)
        project.contents.commit(verbs.project_note(project, note))
        project.settle()
        project.save()
        cs.export(project, folder / "othello.png", circuit=NAMES[0], what="circuit", dpi=72)
    card = {
        "title": "Why is this Othello move legal?",
        "line": "A small GPT that only reads moves; its features are named by what they tell "
        "of the board.",
    }
    cards = json.dumps({path.name: card}, indent=1, ensure_ascii=False)
    (folder / "cards.json").write_text(cards + "\n", encoding="utf-8")
    return path


_NOTE = (
    "The game so far: {prompt}. Three questions. Why does the model hold {move} for the likeliest "
    "legal move? Where does the board feature {feature} ({rule}, F1 {f1:.2f}) come from? Why does "
    "head {layer}.{head} look from the last move to {square} (position {key})? Features are named "
    "by their best board rule where its F1 is at least 0.7; groups collect the strongest by what "
    "the rule is about. A rule says when a feature is active, not what it does: each group was "
    "switched off on the whole model, against 200 controls, and the badges do not bear out every "
    "group. The move is traced by heads as well, and its circuit measured."
)


def main() -> None:
    """Make the project again."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=build.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped_path("projects", "othello"))
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
