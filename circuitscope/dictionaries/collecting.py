"""Collect evidence for all features of a set of dictionaries in one pass over a corpus.

1. Take a chunk of the corpus; sequences of one length go through the model together.
2. At each place that a dictionary reads, compute its pre-activations and what of them is active.
3. Count it (`evidence.tally`), and remember an even sample of contexts with what is active there.
4. From time to time write everything to a checkpoint beside the result; a run that was killed goes
   on from there, and its result is the same to the byte.
5. At the end: tokens that each feature promotes, features that fire together, and the file.

Tokens that mark a place and stand for no text, such as BOS, are not counted. Memory depends on the
dictionaries, not on the corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.corpus import (
    CHUNK_TOKENS,
    Corpus,
    Ids,
    batches,
    open_corpus,
    uncounted,
)
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.effects import promoted_tokens, similar_features
from circuitscope.dictionaries.fit import as_read, check_fit
from circuitscope.evidence.contexts import Contexts, companions
from circuitscope.evidence.file import NAME, Contents, EvidenceFile, PackedArray, dump, write
from circuitscope.evidence.pages import packed_examples
from circuitscope.evidence.records import Collected, EvidenceMissing
from circuitscope.evidence.tally import Batch, Tally
from circuitscope.models.places import Place, read_flat
from circuitscope.models.prompts import token_texts
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

CHECKPOINT_SECONDS = 120.0
_FORMAT = 3
"""Of checkpoints; those of another one are not resumed."""
_VALUES = 2**21
"""Pre-activations of one dictionary that are computed at once: 8 MB."""
_BLOCK = 512
"""Rows of them that are looked through at once."""


def default_path(dictionaries: Sequence[Dictionary]) -> Path:
    """Return where the evidence of a set belongs: beside its dictionaries."""
    folders = [Path(item.card.path) for item in dictionaries]
    folders = [folder.parent if folder.is_file() else folder for folder in folders]
    return Path(os.path.commonpath([folder.absolute() for folder in folders])) / NAME


def collect(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    corpus: Path | str | Corpus,
    out: Path | str | None = None,
    *,
    context: int | None = None,
    text_field: str = "",
    most_tokens: int | None = None,
    expected_tokens: int = 0,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress | None = None,
) -> Collected:
    """Collect evidence and write it.

    Args:
        model: The model that the dictionaries are of.
        dictionaries: All of them are done in one pass.
        corpus: File, folder, "NAME:COUNT[:SEED]", or an opened corpus.
        out: File or folder to write to; None is `evidence.sqlite` in the set's own folder.
        context: Most tokens of a sequence; None takes the model's, but at most 128.
        text_field: Field of JSONL or column of CSV that holds the text.
        most_tokens: Stop after the chunk that reaches so many; a later call can go on.
        expected_tokens: About how many the corpus has, for the time left; 0 where unknown.
        checkpoint_seconds: Time between two checkpoints.
        progress: Hears of every chunk and may cancel: what was counted is kept for the next call.

    Raises:
        DictionaryMismatch: A dictionary does not fit the model.
        CircuitScopeError: The corpus cannot be read, or is empty.
    """
    hear, model = progress or silent(), in_float32(model)
    for item in dictionaries:
        check_fit(item.card, model.anatomy)
    opened = open_corpus(model, corpus, context, text_field)
    target = evidence_path(dictionaries, out)
    run = Collection(model, [as_read(item, model.anatomy) for item in dictionaries], opened, target)
    run.resume(hear)
    hear.phase("Collecting evidence", _steps_left(run, most_tokens, expected_tokens))
    saved = time.monotonic()
    whole = True
    try:
        for chunk in opened.chunks(run.chunk):
            if most_tokens is not None and run.n_tokens >= most_tokens:
                whole = False
                break
            run.add(chunk, hear)
            hear.advance()
            if time.monotonic() - saved >= checkpoint_seconds:
                run.save()
                saved = time.monotonic()
    except BaseException:
        # Also when the user cancels: between batches everything counted so far is kept.
        if run.is_at_rest and run.n_tokens:
            run.save()
        raise
    if not run.n_tokens:
        raise CircuitScopeError(
            f"{opened.title} holds no tokens to count.", hint="Choose another corpus."
        )
    found = run.write(hear, whole=whole)
    if whole:
        run.checkpoint.unlink(missing_ok=True)
    else:
        run.save()
    return found


def _steps_left(run: Collection, most_tokens: int | None, expected: int) -> int:
    """Return about how many chunks are still to be counted, 0 where that is not known."""
    total = run.corpus.n_chunks or -(-expected // CHUNK_TOKENS)
    left = max(total - run.chunk, 0)
    if most_tokens is None:
        return left
    budget = -(-max(most_tokens - run.n_tokens, 0) // CHUNK_TOKENS)
    return min(left, budget) if total else budget


def evidence_path(dictionaries: Sequence[Dictionary], out: Path | str | None) -> Path:
    """Return the file that evidence is written to.

    Raises:
        CircuitScopeError: It cannot be written there.
    """
    target = default_path(dictionaries) if out is None else Path(out).expanduser()
    target = target / NAME if target.is_dir() or target.suffix != ".sqlite" else target
    if not os.access(target.parent if target.parent.is_dir() else target.parent.parent, os.W_OK):
        raise CircuitScopeError(
            f"Evidence cannot be written to {target.parent}.",
            kept="Nothing was computed and nothing was changed.",
            hint="Choose another place with out.",
        )
    return target


class _Part:
    """One dictionary in one of its layers, with what is counted of it."""

    def __init__(self, dictionary: Dictionary, layer: int, corpus: Corpus, id_type: Any) -> None:
        self.card = dictionary.card
        self.layer = layer
        self.dictionary = dictionary.layer(layer)
        self.place: Place = (self.card.read_site, layer)
        self.tally = Tally(self.card.n_features, corpus.window, id_type)
        self.cut: NDArray[np.float32] | None = None
        if self.card.k is None:
            threshold = self.dictionary.weights.threshold
            cut = torch.zeros(self.card.n_features) if threshold is None else threshold
            if not self.card.keeps_negative:
                cut = cut.clamp(min=0)
            self.cut = cut.float().cpu().numpy()
        self._mask = np.empty((_BLOCK, self.card.n_features), np.bool_)

    def values(self, x: Tensor, room: Tensor) -> _Values:
        """Return what is active of x [row, ...].

        Args:
            x: What the dictionary reads.
            room: Memory for its pre-activations, which are overwritten by the next part's.
        """
        rows = room[: len(x) * self.card.n_features].view(len(x), -1)
        found = []
        for start in range(0, len(x), _BLOCK):
            # Blocks stay in the processor's cache until they have been looked through.
            block = rows[start : start + _BLOCK]
            h = self.dictionary.preactivations(x[start : start + _BLOCK], block)
            if self.cut is None:
                h = self.dictionary.activate(h)
            if h.data_ptr() != block.data_ptr():
                block.copy_(h)
            plain = block.cpu().numpy()
            mask = self._mask[: len(plain)]
            if self.cut is None:
                np.not_equal(plain, 0, out=mask)
            else:
                np.greater(plain, self.cut, out=mask)
            at = np.flatnonzero(mask)
            value = plain.take(at)
            at += start * self.card.n_features
            found.append((at, value))
        index, value = (np.concatenate(part) for part in zip(*found, strict=True))
        return _Values(rows.cpu().numpy(), self.cut, (index, value))


class _Values:
    """Activations [sequence, pos, feature], read off pre-activations where they are asked for."""

    def __init__(
        self,
        h: NDArray[np.float32],
        cut: NDArray[np.float32] | None,
        found: tuple[NDArray[np.int64], NDArray[np.float32]],
    ) -> None:
        self.flat, self.cut, self.found = h, cut, found
        self.shaped = h

    def __getitem__(self, at: tuple[Any, ...]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.shaped[at]
        if self.cut is None:
            return found
        cut: NDArray[np.float32] = self.cut[at[-1]]
        return found * (found > cut)

    def active(self, counted: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return row, position, feature and activation of what is active, in this order."""
        index, value = self.found
        # Division by one number is much faster than numpy's divmod.
        row = index // self.flat.shape[1]
        unit = index - row * self.flat.shape[1]
        if not counted.all():
            kept = counted.ravel()[row]
            row, unit, value = row[kept], unit[kept], value[kept]
        sequence = row // counted.shape[1]
        position = row - sequence * counted.shape[1]
        self.shaped = self.flat.reshape(*counted.shape, -1)
        return sequence, position, unit, value


