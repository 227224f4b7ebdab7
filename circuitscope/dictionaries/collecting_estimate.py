"""Say beforehand about how long collecting takes and how large its file becomes.

The tokens of a corpus are counted where that is known (token arrays, generators, short files), else
reckoned from its first piece and the size of its files. The speed is that of a few batches of the
corpus itself, run and thrown away.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.collecting import Collection, evidence_path
from circuitscope.dictionaries.corpus import (
    Corpus,
    Ids,
    batches,
    corpus_files,
    documents,
    open_corpus,
)
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.fit import as_read, check_fit
from circuitscope.evidence.records import CollectEstimate
from circuitscope.evidence.tally import SAMPLED, TOP
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_TIMED = 4
_BYTES_A_TOKEN, _BYTES_A_FEATURE = 1.1, 150
"""Packed size of an example's token and of a feature's numbers, measured on both bundled sets."""


def estimate(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    corpus: Path | str | Corpus,
    out: Path | str | None = None,
    *,
    context: int | None = None,
    text_field: str = "",
    progress: Progress | None = None,
) -> CollectEstimate:
    """Estimate a call of `collecting.collect` with the same arguments.

    Raises:
        DictionaryMismatch: A dictionary does not fit the model.
        CircuitScopeError: The corpus cannot be read.
    """
    hear, model = progress or silent(), in_float32(model)
    for item in dictionaries:
        check_fit(item.card, model.anatomy)
    hear.phase("Looking at the corpus")
    opened = open_corpus(model, corpus, context, text_field)
    chunks = list(islice(opened.chunks(0), 2))
    first = chunks[0] if chunks else []
    if len(chunks) < 2 and opened.n_chunks < 2:
        n_tokens, exact = sum(map(len, first)), True
    else:
        n_tokens, exact = _tokens(opened, corpus, first, text_field)
    target = evidence_path(dictionaries, out)
    read = [as_read(item, model.anatomy) for item in dictionaries]
    hear.phase("Measuring the speed")
    run = Collection(model, read, opened, target)
    done = run.counted_before()
    seconds = _seconds_a_token(run, first, hear)
    n_features = sum(part.card.n_features for part in run.parts)
    width = float(np.mean([min(len(one), opened.window.width) for one in first] or [1]))
    examples = min(TOP + SAMPLED, max(n_tokens // 20, 1)) * min(width, opened.window.width)
    n_bytes = round(n_features * (_BYTES_A_FEATURE + _BYTES_A_TOKEN * examples))
    left = max(n_tokens - done, 0)
    return CollectEstimate(
        opened.title, str(target), n_tokens, exact, left * seconds, n_bytes, n_features, done,
        target.is_file(),
    )  # fmt: skip


def _tokens(
    opened: Corpus, where: Path | str | Corpus, first: list[Ids], text_field: str
) -> tuple[int, bool]:
    """Return how many tokens a corpus has, and whether that was counted."""
    here = sum(map(len, first))
    if opened.n_chunks:
        return here * opened.n_chunks, False
    if isinstance(where, Corpus):
        return here, False
    files = corpus_files(Path(where).expanduser())
    seen = n_bytes = 0
    share = here / len(first)
    for document in islice(documents(files[0], text_field), len(first)):
        plain = document if isinstance(document, str) else json.dumps(list(document))
        n_bytes += len(plain.encode()) + 1
        seen += 1
        if n_bytes > 2**22:
            break
    if files[0].suffix.lower() in (".npy", ".npz"):
        return sum(_entries(file) for file in files), True

    whole = sum(file.stat().st_size for file in files)
    return max(here, math.ceil(whole / max(n_bytes, 1) * seen * share)), False


def _entries(file: Path) -> int:
    loaded = np.load(file, mmap_mode="r" if file.suffix == ".npy" else None, allow_pickle=False)
    array = loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
    return int((np.asarray(array) >= 0).sum())


def _seconds_a_token(run: Collection, first: list[Ids], progress: Progress) -> float:
    """Return the time of a token, of the last of a few batches that are run and thrown away."""
    spent = 0.0
    counted = 0
    for number, batch in enumerate(islice(batches(first, 0, run.rows, run.skipped), _TIMED)):
        began = time.perf_counter()
        run.count(batch)
        if number:  # the first also warms up
            spent += time.perf_counter() - began
            counted += batch.token_ids.size
        else:
            alone = (time.perf_counter() - began) / max(batch.token_ids.size, 1)
        progress.advance(0)
    return spent / counted if counted else alone if first else 0.0
