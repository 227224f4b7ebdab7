"""Make the evidence that ships with an example from the whole that was collected.

1. Label every alive feature by all methods that need no language model: rules of tokens, concepts
   by clustering, projection, steering, and for Othello its board rules. All examples take part.
2. Keep `TOP` of a feature's strongest examples, as many as its page shows at once, and `SAMPLED`
   of its even sample, three for each quarter: both files together are below 15 MB.

The whole is collected by `circuitscope collect`, from `othello:100000` and `atlas:40960`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from circuitscope.core.progress import Progress
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.labellers import model_labellers
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.thinning import thin
from circuitscope.examples.othello_labels import board_labels
from circuitscope.models.loading import load_model

TOP, SAMPLED = 6, 12
NAMES = ("atlas", "othello")


def make(whole: Path, folder: Path, out: Path, progress: Progress | None = None) -> None:
    """Label the whole evidence, which stays whole, and write what ships.

    Args:
        whole: The evidence as it was collected; its labels are made anew in it.
        folder: Of the example: its model, its dictionaries, and boards where it has them.
        out: The file to write.
        progress: Advanced once a dictionary.
    """
    model = load_model(folder / "model", "cpu")
    dictionaries = list(load_dictionaries(folder / "dictionaries"))
    boards = folder / "boards.npz"
    more = board_labels(whole, boards) if boards.is_file() else None
    label_features(whole, more, progress, labellers=model_labellers(model, dictionaries))
    thin(whole, out, TOP, SAMPLED)


def main() -> None:
    """Make the file of one example again."""
    parser = argparse.ArgumentParser(description=make.__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("whole", type=Path)
    chosen = parser.parse_args()
    folder = shipped_path("projects", chosen.name)
    make(chosen.whole, folder, folder / "dictionaries" / "evidence.sqlite")


if __name__ == "__main__":
    main()
