"""Make an evidence file smaller by keeping fewer examples of each feature, to ship it.

Of the strongest examples the first ones stay. The even sample is stored by the number that each
token drew from its place in the corpus, so its first examples are an even sample as well. Counts,
histograms, labels and all else stay as they are, to the byte; nothing is drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.file import Contents, EvidenceFile, PackedArray, write

_PAGE = "page/"
_EXAMPLES = ("peak", "value", "kind", "sequence", "position", "length")
_TOKENS = ("ids", "acts")


def thin(path: Path | str, out: Path, top: int, sampled: int) -> None:
    """Write a file with fewer examples.

    Args:
        path: The evidence file or its folder.
        out: The file to write; may be the same.
        top: Most of the strongest examples of a feature.
        sampled: Most of its even sample.

    Raises:
        EvidenceMissing: There is no such file.
    """
    with EvidenceFile(path) as file:
        contents = file.contents()
        contents.arrays = _thinned(file, contents, top, sampled)
    contents.meta = {**contents.meta, "examples": [top, sampled]}
    write(out, contents)


def _thinned(file: EvidenceFile, contents: Contents, top: int, sampled: int) -> list[PackedArray]:
    blocks: dict[tuple[str, int, int], list[PackedArray]] = {}
    found = []
    for item in contents.arrays:
        if item.name.startswith(_PAGE):
            blocks.setdefault((item.digest, item.layer, item.first), []).append(item)
        elif item.name == "n_examples":
            found.append(replace(item, array=np.minimum(file.unpacked(item), top)))
        else:
            found.append(replace(item, array=file.unpacked(item)))
    for items in blocks.values():
        arrays = {item.name.removeprefix(_PAGE): file.unpacked(item) for item in items}
        fewer = thin_block(arrays, top, sampled)
        found += [replace(item, array=fewer[item.name.removeprefix(_PAGE)]) for item in items]
    return found


def thin_block(
    block: Mapping[str, NDArray[Any]], top: int, sampled: int
) -> dict[str, NDArray[Any]]:
    """Keep the first examples of each kind of every feature of a block, as `pages` packs them."""
    ends = block["example"].astype(np.int64)
    owner = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    kind = block["kind"].astype(np.int64)
    group = 2 * owner + kind
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rank = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    stays = rank < np.where(kind == 0, top, sampled)
    of_tokens = np.repeat(stays, block["length"].astype(np.int64))
    found = dict(block)
    found |= {name: block[name][stays] for name in _EXAMPLES}
    found |= {name: block[name][of_tokens] for name in _TOKENS}
    counts = np.bincount(owner[stays], minlength=len(ends) - 1)
    found["example"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    return found
