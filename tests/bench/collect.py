"""Collecting evidence: against the model's own forward pass and encoder matmuls; over tokens.

The baseline runs the same batches of the same corpus through the model and multiplies what the
dictionaries read with their encoders, in the same process, in turns with the collection. Both are
processor time on one thread, so that what else the machine does is left out.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuitscope.core.progress import silent
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.collecting import Collection
from circuitscope.dictionaries.corpus import Corpus, batches, open_corpus
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.fit import as_read
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.places import read_flat

LIMIT = 1.3
ROUNDS = 5
SIZES = (1, 2, 4)


@torch.inference_mode()
def plain(model: LoadedModel, dictionaries: list[Dictionary], run: Collection, chunk: list) -> None:
    """Run the model on a chunk and multiply with every encoder, and nothing else."""
    places = [(item.card.read_site, item.card.layers[0]) for item in dictionaries]
    for batch in batches(chunk, 0, run.rows, run.skipped):
        ids = torch.from_numpy(batch.token_ids.astype(np.int64))
        found = read_flat(model, ids, places)
        for item, place in zip(dictionaries, places, strict=True):
            found[place].flatten(1) @ item.weights.W_enc


def measure(name: str, corpus: str, warm: int) -> tuple[float, float, list[float]]:
    """Return seconds of a chunk, of its baseline, and of 1, 2 and 4 chunks from fresh.

    The first `warm` chunks are counted before: later ones meet tables that are full, as almost
    all of a corpus does.
    """
    folder = shipped_path("projects", name)
    model = load_model(folder / "model", "cpu")
    opened = [as_read(item, model.anatomy) for item in load_dictionaries(folder / "dictionaries")]
    whole = open_corpus(model, corpus)
    chunks = list(whole.chunks(0))
    ours, base = [], []
    with tempfile.TemporaryDirectory() as place:
        run = collection(model, opened, whole, place)
        for chunk in chunks[:warm]:
            run.add(chunk, silent())
        for chunk in chunks[warm : warm + ROUNDS]:
            start = time.process_time()
            plain(model, opened, run, chunk)
            base.append(time.process_time() - start)
            start = time.process_time()
            run.add(chunk, silent())
            ours.append(time.process_time() - start)
        growth = []
        for size in SIZES:
            fresh = collection(model, opened, whole, place)
            start = time.process_time()
            for chunk in chunks[:size]:
                fresh.add(chunk, silent())
            growth.append(time.process_time() - start)
    return float(np.median(ours)), float(np.median(base)), growth


def collection(
    model: LoadedModel, opened: list[Dictionary], corpus: Corpus, place: str
) -> Collection:
    return Collection(model, opened, corpus, Path(place) / "evidence.sqlite")


def run() -> list[dict[str, Any]]:
    """Measure both bundled sets."""
    found = []
    torch.set_num_threads(1)
    for name, corpus, warm in (("atlas", "atlas:65536", 8), ("othello", "othello:9216", 4)):
        ours, base, growth = measure(name, corpus, warm)
        double = growth[2] / growth[1]
        found += [
            {"name": f"collect.{name}, a chunk against forward and encoders (limit {LIMIT})",
             "value": ours, "unit": "s", "baseline": base, "ratio": ours / base},
            {"name": f"collect.{name}, time of 4 chunks / of 2 (linear: 2)", "value": double,
             "unit": "×", "baseline": 2.0, "ratio": double / 2},
        ]  # fmt: skip
    return found
