"""Evidence of features whose meaning is planted: rules of tokens, of the one before, of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.contexts import Contexts
from circuitscope.evidence.file import Contents, PackedArray, write
from circuitscope.evidence.labelling import Rule
from circuitscope.evidence.pages import packed_examples
from circuitscope.evidence.tally import Batch, Tally, Window

VOCABULARY, LENGTH, TEXTS = 24, 16, 1500


def planted() -> list[Rule]:
    random = np.random.default_rng(1)
    pairs = [random.permutation(VOCABULARY)[:2].tolist() for _ in range(20)]
    return (
        [("token", token, -1) for token in range(20)]
        + [("previous", token, -1) for token in range(20)]
        + [("pair", a, b) for a, b in pairs]
    )  # fmt: skip


def write_planted(path: Path) -> Path:
    """Write evidence of features that fire exactly where their planted rule holds."""
    random = np.random.default_rng(0)
    ids = random.integers(0, VOCABULARY, (TEXTS, LENGTH)).astype(np.uint32)
    tokens = {token: f"w{token}" for token in range(VOCABULARY)}
    return write_rules(path, ids, tokens, [(rule,) for rule in planted()])


def write_rules(
    path: Path, ids: NDArray[np.uint32], tokens: dict[int, str], rules: Sequence[Sequence[Rule]]
) -> Path:
    """Write evidence of features that fire exactly where one of their rules holds.

    Args:
        path: The file.
        ids: Texts, [text, pos].
        tokens: Texts of token ids.
        rules: Of each feature.
    """
    random = np.random.default_rng(0)
    before = np.concatenate([np.full((len(ids), 1), -1), ids[:, :-1].astype(int)], 1)
    values = np.zeros((*ids.shape, len(rules)), np.float32)
    for unit, senses in enumerate(rules):
        on = np.zeros(ids.shape, bool)
        for kind, token, first in senses:
            on |= {
                "token": ids == token, "previous": before == token,
                "pair": (ids == token) & (before == first),
            }[kind]  # fmt: skip
        values[..., unit] = on * (1 + random.random(on.shape))
    batch = Batch(ids, np.arange(len(ids)), np.ones(ids.shape, bool))
    tally, contexts = Tally(len(rules), Window(8, 2)), Contexts(1, Window(8, 2), np.uint16)
    chosen = contexts.choose(batch)
    row, position, unit = np.nonzero(values)
    tally.add(batch, values, (row, position, unit, values[row, position, unit]))
    contexts.note(0, chosen, values)
    contexts.settle()
    n_examples = (tally.top.key > -np.inf).sum(1)
    whole = {
        "count": tally.count, "maximum": tally.maximum, "n_examples": n_examples.astype(np.uint8),
        **contexts.active_arrays(0),
    }  # fmt: skip
    arrays = [PackedArray("d", 0, name, array) for name, array in whole.items()]
    kept = [(0, tally.top), (1, tally.sample)]
    for first, last, block in packed_examples(kept, np.flatnonzero(n_examples), tally.maximum):
        arrays += [PackedArray("d", 0, f"page/{n}", a, first, last) for n, a in block.items()]
    card = {"name": "planted", "n_features": len(rules)}
    contents = Contents({"n_tokens": ids.size}, {("d", 0): card}, arrays, tokens)
    contents.arrays += contexts.arrays()
    write(path, contents)
    return path
