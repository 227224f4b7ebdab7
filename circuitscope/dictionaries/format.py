"""Open dictionaries on disk: find the reader of each folder, describe, and load when needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, overload

import torch

from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError, UnknownFormat
from circuitscope.core.registry import Registry
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.hub_cache import resolve
from circuitscope.dictionaries.read_at import read_elsewhere

FORMATS = "circuitscope.dictionary_formats"
"""Entry-point group of the readers."""

_MOST_DEPTH = 4
_MOST_FOLDERS = 10_000


class DictionaryFormat(Protocol):
    """Read one public file format; registered under its name."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder or file is of this format, from names and configuration only."""

    def cards(self, path: Path) -> Sequence[DictionaryCard]:
        """Describe the dictionaries there without reading their weights."""

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open one of them; matrices may stay in the mapped file."""


class DictionarySet(Sequence[Dictionary]):
    """Dictionaries by place or name; each is read from disk when it is first used.

    Args:
        cards: Descriptions, one per dictionary.
        formats: The reader of each.
        device: Where weights are put.
    """

    def __init__(
        self,
        cards: Sequence[DictionaryCard],
        formats: Sequence[DictionaryFormat],
        device: str | torch.device = "cpu",
    ) -> None:
        self.cards = tuple(cards)
        self._formats = tuple(formats)
        self._device = device
        self._loaded: dict[int, Dictionary] = {}

    @property
    def unread(self) -> tuple[DictionaryCard, ...]:
        """Return the cards of those whose weights are still on disk."""
        return tuple(card for at, card in enumerate(self.cards) if at not in self._loaded)

    def __len__(self) -> int:
        return len(self.cards)

    @overload
    def __getitem__(self, which: int | str) -> Dictionary: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[Dictionary]: ...

    def __getitem__(self, which: int | str | slice) -> Dictionary | Sequence[Dictionary]:
        if isinstance(which, slice):
            return [self._at(index) for index in range(*which.indices(len(self)))]
        if isinstance(which, str):
            return self._at(self._named(which))
        index = which + len(self) if which < 0 else which
        if not 0 <= index < len(self):
            raise IndexError(which)
        return self._at(index)

    def __iter__(self) -> Iterator[Dictionary]:
        return (self._at(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"DictionarySet({', '.join(card.name for card in self.cards)})"

    def _named(self, name: str) -> int:
        for index, card in enumerate(self.cards):
            if card.name == name:
                return index
        raise DictionaryError(
            f"There is no dictionary called {name!r} here.",
            hint=f"There are: {', '.join(card.name for card in self.cards)}.",
        )

    def _at(self, index: int) -> Dictionary:
        if index not in self._loaded:
            card = self.cards[index]
            loaded = self._formats[index].load(card, self._device)
            # The set may have renamed it, where two folders share a name.
            self._loaded[index] = loaded.described(card)
        return self._loaded[index]


def load_dictionaries(
    path: Path | str | Sequence[Path | str],
    device: str | torch.device = "cpu",
    read_at: Sequence[str] | str = (),
) -> DictionarySet:
    """Open one dictionary folder, a folder of them, or several of either.

    Weights are not read here, but when a dictionary is first used; on the processor they stay
    in the mapped file.

    Args:
        path: Folder, file, repository such as "org/name" or "hf://org/name/folder" in the local
            cache, or a list of them.
        device: Where weights are put.
        read_at: Sites read in place of those declared: "SITE" for all transcoders, "NAME=SITE"
            for one dictionary.

    Raises:
        DictionaryFilesMissing: A repository is not in the cache; the message says how to get it.
        UnknownFormat: Nothing there is recognised; the message lists the formats known.
        DictionaryError: A dictionary is recognised, but damaged or of an unknown architecture.
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    readers = Registry[DictionaryFormat](FORMATS).all()
    cards: list[DictionaryCard] = []
    formats: list[DictionaryFormat] = []
    for start in dict.fromkeys(resolve(item) for item in paths):
        found = list(_find(start, readers, _MOST_DEPTH))
        if not found:
            raise _unknown(start, readers)
        for place, reader in found:
            here = reader.cards(place)
            cards += here
            formats += [reader] * len(here)
    chosen = [read_at] if isinstance(read_at, str) else read_at
    return DictionarySet(read_elsewhere(_unique_names(cards), chosen), formats, device)


def _find(
    path: Path, readers: dict[str, DictionaryFormat], depth: int
) -> Iterator[tuple[Path, DictionaryFormat]]:
    for reader in readers.values():
        if reader.sniff(path):
            yield path, reader
            return
    if depth and path.is_dir():
        inside = sorted(item for item in path.iterdir() if item.is_dir())
        for folder in inside[:_MOST_FOLDERS]:
            yield from _find(folder, readers, depth - 1)


def _unknown(path: Path, readers: dict[str, DictionaryFormat]) -> UnknownFormat:
    if not path.exists():
        return UnknownFormat(f"There is nothing at {path}.", hint="Check the path.")
    return UnknownFormat(
        f"No dictionary was found in {path}.",
        hint=f"Formats that can be read: {', '.join(readers)}. "
        "SAELens folders hold cfg.json and sae_weights.safetensors.",
    )


def _unique_names(cards: list[DictionaryCard]) -> list[DictionaryCard]:
    """Put the parent folder's name before names that occur twice."""
    from dataclasses import replace

    names = [card.name for card in cards]
    seen: dict[str, int] = {}
    unique = []
    for card in cards:
        name = card.name
        if names.count(name) > 1:
            name = f"{Path(card.path).parent.name}/{name}"
        seen[name] = seen.get(name, 0) + 1
        unique.append(replace(card, name=name if seen[name] == 1 else f"{name} ({seen[name]})"))
    return unique
