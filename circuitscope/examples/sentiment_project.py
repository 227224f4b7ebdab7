"""The ready project of the sentiment example: ten sentences weighed word by word, and two circuits.

1. Weigh the words and phrases of our ten sentences, each for "positive" against "negative", so that
   the signs of all ten mean the same.
2. Find the heads behind the decision for one negation, "not bad at all", and over all ten.
3. Say in the note where a phrase says what its words do not.

Run `python -m circuitscope.examples.sentiment_project` to make it again.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import circuitscope as cs
from circuitscope.core.importance import Importance, from_ranking
from circuitscope.core.shipped import shipped_path
from circuitscope.examples.sentiment import LABELS, NEGATIONS, SENTENCES
from circuitscope.project import verbs
from circuitscope.tracing.importance import importance_finding

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
NAMES = ("heads of “not bad at all”", "heads over all ten")


def build(folder: Path) -> Path:
    """Make `sentiment.circuitscope`, its picture and its card in the example's folder.

    Args:
        folder: Holds `model`.

    Returns:
        The project's path.
    """
    model = cs.load_model(folder / "model", device="cpu")
    means = cs.mean_activations(model, SENTENCES)
    path = folder / "sentiment.circuitscope"
    with cs.new_project(path, overwrite=True) as project:
        for name, prompts in zip(NAMES, ([SENTENCES[1]], list(SENTENCES)), strict=True):
            circuit = discover(model, prompts, means)
            project.add(circuit, name=name)
            drawing = project.drawing(name)
            drawing.pin(*(circuit.nodes.key(at) for at in range(len(circuit.nodes))))
        found = []
        for text in SENTENCES:
            ranking = importance_finding(model, text, LABELS[1], LABELS[0])
            found.append(from_ranking(ranking))
            project.add(ranking, name=text)
        note = write_note(found)
        log.info("%s", note)
        project.contents.commit(verbs.project_note(project, note))
        project.settle()
        project.save()
        cs.export(project, folder / "sentiment.png", circuit=NAMES[0], what="circuit", dpi=72)
    card = {
        "title": "What does “not bad at all” weigh?",
        "line": "A small BERT that tells praise from blame; words, phrases and heads behind it.",
    }
    cards = json.dumps({path.name: card}, indent=1, ensure_ascii=False)
    (folder / "cards.json").write_text(cards + "\n", encoding="utf-8")
    return path


def discover(model: LoadedModel, prompts: list[str], means: cs.MeanActivations) -> cs.Circuit:
    """Find the heads behind each sentence's own decision; for one, named by its labels."""
    metrics = [
        cs.LogitDifference(name, LABELS[1 - LABELS.index(name)])
        for name in (decision(model, text) for text in prompts)
    ]
    circuit = cs.discover(model, prompts, metrics, n_heads=5, means=means)
    labels = circuit.labels
    if len(prompts) > 1:
        labels = (*labels[:-1], "decision − other label")
    # The file ships, so it names no folder of the machine that made it.
    return replace(circuit, labels=labels, provenance=circuit.provenance.without_folders())


def write_note(found: list[Importance]) -> str:
    """Return what to look at: decisions, and phrases that are not the sum of their words."""
    lines = [
        "Ten sentences of our own, weighed for “positive” against “negative”. Choose one in the "
        "list to see its words; relevances do not add up, so phrases are weighed as wholes."
    ]
    for at, phrase in NEGATIONS.items():
        told = found[at].phrase(phrase)
        words = told.score - told.interaction
        decision = LABELS[1] if found[at].whole > 0 else LABELS[0]
        lines.append(
            f"“{SENTENCES[at]}” ({decision}): “{phrase}” weighs {told.score:+.2f}, its words alone "
            f"{words:+.2f} together."
        )
    return "\n\n".join(lines)


def decision(model: LoadedModel, text: str) -> str:
    """Return the model's label of a sentence."""
    return LABELS[int(model.run(text).logits.argmax())]


def main() -> None:
    """Make the project again."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=build.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped_path("projects", "sentiment"))
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