class Collection:
    """A collection under way; between batches it can be saved and resumed."""

    def __init__(
        self, model: LoadedModel, dictionaries: Sequence[Dictionary], corpus: Corpus, target: Path
    ) -> None:
        self.model, self.corpus, self.target = model, corpus, target
        id_type = np.uint16 if model.anatomy.d_vocab <= 2**16 else np.uint32
        self.parts = [
            _Part(item, layer, corpus, id_type)
            for item in dictionaries
            for layer in item.card.layers
        ]
        self.contexts = Contexts(len(self.parts), corpus.window, id_type)
        self.chunk = self.batch = self.n_tokens = self.n_sequences = 0
        self.is_at_rest = True
        self.widest = max(part.card.n_features for part in self.parts)
        self._memory = torch.empty(0, device=model.device)
        self.rows = min(max(_VALUES // self.widest, 512), 4096)
        self.skipped = np.array(sorted(uncounted(model)), np.int64)
        made = [[p.card.digest, p.layer] for p in self.parts]
        self.fingerprint = hashlib.sha256(
            dump([_FORMAT, model.anatomy.digest, str(model.dtype), corpus.digest, made]).encode()
        ).hexdigest()
        self.checkpoint = target.with_name(f"{target.name}.{self.fingerprint[:8]}.partial")

    # ---- one chunk -----------------------------------------------------------------------------
    def add(self, chunk: list[Ids], progress: Progress) -> None:
        """Count what is left of one chunk; it may be cancelled between two batches."""
        left = batches(chunk, self.n_sequences, self.rows, self.skipped)
        for batch in islice(left, self.batch, None):
            self.is_at_rest = False
            self.count(batch)
            self.batch += 1
            self.is_at_rest = True
            progress.advance(0)
        self.n_sequences += len(chunk)
        self.chunk += 1
        self.batch = 0

    @torch.inference_mode()
    def count(self, batch: Batch) -> None:
        """Count one batch of sequences."""
        ids = torch.from_numpy(batch.token_ids.astype(np.int64))
        found = read_flat(self.model, ids, [part.place for part in self.parts])
        self.n_tokens += int(batch.counted.sum())
        chosen = self.contexts.choose(batch)
        for number, part in enumerate(self.parts):
            values = part.values(found[part.place], self._room(len(found[part.place])))
            active = values.active(batch.counted)
            part.tally.add(batch, values, active)  # type: ignore[arg-type] # read like an array
            self.contexts.note(number, chosen, values)
        self.contexts.settle()

    def _room(self, rows: int) -> Tensor:
        """Return memory for the pre-activations of any part."""
        wanted = rows * self.widest
        if len(self._memory) < wanted:
            self._memory = torch.empty(wanted, device=self.model.device)
        return self._memory

    # ---- checkpoints ---------------------------------------------------------------------------
    def save(self) -> None:
        """Write everything counted so far, all or nothing."""
        arrays = {f"c.{name}": value for name, value in self.contexts.state().items()}
        for number, part in enumerate(self.parts):
            arrays |= {f"{number}.{name}": value for name, value in part.tally.state().items()}
        counts = [self.chunk, self.batch, self.n_tokens, self.n_sequences]
        note = dump({"fingerprint": self.fingerprint, "counts": counts}).encode()
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.checkpoint.with_name(f".{self.checkpoint.name}.tmp")
        with fresh.open("wb") as file:
            np.savez(file, allow_pickle=False, note=np.frombuffer(note, np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.checkpoint)

    def counted_before(self) -> int:
        """Return how many tokens a checkpoint of the same work holds; 0 where there is none."""
        if not self.checkpoint.is_file():
            return 0
        with np.load(self.checkpoint, allow_pickle=False) as stored:
            note = json.loads(stored["note"].tobytes())
        return int(note["counts"][2]) if note["fingerprint"] == self.fingerprint else 0

    def resume(self, progress: Progress) -> None:
        """Go on from a checkpoint where there is one of the same work."""
        if not self.checkpoint.is_file():
            return
        with np.load(self.checkpoint, allow_pickle=False) as stored:
            note = json.loads(stored["note"].tobytes())
            if note["fingerprint"] != self.fingerprint:
                return
            self.chunk, self.batch, self.n_tokens, self.n_sequences = note["counts"]
            grouped: dict[str, dict[str, NDArray]] = {}
            for name in stored.files:
                owner, _, field = name.partition(".")
                if field:
                    grouped.setdefault(owner, {})[field] = stored[name]
        self.contexts.restore(grouped.pop("c"))
        for number, part in enumerate(self.parts):
            part.tally.restore(grouped[str(number)])
        progress.note(f"Goes on after {self.n_tokens} tokens that were counted before.")

    # ---- the end -------------------------------------------------------------------------------
    def write(self, progress: Progress, *, whole: bool) -> Collected:
        """Write the evidence file."""
        progress.phase("Writing evidence", len(self.parts))
        contents = Contents(self._meta())
        ids: set[int] = set()
        contents.arrays += self.contexts.arrays()
        alive, dead, dense = {}, {}, {}
        for number, part in enumerate(self.parts):
            key = (part.card.digest, part.layer)
            contents.cards[key] = {**part.card.as_json(), "path": "", "layers": [part.layer]}
            arrays = _arrays(self.model, part, self.contexts, number)
            contents.arrays += arrays
            ids |= {int(i) for a in arrays if _holds_ids(a.name) for i in np.unique(a.array)}
            name = f"{part.card.name}/{part.layer}"
            count = part.tally.count
            alive[name] = int((count >= 20).sum())
            dead[name] = int((count == 0).sum())
            dense[name] = int((count > 0.1 * self.n_tokens).sum())
            progress.advance()
        ids |= {int(i) for a in contents.arrays if _holds_ids(a.name) for i in np.unique(a.array)}
        order = sorted(ids)
        contents.tokens = dict(zip(order, token_texts(self.model, order), strict=True))
        if self.target.is_file():
            try:
                with EvidenceFile(self.target) as before:
                    contents.keep_imported(before)
            except EvidenceMissing:
                progress.note(f"What was in {self.target.name} is not ours, and is replaced.")
        write(self.target, contents)
        return Collected(
            str(self.target), self.n_tokens, self.n_sequences, whole, alive, dead, dense
        )

    def _meta(self) -> dict[str, Any]:
        anatomy = self.model.anatomy
        window = self.corpus.window
        return {
            "model": {"name": anatomy.name, "digest": anatomy.digest},
            "corpus": {"title": self.corpus.title, "digest": self.corpus.digest},
            "n_tokens": self.n_tokens,
            "n_sequences": self.n_sequences,
            "window": [window.before, window.after],
        }


def _holds_ids(name: str) -> bool:
    return name in ("page/ids", "promoted_id", "suppressed_id", "context_ids")


def _arrays(model: LoadedModel, part: _Part, contexts: Contexts, number: int) -> list[PackedArray]:
    tally = part.tally
    top, sample = tally.top, tally.sample
    n_examples = (top.key > -np.inf).sum(1)
    whole: dict[str, NDArray[Any]] = {
        "count": tally.count,
        "total": tally.total.astype(np.float32),
        "maximum": tally.maximum,
        "histogram": tally.histogram.astype(np.uint32),
        "n_examples": n_examples.astype(np.uint8),
    }
    for name, (ids, weights) in promoted_tokens(model, part.dictionary).items():
        whole |= {f"{name}_id": ids, f"{name}_weight": weights}
    whole |= contexts.active_arrays(number)
    whole |= similar_features(part.dictionary)
    others, alike = companions(*contexts.active(number), part.card.n_features)
    whole |= {"companion": others, "companion_similarity": alike}
    digest, layer = part.card.digest, part.layer
    made = [PackedArray(digest, layer, name, array) for name, array in whole.items()]
    units = np.flatnonzero(n_examples)
    for first, last, block in packed_examples([(0, top), (1, sample)], units, tally.maximum):
        made += [
            PackedArray(digest, layer, f"page/{name}", array, first, last)
            for name, array in block.items()
        ]
    return made
