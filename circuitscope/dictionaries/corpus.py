"""A corpus as token ids, read piece by piece: text, JSONL, CSV, token arrays, generated games.

What is what:

- `.txt`, `.md`: documents are separated by blank lines, or are the lines where there are none;
- `.jsonl`: one document a line: a string, a list of ids, or an object with "text" (or the field
  that is named) or "token_ids", "input_ids" or "tokens";
- `.csv`: the column "text", the one that is named, or the first;
- `.npy`, `.npz`: integers, one sequence a row with -1 behind its end, or one long row;
- a folder: all of these in it, by name;
- `NAME:COUNT[:SEED]`: a generator registered under `circuitscope.corpora`.

Documents longer than the context are cut; every piece gets the special tokens that the tokenizer
puts around a text.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.registry import Registry
from circuitscope.evidence.tally import Batch, Window

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

GROUP = "circuitscope.corpora"
"""Entry-point group of the generators."""
CHUNK_TOKENS = 65_536
"""About how many tokens lie between two places where collecting can be resumed."""
_LONGEST = 128
_SUFFIXES = (".txt", ".md", ".jsonl", ".csv", ".npy", ".npz")
_ID_FIELDS = ("token_ids", "input_ids", "tokens")

Ids = Sequence[int]


class CorpusError(CircuitScopeError):
    """Say what is wrong with a corpus."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sequences of token ids, in an order that never changes.

    Attributes:
        title: In words, for readers.
        digest: Of everything that decides the sequences.
        chunks: Called with a number, gives the sequences from that chunk on, chunk by chunk.
        n_chunks: How many there are; 0 where that is not known.
        window: How much of a sequence an example shows.
    """

    title: str
    digest: str
    chunks: Callable[[int], Iterator[list[Ids]]]
    n_chunks: int = 0
    window: Window = field(default_factory=Window)


class Generator(Protocol):
    """Make the sequences of an example; registered under the name that corpora give."""

    def corpus(self, count: int, seed: int | None) -> Corpus:
        """Return so many sequences; the seed decides them."""


def open_corpus(
    model: LoadedModel, where: Path | str | Corpus, context: int | None = None, text_field: str = ""
) -> Corpus:
    """Open a corpus for a model.

    Args:
        model: Its tokenizer reads texts.
        where: A file, a folder, or "NAME:COUNT[:SEED]".
        context: Most tokens of a sequence; None takes the model's context, but at most 128.
        text_field: Field of JSONL or column of CSV that holds the text.

    Raises:
        CorpusError: It cannot be read.
    """
    if isinstance(where, Corpus):
        return where
    longest = min(context or _LONGEST, model.anatomy.n_ctx)
    name, _, rest = str(where).partition(":")
    generators = Registry[Generator](GROUP)
    if name in generators.names() and not Path(str(where)).exists():
        return _generated(generators, name, rest)
    files = corpus_files(Path(where).expanduser())
    total = hashlib.sha256(f"{longest} {text_field}".encode())
    for file in files:
        total.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                total.update(block)

    def chunks(first: int) -> Iterator[list[Ids]]:
        pieces = (
            piece for file in files for document in documents(file, text_field)
            for piece in _pieces(model, document, longest, file)
        )  # fmt: skip
        return islice(_in_chunks(pieces), first, None)

    return Corpus(" and ".join(file.name for file in files[:3]), total.hexdigest(), chunks)


def _generated(generators: Registry[Generator], name: str, rest: str) -> Corpus:
    count, _, seed = rest.partition(":")
    maker = generators.get(name)
    if maker is None or not count.isdigit() or (seed and not seed.isdigit()) or not int(count):
        raise CorpusError(
            f"{name}:{rest} is not a corpus.",
            hint=f"Write how many sequences, such as {name}:1000, and maybe a seed, {name}:1000:7.",
        )
    return maker.corpus(int(count), int(seed) if seed else None)


def corpus_files(path: Path) -> list[Path]:
    """Return the files of a corpus, by name.

    Raises:
        CorpusError: There is none that can be read.
    """
    inside = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    files = [file for file in inside if file.suffix.lower() in _SUFFIXES and file.is_file()]
    if not files:
        known = ", ".join(_SUFFIXES)
        names = ", ".join(f"{name}:COUNT" for name in Registry[Generator](GROUP).names())
        raise CorpusError(
            f"There is no corpus at {path}.",
            hint=f"Give a file or a folder of {known}, or one of: {names}.",
        )
    return files


def _in_chunks(pieces: Iterable[Ids]) -> Iterator[list[Ids]]:
    chunk: list[Ids] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= CHUNK_TOKENS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def documents(file: Path, text_field: str) -> Iterator[str | Ids]:
    """Read a file document by document: texts, or token ids.

    Raises:
        CorpusError: It is not what its name says.
    """
    suffix = file.suffix.lower()
    try:
        if suffix in (".npy", ".npz"):
            yield from _rows(file)
        elif suffix == ".jsonl":
            with file.open(encoding="utf-8") as stream:
                yield from (
                    _record(json.loads(line), text_field, file) for line in stream if line.strip()
                )
        elif suffix == ".csv":
            yield from _column(file, text_field)
        else:
            yield from _paragraphs(file)
    except (UnicodeDecodeError, ValueError, OSError, csv.Error) as error:
        raise CorpusError(
            f"{file.name} cannot be read as {suffix[1:]}: {error}.",
            kept="What was counted before is kept.",
            hint="Texts are UTF-8.",
        ) from error


def _rows(file: Path) -> Iterator[Ids]:
    loaded = np.load(file, mmap_mode="r" if file.suffix == ".npy" else None, allow_pickle=False)
    array = loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
    if not np.issubdtype(array.dtype, np.integer):
        raise CorpusError(f"{file.name} holds {array.dtype}, not token ids.")
    for row in np.atleast_2d(array):
        yield row[row >= 0].tolist() if (row < 0).any() else row.tolist()


def _record(item: Any, text_field: str, file: Path) -> str | Ids:
    if isinstance(item, dict):
        names = [text_field] if text_field else ["text", *_ID_FIELDS]
        item = next((item[name] for name in names if name in item), None)
    if isinstance(item, str) or (
        isinstance(item, list) and all(isinstance(one, int) for one in item)
    ):
        return item
    raise CorpusError(
        f"A line of {file.name} has no text.",
        hint='Name the field that holds it with --field, or call it "text".',
    )


def _column(file: Path, text_field: str) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        head = next(reader, [])
        wanted = text_field or "text"
        if text_field and wanted not in head:
            raise CorpusError(
                f"{file.name} has no column {wanted!r}.", hint=f"It has {', '.join(head)}."
            )
        at = head.index(wanted) if wanted in head else 0
        if wanted not in head and head:
            yield head[0]
        yield from (row[at] for row in reader if len(row) > at and row[at].strip())


def _paragraphs(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as stream:
        has_blank = any(not line.strip() for line in stream)
    with file.open(encoding="utf-8") as stream:
        gathered: list[str] = []
        for line in stream:
            if line.strip():
                gathered.append(line)
            if gathered and not (line.strip() and has_blank):
                yield "".join(gathered).strip()
                gathered = []
        if gathered:
            yield "".join(gathered).strip()


def _pieces(model: LoadedModel, document: str | Ids, longest: int, file: Path) -> Iterator[Ids]:
    if not isinstance(document, str):
        for at in range(0, len(document), longest):
            piece = document[at : at + longest]
            if max(piece) >= model.anatomy.d_vocab or min(piece) < 0:
                raise CorpusError(
                    f"{file.name} holds a token id outside the vocabulary of "
                    f"{model.anatomy.d_vocab}.",
                    hint="Take token ids of this model's own tokenizer.",
                )
            yield piece
        return
    if model.tokenizer is None:
        raise CorpusError(
            "This model has no tokenizer, so texts cannot be read.",
            hint="Give token ids: .npy, .npz or .jsonl with token_ids.",
        )
    ids = list(model.tokenizer(document)["input_ids"])
    special = set(model.tokenizer.all_special_ids)
    unknown = model.tokenizer.unk_token_id
    special.discard(unknown)
    start, end = 0, len(ids)
    while start < end and ids[start] in special:
        start += 1
    while end > start and ids[end - 1] in special:
        end -= 1
    head, body, tail = ids[:start], ids[start:end], ids[end:]
    room = max(longest - len(head) - len(tail), 1)
    for at in range(0, len(body), room):
        yield [*head, *body[at : at + room], *tail]


def uncounted(model: LoadedModel) -> frozenset[int]:
    """Return the ids of tokens that mark a place and stand for no text, such as BOS."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return frozenset()
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
    found = (getattr(tokenizer, name, None) for name in names)
    return frozenset(int(token) for token in found if token is not None)


def batches(chunk: list[Ids], first: int, rows: int, skipped: NDArray[np.int64]) -> Iterator[Batch]:
    """Put sequences of one length together, about `rows` tokens at a time, shorter ones first."""
    lengths = np.array([len(sequence) for sequence in chunk])
    for length in np.unique(lengths[lengths > 0]).tolist():
        here = np.flatnonzero(lengths == length)
        step = max(1, rows // length)
        for start in range(0, len(here), step):
            chosen = here[start : start + step]
            ids = np.array([chunk[at] for at in chosen.tolist()], np.uint32)
            yield Batch(ids, first + chosen, ~np.isin(ids, skipped))
