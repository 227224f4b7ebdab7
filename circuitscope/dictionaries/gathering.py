"""Gather what a model computes on a corpus, at the places a dictionary reads and writes.

Rows go to files as they come, so memory does not depend on the corpus; every twentieth sequence is
kept back to measure on. A run that was stopped goes on after its last whole chunk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.errors import CircuitScopeError
from circuitscope.dictionaries.corpus import Corpus, Ids, batches
from circuitscope.evidence.file import dump
from circuitscope.models.places import Place, read_flat

if TYPE_CHECKING:
    from torch import Tensor

    from circuitscope.core.progress import Progress
    from circuitscope.models.loading import LoadedModel

_ROWS = 4096
"""Tokens that the model runs at once."""
_HELD_OUT_EVERY, _MOST_HELD_OUT = 20, 200
_ROOM = 500_000_000
"""Bytes of the disk that are left free."""


@dataclass(frozen=True, slots=True)
class Activations:
    """What a model computed.

    Attributes:
        inputs: At the place that is read, float32 [row, d_in], a mapped file.
        outputs: At the place that is written, float32 [row, d_out]; None where it is the same.
        is_start: Whether a row is of a sequence's first token, bool [row].
        held_out: Sequences that no row is of.
    """

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32] | None
    is_start: NDArray[np.bool_]
    held_out: tuple[Ids, ...]


def gather(  # noqa: PLR0913 - what, from where, where to
    model: LoadedModel,
    corpus: Corpus,
    reads: Place,
    writes: Place,
    folder: Path,
    n_tokens: int,
    progress: Progress,
) -> Activations:
    """Run a corpus until about so many rows are gathered, or to its end.

    Args:
        model: In float32.
        corpus: What to run.
        reads: Place of the inputs.
        writes: Place of the outputs; the same for an autoencoder.
        folder: Where the rows are kept; one of the same work is gone on with.
        n_tokens: How many rows are enough.
        progress: Counts rows, and may cancel.

    Raises:
        CircuitScopeError: The corpus is too small to keep any of it back, or the disk is full.
    """
    work = _Gathering(model, corpus, dict.fromkeys((reads, writes)), folder)
    work.resume()
    progress.phase("Gathering activations", n_tokens)
    progress.advance(min(work.n_rows, n_tokens))
    if work.n_rows < n_tokens and not work.at_end:
        for chunk in corpus.chunks(work.chunk):
            work.add(chunk, progress)
            if work.n_rows >= n_tokens:
                break
        else:
            work.at_end = True
            work.note()
    if not work.held_out:
        raise CircuitScopeError(
            f"{corpus.title} has fewer than {_HELD_OUT_EVERY} texts, too few to train on some and "
            "measure on others.",
            kept="Nothing was written.",
            hint="Give a larger corpus, or a smaller context so that it is cut into more pieces.",
        )
    return work.activations()


class _Gathering:
    """Rows of some places, one file for each."""

    def __init__(
        self, model: LoadedModel, corpus: Corpus, places: dict[Place, None], folder: Path
    ) -> None:
        self.model, self.places, self.folder = model, list(places), folder
        self.chunk = self.n_rows = self.n_sequences = 0
        self.at_end = False
        self.widths = [0 for _ in self.places]
        self.held_out: list[list[int]] = []
        named = [(site.text, layer) for site, layer in self.places]
        told = dump([model.anatomy.digest, str(model.dtype), corpus.digest, named])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    @torch.inference_mode()
    def add(self, chunk: list[Ids], progress: Progress) -> None:
        """Run one chunk; what is cancelled before its end is run again."""
        first = self.n_sequences
        back = [
            at for at in range(len(chunk)) if (first + at) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        ]  # fmt: skip
        kept_back = set(back)
        used = [ids for at, ids in enumerate(chunk) if at not in kept_back]
        n_rows, files = self.n_rows, [self._file(at).open("r+b") for at in range(len(self.places))]
        starts = self._starts().open("r+b")
        try:
            for file, width in zip(files, self.widths, strict=True):
                file.seek(n_rows * width * 4)
            starts.seek(n_rows)
            for batch in batches(used, 0, _ROWS, np.zeros(0, np.int64)):
                ids = torch.from_numpy(batch.token_ids.astype(np.int64))
                for at, rows in enumerate(self._run(ids)):
                    self.widths[at] = rows.shape[1]
                    self._check_room(rows.nbytes)
                    files[at].write(rows.tobytes())
                first_of = np.zeros(batch.token_ids.shape, np.uint8)
                first_of[:, 0] = 1
                starts.write(first_of.tobytes())
                n_rows += first_of.size
                progress.advance(first_of.size)
        finally:
            for file in (*files, starts):
                file.close()
        self.held_out += [[int(i) for i in chunk[at]] for at in back]
        del self.held_out[_MOST_HELD_OUT:]
        self.n_rows, self.n_sequences = n_rows, self.n_sequences + len(chunk)
        self.chunk += 1
        self.note()

    def _run(self, ids: Tensor) -> list[NDArray[np.float32]]:
        found = read_flat(self.model, ids, self.places)
        return [found[place].float().cpu().numpy() for place in self.places]

    def _check_room(self, n_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < n_bytes + _ROOM:
            raise CircuitScopeError(
                f"The disk of {self.folder} has {free / 1e9:.1f} GB left, too little for more "
                "activations.",
                kept="What was gathered is kept for the next time.",
                hint="Free some room, or ask for fewer tokens.",
            )

    # ---- files -------------------------------------------------------------------------------
    def _file(self, at: int) -> Path:
        return self.folder / f"rows-{at}.f32"

    def _starts(self) -> Path:
        return self.folder / "starts.u1"

    def note(self) -> None:
        """Say how far the files can be trusted, all or nothing."""
        fresh = self.folder / ".gathered.tmp"
        fresh.write_text(dump({
            "fingerprint": self.fingerprint, "chunk": self.chunk, "rows": self.n_rows,
            "sequences": self.n_sequences, "at_end": self.at_end, "widths": self.widths,
            "held_out": self.held_out,
        }))  # fmt: skip
        fresh.replace(self.folder / "gathered.json")

    def resume(self) -> None:
        """Go on where an earlier run of the same work stopped, else begin."""
        note = self.folder / "gathered.json"
        told = json.loads(note.read_text()) if note.is_file() else {}
        if told.get("fingerprint") == self.fingerprint:
            self.chunk, self.n_rows, self.n_sequences, self.at_end = (
                told[name] for name in ("chunk", "rows", "sequences", "at_end")
            )
            self.widths, self.held_out = told["widths"], told["held_out"]
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self._starts(), *(self._file(at) for at in range(len(self.places)))):
            path.write_bytes(b"")

    def activations(self) -> Activations:
        """Map the rows."""
        mapped = [
            np.memmap(self._file(at), np.float32, "c", shape=(self.n_rows, width))
            for at, width in enumerate(self.widths)
        ]
        starts = np.fromfile(self._starts(), np.bool_, self.n_rows)
        held_out = tuple(tuple(ids) for ids in self.held_out)
        return Activations(mapped[0], mapped[1] if len(mapped) > 1 else None, starts, held_out)
